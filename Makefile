# make run    the demo: search, select, retrain and test on the embedded digits
# make test   all checks; the first failure ends it
# make clean  remove caches and build products (keeps .venv and runs)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.oche-installed

# Extra arguments, e.g. make test PYTEST_ARGS="-n 2 -k supernet", make run RUN_ARGS="--time-limit 5m".
PYTEST_ARGS ?=
RUN_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help run test clean

help:
	@sed -n 's/^# make/make/p' Makefile

# Installed again only when pyproject.toml changes. An interrupted environment (python but no pip) is completed.
$(STAMP): pyproject.toml
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --editable '.[dev]'
	@touch $@

run: $(STAMP)
	$(BIN)/oche run --data digits --baseline random:3 $(RUN_ARGS)

test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest $(PYTEST_ARGS)

clean:
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -path ./$(VENV) -prune -o -path ./.git -prune -o -type d -name __pycache__ -exec rm -rf {} +
