# Everything a developer runs. `make help` lists it; each command sets up what it needs first.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

# The machine's Python makes the environment; after that nothing outside .venv is used.
PYTHON ?= python3
BIN := .venv/bin
RESULTS := .cache/results
# Downloads stay inside .venv too, so that a clone works with an empty or read-only home.
export UV_CACHE_DIR ?= $(CURDIR)/.venv/cache
export UV_PYTHON_DOWNLOADS := never
# An environment that happens to be active elsewhere is not ours.
unexport VIRTUAL_ENV UV_PROJECT_ENVIRONMENT PYTHONPATH PYTHONHOME

# Parameters: make sim SEEDS=5000 FROM=42, make demo ARGS="--port 9000", make test WORKERS=8.
SEEDS ?= 200
FROM ?= 0
ARGS ?=
# One more than two cores: there is always a test that waits for a node or for a database.
WORKERS ?= 3

PYTEST := $(BIN)/python -m pytest
LONG_TIMEOUT_S := 1800
MANY_WORLDS := tests/sim/test_worlds_many.py

.PHONY: help
help: ## List the commands
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- set-up -----------------------------------------------------------------------------------

.PHONY: setup
setup: .venv/.stamp ## Make .venv with the locked dependencies (only when they have changed)

.venv/.stamp: pyproject.toml uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Counterfoil needs Python 3.11 or newer; '$(PYTHON)' is" \
			"$$($(PYTHON) --version 2>&1 || true). Name another: make setup PYTHON=python3.12" >&2; \
		exit 1; }
	@[ -x $(BIN)/pip ] || $(PYTHON) -m venv .venv || { \
		echo "Python cannot make an environment; on Debian and Ubuntu: apt-get install python3-venv" >&2; \
		exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check 'uv>=0.13,<0.15'
	$(BIN)/uv --system-certs sync --frozen --quiet
	@touch $@

# --- checks -----------------------------------------------------------------------------------

.PHONY: lint
lint: setup ## Check style, types, layers and the house rules
	@$(MAKE) --no-print-directory --keep-going lint-style lint-format lint-types lint-layers \
		lint-lock lint-rules

.PHONY: lint-style lint-format lint-types lint-layers lint-lock lint-rules
lint-style lint-format lint-types lint-layers lint-lock lint-rules: setup

lint-style:
	$(BIN)/ruff check --output-format=concise .
lint-format:
	$(BIN)/ruff format --check --output-format=concise .
lint-types:
	$(BIN)/mypy
lint-layers:
	$(BIN)/lint-imports --no-cache
lint-lock:
	$(BIN)/uv --system-certs lock --check --quiet
lint-rules:
	$(PYTEST) --quiet tests/test_layers.py tests/test_house_rules.py tests/test_dependencies.py

# Two runs: the core alone, where every branch must be taken by the core's own tests, and the rest.
.PHONY: test
test: setup ## Run every test but the long and the browser ones
	@rm -f $(RESULTS)/core.xml $(RESULTS)/rooms.xml
	@code=0; \
	$(MAKE) --no-print-directory --keep-going test-core test-rooms || { code=1; \
		echo "A step failed: a test, or a line or branch of core that its own tests do not take."; }; \
	$(BIN)/python tools/sum_results.py $(RESULTS)/core.xml $(RESULTS)/rooms.xml || code=1; \
	exit $$code

.PHONY: test-core
test-core: setup
	@mkdir -p $(RESULTS)
	$(BIN)/coverage run -m pytest tests/core -m "not long and not browser" \
		--junitxml=$(RESULTS)/core.xml
	$(BIN)/coverage report

.PHONY: test-rooms
test-rooms: setup
	@mkdir -p $(RESULTS)
	$(PYTEST) tests --ignore=tests/core -m "not long and not browser" \
		-n $(WORKERS) --dist loadfile --junitxml=$(RESULTS)/rooms.xml

# The long tests wait for nodes and browsers most of the time; meanwhile the seeded worlds run, and
# give way to whatever else wants the processor.
.PHONY: test-long
test-long: setup ## Run the tests marked long or browser
	@rm -f $(RESULTS)/ui.xml $(RESULTS)/long.xml $(RESULTS)/worlds.xml
	@code=0; \
	$(MAKE) --no-print-directory --keep-going --jobs=2 test-worlds test-others || code=1; \
	$(BIN)/python tools/sum_results.py $(RESULTS)/ui.xml $(RESULTS)/long.xml \
		$(RESULTS)/worlds.xml || code=1; \
	exit $$code

.PHONY: test-worlds
test-worlds: setup
	@mkdir -p $(RESULTS)
	nice -n 19 $(PYTEST) $(MANY_WORLDS) --capture=no --quiet --junitxml=$(RESULTS)/worlds.xml

# Two runs again: what drives the browser keeps an event loop, in which no other test can start one.
.PHONY: test-others
test-others:
	@code=0; \
	$(MAKE) --no-print-directory ui || code=1; \
	$(MAKE) --no-print-directory test-slow || code=1; \
	exit $$code

.PHONY: test-slow
test-slow: setup
	@mkdir -p $(RESULTS)
	$(PYTEST) tests --ignore=$(MANY_WORLDS) -m "long and not browser" \
		-o timeout=$(LONG_TIMEOUT_S) --durations=10 --junitxml=$(RESULTS)/long.xml

.PHONY: ui
ui: setup ## Run the browser tests alone
	@mkdir -p $(RESULTS)
	$(PYTEST) tests -m browser -o timeout=$(LONG_TIMEOUT_S) --junitxml=$(RESULTS)/ui.xml

.PHONY: sim
sim: setup ## Run seeded worlds: SEEDS=200 FROM=0
	$(BIN)/python -m tests.sim --seeds $(SEEDS) --from $(FROM)

.PHONY: bench
bench: setup ## Measure, and print the ratios: ARGS="--passes 1 --disk model"
	$(BIN)/uv --system-certs sync --frozen --quiet --group bench
	$(BIN)/python -m bench $(ARGS)

# Two runs: what is wrong in the core its own tests must find, and they are quick. mutmut knows one
# selection of tests for all it changes, so pytest is told what to leave out.
.PHONY: mutation
mutation: setup ## Plant mistakes in core and the scanner, see that tests find them (an hour)
	@mkdir -p $(RESULTS)
	PYTEST_ADDOPTS=--ignore=tests/services $(BIN)/mutmut run 'counterfoil.core.*'
	PYTEST_ADDOPTS=--ignore=tests/core $(BIN)/mutmut run 'counterfoil.services.*'
	$(BIN)/mutmut results --all true > $(RESULTS)/mutation.txt
	@grep survived $(RESULTS)/mutation.txt || true
	$(BIN)/python tools/mutation.py < $(RESULTS)/mutation.txt

# --- use --------------------------------------------------------------------------------------

.PHONY: demo
demo: setup ## Start a server with the simulator: ARGS="--port 9000"
	$(BIN)/counterfoil demo $(ARGS)

.PHONY: clean
clean: ## Remove caches and reports (.venv and your data stay)
	rm -rf .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache \
		.coverage mutants dist
	find . -path ./.venv -prune -o -name __pycache__ -type d -print0 | xargs -0 rm -rf
