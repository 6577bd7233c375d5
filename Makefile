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
ENGINE ?=

VENV := .venv
VENV_TRAIN := .venv-train
VENV_PROCESS := .venv-process
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
$(if $(filter-out auto manual process,$(ENGINE)),$(error ENGINE=$(ENGINE) is unknown: process runs without isolation, manual starts no engine))
ifneq (,$(filter evaluate train,$(MAKECMDGOALS)))
$(if $(TEAM),,$(error say which submission: make $(MAKECMDGOALS) TEAM=name; the names are the folders of submissions/, or all))
endif
ifneq (,$(filter train,$(MAKECMDGOALS)))
$(if $(DATA),,$(error say what to train on: make train TEAM=$(TEAM) DATA=folder; it holds imagesTr/ and labelsTr/))
$(if $(wildcard submissions/$(TEAM)/train.py),,$(error there is no submissions/$(TEAM)/train.py))
endif

# ---- environments ----------------------------------------------------------------------------------------------------

PIP_INSTALL := docker/pip.py install
FIND_PYTHON := python=$$(PYTHON=$(PYTHON) sh docker/python.sh); export PYTHON=$$python

# What this host lacks for what was asked for is said, or installed, all at once and before anything else is done.
NEEDS_ENGINE := $(if $(filter process,$(ENGINE)),,$(filter engine build-all evaluate test bench stress,$(MAKECMDGOALS)))
PREPARE_HOST := $(FIND_PYTHON); more=$(if $(NEEDS_ENGINE),$$(sh docker/engine.sh --possible)); sh docker/packages.sh env $$more

$(VENV)/.made: pyproject.toml constraints.txt
	@$(PREPARE_HOST)
	@echo "make: installing the harness into $(VENV)" >&2
	@$(FIND_PYTHON); [ -x $(PY) ] || "$$python" -m venv $(VENV)
	@$(PY) $(PIP_INSTALL) --constraint constraints.txt --editable .
	@$(PY) -m evaluator.precompile
	@touch $@

$(VENV)/.made-dev: $(VENV)/.made
	@echo "make: installing what tests need into $(VENV)" >&2
	@$(PY) $(PIP_INSTALL) --constraint constraints.txt --editable '.[dev]'
	@touch $@

$(VENV_TRAIN)/.made: pyproject.toml constraints-train.txt submissions/segkit/pyproject.toml
	@echo "make: installing the training environment into $(VENV_TRAIN) (several minutes)" >&2
	@$(FIND_PYTHON); [ -x $(VENV_TRAIN)/bin/python ] || "$$python" -m venv $(VENV_TRAIN)
	@$(VENV_TRAIN)/bin/python $(PIP_INSTALL) $${TORCH_INDEX_URL:+--extra-index-url "$$TORCH_INDEX_URL"} \
		--constraint constraints-train.txt --editable '.[train]' --editable "submissions/segkit[quantise]" \
		pytest pytest-timeout hypothesis
	@touch $@

# What the runtime image holds, for submissions that run without an image: the same packages, the same versions.
RUNTIME_PACKAGES := docker/libraries/requirements-cpu.txt
$(VENV_PROCESS)/.made: constraints-runtime.txt $(RUNTIME_PACKAGES) submissions/segkit/pyproject.toml | $(VENV)/.made
	@echo "make: installing the runtime's packages into $(VENV_PROCESS)" >&2
	@$(FIND_PYTHON); [ -x $(VENV_PROCESS)/bin/python ] || "$$python" -m venv $(VENV_PROCESS)
	@$(VENV_PROCESS)/bin/python $(PIP_INSTALL) $${TORCH_INDEX_URL:+--extra-index-url "$$TORCH_INDEX_URL"} \
		--constraint constraints-runtime.txt --requirement $(RUNTIME_PACKAGES)
	@$(VENV_PROCESS)/bin/python $(PIP_INSTALL) --no-deps --editable submissions/segkit
	@touch $@

.PHONY: env env-dev env-train env-process
env: $(VENV)/.made ## make .venv: the harness and the evaluator
env-dev: $(VENV)/.made-dev ## add what tests and checks need to .venv
env-train: $(VENV_TRAIN)/.made ## make .venv-train: torch, nnU-Net and segkit
env-process: $(VENV_PROCESS)/.made ## make .venv-process: what ENGINE=process runs submissions with

# ---- engine and images -----------------------------------------------------------------------------------------------

.PHONY: engine engine-ready build-all clean-images
engine: ## install and start a Docker engine (as root on Debian or Ubuntu)
	@PYTHON=$$([ -x $(PY) ] && echo $(PY) || echo python3) sh docker/engine.sh

