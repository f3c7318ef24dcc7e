# docker build -t ldalign . && docker run --rm -v "$PWD:/work" ldalign run run.yaml
FROM rust:1.95-trixie AS build
WORKDIR /src
COPY . .
RUN make install PREFIX=/opt/ldalign

FROM debian:trixie-slim
# Plugins in Python run in a process of their own.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates python3-numpy && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/ldalign /usr/local
WORKDIR /work
ENTRYPOINT ["ldalign"]
