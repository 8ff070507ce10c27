# The two commands of the README are `make benchmark` and `make test`; each creates .venv, installs and runs.
# Choose another interpreter with `make test PYTHON=python3.12`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# pip would warn of what schnetpack declares but does not import, see requirements/schnetpack.sh.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-warn-conflicts \
  --constraint requirements/constraints.txt
DATA ?= nano
SITE := nabladft/leaderboard/site

# One thread for each numerical library of a worker; parallelism comes from processes.
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help install benchmark test test-slow check format site viewer wheel wheel-test nano clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

benchmark: $(VENV)/.train  ## train and score every baseline on nano (ten minutes on two cores)
	$(BIN)/nabladft benchmark $(DATA)

test: $(VENV)/.test  ## run the test suite
	$(BIN)/python -m pytest -n 2

test-slow: $(VENV)/.test  ## run the minutes-long tests as well: DFT parity with published labels
	$(BIN)/python -m pytest -n 2 -m "not gpu"

check: $(VENV)/.dev  ## lint, format, types, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

format: $(VENV)/.dev  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

site: $(VENV)/.site viewer  ## write the leaderboard as a static site into site/
	$(BIN)/nabladft leaderboard build --out site

viewer:  ## install the 3-D viewer of the site's molecules (npm)
	@if command -v npm >/dev/null; then \
	  npm install --prefix $(SITE) --no-package-lock --omit=dev --no-audit --no-fund --loglevel=error; \
	else echo "npm is not there: molecules of the site will be drawings, without the 3-D view"; fi

wheel: $(VENV)/.dev  ## build the wheel into dist/
	rm -rf dist
	$(BIN)/python -m build --wheel

wheel-test: wheel  ## install the wheel into a fresh environment outside the clone and try it
	bash requirements/try-wheel.sh $(PYTHON)

nano: $(VENV)/.train  ## make the embedded data set again from its list of molecules (hours of DFT)
	$(BIN)/nabladft label nabladft/datasets/nano.smi --out nano-again --name nano --conformations 4 \
	  --displaced 0.5 --temperature 300 --seed 1 --compact --licence CC0-1.0 --workers 2 --limit 315

clean:  ## remove what can be made again, but no runs
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache

install: $(VENV)/.train  ## install the package with what training and labelling need

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; $(PYTHON) is older. Try: make PYTHON=python3.12"; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "The venv module is missing. On Debian or Ubuntu: sudo apt install python3-venv"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	@touch $@

$(VENV)/.train: $(VENV)/.created pyproject.toml requirements/constraints.txt requirements/schnetpack.sh
	@echo "installing nabladft with what training and labelling need (some minutes the first time)"
	$(PIP) --editable ".[train,label]"
	bash requirements/schnetpack.sh $(BIN)/python
	@touch $@

$(VENV)/.site: $(VENV)/.created pyproject.toml requirements/constraints.txt
	$(PIP) --editable ".[site]"
	@touch $@

$(VENV)/.test: $(VENV)/.train
	$(PIP) --editable ".[train,label,test]"
	@touch $@

$(VENV)/.dev: $(VENV)/.test
	$(PIP) --editable ".[train,label,dev]"
	@touch $@
