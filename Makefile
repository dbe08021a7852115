# make reproduce: install, run the embedded experiment and write its report; make test: install and run all tests and checks.

PYTHON ?= python3
CORES ?= all
BIN := .venv/bin

.PHONY: reproduce report test lint bench clean

reproduce: .venv/installed
	$(BIN)/snakemake --cores $(CORES)
	$(MAKE) report
	@cat results/embedded/tables/measures.md
	@echo "Figures: results/embedded/figures/   Report: results/embedded/report.html"

report: .venv/installed
	$(BIN)/snakemake --cores 1 --report results/embedded/report.html

test: .venv/installed lint
	$(BIN)/pytest

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint

bench: .venv/installed
	$(BIN)/python -m benchmarks.training

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf .venv results/embedded results/test
