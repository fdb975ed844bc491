# One target, one plain command. The first call makes a virtual environment, fetches what npm has for the pages, and the model
# and data of the chapters; later calls do that again only when the lists of what is needed have changed.
#
#   make book PYTHON=python3.12     another Python, 3.11 or newer
#   make book VENV=/tmp/elsewhere   the virtual environment in another place

PYTHON ?= python3
VENV ?= .venv
PORT ?= 8000

BIN := $(VENV)/bin
HTML := _build/html
CHAPTERS := $(sort $(wildcard chapters/*.ipynb))
# Pages that are notebooks as well: they are run and verified as chapters are.
PAGES := $(sort $(wildcard book/*.ipynb))
CHAPTER ?= $(CHAPTERS) $(PAGES)
N ?= 3000
FILES ?= 10000
SEED ?= 0
SOURCES := $(CHAPTERS) $(PAGES) $(shell find book lora_edu -type f -not -path '*/node_modules/*' -not -path '*/__pycache__/*')

.PHONY: help book serve test fuzz verify mutate lint lab execute gpu-results bench clean
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

help:
	@echo "make book      build the book, every cell executed, into $(HTML)"
	@echo "make serve     show it at http://127.0.0.1:$(PORT)"
	@echo "make lab       open the chapters in Jupyter"
	@echo "make test      run every check: style, types, package, chapters, pages"
	@echo "make fuzz      load 10,000 damaged adapter files; FILES=100000 for more"
	@echo "make verify    decide every statement of mathematics; CHAPTER=chapters/07_svd.ipynb for one chapter"
	@echo "make mutate    make slips in the book and count how many the verification notices; N=300 for fewer"
	@echo "make execute   run all chapters again and keep their outputs; CHAPTER=chapters/07_svd.ipynb for one"
	@echo "make gpu-results  the larger runs of the chapters, on the GPU that is here, into book/results"
	@echo "make bench     time lora_edu against peft, loralib and scikit-learn"
	@echo "make lint      check style and types only"
	@echo "make clean     remove what was built; keep $(VENV)"

book: $(HTML)/.complete
	@echo "The book is complete. Open $(HTML)/index.html, or type: make serve"

# All pages are written anew each time: a build that keeps old pages can hide warnings and dead links. What takes long, running
# the chapters, is kept in a cache (see book/lora_book.py), which the verification fills: one run of a chapter serves both.
$(HTML)/.complete: $(VENV)/.assets _build/.static $(SOURCES)
	PYTHONPATH=book $(BIN)/python -m verified_math --changed $(CHAPTERS) $(PAGES)
	rm -rf $(HTML) _build/.doctrees _build/jupyter_execute
	$(BIN)/jupyter-book build . --config book/_config.yml --toc book/_toc.yml --warningiserror --nitpick --keep-going
	@touch $@

serve: book
	$(BIN)/python -m http.server $(PORT) --bind 127.0.0.1 --directory $(HTML)

# One pytest run for everything, so that its last line is the verdict. loadscope keeps a chapter in one process. Two of them train at
# the same time: with one thread each they share two cores, with two each they wait for one another.
test: lint book
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --nbval chapters $(PAGES) tests -n 2 --dist loadscope --cov --cov-fail-under=95

# For the night: some minutes, other files every time. What it finds is printed with the lines that make it again.
fuzz: $(VENV)/.installed
	LORA_EDU_FUZZ=$(FILES) $(BIN)/python -m pytest tests/test_fuzz_files.py -q

verify: $(VENV)/.assets
	PYTHONPATH=book $(BIN)/python -m verified_math $(CHAPTER)

mutate: $(VENV)/.assets
	PYTHONPATH=book $(BIN)/python -m verified_math.mutate --count $(N) --seed $(SEED) $(CHAPTER)

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lab: $(VENV)/.assets
	$(BIN)/jupyter lab --notebook-dir=chapters

execute: $(VENV)/.assets
	$(BIN)/python book/execute.py $(CHAPTER)

gpu-results: $(VENV)/.assets
	$(BIN)/python book/gpu_results.py $(CHAPTERS)

bench: $(VENV)/.assets
	$(BIN)/python tests/bench.py

clean:
	rm -rf _build book/node_modules

$(VENV)/.installed: requirements.txt pyproject.toml
	@command -v $(PYTHON) > /dev/null || { echo "There is no $(PYTHON) here. Install Python 3.11 or newer, or name one: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "The book needs Python 3.11 or newer, and $(PYTHON) is `$(PYTHON) --version`. Name another: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --requirement requirements.txt
	$(BIN)/python -m pip install --no-deps --editable .
	@touch $@

$(VENV)/.assets: $(VENV)/.installed lora_edu/assets.txt
	$(BIN)/python -m lora_edu fetch
	@touch $@

# MathJax and the fonts, from npm, in the one folder that the pages take them from. No page asks a server for anything.
_build/.static: book/package.json book/package-lock.json
	@command -v npm > /dev/null || { echo "The pages need MathJax from npm, and there is no npm here. Install Node.js 18 or newer (it brings npm)."; exit 1; }
	npm ci --prefix book --no-fund --no-audit
	rm -rf _build/static
	mkdir -p _build/static/mathjax/output/chtml _build/static/fonts
	cd book/node_modules/mathjax/es5 && cp -r tex-mml-chtml.js input a11y sre ui $(CURDIR)/_build/static/mathjax
	cp -r book/node_modules/mathjax/es5/output/chtml/fonts _build/static/mathjax/output/chtml
	cp book/node_modules/mathjax/LICENSE _build/static/mathjax
	cp book/node_modules/@fontsource-variable/source-*/files/*-latin-wght-*.woff2 _build/static/fonts
	cp book/node_modules/@fontsource-variable/source-*/files/*-latin-ext-wght-*.woff2 _build/static/fonts
	cp book/node_modules/@fontsource-variable/source-*/files/*-greek-wght-*.woff2 _build/static/fonts
	cp book/node_modules/@fontsource-variable/source-serif-4/LICENSE _build/static/fonts
	@touch $@
