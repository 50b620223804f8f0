# Four jobs, each of which sets up everything it needs first: Python 3.11+ with pip and venv, make and git are enough.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
OUT ?= runs/demo

.PHONY: demo test check bench
.DEFAULT_GOAL := demo

demo: $(READY)
	$(BIN)/foleyray demo --out $(OUT)

test: $(READY)
	$(BIN)/pytest tests

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest tests -m "not ray and not slow" -n auto --dist worksteal

bench: $(READY)
	$(BIN)/python benchmarks/all.py

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"Python 3.11 or newer is needed, found {v[0]}.{v[1]}; name one with make PYTHON=python3.12")'
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(BIN)/pip install --disable-pip-version-check --quiet --require-hashes --requirement requirements.lock
	$(BIN)/pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@touch $@
