# Every target sets up what it needs below this folder (.venv, .tools, .engines); a second run finds it and is quick.
#
#   make demo       the main job on real data: back up, change, back up, lose, restore
#   make test       every check and test
#   make check      the checks alone: ruff, mypy, import-linter
#   make bench      Coldhouse beside ClickHouse's own commands and restic: 20 to 40 minutes (needs restic)
#   make bench-scale  manifests of up to a million parts, without their data: about 20 minutes
#   make bench-full both, and the tables of docs/performance.md
#   make format     let ruff rewrite what it can
#   make test-long  the tests that take minutes
#   make clean      remove what was set up

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help demo test test-long bench bench-full bench-scale check format clean

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { command -v "$$p"; break; }; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --prefer-binary --retries 10 --timeout 60
PYTEST_WORKERS ?= 3
LONG_WORKERS ?= 2

AZURITE := 3.35.0
OLDEST_ENGINE := 26.7.3

help:
	@sed -n 's/^#   //p' Makefile

# ---- set-up -------------------------------------------------------------------------------------------------------

.venv/made:
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or newer found" >&2; \
		echo "hint: apt-get install python3 python3-venv, or make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -m venv --clear .venv >.venv.log 2>&1 || { cat .venv.log >&2; rm -rf .venv .venv.log; \
		echo "error: $(PYTHON) cannot make a virtual environment" >&2; \
		echo "hint: apt-get install python3-venv" >&2; exit 1; }
	@rm -f .venv.log; touch $@

.venv/installed: .venv/made pyproject.toml hatch_build.py $(wildcard src/coldhouse/_cityhash.c)
	@echo "installing coldhouse and its development tools into .venv"
	@$(PIP) --editable ".[dev,embedded]"
	@touch $@

# The demo needs no development tools.
.venv/runnable: .venv/made pyproject.toml hatch_build.py $(wildcard src/coldhouse/_cityhash.c)
	@test -e .venv/installed || { echo "installing coldhouse into .venv"; $(PIP) --editable ".[embedded]"; }
	@touch $@

# The oldest embedded engine that can BACKUP, beside the newest one in .venv; its own dependencies are those of .venv.
ENGINE_MADE := .engines/26.7/installed-$(OLDEST_ENGINE)
$(ENGINE_MADE): | .venv/installed
	@echo "installing chdb-core $(OLDEST_ENGINE) into .engines"
	@rm -rf $(@D); mkdir -p .engines
	@$(PIP) --no-deps --target $(@D) chdb-core==$(OLDEST_ENGINE) chdb==4.4.0
	@touch $@

AZURITE_MADE := .tools/azurite/installed-$(AZURITE)
$(AZURITE_MADE):
	@rm -rf $(@D); mkdir -p $(@D)
	@if command -v npm >/dev/null && command -v node >/dev/null; then \
		echo "installing azurite $(AZURITE) into .tools"; \
		npm install --prefix $(@D) --no-save --no-audit --no-fund --loglevel=error --fetch-retries=5 \
			azurite@$(AZURITE) >$(@D)/npm.log 2>&1 && touch $@ || { cat $(@D)/npm.log >&2; exit 1; }; \
	else \
		echo "warning: no npm here, so the tests against Azurite will be skipped (apt-get install nodejs npm)" >&2; \
	fi

TEST_SET_UP := .venv/installed $(ENGINE_MADE) $(AZURITE_MADE)

# ---- work ---------------------------------------------------------------------------------------------------------

demo: .venv/runnable
	@$(BIN)/python examples/demo.py

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: $(TEST_SET_UP) check
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --quiet

test-long: $(TEST_SET_UP)
	COLDHOUSE_TEST_EXAMPLES=explore $(BIN)/python -m pytest -n $(LONG_WORKERS) --dist worksteal -m long --timeout 3600

bench: .venv/installed
	@$(BIN)/python -m benchmarks

bench-full: .venv/installed
	@$(BIN)/python -m benchmarks --write-docs
	@$(BIN)/python -m benchmarks.scale

bench-scale: .venv/installed
	@$(BIN)/python -m benchmarks.scale

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .tools .engines .bench .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist
	rm -f src/coldhouse/_cityhash.so
