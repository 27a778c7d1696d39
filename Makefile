# `make demo` and `make test` are all a newcomer needs; each installs what it lacks first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: bench chaos demo docs test test-containers test-docs test-examples test-ha test-long test-manifests check lock planted schemas
.PHONY: servers simulate clean

$(READY): requirements-dev.lock pyproject.toml contracts/pyproject.toml
	@docker/install-missing.sh python
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -qq --require-hashes -r requirements-dev.lock
	$(BIN)/pip install -qq --no-deps --no-build-isolation -e contracts -e .
	@touch $@

servers: $(READY)
	@docker/install-missing.sh servers

demo: servers
	@$(BIN)/python -m demo

# PEERS=1 adds what a user would pick instead, in an environment of its own.
PEERS ?=
PEERS_ENV := $(VENV)/peers
$(PEERS_ENV)/.ready: bench/peers/requirements.lock
	$(PYTHON) -m venv $(PEERS_ENV)
	$(PEERS_ENV)/bin/pip install -qq --require-hashes -r bench/peers/requirements.lock
	@touch $@

bench: servers $(if $(PEERS),$(PEERS_ENV)/.ready)
	@ALLOCATION_TEST_SERVERS=programs PEERS=$(PEERS) $(BIN)/python -m bench

# Root on Debian only: it mounts a small disk, and cuts a node off with iptables.
SEED ?=
MINUTES ?= 10
chaos: servers
	@docker/install-missing.sh chaos
	@$(BIN)/python -m chaos --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

# Consumer and relay in a simulated world: many seeds, then every two faults of small histories. SEED= (or HISTORY= and
# PLAN=) tells one run step by step.
SEEDS ?= 2000
HISTORY ?=
PLAN ?=
simulate: $(READY)
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS) $(if $(SEED),--seed $(SEED)) \
	    $(if $(HISTORY),--history $(HISTORY)) $(if $(PLAN),--plan $(PLAN))

# Bugs built into a copy of the program, one at a time: the checker must find each.
planted: servers
	$(BIN)/pytest -q -m long --timeout 300 tests/planted

test: servers
	$(BIN)/pytest -n 2 --dist loadfile -q -m "not containers and not docs and not long and not ha and not manifests"

test-docs: servers contracts/docs/node_modules contracts/generators/node_modules examples/node/node_modules
	$(BIN)/pytest -q -m docs

# A Patroni cluster under load, for some seven minutes. Root on Debian only: it takes machines off the network with iptables.
# Patroni has a folder of its own, for an interpreter that the user postgres can run.
PATRONI := .patroni
$(PATRONI)/.ready: harness/requirements-patroni.lock $(READY)
	rm -rf $(PATRONI)
	$(BIN)/pip --python /usr/bin/python3 install -qq --target $(PATRONI) --require-hashes -r $<
	@touch $@

test-ha: servers
	@docker/install-missing.sh ha
	@$(MAKE) --no-print-directory $(PATRONI)/.ready
	$(BIN)/pytest -q -rP -m ha tests/ha

test-long: servers
	$(BIN)/pytest -q -m long --timeout 900

# As the teams that copy them would run them: with servers of their own.
test-examples: servers
	cd examples/promise && ../../$(BIN)/pytest -q
	cd examples/shipping && ../../$(BIN)/pytest -q
	cd examples/upstream && ../../$(BIN)/pytest -q

# The manifests for Kubernetes and the systemd units. The API's schemas are in an environment of their own.
MANIFESTS := .manifests
$(MANIFESTS)/.ready: tests/manifests/requirements.lock
	@docker/install-missing.sh python
	$(PYTHON) -m venv $(MANIFESTS)
	$(MANIFESTS)/bin/pip install -qq --require-hashes -r $<
	@touch $@

test-manifests: $(READY) $(MANIFESTS)/.ready
	@docker/install-missing.sh manifests
	$(BIN)/pytest -q -m manifests tests/manifests

# The images come out of Debian's packages, so that no registry is needed; root on Debian only.
test-containers: $(READY)
	docker/offline/install.sh
	docker/offline/start-dockerd.sh
	docker/offline/build-images.sh && $(BIN)/pytest -m containers tests/containers; \
	    status=$$?; docker/offline/stop-dockerd.sh; exit $$status

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/hadolint docker/Dockerfile docker/offline/*/Dockerfile
	$(BIN)/python -m tools.compatibility check contracts/released

lock: $(READY)
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	    --no-emit-package allocation-contracts --extra otel --extra prometheus --extra redis pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	    --no-emit-package allocation-contracts --all-extras --group dev pyproject.toml -o requirements-dev.lock
	echo "patroni[etcd3,psycopg2-binary]>=4.1" | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
	    --generate-hashes --no-header --no-annotate - -o harness/requirements-patroni.lock
	printf '%s\n' 'kubernetes-validate>=1.37' cloudcoil-models-keda | $(BIN)/uv pip compile --quiet --universal \
	    --python-version 3.11 --generate-hashes --no-header --no-annotate - -o tests/manifests/requirements.lock
	printf '%s\n' hatchling cyclonedx-bom | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	    --no-annotate --constraint requirements-dev.lock - -o docker/requirements-build.lock

# All that is generated from the code: JSON Schemas, TypeScript types, the AsyncAPI document, and the reference pages of the site.
schemas: $(READY)
	$(BIN)/python -m tools.schemas contracts/schemas
	$(BIN)/python -m tools.typescript contracts/typescript
	$(BIN)/python -m tools.asyncapi contracts/asyncapi.yaml
	$(BIN)/python -m docs.generate

# The site: docs/build/html/index.html, and in it asyncapi.html, a page of contracts/asyncapi.yaml.
docs: $(READY) contracts/docs/node_modules
	$(BIN)/sphinx-build -q -W --keep-going docs docs/build/html
	node contracts/docs/build.mjs contracts/asyncapi.yaml docs/build/html/asyncapi.html

%/node_modules: %/package-lock.json
	@docker/install-missing.sh docs
	npm ci --silent --no-audit --no-fund --prefix $*
	@touch $@

clean:
	rm -rf $(VENV) $(PATRONI) $(MANIFESTS) .mypy_cache .ruff_cache .pytest_cache .hypothesis
