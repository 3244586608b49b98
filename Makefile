# What a bare checkout needs is Python 3.11 or later with pip, and make.
#
#   make demo        set up, then train on what the package ships
#   make test        set up, then lint, types and tests
#   make test-slow   the tests that take minutes
#   make bench       measurements against peers
#   make lint        style and types only
#   make clean       remove caches and build outputs; runs/ and .venv stay

WORKERS ?= 2
CANDIDATES := python3.11 python3 python3.12 python3.13 python
IS_NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in $(CANDIDATES); do \
	"$$python" -c '$(IS_NEW_ENOUGH)' 2>/dev/null && echo "$$python" && break; done)

BIN := .venv/bin
READY := .venv/ready

# One thread per worker: several tests at once gain more than several threads in one.
PYTEST := OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

.PHONY: demo test test-slow bench lint clean

demo: $(READY)
	$(BIN)/nlpx finetune --task sohu

test: lint
	$(PYTEST)

test-slow: $(READY)
	$(PYTEST) -m slow

bench: $(READY)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,bench]'
	for script in tokenizers finetune attention bookkeeping; do echo "== $$script"; $(BIN)/python "bench/$$script.py" || exit 1; done

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The environment is made anew in place whenever what it should hold changes.
$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Error: no Python 3.11 or later found; name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c '$(IS_NEW_ENOUGH)' || { echo "Error: $(PYTHON) is older than Python 3.11" >&2; exit 1; }
	"$(PYTHON)" -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
