# Every target sets up what it needs; a second run is quick.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
CORE   := .venv-core
export OMP_NUM_THREADS ?= 1

.PHONY: setup demo test core lint types clean browser docs benchmarks

# Compiled here, since where PYTHONDONTWRITEBYTECODE is set each process would compile all modules anew.
setup: $(READY)
	@$(BIN)/python -m compileall -q src flows tasks

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: setup
	$(BIN)/firstfault up --if-needed
	$(BIN)/firstfault debug examples/broken/preprocessing_missing_normalisation/target.py; test $$? -eq 1
	@echo "The model was healthy but for one missing step. Stop the servers with: $(BIN)/firstfault down"

test: setup browser
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

# What works without extras, in an environment that has none of them.
core:
	rm -rf $(CORE)
	$(PYTHON) -m venv $(CORE)
	$(CORE)/bin/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt torch==2.13.0 pytest
	$(CORE)/bin/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt .
	$(CORE)/bin/python -m pip list --disable-pip-version-check
	du -sh $(CORE)
	$(CORE)/bin/python -m pytest -p no:cacheprovider tests/core

# A browser for the tests: the system's, else from the system's packages, else Playwright's own.
browser: setup
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null \
	  || { command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq chromium >/dev/null; } \
	  || $(BIN)/python -m playwright install --with-deps chromium

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .

types: setup
	$(BIN)/mypy

docs: setup
	$(BIN)/python -c "from firstfault.checks.catalogue import reference; print(reference(), end='')" > docs/checks.md
	$(BIN)/python -c "from firstfault.report.fault_reference import fault_reference; print(fault_reference(), end='')" > docs/faults.md
	$(BIN)/python -c "from firstfault.checks.catalogue import thresholds; print(thresholds(), end='')" > expectations/thresholds.toml
	$(BIN)/python -c "from firstfault.ablation.confirm.earned import reference; print(reference(), end='')" > docs/confirmation.md

benchmarks: setup
	for file in benchmarks/*.py; do $(BIN)/python $$file; done

clean:
	-test -x $(BIN)/firstfault && $(BIN)/firstfault down
	rm -rf $(VENV) $(CORE) .firstfault examples/**/.firstfault build dist *.egg-info src/*.egg-info .pytest_cache .mypy_cache .ruff_cache
