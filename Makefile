# make demo, make test, make thorough, make sites, make chaos, make scale, make coverage, make lint, make docs: each makes .venv and installs what it needs the first time, later it starts at once.
#   make test ARGS="-k journal -x"      arguments for pytest
#   make demo PYTHON=python3.12         the Python that .venv is made with, 3.11 or newer

PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
# Containers often set this: then Python keeps nothing that it compiles, and each start would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test thorough chaos sites scale coverage lint docs clean

help:
	@sed -n '1,3s/^# \{0,1\}//p' Makefile

demo: data/docstrings.csv
	@$(BIN)/launcher run config.yaml
	@$(BIN)/python -m demo.neighbours runs/stdlib-docstrings "parse a JSON document"

# Parsing the whole standard library takes a while: only where it may be another one.
data/docstrings.csv: demo/docstrings.py $(VENV)/.installed-demo
	@$(BIN)/python -m demo.docstrings $@
	@touch $@

test: $(VENV)/.installed-all
	@$(BIN)/python -m pytest $(ARGS)

# The long forms of tests/chaos: an hour of an idle machine, at the lowest priority. Shorter: CHAOS="CHAOS_KILLS=200" ARGS=-k kills
CHAOS ?= CHAOS_KILLS=1000 CHAOS_SAMPLE_KILLS=500 CHAOS_ENGINE_KILLS=50 CHAOS_CRASHES=60 CHAOS_STATES=10000 CHAOS_FAULTS=150 CHAOS_FLIPS=3000 CHAOS_PAIRS=112 CHAOS_FUZZ=100000
chaos: $(VENV)/.installed-all
	@nice -n 19 env $(CHAOS) $(BIN)/python -m pytest -m "" -s --timeout=3600 tests/chaos $(ARGS)

# All tests, with all their examples: make test leaves out those that take long and whose kind another test covers.
thorough: $(VENV)/.installed-all
	@env THOROUGH=1 $(BIN)/python -m pytest -m "" $(ARGS)

# All tests against Slurms that are set up as elsewhere.
sites: $(VENV)/.installed-all
	@$(BIN)/python -m pytest -m "" tests/sites $(ARGS)

# tests/scale as large as docs/scale.md tells it: two minutes, 2,200 files.
SCALE ?= SCALE_SHARDS=100000 SCALE_ELEMENTS=1000
scale: $(VENV)/.installed-all
	@env $(SCALE) $(BIN)/python -m pytest tests/scale $(ARGS)

coverage: $(VENV)/.installed-all
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest $(ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

lint: $(VENV)/.installed-all
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

# The documentation as a site, in the folder site/; a link that leads nowhere is an error.
docs: $(VENV)/.installed-docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "site/index.html"

clean:
	rm -rf $(VENV) data runs site .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

# A stamp is older than what it was installed from when that changes. Everything (all) has what the demo needs.
# Python compiles modules when they are first imported: all of PyTorch's at once would take a minute, most of them for nothing.
$(VENV)/.installed-%: pyproject.toml constraints.txt | $(VENV)/bin/pip
	@echo "Installing shardrun[$*] into $(VENV); the first time takes about 5 minutes without a word (PyTorch is large)"
	@$(BIN)/python -m pip install --quiet --no-compile --editable '.[$*]' --constraint constraints.txt
	@touch $@ $(if $(filter all,$*),$(VENV)/.installed-demo)
