# Keywright. `make help` lists the targets; `make demo` and `make test` are the two that need nothing but Python and make.
SHELL := /bin/sh
.SHELLFLAGS := -eu -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
PORT ?= 8000
ARGS ?=
PYTHON ?=

SCRATCH = $(shell [ "$$(df --output=avail -k /dev/shm 2>/dev/null | tail -1)" -gt 6000000 ] 2>/dev/null && echo /dev/shm || echo "$${TMPDIR:-/tmp}")

# One stamp per lock. Nothing is installed again until the lock (or pyproject.toml) changes.
RUN := $(VENV)/.installed-run
TEST := $(VENV)/.installed-test
DOCS := $(VENV)/.installed-docs

.PHONY: help install demo serve test lint check bench crash fleet provision import outage fuzz guess lives rotation vault seats streams pages flood reference shots hostile docs lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

install: $(RUN) ## Make .venv from the lock file, nothing else

demo: $(RUN) ## Install, then run the whole product on this machine, no accounts needed
	@$(BIN)/keywright demo $(ARGS)

serve: $(RUN) ## Run the server (PORT=8000)
	@$(BIN)/keywright serve --port $(PORT) $(ARGS)

# Two parts: most tests side by side, then those that kill servers under load, with the machine to themselves.
# The first makes thousands of databases and throws them away: in memory where there is room, for a disk takes five
# times as long. The second stays on the disk that its servers would have.
# With ARGS (`make test ARGS=tests/domain`) what they name, in one process.
test: $(TEST) ## Install test dependencies, then run the whole suite on SQLite and PostgreSQL
ifeq ($(ARGS),)
	@TMPDIR=$(SCRATCH) $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile --ignore tests/crash
	@$(BIN)/python -m pytest tests/crash
else
	@$(BIN)/python -m pytest $(ARGS)
endif

lint: $(TEST) ## Format, style, types and import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

check: lint test ## Everything a change must pass: lint, then test

bench: $(TEST) ## Measure echo, intake of each provider, validate and activate on both databases
	@$(BIN)/python -m benchmarks $(ARGS)

crash: $(TEST) ## Long run: kill -9 the server 200 times under load, and 50 times while it sends webhooks
	@KEYWRIGHT_CRASH_ROUNDS=$${KEYWRIGHT_CRASH_ROUNDS:-200} KEYWRIGHT_WEBHOOK_KILLS=$${KEYWRIGHT_WEBHOOK_KILLS:-50} $(BIN)/python -m pytest -s tests/crash/test_kill.py tests/crash/test_kill_three.py tests/crash/test_kill_webhooks.py $(ARGS)

fleet: $(TEST) ## Long run: two servers and two workers on one PostgreSQL, one of them killed every five seconds
	@KEYWRIGHT_FLEET_SECONDS=$${KEYWRIGHT_FLEET_SECONDS:-60} $(BIN)/python -m pytest -s tests/crash/test_fleet.py tests/crash/test_deploy.py $(ARGS)

provision: $(TEST) ## Long run: a hundred firms become tenants, the server killed at every step, on both databases
	@KEYWRIGHT_PROVISION_RUNS=$${KEYWRIGHT_PROVISION_RUNS:-100} $(BIN)/python -m pytest -s tests/crash/test_kill_provisioning.py $(ARGS)

import: $(TEST) ## Long run: 10,000 subscriptions imported at Stripe's rate, killed three times, on both databases
	@KEYWRIGHT_IMPORT_SUBSCRIPTIONS=$${KEYWRIGHT_IMPORT_SUBSCRIPTIONS:-10000} $(BIN)/python -m pytest -s tests/crash/test_import_kill.py $(ARGS)

outage: $(TEST) ## Long run: database and providers away for a minute each
	@KEYWRIGHT_OUTAGE_SECONDS=$${KEYWRIGHT_OUTAGE_SECONDS:-60} $(BIN)/python -m pytest -s tests/crash/test_outage.py $(ARGS)

fuzz: $(TEST) ## Long run: property and API tests with many more examples
	@KEYWRIGHT_HMAC_ALTERATIONS=$${KEYWRIGHT_HMAC_ALTERATIONS:-1000000} KEYWRIGHT_FUZZ_EXAMPLES=$${KEYWRIGHT_FUZZ_EXAMPLES:-5000} $(BIN)/python -m pytest tests/domain tests/providers tests/contract tests/client/test_tokens.py tests/client/test_state.py tests/client/test_clock.py $(ARGS)

guess: $(TEST) ## Long run: 100,000 guessed keys, 1,000 guessed passwords; 200,000 look-ups and 1,000 sign-ins timed
	@KEYWRIGHT_PASSWORDS=$${KEYWRIGHT_PASSWORDS:-1000} KEYWRIGHT_SIGN_INS=$${KEYWRIGHT_SIGN_INS:-1000} KEYWRIGHT_GUESSES=$${KEYWRIGHT_GUESSES:-100000} KEYWRIGHT_TIMING_SAMPLES=$${KEYWRIGHT_TIMING_SAMPLES:-200000} $(BIN)/python -m pytest -s tests/e2e/test_guessing.py tests/web/test_limits.py tests/security/test_s10_sign_in.py $(ARGS)

