# Everything a clone needs: `make run` shows the whole path on this machine, `make test` runs all tests.
# Both make their own virtual environments, with pinned versions (constraints.txt, requirements-torch.txt).

PYTHON ?= python3
VENV := .venv
TORCH_VENV := .venv-torch
BIN := $(VENV)/bin
SCENARIO ?= examples/deepep-benchmark/scenario.toml
INVENTORY ?= inventory/local
RESULTS ?= results
# Four tests at a time, also on two processors: most of them wait for hosts.
PYTEST_ARGS ?= -n 4 --dist worksteal
export PATH := $(abspath $(BIN)):$(PATH)
# For the small CPU build of torch where the default is a CUDA build: docs/getting-started.md
TORCH_PIP_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help run test test-slow faults lint bench docs wheel clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

run: $(VENV)/.run $(TORCH_VENV)/.done ## Compile and run the seed page's scenario on two local hosts, show the table and the report
	$(BIN)/deepep-compiler run $(SCENARIO) --inventory $(INVENTORY) --results-dir $(RESULTS)

test: $(VENV)/.dev $(TORCH_VENV)/.done browser lab ## Run the tests that CI runs
	$(BIN)/python -m pytest $(PYTEST_ARGS) -m "not slow"

test-slow: $(VENV)/.dev $(TORCH_VENV)/.done lab ## Run the long tests on the test bed (not part of CI)
	$(BIN)/python -m pytest $(PYTEST_ARGS) -m slow

faults: $(VENV)/.dev $(TORCH_VENV)/.done lab ## Cause every fault on real hosts, write docs/faults.md (up to an hour)
	rm -rf build/faults-seen
	DEEPEP_FAULTS_DIR=build/faults-seen $(BIN)/python -m pytest $(PYTEST_ARGS) tests/cluster/test_faults.py
	$(BIN)/python -m tests.cluster.page build/faults-seen

lint: $(VENV)/.dev ## Check style and types of code, playbooks and YAML
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/yamllint --strict .
	$(BIN)/ansible-lint --offline --profile production

bench: $(VENV)/.dev lab ## Measure the speed of compiler, report and runs on many hosts (a benchmark, not a test)
	$(BIN)/python -m tests.benchmark.compiler
	$(BIN)/python -m tests.benchmark.report
	$(BIN)/python -m tests.benchmark.staging
	$(BIN)/python -m tests.benchmark.cluster

docs: $(VENV)/.dev ## Write the generated reference pages again
	$(BIN)/python -m compiler.maintenance

wheel: $(VENV)/.dev ## Build the wheel into dist/
	$(BIN)/python -m build --wheel --outdir dist .

clean: ## Remove environments, bundles and caches (results stay)
	rm -rf $(VENV) $(TORCH_VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "deepep-compiler needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V). Try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# torch lives in an environment of its own: it belongs to the hosts, not to the compiler.
$(TORCH_VENV)/.done: requirements-torch.txt | $(VENV)/bin/python
	$(PYTHON) -m venv $(TORCH_VENV)
	$(TORCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check $(TORCH_PIP_ARGS) -r requirements-torch.txt
	@touch $@

# The report's tests drive a real browser.
.PHONY: browser
browser: $(VENV)/.dev
	$(BIN)/python -m tests.browser

# The tests on a cluster bring one up on this machine.
.PHONY: lab
lab: $(VENV)/.dev
	$(BIN)/python -m tests.cluster.install
