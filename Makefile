# make run    set up once, then open the dashboard (a demo where no provider is configured)
# make test   set up once, then run the tests
# make check  format, lint, types, import rule and tests: exactly what CI runs
# make bench  measure what README promises
# make faults play every fault of a provider and write docs/faults.md
# make storm  play every fault many at a time; make cancel: a thousand calls cancelled at once
# make soak   bear an hour's worth of everything in 90 s and look for what grows
# make scenes play the three scenes in a real terminal (needs tmux)
# make shot   render every screen to pictures under shots/

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PIP := PIP_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install --quiet
JOBS ?= auto

# Hundreds of processes start below: without bytecode each would compile all it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test check bench faults storm cancel soak shot scenes clean

run: $(VENV)/.run
	@if $(BIN)/ksi-tui config check | grep -qx 'providers: simulated'; \
	then exec $(BIN)/ksi-tui --demo; else exec $(BIN)/ksi-tui; fi

test: $(VENV)/.dev
	$(BIN)/pytest -n $(JOBS)

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -n $(JOBS)

bench: $(VENV)/.dev
	$(BIN)/python -m tests.benchmarks

faults: $(VENV)/.dev
	$(BIN)/python -m tests.faults

storm cancel soak: $(VENV)/.dev
	$(BIN)/python -m tests.soak $@

scenes: $(VENV)/.dev
	$(BIN)/python -m tests.scenes

shot: $(VENV)/.dev
	$(BIN)/python -m tests.ui.shots

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(VENV)/.run: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.run

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not here; name a Python 3.11 or later: make PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
