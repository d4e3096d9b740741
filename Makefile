# What you need: Python 3.11 or later, and make.
#   make run     install what is missing and start a server
#   make test    install what is missing and run everything that is checked
SHELL := /bin/sh
PYTHON ?=
HOST ?= 127.0.0.1
PORT ?= 8080
DATA ?= .data
# Arguments for pytest, as in: make test TESTS="tests/api -x"
TESTS ?= tests
WORKERS ?= auto

BIN := .venv/bin
# The environment is good for one state of these files; when they change it is brought up to date.
STATE := $(shell cat pyproject.toml constraints.txt requirements-dev.txt scripts/make-venv.sh | cksum | cut -d' ' -f1)
PRODUCT := .venv/.product-$(STATE)
TOOLS := .venv/.tools-$(STATE)
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: run test check lint types unit bench venv constraints clean
.DEFAULT_GOAL := test

run: $(PRODUCT) ## start a server with a default project and key
	@exec $(BIN)/meshagent serve --host $(HOST) --port $(PORT) --data $(DATA) --demo

test: lint types unit ## everything that must be green before a change goes in

check: lint types ## the quick part, to run all day: no processes started, nothing killed
	$(BIN)/pytest -n $(WORKERS) -q -m "not slow" --ignore=tests/cli --ignore=tests/examples --ignore=tests/faults $(TESTS)

lint: $(TOOLS)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-logo

types: $(TOOLS)
	$(BIN)/mypy

unit: $(TOOLS)
	$(BIN)/pytest -n $(WORKERS) -q $(TESTS)

bench: $(TOOLS) ## measure the server against its yardsticks
	$(BIN)/python -m benchmarks.run

venv: $(TOOLS) ## only make the environment

constraints: $(TOOLS) ## pin the versions that are installed now
	{ sed -n 1p constraints.txt; $(BIN)/pip freeze --exclude-editable --exclude pip --exclude setuptools | \
	  grep -v '^#' | LC_ALL=C sort -f; } > constraints.new
	mv constraints.new constraints.txt

clean: ## remove everything that was made, but no data
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist

$(PRODUCT):
	@PYTHON="$(PYTHON)" scripts/make-venv.sh
	@echo "installing (once; takes a minute) ..."
	@$(PIP_INSTALL) --editable ".[all]"
	@rm -f .venv/.product-* && touch $@

$(TOOLS): $(PRODUCT)
	@$(PIP_INSTALL) --requirement requirements-dev.txt
	@rm -f .venv/.tools-* && touch $@
