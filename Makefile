# `make` or `make help` lists the targets. PYTHON names the Python that the environment is made with
# (3.11 or 3.12); unset, the one already in .venv or the first suitable one on the PATH is taken.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help reproduce test test-slow lint benchmarks device-check docs readme screenshots bundle environment lock clean

# In `make bundle`, PYTHON is the Python version of the machine that the bundle is for.
CANDIDATES = $(if $(filter bundle,$(MAKECMDGOALS)),,$(PYTHON)$(if $(filter 3.%,$(PYTHON)), python$(PYTHON)))
SUITABLE = import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))
NO_PYTHON = Python 3.11 or 3.12 is needed and $(or $(PYTHON),python3) is not one: \
    install one, or name it: make test PYTHON=/path/to/python3.12
IN_VENV = PATH="$(CURDIR)/.venv/bin:$$PATH"

CORES ?= all
JOBS ?= 2
OUT ?= bundle
WEIGHTS ?= lite0
REPORT ?= results/mini/report.html

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

reproduce: environment ## train, evaluate and render; ARGS goes to snakemake, e.g. ARGS="--config tables=giou-T5", CORES=all
	$(IN_VENV) snakemake --cores $(CORES) $(ARGS)

test: environment ## the test suite (minutes); JOBS processes; ARGS goes to pytest, e.g. ARGS="tests/catalog -k claims"
	@$(IN_VENV) python envs/browser.py
	$(IN_VENV) pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

test-slow: environment ## the tests marked slow (longer; some need the network)
	$(IN_VENV) pytest -m slow $(ARGS)

lint: environment ## ruff, mypy --strict, snakefmt, snakemake --lint, envs/lint_repository.py, pip-audit where it is installed
	$(IN_VENV) ruff check .
	$(IN_VENV) ruff format --check .
	$(IN_VENV) mypy --strict replication
	$(IN_VENV) snakefmt --check Snakefile rules workflow
	$(IN_VENV) python envs/lint_workflow.py
	$(IN_VENV) python envs/lint_repository.py
	$(IN_VENV) python envs/audit.py

benchmarks: environment ## time the hot parts (tests/benchmarks)
	$(IN_VENV) pytest tests/benchmarks $(ARGS)

device-check: ## what only a GPU can show, in eight minutes, with the Python that has torch: [PYTHON=python3] [OUT=DIR]
	$(or $(PYTHON),python3) envs/device_check.py --out "$(if $(filter bundle,$(OUT)),results/device_check,$(OUT))" $(ARGS)

docs: ## the documentation site, build/site; broken links fail. In an environment of its own; ARGS=--serve shows it
	@for python in $(or $(strip $(CANDIDATES)),.venv/bin/python python3 python3.12 python3.11); do \
	    if "$$python" -c '$(SUITABLE)' 2>/dev/null; then exec "$$python" envs/build_docs.py $(ARGS); fi; \
	done; \
	echo "$(NO_PYTHON)" >&2; exit 1

readme: environment ## the tables of results in README.md and docs/results.md, from results/reference
	$(IN_VENV) python docs/readme.py

screenshots: environment ## pictures of a report for the README, by Chromium: [REPORT=results/mini/report.html]
	$(IN_VENV) PYTHONPATH=envs python docs/screenshots.py "$(REPORT)" docs/images

bundle: environment ## wheels for an air-gapped GPU machine: PYTHON=3.12 [HAVE=its `pip list --format=freeze`] [OUT=bundle] [WEIGHTS=all]
	$(IN_VENV) python envs/bundle.py --python "$(PYTHON)" --out "$(OUT)" --weights "$(WEIGHTS)" $(if $(HAVE),--have "$(HAVE)")

environment: ## make .venv or bring it up to date (the targets above do it themselves)
	@for python in $(or $(strip $(CANDIDATES)),.venv/bin/python python3 python3.12 python3.11); do \
	    if "$$python" -c '$(SUITABLE)' 2>/dev/null; then exec "$$python" envs/environment.py; fi; \
	done; \
	echo "$(NO_PYTHON)" >&2; exit 1

lock: environment ## regenerate envs/requirements.txt and envs/uv.txt; ARGS=--upgrade takes the newest versions
	$(IN_VENV) python envs/lock.py $(ARGS)

clean: ## remove the environment, the bundle and all caches; results/ and datasets/ stay
	rm -rf .venv .venv.deleted "$(OUT)" build *.egg-info .pytest_cache .mypy_cache .ruff_cache .benchmarks .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