rotation: $(TEST) ## Long run: signing keys rotated under load for a minute on each database, then revoked
	@KEYWRIGHT_ROTATION_SECONDS=$${KEYWRIGHT_ROTATION_SECONDS:-60} $(BIN)/python -m pytest -s tests/e2e/test_rotation.py $(ARGS)

vault: $(TEST) ## Long run: the master key changed under load with a thousand tenants on each database, and killed while it is
	@KEYWRIGHT_VAULT_TENANTS=$${KEYWRIGHT_VAULT_TENANTS:-1000} $(BIN)/python -m pytest -s tests/e2e/test_vault.py tests/e2e/test_secrets_tenants.py $(ARGS)

lives: $(TEST) ## Long run: lives of purchases through HTTP, told in many more orders
	@KEYWRIGHT_LIVES=$${KEYWRIGHT_LIVES:-15} $(BIN)/python -m pytest tests/e2e/test_lives.py $(ARGS)

pages: $(TEST) ## Measure every page of the console with 100,000 licenses and 1,000,000 timeline rows
	@$(BIN)/python -m benchmarks.pages $(ARGS)

flood: $(TEST) ## Measure validate while passwords are guessed at full rate
	@$(BIN)/python -m benchmarks.login_flood $(ARGS)

streams: $(TEST) ## Measure a thousand open live streams on both databases
	@$(BIN)/python -m benchmarks.streams $(ARGS)

seats: $(TEST) ## Long run: fifty clients for five floating seats, a hundred times
	@KEYWRIGHT_SEAT_ROUNDS=$${KEYWRIGHT_SEAT_ROUNDS:-100} $(BIN)/python -m pytest tests/e2e/test_floating.py $(ARGS)

reference: $(TEST) ## Write those parts of docs/reference that the code tells
	@$(BIN)/python -m tools.reference

shots: $(TEST) ## Take the pictures of the documentation anew (needs Chromium)
	@KEYWRIGHT_SHOTS=$(CURDIR)/docs/img $(BIN)/python -m pytest tests/browser/test_tutorial.py tests/browser/test_buying.py -k "tutorial or component" $(ARGS)

hostile: $(TEST) ## Long run: every hostile string in every text field, and every rule of axe on more pages
	@KEYWRIGHT_HOSTILE=all KEYWRIGHT_AXE=all $(BIN)/python -m pytest tests/browser/test_hostile.py tests/browser/test_pages.py $(ARGS)

docs: $(DOCS) ## Build the documentation into site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --site-dir site

# Needs `uv` on the PATH. The test and docs locks are constrained by the run lock, so all three agree.
lock: ## Write requirements/*.lock anew from pyproject.toml (needs uv)
	@compile="uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header --no-annotate --no-emit-index-url --upgrade pyproject.toml"; \
	$$compile --group build --output-file requirements/run.lock; \
	$$compile --group build --group test --constraints requirements/run.lock --output-file requirements/test.lock; \
	$$compile --group build --group docs --constraints requirements/run.lock --constraints requirements/test.lock --output-file requirements/docs.lock

clean: ## Remove .venv and every cache; data/ stays
	@rm -rf $(VENV) build dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find src tests benchmarks tools -name __pycache__ -type d -prune -exec rm -rf {} +

# ---------------------------------------------------------------------------------------------------------- set-up

$(BIN)/python:
	@for candidate in $(PYTHON) python3.11 python3 python3.12 python3.13 python3.14; do \
	  if "$$candidate" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	    echo "Making $(VENV) with $$("$$candidate" --version)"; \
	    exec "$$candidate" -m venv $(VENV); \
	  fi; \
	done; \
	echo "Keywright needs Python 3.11 or newer with the venv module, and found none." >&2; \
	echo "  Debian, Ubuntu: apt-get install python3 python3-venv" >&2; \
	echo "  another place:  make install PYTHON=/path/to/python3.11" >&2; \
	exit 1

# $(1) lock file, $(2) what it is for. The package itself goes in editable and without build isolation: its build
# backend stands in the same lock, so nothing arrives unhashed.
define install_lock
@echo "Installing $(2) from $(1)"
@$(PIP) install --quiet --require-hashes --requirement $(1) || { \
  status=$$?; \
  if ! command -v cc >/dev/null 2>&1; then \
    echo "If the message above is about building a wheel: a dependency has none for this Python and platform," >&2; \
    echo "and there is no C compiler here to build it." >&2; \
    echo "  Debian, Ubuntu: apt-get install build-essential python3-dev     macOS: xcode-select --install" >&2; \
  fi; \
  exit $$status; \
}
@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
endef

$(RUN): requirements/run.lock pyproject.toml | $(BIN)/python
	$(call install_lock,requirements/run.lock,Keywright)
	@touch $@

# The test and docs locks contain the run lock, so they stand for it too.
$(TEST): requirements/test.lock requirements/run.lock pyproject.toml | $(BIN)/python
	$(call install_lock,requirements/test.lock,Keywright and its test tools)
	@touch $(RUN) $@

$(DOCS): requirements/docs.lock requirements/run.lock pyproject.toml | $(BIN)/python
	$(call install_lock,requirements/docs.lock,Keywright and its documentation tools)
	@touch $(RUN) $@
