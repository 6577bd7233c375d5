# Everything a person does with the project. `make` alone lists it.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

TEAM ?=
DATA ?=
CHALLENGE ?= phantom
ARGS ?=
PYTHON ?=

VENV := .venv
VENV_TRAIN := .venv-train
PY := $(VENV)/bin/python
HARNESS := $(VENV)/bin/harness
PHANTOMS := data/phantom
DATA_OR_PHANTOMS := $(or $(DATA),$(PHANTOMS))

.PHONY: help
help: ## list the targets
	@echo "make TARGET [TEAM=name] [DATA=folder] [CHALLENGE=name]"
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r name text; do \
		printf '  %-14s %s\n' "$$name" "$$text"; done
	@echo "  challenges: flare21, flare22, flare23, flare24-task1, flare24-task2, phantom, or a .toml file"

# Said before anything is installed or built.
ifneq (,$(filter evaluate train,$(MAKECMDGOALS)))
$(if $(TEAM),,$(error say which submission: make $(MAKECMDGOALS) TEAM=name; the names are the folders of submissions/))
endif
ifneq (,$(filter train,$(MAKECMDGOALS)))
$(if $(DATA),,$(error say what to train on: make train TEAM=$(TEAM) DATA=folder; it holds imagesTr/ and labelsTr/))
$(if $(wildcard submissions/$(TEAM)/train.py),,$(error there is no submissions/$(TEAM)/train.py))
endif

# ---- environments ----------------------------------------------------------------------------------------------------

# Prints the first Python of 3.11 or later that can make environments, installing Debian's venv package as root.
define FIND_PYTHON
found=""
for candidate in $(PYTHON) python3.11 python3.12 python3.13 python3; do
    if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$candidate; break; fi
done
if [ -z "$$found" ]; then
    echo "make: no Python 3.11 or later was found. Install one (Debian 12: apt-get install python3.11 python3.11-venv)," \
        "or name it: make PYTHON=/path/to/python" >&2
    exit 3
fi
version=$$("$$found" -c 'import sys; print("{}.{}".format(*sys.version_info))')
if ! "$$found" -c 'import venv, ensurepip' 2>/dev/null; then
    if [ "$$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        echo "make: installing python$$version-venv" >&2
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "python$$version-venv"; } >&2 </dev/null
    else
        echo "make: $$found cannot make virtual environments. Install its venv package (Debian: apt-get install python$$version-venv)" >&2
        exit 3
    fi
fi
echo "$$found"
endef
export FIND_PYTHON

PIP_INSTALL := -m pip install --quiet --disable-pip-version-check

$(VENV)/.made: pyproject.toml constraints.txt
	@echo "make: installing the harness into $(VENV)" >&2
	@python=$$(bash -eu -c "$$FIND_PYTHON"); [ -x $(PY) ] || "$$python" -m venv $(VENV)
	@$(PY) $(PIP_INSTALL) --constraint constraints.txt --editable .
	@$(PY) -m evaluator.precompile
	@touch $@

$(VENV)/.made-dev: $(VENV)/.made
	@echo "make: installing what tests need into $(VENV)" >&2
	@$(PY) $(PIP_INSTALL) --constraint constraints.txt --editable '.[dev]'
	@touch $@

$(VENV_TRAIN)/.made: pyproject.toml constraints-train.txt submissions/segkit/pyproject.toml
	@echo "make: installing the training environment into $(VENV_TRAIN) (several minutes)" >&2
	@python=$$(bash -eu -c "$$FIND_PYTHON"); [ -x $(VENV_TRAIN)/bin/python ] || "$$python" -m venv $(VENV_TRAIN)
	@$(VENV_TRAIN)/bin/python $(PIP_INSTALL) $${TORCH_INDEX_URL:+--extra-index-url "$$TORCH_INDEX_URL"} \
		--constraint constraints-train.txt --editable '.[train]' --editable "submissions/segkit[quantise]" \
		pytest pytest-timeout hypothesis
	@touch $@

.PHONY: env env-dev env-train
env: $(VENV)/.made ## make .venv: the harness and the evaluator
env-dev: $(VENV)/.made-dev ## add what tests and checks need to .venv
env-train: $(VENV_TRAIN)/.made ## make .venv-train: torch, nnU-Net and segkit

# ---- engine and images -----------------------------------------------------------------------------------------------

.PHONY: engine engine-ready build-all clean-images
engine: ## install and start a Docker engine (as root on Debian or Ubuntu)
	@PYTHON=$$([ -x $(PY) ] && echo $(PY) || echo python3) sh docker/engine.sh