engine-ready: env
	@$(PY) docker/ping.py || { \
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

# ENGINE=process: `python3` in a predict.sh is then the one with the runtime's packages.
ifeq ($(ENGINE),process)
RUNS_IN := env-process
WITH_ENGINE := PATH="$(CURDIR)/$(VENV_PROCESS)/bin:$$PATH"
ENGINE_OPTION := --engine process
else
RUNS_IN := engine-ready
endif

# A submission that failed cases (exit code 1) is on the table all the same.
evaluate: env $(RUNS_IN) $(if $(DATA),,$(PHANTOMS)/.made) ## TEAM=x|all [DATA=dir] [ENGINE=process]: run, measure, score, rank
	@status=0; $(WITH_ENGINE) $(HARNESS) evaluate $(if $(filter all,$(TEAM)),--all,$(TEAM)) $(ENGINE_OPTION) --data $(DATA_OR_PHANTOMS) \
		--challenge $(CHALLENGE) $(ARGS) || status=$$?; \
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
# Programs of the same name in several folders, which are no packages, are checked folder by folder.
SCRIPTS := $(sort $(patsubst %/,%,$(dir $(wildcard submissions/*.py submissions/*/*.py))))
TRAIN_TESTS := tests/unit/submissions
# Percent of branches and lines that the unit tests reach without a container engine, as measured, rounded down.
COVERED := 84

.PHONY: lint test test-fast test-fresh test-vm coverage bench fuzz stress stress-cluster
lint: env-dev ## style, types and import directions
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check
	@$(VENV)/bin/mypy
	@for folder in $(SCRIPTS); do $(VENV)/bin/mypy $$folder/*.py || exit 1; done
	@$(VENV)/bin/lint-imports
	@$(VENV)/bin/deptry . --no-ansi
	@$(PY) docker/licences.py >/dev/null

# Tests ask for what they want from docker/packages.txt: as root on Debian or Ubuntu it is installed for them.
test: export FLAREHARNESS_INSTALL := 1
test: lint env-train engine-ready coverage ## every test, those with real containers included
	@$(VENV_TRAIN)/bin/python docker/licences.py >/dev/null
	@$(VENV_TRAIN)/bin/python -m pytest $(TRAIN_TESTS) -q
	@$(PYTEST) tests/integration tests/hostile $(ARGS)

coverage: env-dev ## unit tests with the branch coverage of evaluator and harness, which may not fall
	@$(PYTEST) tests/unit --ignore $(TRAIN_TESTS) --cov --cov-report=term:skip-covered --cov-fail-under=$(COVERED) -q $(ARGS)

test-fast: env-dev ## unit tests that take seconds
	@$(PYTEST) tests/unit --ignore $(TRAIN_TESTS) -m "not slow" -q $(ARGS)

COMMANDS ?= make evaluate TEAM=small_unet && make test
PROOFS ?=
test-fresh: ## long: the README's two commands on a bare Debian 12, in namespaces of its own (root)
	@bash tests/fresh/machine.sh '$(COMMANDS)'

test-vm: ## long: doctor, isolation, memory and hostile images in an emulated Debian 12 (root)
	@bash tests/fresh/vm.sh 'bash tests/fresh/proofs.sh $(PROOFS)'

bench: env-dev engine-ready ## speed and memory benchmarks
	@$(PYTEST) tests/benchmarks --benchmark-only $(ARGS)

fuzz: env-dev ## long: mutated volumes against the gate
	@$(PY) tests/hostile/gate_fuzz.py --count 20000 --seed 1 $(ARGS)

stress: env-dev engine-ready ## long: kill the harness at 50 random points
	@FLAREHARNESS_KILLS=50 $(PYTEST) tests/integration/test_run_resume.py -k kill_9 --timeout 0 $(ARGS)

stress-cluster: env-dev ## long: kill 1,000 workers of a queue at random moments
	@FLAREHARNESS_KILLS=1000 $(PYTEST) tests/unit/cluster/test_faults.py -k killed_workers --timeout 0 -s $(ARGS)

# ---- documents -------------------------------------------------------------------------------------------------------

.PHONY: docs pictures
docs: env-dev ## build the site from docs/ into build/site, without a network; broken links are errors
	@$(PY) docs/commands.py
	@$(VENV)/bin/mkdocs build --strict

pictures: env-dev ## [CHALLENGE=name] [DATA=dir]: take the pictures of README and docs from the results on disk
	@sh docker/packages.sh browser
	@$(HARNESS) leaderboard --challenge $(CHALLENGE) report --data $(DATA_OR_PHANTOMS) --output build/pictures
	@$(PY) docs/pictures.py build/pictures

# ---- upkeep ----------------------------------------------------------------------------------------------------------

.PHONY: lock clean
lock: env ## resolve the constraints files anew (needs Python 3.11)
	@sh docker/lock.sh $(PY)

clean: ## remove environments, caches and the embedded data set; results stay
	@rm -rf $(VENV) $(VENV_TRAIN) $(VENV_PROCESS) $(PHANTOMS) build dist *.egg-info submissions/segkit/*.egg-info submissions/segkit/build \
		.pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks .import_linter_cache
	@find evaluator harness submissions tests -name __pycache__ -type d -prune -exec rm -rf {} +
