# The two commands of the README, and what CI runs. Each does its own set-up.
.PHONY: build quickstart test lint doc

build:
	cargo build --release --workspace

# Aligns an embedded tiny model on embedded data and writes quickstart-run/report.html.
quickstart: build
	./target/release/ldalign quickstart

# One profile for building, the quickstart and the tests: dependencies are compiled once.
test: build
	cargo test --release --workspace

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
