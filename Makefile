SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3
VENV ?= .venv
# Holds the lowest versions, for `make test-lowest`.
LOWEST ?= .venv-lowest
CONFIG ?= experiments/configs/demo.toml
# Passed on to pytest, for instance: make test JOBS=0 ARGS="tests/test_data.py -x"
ARGS ?=
# Processes of `make test`: one for each core, or 0 for none but its own.
JOBS ?= auto

PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check -qq
INSTALLED := $(VENV)/.installed
NOTEBOOKS := $(sort $(wildcard notebooks/*.ipynb))

# Without the first, importing litellm asks the network for a price list.
export LITELLM_LOCAL_MODEL_COST_MAP := True
export MLFLOW_DISABLE_TELEMETRY := true

.PHONY: help demo test test-lowest check notebooks docs live simulations rivals fmt lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo: $(INSTALLED) ## Distil a small local model (CONFIG=experiments/configs/demo.toml)
	$(VENV)/bin/pld distill $(CONFIG)

test: $(INSTALLED) ## Run the tests: no model, no network (ARGS=... goes to pytest)
	$(PY) -m pytest -n $(JOBS) --dist loadfile $(ARGS)

# Deprecations that old versions of others warn of are not ours.
test-lowest: $(INSTALLED) ## Run the fast tests on the lowest versions that pyproject.toml allows
	@$(PIP) install uv
	@echo "Installing the lowest versions into $(LOWEST)"
	@$(VENV)/bin/uv venv --quiet --allow-existing --python $(PY) $(LOWEST)
	@$(VENV)/bin/uv pip install --quiet --python $(LOWEST)/bin/python --resolution lowest-direct \
		-e '.[local,postgres]' --group dev
	$(LOWEST)/bin/python -m pytest -n $(JOBS) --dist loadfile -m "not live and not long and not slow" \
		-W ignore::DeprecationWarning $(ARGS)

check: $(INSTALLED) ## Lint, formatting, types, and the layers of the package
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy
	$(VENV)/bin/lint-imports --no-logo

notebooks: $(INSTALLED) ## Run every notebook from top to bottom
ifeq ($(NOTEBOOKS),)
	@echo "notebooks: there is no notebook to run"
else
	$(PY) -m pytest --nbmake --nbmake-timeout=300 $(NOTEBOOKS)
endif

docs: $(INSTALLED) ## Build the documentation into site/; a warning is an error
	$(PY) -m zensical build --clean --strict

live: $(INSTALLED) ## Run the pipeline on real local models (downloads them once)
	$(PY) -m pytest -m live $(ARGS)

simulations: $(INSTALLED) ## Search for 30 simulated students whose best lists are known
	$(PY) -m pytest -m long $(ARGS)

rivals: $(INSTALLED) ## Install what TextGrad and Ray need for the comparison (300 MB more)
	@$(PIP) install --no-deps --require-hashes -r experiments/requirements.lock
	@$(PY) -m pip --disable-pip-version-check -q check

fmt: $(INSTALLED) ## Format the code and mend what the linter can mend
	$(PY) -m ruff check --fix
	$(PY) -m ruff format

lock: $(INSTALLED) ## Write requirements.lock from pyproject.toml (ARGS=--upgrade takes newer versions)
	@echo "Locking all platforms and Python versions in requirements.lock"
	@$(PIP) install uv
	@UV_CUSTOM_COMPILE_COMMAND="make lock" $(VENV)/bin/uv pip compile pyproject.toml \
		--extra local --extra postgres --group dev --group docs --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-annotate --quiet $(ARGS) -o requirements.lock
	@echo "Locking what the extra compare adds to them in experiments/requirements.lock"
	@UV_CUSTOM_COMPILE_COMMAND="make lock" $(VENV)/bin/uv pip compile pyproject.toml \
		--extra compare --constraints requirements.lock --universal --python-version 3.11 --generate-hashes \
		$$(sed -nE 's/^([a-z0-9._-]+)==.*/--no-emit-package \1/p' requirements.lock | sort -u) \
		--no-emit-index-url --no-emit-find-links --no-annotate --quiet $(ARGS) -o experiments/requirements.lock

clean: ## Remove the virtual environment and the tools' caches; runs/ stays
	rm -rf $(VENV) $(LOWEST) site .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage dist
	find pld_dspy experiments tests -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# The stamp is written last, so that an interrupted installation is taken up again. The lock is
# whole, so nothing is resolved: older pips take `coverage[toml]` for another package than the
# pinned `coverage`, and fail as soon as a newer one is published.
$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))' || \
		{ echo "Python 3.11 to 3.14 is needed; $(PYTHON) is $$($(PYTHON) -V 2>&1). Name another: make PYTHON=python3.12" >&2; exit 2; }
	@echo "Installing the locked packages into $(VENV) (two to three minutes the first time)"
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(PIP) install --no-deps --require-hashes -r requirements.lock
	@$(PY) -m pip --disable-pip-version-check -q check
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@
