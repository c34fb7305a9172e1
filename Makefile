# Needs Python >= 3.11 and nothing else: each target sets up .venv when it is missing or out of date.
# Another Python: make PYTHON=python3.12 test

BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help demo test check format docs readme lock venv clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

demo: venv ## Analyse a made-up spine with the shipped models and write a report to results/demo
	@$(BIN)/discometry demo --out results/demo

test: venv ## Run all tests, doctests and snippets, with branch coverage
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --cov --doctest-modules src tests

check: venv ## Check style, types and the direction of imports
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python .ci/module_map.py --check

format: venv ## Put the code in its standard form
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

docs: venv ## Build the documentation into site/ and fail on any broken link
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "Open site/index.html"

readme: venv ## Renew the README's module map
	@$(BIN)/python .ci/module_map.py

lock: ## Renew requirements.lock from pyproject.toml
	@sh .ci/lock

venv: ## Set up .venv, if it is not set up already
	@sh .ci/venv

clean: ## Remove .venv, the built documentation and caches; results stay
	rm -rf .venv site build .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
