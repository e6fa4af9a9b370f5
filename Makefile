# The two commands of a new user: `make run` and `make test`. Both make .venv themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test failover audit bench bench-peers editor format clean

run: $(VENV)/.run
	@exec $(BIN)/gateway serve $(ARGS)

test: $(VENV)/.test
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy --strict gateway tests
	$(BIN)/pytest $(ARGS)

failover: $(VENV)/.test
	@$(BIN)/python -m tests.failover $(ARGS)

# Long probes against a gateway on this machine: under 10 minutes. ARGS='--only http --scale 0.1' for a part.
audit: $(VENV)/.test
	@$(BIN)/python -m tests.audit $(ARGS)

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
	rm -rf $(VENV) .bench

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
