# Every task of the project, one word each. `make tune` and `make test` build what they need, from python3 alone.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
.PHONY: help .venv .venv-jax tune test test-pages test-all test-faults test-sensors lint format docs lock audit bench-peers bench-smoke fuzz clean

PYTHON = python3
EXPERIMENT = experiments/demo.yaml
STUDY =
ARGS =

# The CUDA libraries come along where a GPU's driver answers.
LOCK = $(shell timeout 30 nvidia-smi -L >/dev/null 2>&1 && echo requirements-gpu.lock || echo requirements.lock)
.venv-jax: override LOCK = requirements-jax.lock

help: ## this list
	@echo "make TARGET [EXPERIMENT=file] [STUDY=name] [ARGS='further options'] [PYTHON=python3.12]"
	sed -n 's/^\([a-z.-]*\):.*## /  \1 \t/p' Makefile | expand -t 14

.venv: ## the locked environment; built anew only where the lock or the folder has changed
.venv-jax: ## the same with JAX for TensorFlow, which the tests load models in

.venv .venv-jax:
	@lock=$(LOCK)
	stamp=$@/complete-$$({ cat "$$lock"; pwd; } | sha256sum | cut -c -64)
	# Two makes at once would build over each other: the second waits here, then finds the stamp.
	exec 9<Makefile
	flock 9 2>/dev/null || true
	if [ -e "$$stamp" ]; then exit 0; fi
	if ! $(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
		echo "lsml needs Python 3.11, 3.12 or 3.13, and $(PYTHON) is $$($(PYTHON) --version 2>&1 | tail -n 1);" \
			"name another: make PYTHON=python3.12" >&2
		exit 1
	fi
	echo "making $@ from $$lock" >&2
	# Some distributions ship python3 without ensurepip; their own pip then fills the environment.
	if $(PYTHON) -c 'import ensurepip' 2>/dev/null; then
		$(PYTHON) -m venv --clear $@
		pip=($@/bin/python -m pip)
	else
		$(PYTHON) -m venv --clear --without-pip $@
		pip=($(PYTHON) -m pip --python $@)
	fi
	"$${pip[@]}" install --quiet --disable-pip-version-check "$$(sed -n 's/^\(uv==[^ ]*\).*/\1/p' "$$lock")"
	$@/bin/uv pip sync --quiet --compile-bytecode --python $@ "$$lock"
	$@/bin/uv pip install --quiet --python $@ --no-deps --no-build-isolation \
		--config-settings editable_mode=compat --editable .
	touch "$$stamp"

tune: .venv ## run a study: EXPERIMENT, STUDY and ARGS choose which
	@exec .venv/bin/python -m lsml tune "$(EXPERIMENT)" --study "$(STUDY)" $(ARGS)

# Three files at a time, for tests wait for each other's processes and two would leave two cores idle for a third of the
# time, in the order that tests/conftest.py puts them. Python keeps what it compiles: new interpreters load lsml, and
# each would compile it again.
PYTEST = PYTHONDONTWRITEBYTECODE= LSML_JAX_PYTHON="$$PWD/.venv-jax/bin/python" .venv/bin/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

test: .venv .venv-jax ## the tests; ARGS goes to pytest
	$(PYTEST) -m "not full and not pages and not faults" $(ARGS)

test-pages: .venv ## pages in a browser, with Debian's packages chromium and chromium-driver
	.venv/bin/python -m pytest -m pages $(ARGS)

test-all: .venv .venv-jax ## what `make test` leaves out: networks in every combination and under JAX, the longest others
	$(PYTEST) -m full $(ARGS)

test-faults: .venv ## studies on two hosts, which are network namespaces (root, Linux), and one of 2,000 trials
	.venv/bin/python -m pytest -m faults -s $(ARGS)

# What reads and changes patches, trains on them, scores them and keeps the models.
SENSOR_TESTS = $(addprefix tests/,audit/test_splits.py cli/test_inputs.py cli/test_surroundings.py contracts data evaluation \
	models training workflows study/test_trial.py test_api.py) \
	$(addprefix tests/end_to_end/test_,evaluate.py predict.py promote.py report.py study.py)

test-sensors: .venv .venv-jax ## tests of data, networks, training, scores and studies, on five bands of 96 x 96 pixels
	LSML_TEST_SENSOR=five $(PYTEST) -m "not full and not pages and not faults" $(SENSOR_TESTS) $(ARGS)

lint: .venv ## style, formatting and types
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

format: .venv ## put the style right where that needs no judgement
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

docs: .venv ## build the documentation's site into site/, without a network; a warning is an error
	NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs build --strict

# One version of a package for every Python from 3.11 on, and the same ones in all locks. What a lock pins
# stays as long as it fits; ARGS=--upgrade or ARGS='--upgrade-package NAME' moves on.
COMPILE = .venv/bin/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 \
	--fork-strategy fewest --no-annotate --generate-hashes --custom-compile-command 'make lock' $(ARGS)

lock: .venv ## write the locks from pyproject.toml, and the GPU lock's hash into conda.yaml
	$(COMPILE) --extra dev --output-file requirements.lock
	$(COMPILE) --extra dev --extra gpu --constraint requirements.lock --output-file requirements-gpu.lock
	# What TensorFlow alone needs stays out with it.
	echo tensorflow | $(COMPILE) --extra dev --extra jax --excludes - \
		--constraint requirements.lock --output-file requirements-jax.lock
	hash=$$(sha256sum <requirements-gpu.lock | cut -c -64)
	sed -i "s/^\(# SHA-256 of requirements-gpu.lock:\).*/\1 $$hash/" conda.yaml

bench-peers: ## an environment with PyTorch, which bench/step.py is compared with
	[ -x .venv-peers/bin/python ] || $(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check -r bench/peers/requirements.txt

BENCHES = costs checks step loop training loader pack predict exported scenes pictures studies trials scaling roofline selection defaults

bench-smoke: .venv ## every benchmark once at the smallest size: whether it runs, not how fast
	for name in $(BENCHES); do
		echo "bench/$$name.py --smoke"
		PYTHONPATH=. .venv/bin/python "bench/$$name.py" --smoke >/dev/null
	done
	for table in demo few-patches revisions search; do
		echo "bench/results.py $$table --smoke"
		PYTHONPATH=. .venv/bin/python bench/results.py "$$table" --smoke >/dev/null
	done
	PYTHONPATH=. .venv/bin/python bench/coverage.py --population 20 --sets 4 >/dev/null
	PYTHONPATH=. .venv/bin/python bench/house.py >/dev/null

# Findings, and the inputs that were found, are kept in fuzz-found; how to repeat each stands below the table.
TIME = 60
SEED =

fuzz: .venv ## look for inputs that readers of files do not stand, for TIME=60 seconds; SEED=N repeats
	OMP_NUM_THREADS=1 TF_CPP_MIN_LOG_LEVEL=3 PYTHONPATH=. .venv/bin/python -m tests.fuzz --seconds $(TIME) \
		$(addprefix --seed ,$(SEED)) $(ARGS)

audit: .venv ## licences of what the locks pin, then known vulnerabilities (asks a public database)
	.venv/bin/python bench/licences.py
	.venv/bin/uv tool run pip-audit --strict --disable-pip --no-deps \
		-r requirements.lock -r requirements-gpu.lock -r requirements-jax.lock

clean: ## remove the environments and caches; data, databases and runs stay
	rm -rf .venv .venv-jax .venv-peers .pytest_cache .ruff_cache .mypy_cache build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
