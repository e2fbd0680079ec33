# make run starts the demo; make test checks everything. Both need Python 3.11 or newer with venv and pip, and make.
# PYTHON=/path/to/python chooses the interpreter; VENV=folder another place for what is installed.

SHELL := /bin/sh
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$python && break; done)
VENV ?= .venv
CONFIG ?= gateway.toml
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
JOBS ?= 2
KILLS ?= 50
FREEZES ?= 300
SEED ?= 1
FUZZ_SECONDS ?= 60

.DEFAULT_GOAL := help
.PHONY: help run test check crash freeze fuzz bench audit sbom lock migration lint format system clean

help: ## Show this list
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 10

run: $(VENV)/.runtime ## Start the demo in the foreground (CONFIG=gateway.toml)
	@exec $(BIN)/python -m gateway demo --config $(CONFIG)

test: $(VENV)/.development system lint ## Check everything: lint, types, import contract, tests
	$(BIN)/python -m pytest -n $(JOBS) $(if $(CI),--no-skips)

check: $(if $(T),$(VENV)/.development) ## One test file or one test: make check T=tests/smpp/test_pdu.py
	@test -n '$(T)' || { echo "make: which test? For example: make check T=tests/smpp/test_pdu.py" >&2; exit 1; }
	$(BIN)/python -m pytest '$(T)'

crash: $(VENV)/.development ## Kill, freeze and restart all under load, KILLS times on each engine; then every figure must add up
	$(BIN)/python -m tests.crash.harness --kills $(KILLS) --seed $(SEED)
	$(BIN)/python -m tests.crash.harness --kills $(KILLS) --seed $(SEED) --engine postgresql --daemons 2
	$(BIN)/python -m tests.crash.harness --kills $$(($(KILLS) / 5 + 1)) --seed $(SEED) --workers 2
	$(BIN)/python -m tests.crash.harness --kills $$(($(KILLS) / 5 + 1)) --seed $(SEED) --far-ends foreign

freeze: $(VENV)/.development ## SIGSTOP for longer than the lease, FREEZES times under load; a duplicate must have its window
	$(BIN)/python -m tests.crash.freezes --freezes $(FREEZES) --seed $(SEED)

fuzz: $(VENV)/.development ## Any octets to every parser and session, and what they cost, for FUZZ_SECONDS
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS) $(if $(COST_SEED),--cost-seed $(COST_SEED))

bench: $(VENV)/.development ## Side by side with Postfix and Kannel (PEERS=none|postfix,kannel|all, AGAINST=REV, RUNS=3, CASES=…, LOGS=quiet)
	$(BIN)/python -m bench

audit: $(VENV)/.audit ## Known vulnerabilities in the locked packages (asks the network; Error 3: it could not)
	$(VENV)/audit/bin/python tests/security/audit.py

sbom: $(VENV)/.sbom ## The packages of `make run` as a CycloneDX bill of materials, in gateway.cdx.json
	@$(VENV)/sbom/bin/python -W ignore -m cyclonedx_py requirements --pyproject pyproject.toml --output-reproducible \
	  --output-format JSON --output-file gateway.cdx.json requirements.lock

lock: $(VENV)/bin/python ## Renew the hashes of the versions in the locks (asks the network)
	$(BIN)/python tests/security/lock.py

migration: $(VENV)/.development ## Write the next migration from what the tables declare (NAME=accounts_language)
	@$(BIN)/python -m gateway.cli.new_migration "$(NAME)"

lint: $(VENV)/.development ## ruff, mypy and the import contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.development ## Let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

system: ## Install what tests need from the system (as root on Debian), or say what is missing
	@.ci/system

clean: ## Remove what was installed and cached; var/ with its database stays
	rm -rf $(VENV) gateway.cdx.json .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build *.egg-info

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { \
	  echo "make: no Python 3.11 or newer with venv and pip was found." >&2; \
	  echo "On Debian: apt-get install python3-venv. Elsewhere: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; \
	  exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: $(PYTHON) is older than Python 3.11; choose another with PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The stamps say that everything of a lock is installed; a changed lock installs again.
$(VENV)/.runtime: requirements.lock requirements-build.lock pyproject.toml | $(VENV)/bin/python
	@echo "Installing packages into $(VENV); this is done once."
	$(PIP) install --require-hashes -r requirements-build.lock
	$(PIP) install --require-hashes --no-build-isolation -r requirements.lock
	$(PIP) install --no-build-isolation --no-deps --editable .
	@touch $@

$(VENV)/.development: requirements-dev.lock $(VENV)/.runtime
	$(PIP) install --require-hashes --no-build-isolation -r requirements.lock -r requirements-dev.lock
	@touch $@

# pip-audit and cyclonedx-bom have environments of their own: their packages are not ours.
$(VENV)/.audit $(VENV)/.sbom: $(VENV)/.%: tests/security/%-requirements.txt | $(VENV)/bin/python
	$(VENV)/bin/python -m venv $(VENV)/$*
	$(VENV)/$*/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r $<
	@touch $@
