# The two commands of the README, and what CI runs. Each does its own set-up.
.PHONY: build quickstart test test-judge lint check-cuda doc

build:
	cargo build --release --workspace

# Aligns an embedded tiny model on embedded data and writes quickstart-run/report.html.
quickstart: build
	./target/release/ldalign quickstart

# One profile for building, the quickstart and the tests: dependencies are compiled once.
test: build
	cargo test --release --workspace

# What only builds with a feature that the commands above leave out.
test-judge:
	cargo test --release -p ldalign --features judge --lib judge

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

# Types and lints of what only builds with CUDA compile, without a GPU or NVIDIA's compiler.
check-cuda:
	tools/cuda-check/check

doc:
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
