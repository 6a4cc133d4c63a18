# Every check and every product of this repository. `make` turns every failure into its own exit code 2;
# the exit codes of the binary are in harness/cli/src/exit.rs.

CARGO ?= cargo
DEPLOYMENT ?= fixtures/deployments/flex-managed.yaml

.PHONY: help test fmt clippy doc deps deny certify certify-all bench images envoy redis sweep

help:
	@echo "test         format, lints, tests, doc tests, direction of dependencies"
	@echo "certify      certify DEPLOYMENT=$(DEPLOYMENT) (scaled; ARGS=... are passed on)"
	@echo "certify-all  certify every deployment that comes with gatecrash, in processes and in containers"
	@echo "images       Envoy and Redis into target/tools (envoy, redis: one of them)"
	@echo "bench        what links cost"
	@echo "sweep        remove what killed runs left on this machine"

test: fmt clippy deps
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
		$(CARGO) nextest run --workspace --no-fail-fast && $(CARGO) test --workspace --doc; \
	else \
		echo "make test: cargo-nextest is not installed; cargo test runs the same tests"; \
		$(CARGO) test --workspace --no-fail-fast; \
	fi
	@docker version >/dev/null 2>&1 || echo "make test: skipped what needs containers: no container engine answers"
	@$(CARGO) deny --version >/dev/null 2>&1 || echo "make test: skipped \`make deny\`: cargo-deny is not installed"

fmt:
	@if $(CARGO) fmt --version >/dev/null 2>&1; then $(CARGO) fmt --all -- --check; \
	else echo "make fmt: skipped: rustfmt is not installed"; fi

clippy:
	@if $(CARGO) clippy --version >/dev/null 2>&1; then $(CARGO) clippy --workspace --all-targets -- -D warnings; \
	else echo "make clippy: skipped: clippy is not installed"; fi

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps

deps:
	python3 scripts/deps.py

deny:
	$(CARGO) deny check

certify:
	$(CARGO) run --release --quiet -p gatecrash -- certify $(DEPLOYMENT) $(ARGS)

# All of them run, whatever the first ones say; the target fails if one failed, and ends with a table.
certify-all:
	$(CARGO) build --release -p gatecrash
	@sh scripts/certify-all.sh target/release/gatecrash $(ARGS)

bench:
	$(CARGO) run --release -p gatecrash-engine --example bench_links

images: envoy redis

envoy:
	sh scripts/envoy.sh

redis:
	sh scripts/redis.sh target/tools

sweep:
	$(CARGO) run --quiet -p gatecrash -- sweep $(ARGS)
