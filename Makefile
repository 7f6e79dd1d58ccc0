# `make` lists the targets.
.PHONY: help setup build demo test bench loadtest vendor dist

help:
	@echo 'make setup     install what a build and the tests need (Debian, Ubuntu; Rust must be installed)'
	@echo 'make demo      run the real proxy with its own certificates, origins and allowlist'
	@echo 'make test      run what CI runs: format, lints, every test, documents, examples'
	@echo 'make build     build the release program: target/dist/icpgate'
	@echo 'make dist      what is shipped: program, Debian package, OCI image, bill of materials, in target/packages'
	@echo 'make vendor    the sources of every dependency, for builds without a registry'
	@echo 'make bench     benchmark the hot paths one by one (criterion)'
	@echo 'make loadtest  measure CPU time, memory and latency beside nginx and HAProxy on this machine'

setup:
	@scripts/setup

build:
	@scripts/setup dist
	@scripts/dist

# DEMO passes options, for example other addresses: make demo DEMO='--listen 127.0.0.1:9443 --http 127.0.0.1:9080'
demo: setup
	@echo 'demo: building; the first time takes some minutes'
	@cargo run --locked -- demo $(DEMO)

test: setup
	@scripts/test

bench: setup
	cargo bench --locked

# LOADTEST passes options: make loadtest LOADTEST="--quick"
loadtest:
	@loadtest/run.sh $(LOADTEST)

# DIST passes options: make dist DIST=--twice builds again and compares.
dist:
	@scripts/setup package
	@scripts/package $(DIST)

vendor:
	@scripts/vendor
