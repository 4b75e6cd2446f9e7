# Two commands do everything on a fresh machine: `make demo` and `make test`. Then there are `make test-all`, which takes some
# minutes more, `make lint` and `make docs`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev

.PHONY: demo test test-all lint style docs clean

demo: $(INSTALLED)
	$(BIN)/metatc2 demo

# Byte code is kept: otherwise each worker would compile all tests and the library anew, whatever PYTHONDONTWRITEBYTECODE says.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses 2 --dist worksteal --durations 10

test: $(INSTALLED_DEV) style
	@$(PYTEST) -m "not slow"

test-all: $(INSTALLED_DEV) style
	@$(PYTEST)

lint: $(INSTALLED_DEV) style
	$(BIN)/mypy

style: $(INSTALLED_DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The variable silences a banner about the successor of mkdocs.
docs: $(INSTALLED_DEV)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "metatc2 needs Python 3.11 or newer; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

# Stamps are written last: an installation that was cut is done again.
$(INSTALLED): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(INSTALLED_DEV): requirements-dev.txt $(INSTALLED)
	$(BIN)/python -m pip install --quiet --requirement requirements-dev.txt
	@touch $@

clean:
	rm -rf $(VENV) runs build
