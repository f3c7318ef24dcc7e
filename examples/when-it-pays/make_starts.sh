#!/bin/sh
# Makes rows, starting models, judged rows and validity tables of all four starts, into starts/. Needs ldalign on the
# PATH and the oracle built (cargo build --release --manifest-path oracle/Cargo.toml).
set -eu
cd "$(dirname "$0")"
python3 make_data.py
for start in starts/*; do
    ldalign sft "$start/sft.yaml"
    ldalign generate "$start/judge.yaml"
    python3 judge.py "$start"
    ldalign validate "$start/validate.yaml" | tee "$start/validity.txt"
done
