# make run    sets up .venv and starts the front-proxy demo        make run ARGS="--port 9000"
# make test   everything, real Envoy as the oracle included        make test ARGS="tests/unit -k header"
# make conformance  the suites of tests/conformance, and docs/compatibility.md from what they find
# make check  format, lint, types, unit tests
# make bench  Outrider and Envoy in turn, docs/benchmarks.md       make bench ARGS="--scenario tcp"

# The first Python of the supported range (see requires-python in pyproject.toml); override with PYTHON=.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null \
	&& { command -v $$python; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# Each process of the demo, of the tests and of pytest itself would compile every module anew.
export PYTHONDONTWRITEBYTECODE :=
# Tests make network namespaces, which takes root, if only that of a user namespace.
AS_ROOT := $(shell [ "$$(id -u)" = 0 ] || { unshare -Ur true 2>/dev/null && echo unshare -Ur; })

.PHONY: run test conformance check lint types bench clean

run: $(VENV)/.installed
	@exec $(BIN)/outrider demo $(ARGS)

# In the order of the folders: the short files of unit tests come last, so that no process waits for another's long one.
test: $(VENV)/.installed-test
	$(AS_ROOT) $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

check: lint types
	$(BIN)/python -m pytest -q tests/unit

lint: $(VENV)/.installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.installed-test
	$(BIN)/mypy
	$(BIN)/mypy tests/support tests/conftest.py

# The numbers of docs/compatibility.md anew, then the page.
conformance: $(VENV)/.installed-test
	OUTRIDER_CONFORMANCE=write $(BIN)/python -m pytest -q $(ARGS) tests/conformance
	$(BIN)/python -m proxy.config.ledger.generate

bench: $(VENV)/.installed-bench
	$(BIN)/python -m bench.load.run $(or $(ARGS),--rounds 3 --duration 1 --document docs/benchmarks.md)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .hypothesis

# Debian splits ensurepip off into python3-venv; pip can fill a bare environment from outside.
$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Outrider needs Python 3.11 to 3.14, and none was found." \
		"Install it (Debian: apt-get install python3 python3-venv) or say make PYTHON=/path/to/python3.13" >&2; exit 1; }
	@rm -rf $(VENV)
	@if $(PYTHON) -c 'import ensurepip' 2>/dev/null; then $(PYTHON) -m venv $(VENV); \
	elif $(PYTHON) -m virtualenv --version >/dev/null 2>&1; then $(PYTHON) -m virtualenv -q $(VENV); \
	elif $(PYTHON) -m pip --version >/dev/null 2>&1; then $(PYTHON) -m venv --without-pip $(VENV) \
		&& $(PYTHON) -m pip --python $(BIN)/python install -q pip; \
	else echo "$(PYTHON) cannot make a virtual environment." \
		"Install what Debian leaves out: apt-get install python3-venv" >&2; exit 1; fi

# Setuptools warns of every editable installation, and pip passes it on.
INSTALL := PYTHONWARNINGS=ignore $(BIN)/python -m pip install -q -e

# A stamp per set of packages, renewed when pyproject.toml changes; each set contains the smaller one.
$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(INSTALL) .
	@touch $@

$(VENV)/.installed-test: pyproject.toml | $(BIN)/python
	$(INSTALL) '.[test,fuzz]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-bench: pyproject.toml | $(BIN)/python
	$(INSTALL) '.[bench]'
	@touch $@ $(VENV)/.installed
