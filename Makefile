# make run    set up once, then open the dashboard (a demo where no provider is configured)
# make test   set up once, then run the tests
# make check  format, lint, types, import rule and tests: exactly what CI runs
# make explore  search for faults with other examples than those that the tests repeat
# make bench  measure what README promises; LiteLLM's proxy, its peer, goes into .venv-proxy once
# make fuzz-http  have schemathesis ask a real serve whatever its description allows
# make fuzz   fuzz EDGE (of tests/fuzz/guided.py) for 10 minutes, guided by what it reaches
# make faults play every fault of a provider and write docs/faults.md
# make crash  kill the real command 200 times and look at what it left
# make storm  play every fault many at a time; make cancel: a thousand calls cancelled at once
# make soak   bear an hour's worth of everything in 90 s and look for what grows
# make scenes play the three scenes in a real terminal (needs tmux)
# make browser play `ksi-tui web` in Chromium and take pictures (needs chromium)
# make shot   render every screen to pictures under shots/

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PIP := PIP_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install --quiet
JOBS ?= auto
# An environment of its own: thirty packages that nothing else here wants.
FUZZ := .venv-fuzz
FUZZ_ARGS ?=
GUIDED := .venv-guided
EDGE ?= lines

# Hundreds of processes start below: without bytecode each would compile all it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test types check explore bench browser cancel crash fuzz fuzz-http faults soak storm shot scenes clean

run: $(VENV)/.run
	@if $(BIN)/ksi-tui config check | grep -qx 'providers: simulated'; \
	then exec $(BIN)/ksi-tui --demo; else exec $(BIN)/ksi-tui; fi

test: $(VENV)/.dev
	$(BIN)/pytest -n $(JOBS)

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	@$(MAKE) --no-print-directory -j2 types test  # types fill what the tests wait for

types: $(VENV)/.dev
	$(BIN)/mypy

explore: $(VENV)/.dev
	$(BIN)/pytest -n $(JOBS) --hypothesis-profile=explore -m hypothesis

bench: $(VENV)/.dev
	$(BIN)/python -m tests.benchmarks

fuzz-http: $(VENV)/.dev $(FUZZ)/bin/schemathesis
	$(BIN)/python -m tests.fuzz_http --schemathesis $(FUZZ)/bin/schemathesis $(FUZZ_ARGS)

fuzz: $(GUIDED)/.dev
	$(GUIDED)/bin/python -m tests.fuzz.guided $(EDGE) $(FUZZ_ARGS)

crash: $(VENV)/.dev
	$(BIN)/python -m tests.crash

faults: $(VENV)/.dev
	$(BIN)/python -m tests.faults

storm cancel soak: $(VENV)/.dev
	$(BIN)/python -m tests.soak $@

scenes: $(VENV)/.dev
	$(BIN)/python -m tests.scenes

browser: $(VENV)/.dev
	$(BIN)/python -m tests.browser

shot: $(VENV)/.dev
	$(BIN)/python -m tests.ui.shots

clean:
	rm -rf $(VENV) .venv-proxy $(FUZZ) $(GUIDED) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(VENV)/.run: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.run

$(FUZZ)/bin/schemathesis:
	$(PYTHON) -m venv $(FUZZ)
	PIP_DISABLE_PIP_VERSION_CHECK=1 $(FUZZ)/bin/python -m pip install --quiet schemathesis==4.32.5

$(GUIDED)/.dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(GUIDED)
	PIP_CONSTRAINT=constraints.txt $(GUIDED)/bin/python -m pip install --quiet --editable '.[dev]' atheris==3.0.0
	@touch $@

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not here; name a Python 3.11 or later: make PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
