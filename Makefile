# gbgate: the two commands are `make demo` and `make test`. `make help` lists the rest.

CARGO ?= cargo
FUZZ_SECONDS ?= 600
SOAK_SECONDS ?= 600

.PHONY: help demo test build check format clippy unit integration browser fuzz soak bench bench-register deps deps-test clean

help:            ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## *' '{printf "  make %-12s %s\n", $$1, $$2}'

demo: deps build ## build, then run the gateway with simulated cameras; prints the address of the console
	@exec target/release/gbgate demo

build: deps      ## the release binary, target/release/gbgate
	@echo "building gbgate (the first time takes some minutes)"
	$(CARGO) build --release --locked

test: deps-test format clippy unit integration browser ## everything that CI runs

format:          ## formatting, as rustfmt has it
	$(CARGO) fmt --all --check

clippy:          ## lints, warnings are errors
	$(CARGO) clippy --locked --all-targets -- -D warnings

unit: deps-test  ## unit and property tests
	$(CARGO) test --locked --lib --bins

integration: deps-test ## the real binary over real sockets, and each fuzz function for 5 s
	$(CARGO) test --locked --test '*' -- --skip browser_

browser: deps-test ## a real Chromium watches a simulated camera
	$(CARGO) test --locked --test 'browser*' -- --nocapture --test-threads 1

fuzz: deps       ## each fuzz target for FUZZ_SECONDS (600) with libFuzzer
	scripts/fuzz.sh $(FUZZ_SECONDS)

soak: build deps-test ## cameras, viewers and faults for SOAK_SECONDS (600); prints memory and losses
	scripts/soak.sh $(SOAK_SECONDS)

bench: deps      ## the benchmarks, each beside a peer or a physical limit
	$(CARGO) bench --locked

bench-register: build ## registrations and keepalives beside Kamailio, with sipp as the devices
	@scripts/deps.sh bench
	scripts/bench-register.sh

deps:            ## what a build needs: says what is missing, installs it on Debian
	@scripts/deps.sh build

deps-test: deps  ## what the tests need besides
	@scripts/deps.sh test

clean:
	$(CARGO) clean
