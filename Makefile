# The project's commands. `make` alone lists them.
PYTHON ?= python3
VENV ?= .venv
ARGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt
PYTEST := $(BIN)/python -m pytest
METADATA := settings.ini setup.py pyproject.toml constraints.txt

.PHONY: help fig6 test book real cluster docs explorers screenshots readme gallery hooks clean

help: ## list the commands
	@grep -hE '^[a-z0-9]+:.*## ' Makefile | sed -E 's/^([a-z0-9]+):.*## (.*)/make \1|\2/' | awk -F'|' '{printf "%-14s %s\n", $$1, $$2}'

$(VENV)/.created:
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.created $(METADATA)
	$(PIP) -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.created $(METADATA)
	$(PIP) -e '.[dev]'
	@touch $(VENV)/.installed $@

fig6: $(VENV)/.installed ## run the quick-start figure (ARGS="-p lr 0.1" changes a parameter)
	@touch $(VENV)/.fig6
	$(BIN)/papermill --no-progress-bar -k python3 nbs/fig6.ipynb out.ipynb $(ARGS)
	@echo; echo "executed notebook: out.ipynb"
	@find figures -name 'fig6.*' -newer $(VENV)/.fig6 | sort | sed \
		-e 's/\(.*\.csv\)$$/table:   \1/' -e 's/\(.*\.png\)$$/picture: \1/' -e 's/^\(figures.*\)/also:    \1/'

test: $(VENV)/.installed-dev ## ring 1: the library's notebooks, fig6 and the thin suite
	$(PYTEST) tests -n 2 -m 'not real and not figures and not cluster' $(ARGS)

book: $(VENV)/.installed-dev ## ring 2: every figure notebook, strict, two at a time
	$(PYTEST) tests -n 2 -m 'figures and not real' $(ARGS)

real: $(VENV)/.installed-dev ## ring 3: a browser, an installed wheel
	$(PYTEST) tests -m real $(ARGS)

cluster: $(VENV)/.installed-dev ## as root on Debian: install Slurm, start it on this machine, and test the engine on it
	$(PYTEST) tests -m cluster $(ARGS)

docs: $(VENV)/.installed-dev ## build the documentation site in site/
	$(BIN)/python tools/docs.py

explorers: $(VENV)/.installed-dev ## serve the explorers as apps, on http://localhost:8866
	$(BIN)/python -m voila nbs/widgets --no-browser $(ARGS)

screenshots: $(VENV)/.installed-dev ## pictures of the explorers for the documentation, in figures/explorers
	mkdir -p figures/explorers
	CI=1 DYNBOOK_SCREENSHOTS='$(abspath figures/explorers)' $(PYTEST) tests/test_voila.py $(ARGS)

readme: $(VENV)/.installed-dev ## write README.md from nbs/index.ipynb
	$(BIN)/python tools/readme.py

gallery: $(VENV)/.installed-dev ## write figures/README.md: all criteria, measured beside threshold
	$(BIN)/python tools/gallery.py

hooks: $(VENV)/.installed-dev ## install the commit hook and the notebook merge driver in this clone
	git config core.hooksPath .githooks
	git config merge.jupyternotebook.name 'merge notebooks cell by cell'
	git config merge.jupyternotebook.driver '$(abspath $(BIN))/nbdev-merge %O %A %B %P'

clean: ## remove what the commands made, except the environment and the runs
	rm -rf build dist site *.egg-info out.ipynb .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
