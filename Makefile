# Each target does its own set-up: Python 3.11+ and make are all it needs.
VENV   := .venv
BIN    := $(VENV)/bin
PYTHON ?= python3
UV     := VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv
ENGINE_TESTS := $(filter-out %_cli.py %_crash.py, $(wildcard tests/test_account_*.py \
	tests/test_engine_*.py tests/test_journal*.py)) tests/test_units.py \
	tests/test_recovery.py tests/test_vega_engine.py
LOADED := tests/test_service_overload.py
CORES  := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
# Tests start many processes, which would each compile the package and all that it imports.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup demo test suite lint types coverage mutants bench soak docs clean

help:            ## what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/'

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Solvent needs Python 3.11 or newer; PYTHON=/path/to/python make ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9,<1'

$(VENV)/.synced: $(BIN)/uv pyproject.toml uv.lock
	$(UV) sync --frozen --inexact --active --extra plot --extra serve --extra models --group dev --group peers
	@touch $@

setup: $(VENV)/.synced  ## make .venv with everything that demo and test need

demo: setup      ## margin a generated venue of 100,000 accounts, then serve one live: open its page
	$(BIN)/solvent demo $(DEMO)

lint: setup      ## ruff: style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup     ## mypy --strict
	$(BIN)/mypy

test: lint       ## lint, types, layer test, tests
	@$(MAKE) --no-print-directory -j2 suite types  # mypy has one core: the tests take the others

suite: setup     ## the tests alone
	$(BIN)/python -m pytest -n $(CORES) --dist worksteal -m "not soak"

coverage: setup  ## every branch of units, account, engine and journal is run by the tests
	$(BIN)/python -m pytest -n $(CORES) --dist worksteal -m "not soak" $(ENGINE_TESTS) \
		--cov=solvent.units --cov=solvent.account --cov=solvent.engine --cov=src/solvent/journal \
		--cov-branch --cov-report=term-missing:skip-covered --cov-fail-under=100

mutants: setup   ## break account and engine in every small way: do the tests notice? (docs/mutation.md)
	$(BIN)/mutmut run --max-children $(CORES)
	$(BIN)/mutmut results

soak: setup      ## the long randomised tests
	$(BIN)/python -m pytest -n $(CORES) --dist worksteal -m soak --ignore=$(LOADED)
	$(BIN)/python -m pytest -p no:xdist -m soak $(LOADED)  # it asserts times: alone on the machine

bench: setup     ## measure against the physical limits and named peers; writes bench/results
	$(UV) sync --frozen --inexact --active --extra plot --extra serve --extra models --group dev --group peers --group bench
	$(BIN)/python -m bench

docs: setup      ## build the documentation into site/
	$(UV) sync --frozen --inexact --active --extra plot --extra serve --extra models --group dev --group peers --group docs
	$(BIN)/mkdocs build --strict

clean:           ## remove what the other targets made
	rm -rf $(VENV) site out mutants .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis
