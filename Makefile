# What you need: Python 3.11 or later, and make.
#   make run     install what is missing and start a server
#   make test    install what is missing and run everything that is checked
#   make check   the quick part of it, in about a minute
SHELL := /bin/sh
PYTHON ?=
HOST ?= 127.0.0.1
PORT ?= 8080
DATA ?= .data
# Arguments for pytest, as in: make test TESTS="tests/api -x"
TESTS ?= tests
WORKERS ?= auto
# Tests of servers, commands and examples as a whole, which `make check` leaves out.
WHOLE_PROGRAMS := tests/cli tests/e2e tests/examples tests/faults tests/testing

# Tests start hundreds of processes: without compiled modules each of them would compile the whole package again.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
# The environment is good for one state of these files; when they change it is brought up to date.
STATE := $(shell cat pyproject.toml constraints.txt requirements-dev.txt scripts/make-venv.sh | cksum | cut -d' ' -f1)
PRODUCT := .venv/.product-$(STATE)
TOOLS := .venv/.tools-$(STATE)
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: run test check quick lint types unit test-py313 test-lowest test-newest bench venv constraints clean
.DEFAULT_GOAL := test

run: $(PRODUCT) ## start a server with a default project and key
	@exec $(BIN)/meshagent serve --host $(HOST) --port $(PORT) --data $(DATA) --demo

test: lint types unit ## everything that must be green before a change goes in

check: $(TOOLS) ## the quick part, to run all day, all at once; CONTRIBUTING.md says what it leaves out
	@$(MAKE) --no-print-directory -j 3 lint types quick

quick: $(TOOLS)
	HYPOTHESIS_PROFILE=quick $(BIN)/pytest -n $(WORKERS) -q -m "not slow and not postgresql and not whole_server" \
	  $(addprefix --ignore=,$(WHOLE_PROGRAMS)) $(TESTS)

lint: $(TOOLS)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-logo

types: $(TOOLS)
	$(BIN)/mypy

unit: $(TOOLS)
	$(BIN)/pytest -n $(WORKERS) -q $(TESTS)

test-py313: ## the quick tests of the SDK and the server with Python 3.13
	WORKERS=$(WORKERS) scripts/other-versions.sh py313

test-lowest: ## the same with the lowest Python and the lowest versions that pyproject.toml admits
	WORKERS=$(WORKERS) scripts/other-versions.sh lowest

test-newest: ## the same with the newest versions that there are; not part of continuous integration
	WORKERS=$(WORKERS) scripts/other-versions.sh newest

bench: $(TOOLS) ## measure the server against its yardsticks
	$(BIN)/python -m benchmarks.run

venv: $(TOOLS) ## only make the environment

constraints: $(TOOLS) ## pin the versions that are installed now, and the lowest ones
	{ sed -n 1p constraints.txt; $(BIN)/pip freeze --exclude-editable --exclude pip --exclude setuptools | \
	  grep -v '^#' | LC_ALL=C sort -f; } > constraints.new
	mv constraints.new constraints.txt
	PYTHON=$(BIN)/python scripts/pin-lowest.sh

clean: ## remove everything that was made, but no data
	rm -rf .venv .venv-3.13 .venv-lowest .venv-newest build dist
	rm -rf .mypy_cache .ruff_cache .import_linter_cache .pytest_cache .hypothesis

$(PRODUCT):
	@PYTHON="$(PYTHON)" scripts/make-venv.sh
	@echo "installing (once; takes a minute) ..."
	@$(PIP_INSTALL) --editable ".[all]"
	@rm -f .venv/.product-* && touch $@

$(TOOLS): $(PRODUCT)
	@$(PIP_INSTALL) --requirement requirements-dev.txt
	@rm -f .venv/.tools-* && touch $@
