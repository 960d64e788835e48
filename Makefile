# The commands of the README. Everything happens in .venv, which is set up once.

PYTHON ?= python3
SCALE ?= $(shell sed -n 's/^scale: *\([a-z]*\).*/\1/p' config/config.yaml)
CORES ?= all
SNAKEMAKE := .venv/bin/snakemake --cores $(CORES)

.DEFAULT_GOAL := help
.PHONY: help figures smoke test cluster lint verdicts lock clean

help:
	@echo "make figures               all figures at the default scale ($(SCALE))"
	@echo "make figures STUDY=name    the figures of one study"
	@echo "make figures SCALE=name    smoke, laptop, images, gpu or paper"
	@echo "make smoke                 every figure from tiny runs, in minutes"
	@echo "make test                  the tests"
	@echo "make cluster               the plugins for SLURM and other schedulers (docs/cluster.md)"
	@echo "make lint                  the style checks"
	@echo "make verdicts              compare claims of the laptop scale with docs/verdicts.csv"
	@echo "make clean                 remove results, figures and logs"

figures: .venv/installed
ifdef STUDY
	$(SNAKEMAKE) figures/$(SCALE)/$(STUDY)/all
else ifeq ($(origin SCALE),file)
	$(SNAKEMAKE) figures/all
else
	$(SNAKEMAKE) figures/$(SCALE)/all
endif

smoke: .venv/installed
ifdef STUDY
	$(SNAKEMAKE) figures/smoke/$(STUDY)/all
else
	$(SNAKEMAKE) figures/smoke/all
endif

# Tests of clusters find the plugins in .venv/cluster, apart from what all other calls import.
test: .venv/cluster
	.venv/bin/python -m pytest -q --dist loadgroup -n $(if $(filter all,$(CORES)),auto,$(CORES))

cluster: .venv/installed
	.venv/bin/python -m pip install -q --disable-pip-version-check --no-deps -r envs/cluster.lock

lint: .venv/installed
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/snakefmt --check --diff Snakefile workflow

verdicts: .venv/installed
	.venv/bin/python -m regimes verdicts

# Versions as installed now; torch's CUDA packages and triton follow from torch itself.
lock: .venv/installed
	.venv/bin/pip freeze --all --exclude-editable | grep -viE '^(nvidia|cuda|triton|pip==|wheel==|snakemake-executor-plugin)' \
		| sed 's/+cpu$$//' > envs/requirements.lock

clean:
	find -H results figures -mindepth 1 -not -name README.md -delete
	rm -rf logs

.venv/installed: envs/requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 ..."; exit 1; }
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install -q --disable-pip-version-check -r envs/requirements.lock
	.venv/bin/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

.venv/cluster: .venv/installed envs/cluster.lock
	.venv/bin/python -m pip install -q --disable-pip-version-check --no-deps --upgrade --target $@ -r envs/cluster.lock
	touch $@
