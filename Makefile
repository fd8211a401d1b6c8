# Each target does the set-up it needs. `make` alone lists them.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

# The Python to build .venv with: make setup PYTHON=/path/to/python3.12
PYTHON ?=
# Most tests wait for a broker, a session or a clock: three files at a time, each process with servers of its own.
SIDE_BY_SIDE := --numprocesses 3 --dist loadfile --no-loadscope-reorder
VENV := .venv/bin
READY := .venv/ready
READY_DEMO := .venv/ready-demo
SECONDS ?=

.PHONY: help setup demo test check bench faults-table docs lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Make .venv with all that is needed: packages, .venv/bin/rescore, Kafka (no Java or Docker needed)

# $(1): demo for what the demo runs, all for everything
define set_up
for candidate in $(or $(PYTHON),$(VENV)/python python3.13 python3.12 python3.11 python3 python); do
    if "$$candidate" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
        exec "$$candidate" local/environment.py $(1)
    fi
done
echo "Rescore needs Python 3.11, 3.12 or 3.13 with its venv module, and found none$(if $(PYTHON), at $(PYTHON))." >&2
echo "Install one (Debian, Ubuntu: apt install python3-venv; macOS: brew install python@3.13)," >&2
echo "or name it: make setup PYTHON=/path/to/python3" >&2
exit 1
endef

MADE_FROM := pyproject.toml local/environment.py local/packages.py local/servers/kafka_jars.lock

$(READY): requirements.lock $(MADE_FROM)
	@$(call set_up,all)

$(READY_DEMO): requirements-runtime.lock $(MADE_FROM)
	@$(call set_up,demo)

demo: $(READY_DEMO) ## Kafka, Valkey and a bank on this machine, until Ctrl-C (or: make demo SECONDS=60)
	@echo "Rescore demo; Ctrl-C ends it"
	exec $(VENV)/rescore demo $(if $(SECONDS),--seconds $(SECONDS))

test: setup ## All tests, on a real Kafka and a real Valkey; then formatting, lint and types
	@echo "Tests, on a Kafka and a Valkey of their own"
	@# On a server that sets CI, pytest would end with the whole text of each failure: the last lines are to be their names.
	env --unset=CI --unset=BUILD_NUMBER $(VENV)/python -m pytest $(or $(PYTEST),$(SIDE_BY_SIDE))
	$(VENV)/ruff format --check .
	$(VENV)/ruff check .
	$(VENV)/mypy

check: setup ## Formatting, lint and types
	@echo "Formatting"; $(VENV)/ruff format --check .
	echo "Lint"; $(VENV)/ruff check .
	echo "Types"; $(VENV)/mypy

bench: setup ## Measure speed beside a bare pipe, on this machine
	@exec $(VENV)/rescore bench

faults-table: setup ## Write docs/faults-protections.md: each protection switched off in turn
	@exec $(VENV)/python -m tests.crash

docs: setup ## Write the pages of docs/ that are made from the code
	@echo "docs/commands.md"; $(VENV)/python -m typer streams.__main__ utils docs --name rescore --title "Commands" --output docs/commands.md
	@echo "docs/versions.md"; $(VENV)/python -m streams.versions.schema.page docs/versions.md

lock: setup ## Lock the newest packages that pyproject.toml allows: for people and tests, and for the image alone
	@compile="$(VENV)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url"
	$$compile --custom-compile-command "make lock" pyproject.toml --extra dev --extra evaluate --extra faust --output-file requirements.lock
	$$compile --custom-compile-command "make lock" pyproject.toml --constraint requirements.lock --output-file requirements-runtime.lock
	echo "requirements.lock, requirements-runtime.lock"

clean: ## Remove .venv and what tools left in the tree (fetched jars stay in the user's cache folder)
	@echo "Removing .venv and caches"
	rm -rf .venv build rescore.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
