# Two commands are all a newcomer needs: `make run` and `make test`. Each sets up what it needs.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SEEDS  ?= 1
# Tests run side by side, those that share a stack in one worker; faults want the machine to themselves.
WORKERS ?= 2
export TELEMED_HOME ?= $(CURDIR)/.telemed

.DEFAULT_GOAL := help
.PHONY: help run test lint types fmt contracts faults e2e-video bench mutants lock clean setup

help: ## show this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(VENV)/.installed ## make the virtual environment and install everything, pinned and hashed
$(VENV)/.installed: requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "telemed needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": call make PYTHON=/path/to/python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

run: setup ## start the local stack, play a patient's whole path through it, and stay up until Ctrl-C; make run DEMO=0 only starts
	$(BIN)/telemed up $(if $(filter 0,$(DEMO)),,--demo)

test: setup lint types contracts ## everything CI checks: lint, types, contracts and all test layers
	$(BIN)/telemed stack prepare
	$(BIN)/python -m tests.support.browser
	$(BIN)/pytest tests/unit tests/contract -n $(WORKERS)
	$(BIN)/pytest tests/integration -n $(WORKERS)
	$(BIN)/pytest tests/faults -m "not full"
	$(BIN)/pytest tests/e2e -n $(WORKERS) --dist loadgroup --no-loadscope-reorder

lint: setup ## ruff: rules and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup ## mypy, strict
	$(BIN)/mypy

fmt: setup ## format and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

contracts: setup ## import rules and the public event contract; make contracts WRITE=1 writes its files first
	$(BIN)/lint-imports
	$(BIN)/python -m schemas.export $(if $(WRITE),--write,--check)
	$(BIN)/python -m services.cli.access_table $(if $(WRITE),--write,--check)

faults: setup ## the fault matrix at full timings: make faults SEEDS=50
	$(BIN)/telemed stack prepare
	TELEMED_FAULT_SEEDS=$(SEEDS) TELEMED_FAULT_TIMINGS=full $(BIN)/pytest tests/faults --timeout=3600

e2e-video: setup ## two WebRTC participants on a real LiveKit server, built with Go at the first run (not in make test: it takes Go and minutes); WRITE=1 keeps the figures
	$(BIN)/telemed stack livekit
	$(BIN)/telemed stack prepare
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/video.txt
	$(BIN)/pytest tests/video $(if $(WRITE),--keep)

bench: setup ## side-by-side measurements against peers; prints tables
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bench.txt
	$(BIN)/telemed stack prepare
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.therapies

mutants: setup ## remove each safety mechanism in turn: the suite must go red each time
	$(BIN)/telemed stack prepare
	$(BIN)/python -m tests.mutants
	$(BIN)/python -m tests.mutants_therapies --minutes 60
	$(BIN)/python -m tests.mutants_edge
	$(BIN)/python -m tests.mutants_therapies

lock: setup ## write the hash-pinned requirement files anew
	for set in "runtime --extra fast" "dev --extra fast --extra local --extra tracing --extra dev" "bench --extra bench --extra fast --extra local --extra tracing --extra dev" "video --extra video --extra fast --extra local --extra tracing --extra dev"; do \
	  set -- $$set; out=$$1; shift; \
	  $(BIN)/pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe --no-emit-index-url --no-emit-find-links \
	    --no-emit-trusted-host --no-header -o requirements/$$out.txt $$@ pyproject.toml; \
	done

clean: ## stop the stack and remove its data and the virtual environment
	-$(BIN)/telemed down
	rm -rf $(VENV) .telemed
