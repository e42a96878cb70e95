# `make run` and `make test` are all that a fresh machine needs. PYTHON names the interpreter (3.10 or newer).
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help
# Where the environment forbids bytecode, each of the tests' hundred processes would compile PyTorch again.
export PYTHONDONTWRITEBYTECODE :=
.PHONY: help install run test test-all gpu-check same-bytes lint docs perf lock clean

help:  ## Say what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train]'
	touch $@

# Python compiles what the tests import; compiling everything takes a minute more.
.venv/installed-test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e '.[test,lint]'
	touch .venv/installed $@

.venv/installed-perf: .venv/installed-test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[perf]'
	touch $@

install: .venv/installed  ## Make the environment .venv, with `bench` in it

run: install  ## Run all methods on all datasets, print the tables and where the report lies
	$(BIN)/bench run --methods all --datasets all --baseline verdiff

test: .venv/installed-test  ## Run the tests
	$(BIN)/python -m pytest

test-all: .venv/installed-test  ## Run the tests, with two hundred random kills, simulations of minutes, cells on Ray and what needs a running Slurm
	$(BIN)/python -m pytest -m ''

gpu-check: .venv/installed  ## Check the GPU in eight minutes: make gpu-check, or DEVICE=cuda:1; DEVICE=cpu tries the check itself
	$(BIN)/python -m tests.gpu --device $(or $(DEVICE),cuda)

same-bytes: .venv/installed-test  ## Compare results and reports with another revision, byte for byte: make same-bytes REV=HEAD~1
	$(BIN)/python tests/same_bytes.py $(or $(REV),$(error REV is missing; for example make same-bytes REV=HEAD~1))

lint: docs  ## Check style, types and the links of the documentation
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

perf: .venv/installed-perf  ## Measure speed against the peers; rewrites tests/perf/README.md
	$(BIN)/python tests/perf/run.py

docs: .venv/installed-test  ## Build the documentation as a site that needs no network: build/docs/index.html
	$(BIN)/python -m tests.method_pages
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

lock: .venv/installed-test  ## Write constraints.txt again from the versions in .venv, once the tests pass with them
	$(BIN)/python -m tests.constraints

clean:  ## Remove the environment (results and reports stay)
	rm -rf .venv
