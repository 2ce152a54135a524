# make train   the main job on the embedded data: corpora, vocabulary, training, evaluation, samples
# make test    the tests                  make check   format, lint, types
# make dev     Dagster's pages on http://127.0.0.1:3000
# make bench   the benchmarks             make clean   remove caches (data and artifacts stay)
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
PORT ?= 3000
PERIGEE_CONFIG ?= configs/perigee_sample.toml
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: train test check format dev bench clean install

train: $(INSTALLED)
	@PERIGEE_CONFIG="$(PERIGEE_CONFIG)" $(BIN)/dagster job execute -j train_perigee
	@PERIGEE_CONFIG="$(PERIGEE_CONFIG)" $(BIN)/perigee show

test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 --dist loadfile --max-worker-restart 0

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

dev: $(INSTALLED)
	@PERIGEE_CONFIG="$(PERIGEE_CONFIG)" $(BIN)/dagster dev --host 127.0.0.1 --port $(PORT)

bench: $(INSTALLED)
	$(PIP) install --requirement requirements-bench.txt
	for benchmark in benchmarks/*.py; do $(BIN)/python $$benchmark || exit 1; done

install: $(INSTALLED)

$(INSTALLED): requirements.txt pyproject.toml perigee-dagster-cli.pth
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than Python 3.11; name a newer one: make PYTHON=python3.12"; exit 2; }
	@echo "installing the pinned packages into $(VENV) (once, a few minutes)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --requirement requirements.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

clean:
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .tmp_dagster_home_*
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
