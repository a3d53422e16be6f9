# Every command of the project; `make help` lists them. CI runs the same targets.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory

BIN := .venv/bin
STAMP := .venv/.made-from-lock
UV ?= uv
# More arguments for pytest: make test ARGS="tests/contract -x"
ARGS ?=

.PHONY: help
help: ## List the targets.
	@awk -F ':.*## ' '/^##@/ { printf "\n%s\n", substr($$0, 5) } /^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' \
	  $(firstword $(MAKEFILE_LIST))

##@ Use it

.PHONY: demo down
demo: $(STAMP) ## Run the whole job on a built-in loan book: train, register, score a million rows, serve, compare.
	@$(BIN)/twinscore demo

down: ## Stop what `make demo` or `twinscore up` started, and nothing else.
	@if [ -x $(BIN)/twinscore ]; then $(BIN)/twinscore down; else echo "Nothing runs: there is no .venv yet."; fi

.PHONY: setup
setup: $(STAMP) ## Make .venv from the lock; every other target does so by itself.

$(STAMP): requirements-dev.lock pyproject.toml .ci/venv
	@.ci/venv .venv
	@touch $@

##@ Check it

.PHONY: check lint types floors layout
check: lint types floors layout ## Run every check that starts no Ray: lint, format, types, floors, layout, contracts.

lint: $(STAMP) ## Check style and format with ruff.
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet . || { echo "Some files are not formatted: make format"; exit 1; }

types: $(STAMP) ## Check types: mypy --strict on the product, lighter on the tests.
	@$(BIN)/mypy
	@$(BIN)/mypy --config-file tests/mypy.ini

floors: $(STAMP) ## Check who imports whom (import-linter, contracts in pyproject.toml).
	@$(BIN)/lint-imports --no-logo

layout: $(STAMP) ## Check the tree: names, sizes, errors, exports, locks, links, that every contract compiles and every promotion policy and alert rule is sound.
	@$(BIN)/python -m pytest -q -m "not cluster" tests/layout

.PHONY: format
format: $(STAMP) ## Format the code and mend what ruff can mend safely.
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

.PHONY: test test-slow
test: $(STAMP) ## Run the standard suite, in two processes side by side.
	@$(BIN)/python -m pytest -n 2 $(ARGS)

test-slow: $(STAMP) ## Run only the tests that take more than a minute each.
	@$(BIN)/python -m pytest -m slow $(ARGS)

.PHONY: chaos bench bench-batch bench-online bench-rollouts bench-rollouts-real bench-drift bench-fairness bench-watch bench-ladder
chaos: $(STAMP) ## Kill processes, a hundred times: driver, workers and raylet of batch runs (half an hour).
	@$(BIN)/python -m pytest -m chaos -s $(ARGS)

bench: $(STAMP) ## Measure contract, single rows and bulk margins (some minutes, and a quiet machine).
	@for name in contract_cost single_row bulk_margins; do echo "== $$name"; $(BIN)/python "benchmarks/$$name.py"; done

bench-batch: $(STAMP) ## Measure the batch path into benchmarks/results/batch.json; ARGS="--spark PYTHON" adds Spark.
	@$(BIN)/python benchmarks/batch.py $(ARGS)

bench-online: $(STAMP) ## Measure the online path beside its peers into benchmarks/results/online.json (needs wrk; an hour).
	@$(BIN)/python benchmarks/online.py $(ARGS)

bench-watch: $(STAMP) ## Measure what watching costs beside a numpy pass into benchmarks/results/watch.json (a quarter of an hour).
	@$(BIN)/python benchmarks/watch.py $(ARGS)

bench-rollouts: $(STAMP) ## Simulate good and bad rollouts into benchmarks/results/rollouts.json (some ten minutes).
	@$(BIN)/python benchmarks/rollouts.py $(ARGS)

bench-rollouts-real: $(STAMP) ## Roll out good versions through a real stack into benchmarks/results/rollouts_real.json (half an hour).
	@$(BIN)/python benchmarks/rollouts_real.py $(ARGS)

bench-drift: $(STAMP) ## Simulate windows with and without drift into benchmarks/results/drift.json (a quarter of an hour).
	@$(BIN)/python benchmarks/drift.py $(ARGS)

bench-fairness: $(STAMP) ## Simulate equal and unequal groups into benchmarks/results/fairness.json (some minutes).
	@$(BIN)/python benchmarks/fairness.py $(ARGS)

bench-ladder: $(STAMP) ## Measure degraded service around the capacity of a replica into benchmarks/results/ladder.json (a quarter of an hour).
	@$(BIN)/python benchmarks/ladder.py $(ARGS)

##@ Look after it

.PHONY: lock wheel clean
lock: ## Pin the dependencies again, with hashes, for every supported Python (needs uv).
	@command -v $(UV) >/dev/null || { echo "make lock needs uv on PATH, or UV=/path/to/uv"; exit 1; }
	@for name in requirements requirements-dev; do \
	  $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	    --custom-compile-command "make lock" $(LOCK) --output-file $$name.lock pyproject.toml \
	    $$([ $$name = requirements ] || echo "--group dev --constraint requirements.lock"); \
	  echo "$$name.lock: $$(grep -c '^[a-z0-9].*==' $$name.lock) packages"; \
	done

wheel: $(STAMP) ## Build the wheel into dist/ (cluster.yaml installs it on every node).
	@$(BIN)/python -m hatchling build -t wheel

clean: ## Remove caches and build outputs; keeps .venv and .twinscore.
	@rm -rf dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name .venv -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +
