# Everything a developer runs. `make` alone lists it.
# The checks themselves are defined in one place, hack/verify/checks.py; the targets here only name them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
NAME ?= dev
LEVEL ?= node
CLUSTER ?= local
SECONDS ?= 600
FAULTS ?= 2000
export CLUSTER

BIN := .venv/bin
# Without those that look into the node, mount file systems, or install the operator's image.
KIND_TESTS := $(addprefix tests/e2e/test_,runs.py api.py attempts.py failures.py examples.py)
# The stamp's name carries the lock and the project file: when neither changed, a second `make setup` has nothing to do.
STAMP := .venv/.stamp-$(shell cat requirements/dev.txt pyproject.toml | cksum | cut -d' ' -f1)
# A kubelet needs root; without it, all but the e2e tests still work.
SETUP_LEVEL := $(shell [ "$$(id -u)" = 0 ] && echo node || echo control-plane)

##@ Start here

.PHONY: help
help: ## List the targets
	@awk 'BEGIN { FS = ":.*## "; print "usage: make TARGET [NAME=$(NAME)] [LEVEL=$(LEVEL)] [CLUSTER=$(CLUSTER)]" } \
	  /^##@ / { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z][a-z0-9-]*:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: venv ## Install everything: the environment in .venv, then the local Kubernetes (long the first time)
ifeq ($(CLUSTER),local)
	@echo "==> local Kubernetes, level $(SETUP_LEVEL)"
	@$(PYTHON) -m hack.cluster setup --level $(SETUP_LEVEL)
endif

.PHONY: demo
demo: setup ## Run the operator and one agent run on a Kubernetes of your own (CLUSTER=local)
	@$(BIN)/python -m hack.demo up

.PHONY: demo-down
demo-down: ## Stop the demo and remove what it made
	@$(PYTHON) -m hack.demo down

##@ Checks

.PHONY: test
test: setup ## Run every check, go on after a failure, print a table
	@$(BIN)/python -m hack.verify

.PHONY: test-unit
test-unit: venv ## Unit and handler tests, with 100 % branch coverage of the pure core
	@$(BIN)/python -m hack.verify unit

.PHONY: test-integration
test-integration: setup ## Tests against a real API server
	@$(BIN)/python -m hack.verify integration

.PHONY: test-e2e
test-e2e: setup ## Tests against a real kubelet (needs root)
	@$(BIN)/python -m hack.verify e2e

.PHONY: test-e2e-kind
test-e2e-kind: venv ## The e2e tests that any cluster can run, on kind (needs root, Docker, kind); KIND_NODE_IMAGE=… chooses it
	@hack/kind/up docker.io/agentrun/claude-code:2.1.329
	@TEST_CLUSTER=kind $(BIN)/python -m pytest $(KIND_TESTS) -k "not disk" --basetemp=.local/kind/data/pytest

.PHONY: fuzz
fuzz: venv ## Fuzz the parsers for SECONDS (600); finds are kept in build/fuzz/failures
	@$(BIN)/python -m tests.fuzz --seconds $(SECONDS)

.PHONY: chaos
chaos: setup ## Cause FAULTS (2000) faults on a cluster of its own; SEED=n replays a schedule; report in build/chaos
	@$(BIN)/python -m tests.chaos --faults $(FAULTS) $(if $(SEED),--seed $(SEED))

.PHONY: lint
lint: venv ## Style, budgets, formatting, undeclared or unused dependencies
	@$(BIN)/python -m hack.verify lint deps

.PHONY: types
types: venv ## mypy, strict, over package, tools and tests
	@$(BIN)/python -m hack.verify types

.PHONY: walls
walls: venv ## import-linter: who may import whom
	@$(BIN)/python -m hack.verify walls

.PHONY: verify
verify: venv ## Fail when generated files or the locks are stale
	@$(BIN)/python -m hack.verify lock generated

##@ Change

.PHONY: format
format: venv ## Format the code and fix what can be fixed safely
	@$(BIN)/ruff check --fix --exit-zero --quiet
	@$(BIN)/ruff format

.PHONY: generate
generate: venv ## Regenerate the CRD and the documents made from the models
	@$(BIN)/python -m hack.generate

.PHONY: lock
lock: venv ## Recompile requirements/*.txt after a change of dependencies
	@hack/lock

.PHONY: precommit-install
precommit-install: venv ## Run the quick checks before each commit
	@$(BIN)/pre-commit install

##@ Local Kubernetes

.PHONY: cluster-up
cluster-up: ## Start cluster NAME at LEVEL (control-plane, kwok or node)
	@$(PYTHON) -m hack.cluster up --name $(NAME) --level $(LEVEL)

.PHONY: cluster-down
cluster-down: ## Stop cluster NAME and remove its data
	@$(PYTHON) -m hack.cluster down --name $(NAME)

.PHONY: cluster-status
cluster-status: ## Show what of cluster NAME runs
	@$(PYTHON) -m hack.cluster status --name $(NAME)

##@ Other

.PHONY: image
image: venv ## Build the operator's image without Docker; prints its tar, for `ctr images import` or `docker load`
	@$(BIN)/python -m hack.images operator

.PHONY: docs
docs: build/venv/docs/.done ## Build the site of these documents into build/site/html; a link that leads nowhere fails it
	@build/venv/docs/bin/python -m hack.site

.PHONY: release
release: setup build/venv/release/.done ## Make everything of a release in dist/; DRY_RUN=1 only checks, DRAFT=1 takes the tree as it is
	@$(BIN)/python -m hack.release $(if $(DRY_RUN),--dry-run) $(if $(DRAFT),--draft)

.PHONY: bench
bench: setup ## Measure speed and memory in ten minutes; PARTS="burst live …" measures those in full, PARTS=--full all
	@$(BIN)/python -m hack.bench $(PARTS)

.PHONY: bench-slice
bench-slice: setup ## Measure the path of a run from object to verdict
	@$(BIN)/python -m hack.bench.slice

.PHONY: clean
clean: ## Remove the environment, caches and test output (the built Kubernetes stays in its cache)
	@rm -rf .venv .coverage .coverage.* htmlcov dist dist.new build .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find hack operator tests -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: venv
venv: $(STAMP)

# The tools of one target, from a lock of their own.
build/venv/%/.done: requirements/%.txt
	@echo "==> build/venv/$*: $$(grep -c '==' $<) pinned packages"
	@rm -rf build/venv/$*
	@$(PYTHON) -m venv build/venv/$*
	@build/venv/$*/bin/pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

$(STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: Python 3.11 or newer is needed, and $(PYTHON) is $$($(PYTHON) --version 2>&1); name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "make: $(PYTHON) has no venv module; install it, on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "==> .venv: $$(grep -c '==' requirements/dev.txt) pinned packages (about half a minute the first time)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@rm -f .venv/.stamp-*
	@touch $@