engine-ready: env
	@$(PY) -c 'from harness.engine.docker import connect; connect().close()' 2>/dev/null || { \
		echo "make: no container engine answers; running \`make engine\`" >&2; $(MAKE) --no-print-directory engine; }

build-all: env engine-ready ## build the images of all submissions
	@$(HARNESS) build --all $(ARGS)

clean-images: env engine-ready ## remove every image that the project built
	@$(PY) -m harness.submission.remove

# ---- judging ---------------------------------------------------------------------------------------------------------

$(PHANTOMS)/.made: | $(VENV)/.made
	@$(HARNESS) data phantom $(PHANTOMS) --cases 6 --seed 7
	@touch $@

.PHONY: data evaluate leaderboard report train
data: $(PHANTOMS)/.made ## make the embedded data set, six CT phantoms

# A submission that failed cases (exit code 1) is on the table all the same.
evaluate: env engine-ready $(if $(DATA),,$(PHANTOMS)/.made) ## TEAM=x [DATA=dir]: run, measure, score, rank one submission
	@status=0; $(HARNESS) evaluate $(TEAM) --data $(DATA_OR_PHANTOMS) --challenge $(CHALLENGE) $(ARGS) || status=$$?; \
	case $$status in \
		0) $(HARNESS) leaderboard --challenge $(CHALLENGE);; \
		1) $(HARNESS) leaderboard --challenge $(CHALLENGE) 2>/dev/null || true;; \
	esac; exit $$status

leaderboard: env ## print the table
	@$(HARNESS) leaderboard --challenge $(CHALLENGE) $(ARGS)

report: env ## write the HTML report
	@$(HARNESS) leaderboard report --challenge $(CHALLENGE) $(ARGS)

train: env-train ## TEAM=x DATA=dir: train a submission's weights
	$(VENV_TRAIN)/bin/python submissions/$(TEAM)/train.py $(DATA) $(ARGS)

.PHONY: train-all
train-all: env-train ## [ARGS=--rehearse]: train every method on phantoms, within a time budget
	$(VENV_TRAIN)/bin/python submissions/train_all.py $(ARGS)

# ---- checking --------------------------------------------------------------------------------------------------------

PYTEST := $(PY) -m pytest
TRAIN_TESTS := tests/unit/submissions
# Percent of branches and lines that the unit tests reach without a container engine, as measured, rounded down.
COVERED := 84

.PHONY: lint test test-fast coverage bench fuzz stress
lint: env-dev ## style, types and import directions
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports
	@$(VENV)/bin/deptry . --no-ansi

test: lint env-train engine-ready coverage ## every test, those with real containers included
	@$(VENV_TRAIN)/bin/python -m pytest $(TRAIN_TESTS) -q
	@$(PYTEST) tests/integration tests/hostile $(ARGS)

coverage: env-dev ## unit tests with the branch coverage of evaluator and harness, which may not fall
	@$(PYTEST) tests/unit --ignore $(TRAIN_TESTS) --cov --cov-report=term:skip-covered --cov-fail-under=$(COVERED) -q $(ARGS)

test-fast: env-dev ## unit tests that take seconds
	@$(PYTEST) tests/unit --ignore $(TRAIN_TESTS) -m "not slow" -q $(ARGS)

bench: env-dev engine-ready ## speed and memory benchmarks
	@$(PYTEST) tests/benchmarks --benchmark-only $(ARGS)

fuzz: env-dev ## long: mutated volumes against the gate
	@$(PY) tests/hostile/gate_fuzz.py --count 20000 --seed 1 $(ARGS)

stress: env-dev engine-ready ## long: kill the harness at 50 random points
	@FLAREHARNESS_KILLS=50 $(PYTEST) tests/integration/test_run_resume.py -k kill_9 --timeout 0 $(ARGS)

# ---- upkeep ----------------------------------------------------------------------------------------------------------

.PHONY: lock clean
lock: env ## resolve the constraints files anew (needs Python 3.11)
	@sh docker/lock.sh $(PY)

clean: ## remove environments, caches and the embedded data set; results stay
	@rm -rf $(VENV) $(VENV_TRAIN) $(PHANTOMS) build dist *.egg-info submissions/segkit/*.egg-info submissions/segkit/build \
		.pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks .import_linter_cache
	@find evaluator harness submissions tests -name __pycache__ -type d -prune -exec rm -rf {} +
