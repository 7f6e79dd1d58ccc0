# `make` lists what there is.
.PHONY: help setup build demo test bench loadtest

help:
	@echo 'make setup     install what a build and the tests need (Debian, Ubuntu; Rust must be there)'
	@echo 'make demo      the real proxy with certificates, origins and an allowlist of its own'
	@echo 'make test      format, lints, every test, the documents, the examples: what CI runs'
	@echo 'make build     the program as it is shipped: target/dist/icpgate'
	@echo 'make bench     the hot paths, one by one (criterion)'
	@echo 'make loadtest  CPU time, memory and latency beside nginx and HAProxy, on this machine'

setup:
	@scripts/setup

build:
	@scripts/setup dist
	@scripts/dist

# Set DEMO for other addresses: make demo DEMO='--listen 127.0.0.1:9443 --http 127.0.0.1:9080'
demo: setup
	@echo 'demo: building; the first time takes some minutes'
	@cargo run --locked -- demo $(DEMO)

test: setup
	@scripts/test

bench: setup
	cargo bench --locked

# Options of the load test: make loadtest LOADTEST="--quick"
loadtest:
	@loadtest/run.sh $(LOADTEST)
