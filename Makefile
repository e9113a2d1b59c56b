# Everything goes into .venv; nothing else on the machine is touched.  `make help` lists the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip install --quiet --no-cache-dir --disable-pip-version-check --only-binary :all:

# Tables of recorded outcomes for replay; tests that need them say so when they are absent.
ifneq ($(wildcard ../shared/data/README.md),)
export BANDIT_DATA ?= $(abspath ../shared/data)
endif
export PYTHONDONTWRITEBYTECODE := 1
export BUF_CACHE_DIR := $(abspath .cache/buf)
export BANDIT_KERNEL_CACHE ?= $(abspath .cache/kernels)

.DEFAULT_GOAL := help
.PHONY: help setup demo test check proto bench learning faults mutations serve clean lock audit unit

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

setup: $(STAMP) ## make .venv and install the locked dependencies into it

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; set PYTHON=..." >&2; exit 1; }
	@$(BIN)/python -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "installing the locked dependencies into $(VENV) ..."
	@awk '/^uv==/ {on = 1} on {print} on && !/\\$$/ {exit}' requirements.lock > $(VENV)/uv.lock
	@$(PIP) --require-hashes --no-deps --requirement $(VENV)/uv.lock
	@$(BIN)/uv pip install --quiet --no-cache --python $(VENV) --require-hashes --no-deps \
		--requirement requirements.lock \
		|| $(PIP) --require-hashes --no-deps --requirement requirements.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(STAMP) ## real prompts through a real router that learns: two pictures and a table
	@$(BIN)/bandit-router demo

test: check unit ## everything that CI runs

unit: $(STAMP)
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

check: $(STAMP) ## formatting, lint, types, layers, wire format
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint proto
	$(BIN)/buf format --diff --exit-code proto --path proto/bandit
	$(BIN)/python scripts/generate_wire.py --check

proto: $(STAMP) ## generate bandit/wire from proto/
	$(BIN)/python scripts/generate_wire.py

bench: $(STAMP) ## every claim about speed beside its floor
	$(BIN)/bandit-router bench

learning: $(STAMP) ## every claim about learning beside its bound, on recorded outcomes; writes docs/learning.md
	$(BIN)/python -m benchmarks.learning --write

faults: $(STAMP) ## kill and cut off everything under load for half an hour, then check every promise
	$(BIN)/python -m pytest tests/faults --long-faults

mutations: $(STAMP) ## take each safeguard away in a copy and see that a test turns red
	$(BIN)/python -m tests.faults.mutations

serve: $(STAMP) ## embedded Postgres, router and learner, until interrupted
	$(BIN)/bandit-router up

lock: $(STAMP) ## compile requirements.lock from pyproject.toml
	$(BIN)/uv pip compile --quiet --all-extras --generate-hashes --no-emit-index-url --no-header --no-annotate --python-version 3.11 --universal -o requirements.lock pyproject.toml

audit: $(STAMP) ## ask a vulnerability service about every locked version; fails where it cannot be asked
	$(BIN)/python scripts/audit.py

clean: ## remove what make made
	rm -rf $(VENV) .cache/kernels .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache demo-output
