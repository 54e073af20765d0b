# `make` prints what there is. Everything is installed into .venv, with the versions that constraints.txt names.
PYTHON ?= python3
VENV ?= .venv
PORT ?= 8000
BIN := $(VENV)/bin
# Touched when the package (BASE), or everything (STAMP), has been installed as these two files say.
BASE := $(VENV)/.base
STAMP := $(VENV)/.stamp
LOCK := pyproject.toml constraints.txt
NOTEBOOKS := $(wildcard book/*.ipynb)
BENCHMARKS := $(wildcard benchmarks/*.py)
# One process a core, up to four: each takes a gigabyte. Whoever has nothing left takes tests from the others.
SIDE_BY_SIDE := -n auto --maxprocesses 4 --dist worksteal

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help demo test book pages serve lint bench clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(BASE) ## turn a sentence into a video: out/puppy.mp4
	@$(BIN)/t2vlearn generate "a brown puppy plays in the park" -o out/puppy.mp4

# Tests side by side; chapters one after the other, since some train by the clock.
test: $(STAMP) ## run all tests, and every chapter of the book
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE) tests
	@$(BIN)/python -m pytest book

book: $(STAMP) ## run every chapter and build the pages: _build/html/index.html
	@rm -rf _build/html
	@$(BIN)/jupyter-book build . --all -W -n --keep-going
	@$(BIN)/python book/_ext/check_pages.py

pages: $(STAMP) ## open every built page in a browser (Chromium), and check it
	@test -f _build/html/index.html || $(MAKE) book
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE) tests/book/test_pages.py

serve: ## show the built book at http://127.0.0.1:8000 (make serve PORT=... for another port)
	@test -f _build/html/index.html || $(MAKE) book
	@echo "The book is at http://127.0.0.1:$(PORT) (Ctrl-C ends this)"
	@$(PYTHON) -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

lint: $(STAMP) ## check style, docstrings, types, and that no notebook holds outputs
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy t2vlearn
	@$(BIN)/python tests/check_docstrings.py
	@$(if $(NOTEBOOKS),$(BIN)/nbstripout --keep-id --verify $(NOTEBOOKS))

bench: $(STAMP) ## run the benchmarks one after the other (many hours; each also runs alone)
	@set -e; for script in $(BENCHMARKS); do echo "$$script"; $(BIN)/python "$$script" \
		$$(case $$script in */ablations.py|*/quality_over_time.py|*/scaling.py) echo --fresh;; esac); done

clean: ## remove built pages and caches (keeps .venv, out/ and runs/)
	@rm -rf _build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find t2vlearn tests benchmarks book -name __pycache__ -prune -exec rm -rf {} +

# torch stands on the same command line as its constraint, or pip may take another build of it.
define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "t2vlearn needs Python 3.11 or later: name one, as in  make PYTHON=python3.12" >&2; exit 2; }
	@echo "Setting up $(VENV) $(PURPOSE), once: this takes a few minutes and up to 2 GB of disk ..."
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.$(EXTRAS)'
endef

$(BASE): PURPOSE := to make videos
$(BASE): $(LOCK)
	$(install)
	@touch $@

$(STAMP): PURPOSE := for the book and the tests
$(STAMP): EXTRAS := [book,test,lint]
$(STAMP): $(LOCK)
	$(install)
	@touch $(BASE) $@
