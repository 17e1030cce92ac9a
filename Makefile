# make demo   train a spiking network and film it, in a fresh .venv       make test   lint, then every test that CI runs
# make lint   style and types                                make clean  remove what these made, .venv included
# make thorough  the tests that take minutes: relatives of each kind of fault, faults of the machine, the notebooks
# make hostile   hundreds of lines of hostile input: minutes
# make docs   build the site into site/html and check it   make docs-serve  show it, anew at every change
# make help   this text. Another Python: make PYTHON=python3.12 demo. Nothing outside .venv is used or changed.

PYTHON ?= python3
venv := .venv
python := $(venv)/bin/python
quiet := $(shell test -t 2 || echo --quiet)# on a terminal pip shows its progress
install := $(python) -m pip install $(quiet) --disable-pip-version-check -c constraints.txt

unexport PYTHONPATH PYTHONHOME
export PYTHONNOUSERSITE = 1
.DELETE_ON_ERROR:
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help demo test thorough hostile lint docs docs-serve clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

demo: $(venv)/installed
	$(python) train.py demo
	@echo "  (with this environment: source $(venv)/bin/activate)"

test: $(venv)/installed-dev lint
	$(python) -m pytest

thorough: $(venv)/installed-dev
	$(python) -m pytest -m thorough
	$(python) -m pytest -m faults
	$(python) -m pytest -n0 -m notebooks

hostile: $(venv)/installed-dev
	$(python) -m bio_rl.bench hostile

docs docs-serve: export NO_MKDOCS_2_WARNING = 1
# Not --quiet: it would hide warnings from --strict, too.
docs: $(venv)/installed-docs
	$(python) -m mkdocs build --strict
	$(python) -m pytest -n0 -m site tests/docs
	@echo "  (the first page: site/html/index.html)"

docs-serve: $(venv)/installed-docs
	$(python) -m mkdocs serve

lint: $(venv)/installed-dev typings/bio_rl/envs typings/bio_rl/agents
	$(python) -m ruff check .
	$(python) -m ruff format --check .
	$(python) -m pyright --pythonpath $(python)

# Links by which pyright finds both under their names; git brings them, and an sdist does not.
typings/bio_rl/%:
	@mkdir -p $(@D)
	@ln -sfn ../../$* $@

# A stamp is newer than both files: an install is repeated only when one of them changed.
$(venv)/installed: pyproject.toml constraints.txt | $(venv)/made
	@echo "installing into $(venv) (minutes the first time: PyTorch is large)"
	$(install) -e ".[video,plots]"
	@touch $@

$(venv)/installed-dev: pyproject.toml constraints.txt | $(venv)/made
	@echo "installing into $(venv) with the tools for tests (minutes the first time: PyTorch is large)"
	$(install) -e ".[dev]"
	@touch $(venv)/installed $@

$(venv)/installed-docs: pyproject.toml constraints.txt | $(venv)/made
	@echo "installing into $(venv) with the tools for tests and for the site"
	$(install) -e ".[dev,docs]"
	@touch $(venv)/installed $(venv)/installed-dev $@

$(venv)/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "bio_rl needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo missing)." \
	    "Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(venv)
	@touch $@

clean:
	rm -rf $(venv) build dist site .pytest_cache .ruff_cache
	find bio_rl envs agents tests -name __pycache__ -prune -exec rm -rf {} +
