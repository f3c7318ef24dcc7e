# The two commands of the README, and what CI runs. Each does its own set-up.
.PHONY: build quickstart test test-faults test-hostile test-features lint check-cuda doc deny

# What `default` leaves out and needs no NVIDIA toolkit.
FEATURES = parquet,hub,judge

build:
	cargo build --release --workspace

# Aligns an embedded tiny model on embedded data and writes quickstart-run/report.html.
quickstart: build
	./target/release/ldalign quickstart

# One profile for building, the quickstart, the tests and the lints: dependencies are compiled once.
test: build
	cargo test --release --workspace

# Every file operation of small commands goes wrong in five ways, disks fill up at 50 sizes, and there are 500 kills and
# 500 spoilt files of each, of all of which `test` tries some. Takes hours; `FAULTS=40` tries so many of each.
FAULTS = all
test-faults: build
	LDALIGN_FAULTS=$(FAULTS) cargo test --release -p ldalign-tests --test faults --test spoilt --no-fail-fast -- --nocapture

# Mutations of files that others write, so many for each entry point; `test` tries some. SEED chooses others.
INPUTS = 3000
SEED = 1
test-hostile: build
	LDALIGN_INPUTS=$(INPUTS) LDALIGN_SEED=$(SEED) cargo test --release -p ldalign-tests --test hostile -- --nocapture

# Tests of what only builds with a feature; `lint` compiles the other features.
test-features:
	cargo test --release -p ldalign --features judge --lib judge

lint:
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets -- -D warnings
	cargo clippy --release -p ldalign --all-targets --features $(FEATURES) -- -D warnings

# Types and lints of what only builds with CUDA compile, without a GPU or NVIDIA's compiler.
check-cuda:
	tools/cuda-check/check

doc:
	RUSTDOCFLAGS="-D warnings" cargo doc --release --workspace --no-deps

# Licences, sources and versions of dependencies. `cargo deny check advisories` needs the network at every run.
DENY = target/tools/bin/cargo-deny
deny: $(DENY)
	$(DENY) check bans licenses sources

# Unoptimised: it runs for a second, and optimised it takes three CPU minutes to compile.
$(DENY):
	cargo install cargo-deny --version 0.20.2 --locked --debug --root target/tools --target-dir target/tools/build
