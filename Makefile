# The README's two commands, `make demo` and `make test`, do all the set-up on a fresh machine.
PYTHON ?= python3
# How many tests run beside each other, each on one thread; 0: one after the other, in one process.
WORKERS ?= 2
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test test-all check bench clean

demo: .venv/.ready
	@$(BIN)/gatewise train text --minutes 1

test: .venv/.ready-dev
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

test-all: .venv/.ready-dev
	HYPOTHESIS_PROFILE=default $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "slow or not slow"

check: .venv/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: .venv/.ready-dev
	$(BIN)/python -m benchmarks

# torch first: the pinned version then satisfies the package's range, and nothing newer is fetched.
.venv/.ready: pyproject.toml constraints.txt
	@echo "Setting up .venv (once)"
	@$(PYTHON) -m venv .venv
	@$(PIP) "$$(grep '^torch==' constraints.txt)"
	@$(PIP) -e .
	@touch $@

.venv/.ready-dev: .venv/.ready
	@echo "Adding the tools for tests and checks (once)"
	@$(PIP) -e ".[dev]"
	@touch $@

clean:
	rm -rf .venv build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
