PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BUILDIFIER := @bazel/buildifier@8.2.1
STARLARK := BUILD MODULE.bazel

export TF_CPP_MIN_LOG_LEVEL := 2

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast test-slow test-versions docs lint mutants \
	format clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' \
		$(MAKEFILE_LIST)

# Made again when the requirements change.
$(VENV)/.installed: setup.cfg constraints.txt
	@echo "Installing TensorFlow and the rest into $(VENV): minutes, once."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		-c constraints.txt -e '.[dev]'
	@touch $@

demo: $(VENV)/.installed ## See what a network remembers: images and a report
	$(BIN)/python -m tf_deepinversion.demo

# By name, not those of few tests last: some of them are the longest.
test: $(VENV)/.installed ## Run the tests and the docstrings' examples
	$(BIN)/python -m pytest -n 2 --dist loadfile \
		--no-loadscope-reorder

# Files that take seconds each: what a change is likely to break first.
FAST := tests/house_test.py tests/core tests/objective tests/transforms \
	tests/optimizers tests/metrics tests/models tests/checkpoints

test-fast: $(VENV)/.installed ## Run the tests that take seconds
	$(BIN)/python -m pytest -n 2 --dist loadfile $(FAST)

test-slow: $(VENV)/.installed ## Run only the tests that take minutes
	$(BIN)/python -m pytest -m slow

# The oldest versions that setup.cfg allows, and Keras as it is tonight. Each
# has an environment of its own, which is removed once its tests have passed.
OLDEST := 'tensorflow==2.20.*' 'keras==3.15.*'
NIGHTLY := keras-nightly

test-versions: ## Run the tests with the oldest TensorFlow and nightly Keras
	$(call tested_with,oldest,$(OLDEST))
	$(call tested_with,nightly,$(NIGHTLY))

define tested_with
	$(PYTHON) -m venv --clear .venv-$(1)
	.venv-$(1)/bin/pip install --quiet --disable-pip-version-check -e '.[test]'
	.venv-$(1)/bin/pip uninstall --quiet --yes keras
	.venv-$(1)/bin/pip install --quiet --disable-pip-version-check $(2)
	.venv-$(1)/bin/pip list 2>/dev/null | grep -iE '^(tensorflow|keras)'
	.venv-$(1)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
	rm -rf .venv-$(1)
endef

$(VENV)/.docs: $(VENV)/.installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		-c constraints.txt -e '.[docs]'
	@touch $@

docs: $(VENV)/.docs ## Build the pages and the API reference: docs/_build
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build

lint: $(VENV)/.installed ## Check format and style; change nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/codespell
	@if command -v npx >/dev/null; then \
		echo "buildifier $(STARLARK)"; \
		npx --yes $(BUILDIFIER) --mode=check --lint=warn $(STARLARK); \
	else \
		echo "No npx (Node.js): $(STARLARK) not checked."; \
	fi

mutants: $(VENV)/.installed ## Check that wrong equations turn a test red
	$(BIN)/python tests/mutants.py

format: $(VENV)/.installed ## Format, and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	@if command -v npx >/dev/null; then \
		npx --yes $(BUILDIFIER) --mode=fix --lint=fix $(STARLARK); \
	else \
		echo "No npx (Node.js): $(STARLARK) not formatted."; \
	fi

clean: ## Remove what builds and tests leave behind; .venv stays
	rm -rf dist docs/_build .setuptools-build *.egg-info .pytest_cache .ruff_cache
	find . -path ./$(VENV) -prune -o -name __pycache__ -prune \
		-exec rm -rf {} +
