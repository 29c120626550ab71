# Everything on a fresh machine: `make train` trains the default run, `make test` lints, types and tests; with ARGS="-m ''",
# which .ci/run gives, the slow tests too.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1
# Modules are compiled when they are first imported, once (also where this is set); to compile all would take a minute.
export PYTHONDONTWRITEBYTECODE =

.PHONY: install train test lint types clean

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml requirements.lock
	@echo "Making $(VENV) and installing the packages of requirements.lock into it: some minutes, and some GB from PyPI"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --progress-bar on --no-compile --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@
	@echo "Installed. The first training compiles kernels, which takes up to a minute"

train: install
	$(BIN)/python -m worldmodel.train $(ARGS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

test: lint types
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses=2 --dist=worksteal --durations=15 $(ARGS)

clean:
	rm -rf $(VENV) build dist
