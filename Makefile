PYTHON ?= python3
PIP_ARGS ?=

VENV := .venv
RUN := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
PIP := $(RUN) -m pip --disable-pip-version-check --quiet install $(PIP_ARGS) -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help install demo test browser slow slurm bench bench-gpu lint type format clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  PYTHON=python3.12 picks the interpreter of a new .venv; PIP_ARGS=... is handed to pip (an index, a proxy)."

install: $(INSTALLED)  ## Make .venv with everything in it

# The stamp is written last: an install that was interrupted, or is older than its requirements, is done again.
$(INSTALLED): pyproject.toml constraints.txt
	@test -x $(VENV)/bin/pip || { \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "nerveseg needs Python 3.11 or newer; found: $$($(PYTHON) --version 2>/dev/null || echo 'no $(PYTHON)')." \
	         "Remedy: make install PYTHON=/path/to/python3.11"; exit 1; }; \
	  echo "Creating $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "Installing torch (large: this may take minutes)"
	@$(PIP) torch
	@echo "Installing nerveseg and what it needs"
	@$(PIP) -e '.[dev]'
	@touch $@
	@echo "Installed in $(VENV)"

demo: install  ## Simulate a small study, train four folds, print Table 1, write the report (5 to 10 minutes on 2 cores)
	@$(RUN) -m nerveseg.train fold=0..3

test: install lint type  ## Lint, types and tests, in a process for each core
	@echo "Running the tests"
	@OMP_NUM_THREADS=1 $(RUN) -m pytest --quiet --numprocesses=logical --maxprocesses=4 --dist=worksteal

browser: install  ## The tests that open the pages in Chromium, which has to be installed
	@$(RUN) -m pytest --quiet -m browser

slow: install  ## The tests that take minutes: sweeps, searches, kills, mutated input
	@OMP_NUM_THREADS=1 $(RUN) -m pytest --quiet -m slow --numprocesses=logical --maxprocesses=4 --dist=worksteal

slurm: install  ## Folds on a real Slurm, which the tests start: as root, with slurm-wlm and munge installed
	@$(RUN) -m pytest --quiet -m slurm

bench: install  ## Measure what a CPU can run against its baseline, and print the table (at most 10 minutes on 2 quiet cores)
	@$(PIP) --no-deps dynamic-network-architectures
	@$(RUN) benchmarks/table.py cpu

DEVICE ?= cuda
SIZE ?= paper
bench-gpu: install  ## The same for the rows of a GPU; DEVICE=cpu SIZE=tiny tries the scripts without one
	@$(RUN) benchmarks/table.py gpu --device $(DEVICE) --size $(SIZE)

lint: install
	@echo "Checking style"
	@$(RUN) -m ruff check --quiet .
	@$(RUN) -m ruff format --quiet --check . || { echo "Remedy: make format"; exit 1; }

type: install
	@echo "Checking types"
	@$(RUN) -m mypy

format: install  ## Format the code and mend what ruff can mend
	@$(RUN) -m ruff check --fix .
	@$(RUN) -m ruff format .

clean:  ## Remove caches and built packages; .venv and outputs/ stay
	@rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -path ./$(VENV) -prune -o -path ./outputs -prune -o -type d \( -name __pycache__ -o -name '*.egg-info' \) -print0 | xargs -0 rm -rf
