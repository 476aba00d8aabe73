# The front door. `make` lists what there is.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup lock demo up down status logs test test-unit test-hostile lint lint-types format bench notebooks test-compose test-helm clean

PYTHON ?= python3.11
export PYTHON
UV_VERSION := 0.13.9
UV := .plinth/cache/tools/bin/uv
BIN := .venv/bin
STAMP := .venv/.setup

PROJECTS := $(wildcard libs/*/pyproject.toml services/*/pyproject.toml pipelines/pyproject.toml cli/pyproject.toml)
PACKAGES = $(shell sed -n 's/^name = "\(.*\)"/\1/p' $(PROJECTS))
PIP_COMPILE = $(UV) pip compile -q --universal --generate-hashes --python-version 3.11 --no-header --no-emit-index-url \
  --no-emit-find-links $(addprefix --no-emit-package ,$(PACKAGES))
IMAGE_SOURCES := $(wildcard services/*/pyproject.toml) pipelines/pyproject.toml infra/docker/mlflow/requirements.in
TESTS := $(wildcard tests/unit tests/platform tests/contract tests/integration tests/reference tests/e2e tests/chaos tests/hostile/test_hostile_service.py tests/hostile/test_hostile_schema.py)
COMPOSE ?= $(shell docker compose version > /dev/null 2>&1 && echo docker compose || echo docker-compose)

help: ## List the targets
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do \
	  printf '%-16s %s\n' "$$name" "$$text"; done

setup: $(STAMP) ## Make .venv with everything in it (Python 3.11); nothing to do when nothing changed

$(STAMP): requirements/all.txt $(PROJECTS) infra/local/setup.sh
	@sh infra/local/setup.sh $(UV_VERSION) $(patsubst %/pyproject.toml,%,$(PROJECTS))
	@touch $@

lock: ## Resolve requirements/all.txt again, and its part for each image; LOCK_FLAGS=--upgrade takes newer releases
	@sh infra/local/setup.sh $(UV_VERSION)
	$(PIP_COMPILE) $(LOCK_FLAGS) -o requirements/all.txt pyproject.toml
	for source in $(IMAGE_SOURCES); do \
	  $(PIP_COMPILE) -c requirements/all.txt -o requirements/$$(basename $$(dirname $$source)).txt $$source || exit 1; done
	@if grep -n '://' requirements/*.txt; then echo "the locks must not hold addresses" >&2; exit 1; fi

demo: setup ## Start the platform, train a model, send transactions through it
	$(BIN)/plinth demo

up: setup ## Start the platform as local processes and wait until it is ready
	$(BIN)/plinth up

down: ## Stop the platform and delete all it made, except the downloads in .plinth/cache
	@if [ -x $(BIN)/plinth ]; then $(BIN)/plinth down --purge; fi

status: setup ## Show every process: state, memory, restarts, address
	$(BIN)/plinth status

logs: setup ## Print the end of the logs; NAME=kafka for one process
	$(BIN)/plinth logs $(NAME)

test: setup ## Run every test that brings its own servers
	$(BIN)/pytest $(TESTS)

test-unit: setup ## Run the unit tests
	$(BIN)/pytest tests/unit

test-hostile: setup ## Send a million hostile requests and messages (10 minutes)
	PLINTH_HOSTILE=$${PLINTH_HOSTILE:-1000000} $(BIN)/pytest tests/hostile -s

lint: setup lint-types ## Check style, types and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

lint-types:
	$(BIN)/mypy $(wildcard libs/*/src services/*/src pipelines/src cli/src)

format: setup ## Format the sources and repair what can be repaired
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup ## Run the benchmarks side by side with their peers
	$(BIN)/pytest tests/load

notebooks: setup ## Run the notebooks on the platform that runs and save what they show
	$(BIN)/python notebooks/run.py $(wildcard notebooks/*.ipynb)

test-compose: setup ## Build and start docker-compose.yml, run the end-to-end tests on it, remove it
	COMPOSE="$(COMPOSE)" sh infra/docker/test-compose.sh

test-helm: setup ## Try the chart on the cluster of KUBECONFIG; HELM_FLAGS="--values FILE" for what that needs
	$(BIN)/python infra/kubernetes/check_chart.py $(HELM_FLAGS)

clean: down ## Delete .venv, .plinth and caches
	rm -rf .venv .plinth .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis bench-results
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
