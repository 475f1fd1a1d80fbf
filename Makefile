# make demo: fresh machine -> populated dashboard. make test: everything. make soak, make bench.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt
export QUANTA_PORT ?= 8000
# Several threads on a busy core are slower than one; stages set their own number.
TEST_ENV := OMP_NUM_THREADS=1
# A file's tests stay together: they share what is slow to make.
SIDE_BY_SIDE := --numprocesses 2 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help install demo serve test fast lint soak bench wheel clean

help:
	@echo "make demo   install, compute the demo, serve it on http://127.0.0.1:$(QUANTA_PORT)"
	@echo "make test   lint, types, import contracts and every test (browser included)"
	@echo "make fast   the same without slow and browser tests"
	@echo "make soak   long fault and fuzz runs"
	@echo "make bench  measurements against stated baselines"

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	@touch $@

$(VENV)/.developer: $(VENV)/.installed
	$(PIP) --editable '.[dev]'
	@touch $@

install: $(VENV)/.installed

demo: install
	$(BIN)/quanta db upgrade
	$(BIN)/quanta demo
	$(BIN)/quanta serve

serve: install
	$(BIN)/quanta serve

lint: $(VENV)/.developer
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fast: lint
	$(TEST_ENV) $(BIN)/pytest $(SIDE_BY_SIDE) -m "not slow and not browser and not soak"

test: lint
	$(TEST_ENV) $(BIN)/pytest $(SIDE_BY_SIDE) -m "not soak"

soak: $(VENV)/.developer
	$(TEST_ENV) $(BIN)/pytest -m soak --timeout 7200

bench: $(VENV)/.developer
	$(BIN)/python -m benchmarks.latency
	$(BIN)/python -m benchmarks.load
	$(BIN)/python -m benchmarks.losses
	$(BIN)/python -m benchmarks.gradients
	$(BIN)/python -m benchmarks.search
	$(BIN)/python -m benchmarks.search --real
	$(BIN)/python -m benchmarks.imports
	$(BIN)/python -m benchmarks.grid
	$(BIN)/python -m benchmarks.sweeps

wheel: $(VENV)/.developer
	$(BIN)/python -m build --wheel --no-isolation

clean:
	rm -rf $(VENV) dist build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
