.PHONY: help tools build install test page-test soak simulate verify fuzz bench counts plots site api release-check fix

help: ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/'

tools: ## installs protoc if it is missing (the etcd feature needs it)
	scripts/install-tools.sh

build: ## the library, without etcd and without protoc
	cargo build

test: tools ## installs what is missing and runs all tests
	scripts/test.sh

page-test: tools ## tests the page of `shared-store serve` in Chromium (installs what is missing), PAGE_TEST=words for some
	scripts/page-test.sh

soak: tools ## random faults on real etcd for SOAK_MINUTES (20), with an eye on memory, threads, files and tasks
	SOAK_MINUTES=$${SOAK_MINUTES:-20} cargo test --all-features --test main etcd::soak -- --nocapture

simulate: ## the simulations with SEEDS (200000) random histories each, from a random base that is printed, or from START
	SEEDS=$${SEEDS:-200000} cargo test --release --lib --features test-kit simulation -- --nocapture

verify: tools ## format, lints, docs and guards; never writes
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo clippy --workspace --all-targets --all-features -- -D warnings
	cargo clippy -- -D warnings
	cargo clippy --package shared-store-cli --no-default-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --all-features --no-deps
	scripts/guards.sh

fuzz: tools ## fuzzes every target of fuzz/ for 20 s (SECONDS=3600 for longer)
	scripts/fuzz.sh $(or $(SECONDS),20)

bench: tools ## what it costs, against doing the same by hand in the same run (about 25 minutes)
	cargo bench --features etcd --bench store
	cargo bench --features etcd --bench codecs
	cargo bench --features etcd --bench embedder
	cargo bench --features etcd --bench crowd
	cargo bench --features etcd --bench etcd

plots: tools ## the rows on etcd once more, drawn into docs/src/performance, with their figures (about 25 minutes)
	cargo bench --features etcd --bench etcd -- --json docs/src/performance/figures.json
	scripts/plots.py docs/src/performance/figures.json

counts: tools ## instructions of the hot paths (valgrind) against benches/counts/baseline.txt, which ACCEPT=1 writes
	scripts/counts.sh $(if $(ACCEPT),--accept)

site: ## the guide as a site in target/site (installs mdbook if it is missing)
	scripts/site.sh

install: tools ## the program with completions, manual pages, systemd unit and configuration (DESTDIR, PREFIX)
	cargo build --release --package shared-store-cli
	scripts/install.sh

api: tools ## every public item of each library crate, and how many (installs cargo-public-api, needs nightly)
	scripts/api.sh

release-check: tools ## what a release needs beyond CI: packages, licences, sources, compatibility
	scripts/release-check.sh

fix: ## formats and applies what clippy can
	cargo clippy --workspace --all-targets --all-features --fix --allow-dirty --allow-staged
	cargo fmt --all
	cargo fmt --manifest-path fuzz/Cargo.toml
