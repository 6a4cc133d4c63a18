# Every check and every product of this repository. `make` turns every failure into its own exit code 2;
# the exit codes of the binary are in harness/cli/src/exit.rs.

CARGO ?= cargo
DEPLOYMENT ?= fixtures/deployments/flex-managed.yaml

.PHONY: help discern test tools fmt clippy doc deps deny certify certify-all bench images envoy redis faketime sweep

help:
	@echo "test         format, lints, docs, tests, doc tests, direction of dependencies"
	@echo "certify      certify DEPLOYMENT=$(DEPLOYMENT) (scaled; ARGS=... are passed on)"
	@echo "certify-all  certify every deployment that comes with gatecrash, in processes and in containers"
	@echo "discern      every defect against the claims, and false alarms; writes suites/DISCERNMENT.md"
	@echo "images       Envoy and Redis into target/tools (envoy, redis: one of them)"
	@echo "faketime     libfaketime into target/tools: clocks of foreign gateways can be off"
	@echo "bench        how fast it is, against what one would use instead (PARTS=\"links traffic\": only these)"
	@echo "sweep        remove what killed runs left on this machine"

test: fmt clippy doc deps tools
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
		$(CARGO) nextest run --workspace --no-fail-fast --test-threads $$(($$(nproc) * 2)) -E 'not (binary(discernment) | binary(families))' && \
		$(CARGO) test --workspace --no-fail-fast --test families --test discernment && \
		$(CARGO) test --workspace --doc; \
	else \
		echo "make test: cargo-nextest is not installed; cargo test runs the same tests"; \
		$(CARGO) test --workspace --no-fail-fast; \
	fi
	@echo "make test: told one defect for each claim; \`make discern\` tells all of them, and their conforming twins"
	@$(CARGO) run --quiet -p gatecrash -- plan flex-managed --runtime docker >/dev/null 2>&1 || \
		echo "make test: skipped what needs containers: no container engine answers"
	@test -x target/tools/envoy || echo "make test: skipped the certification of Envoy: \`make envoy\` did not succeed (see above)"
	@test -x target/tools/redis/redis-server || command -v redis-server >/dev/null || \
		echo "make test: skipped what needs a real Redis (the stub stood in): \`make redis\` did not succeed (see above)"
	@test -f target/tools/faketime/libfaketimeMT.so.1 || echo "make test: skipped a foreign gateway whose clock is off: \`make faketime\` did not succeed (see above)"
	@command -v python3 >/dev/null || echo "make test: skipped the foreign gateway: python3 is not installed"
	@$(CARGO) deny --version >/dev/null 2>&1 || echo "make test: skipped \`make deny\`: cargo-deny is not installed"

# What tests use beside the toolchain. Without a network the tests go on without it, and say so at their end.
tools:
	@sh scripts/envoy.sh || echo "make test: NO ENVOY: it could not be fetched; its certification is skipped"
	@if command -v redis-server >/dev/null; then echo "redis: $$(command -v redis-server) is there"; \
	else sh scripts/redis.sh target/tools || echo "make test: NO REDIS: it could not be fetched; the store stub stands in"; fi
	@sh scripts/faketime.sh target/tools || echo "make test: NO FAKETIME: it could not be fetched; clocks of foreign gateways stay right"

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
certify-all: tools
	$(CARGO) build --release -p gatecrash
	@sh scripts/certify-all.sh target/release/gatecrash $(ARGS)

# Every defect and, as `make test` does not, the conforming twin of each; twins run fifty times more for false alarms, half of them with both cores
# kept busy.
discern:
	$(CARGO) test --workspace --test discernment -- --write "$(CURDIR)/suites/DISCERNMENT.md" --date "$$(date -u +%Y-%m-%d)"

# PARTS="links traffic": only these. The table is kept in target/bench/table.md.
bench:
	$(CARGO) bench --quiet -p gatecrash --bench speed -- $(PARTS)

images: envoy redis

envoy:
	sh scripts/envoy.sh

redis:
	sh scripts/redis.sh target/tools

faketime:
	sh scripts/faketime.sh target/tools

sweep:
	$(CARGO) run --quiet -p gatecrash -- sweep $(ARGS)
