# The two commands of the README, and what CI runs. Each does its own set-up.
.PHONY: build quickstart install dist test test-languages test-faults test-hostile test-features lint check-cuda doc deny

# What `default` leaves out and needs no NVIDIA toolkit.
FEATURES = parquet,hub,judge

build:
	cargo build --release --workspace

# Aligns an embedded tiny model on embedded data and writes quickstart-run/report.html.
quickstart: build
	./target/release/ldalign quickstart

# Binary, plugins, manual and completions where they find each other. DESTDIR is put before PREFIX, for packagers.
PREFIX = /usr/local
SHARE = $(DESTDIR)$(PREFIX)/share
install: build
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/ldalign $(SHARE)/bash-completion/completions $(SHARE)/zsh/site-functions $(SHARE)/fish/vendor_completions.d
	install target/release/ldalign $(DESTDIR)$(PREFIX)/bin
	install -m 644 target/release/libldalign_*.so $(DESTDIR)$(PREFIX)/lib/ldalign
	target/release/ldalign man $(SHARE)/man/man1
	target/release/ldalign completions bash > $(SHARE)/bash-completion/completions/ldalign
	target/release/ldalign completions zsh > $(SHARE)/zsh/site-functions/_ldalign
	target/release/ldalign completions fish > $(SHARE)/fish/vendor_completions.d/ldalign.fish

# The same as an archive that is unpacked anywhere.
DIST = ldalign-$(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)-$(shell uname -m)-linux
dist: build
	rm -rf target/dist/$(DIST)
	$(MAKE) install DESTDIR= PREFIX=$(CURDIR)/target/dist/$(DIST)
	cp -r README.md LICENSE-* docs target/dist/$(DIST)
	tar -C target/dist --sort=name --owner=0 --group=0 --numeric-owner -czf target/dist/$(DIST).tar.gz $(DIST)
	@echo target/dist/$(DIST).tar.gz

# One profile for building, the quickstart, the tests and the lints: dependencies are compiled once.
test: build
	cargo test --release --workspace

# Every file operation of small commands goes wrong in five ways, disks fill up at 50 sizes, and there are 500 kills and
# 500 spoilt files of each, of all of which `test` tries some. Takes hours; `FAULTS=40` tries so many of each.
FAULTS = all
test-faults: build
	LDALIGN_FAULTS=$(FAULTS) cargo test --release -p ldalign-tests --test faults --test spoilt --no-fail-fast -- --nocapture

# Plugins in Python, and in C++: what `test` leaves out, since it needs python3 with NumPy and a compiler of C++.
test-languages: build
	python3 -c 'import numpy'
	cargo test --release -p ldalign-tests --test python --test c -- --include-ignored

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
