# Every target does all its own set-up. It needs Python 3.11 or newer with venv, and make; nothing else.
# A second run finds the stamp and starts at once.

.DEFAULT_GOAL := help
.PHONY: help demo up up-distributed test test-slow test-distributed test-next test-next-all test-newest-python lint bench bench-parse bench-peer bench-page bench-wait bench-triggerer bench-scale bench-load borders fuzz crash chaos release docs docs-serve mkdocs-docs mkdocs-docs-serve constraints clean
.DELETE_ON_ERROR:
SHELL := /bin/sh

# The newest name first would pick an interpreter that half of a machine's packages do not know yet;
# `python3` is what its owner chose. `make PYTHON=python3.13 test` takes another one, in an environment of its own.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14 python; do \
	"$$p" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo "$$p" && break; done)
# One environment for each Python that was asked for by name, as .venv-3.13.
OF_PYTHON := $(if $(filter file,$(origin PYTHON)),,$(shell "$(PYTHON)" -c 'import sys; print("-%d.%d" % sys.version_info[:2])'))
$(if $(OF_PYTHON)$(filter file,$(origin PYTHON)),,$(error PYTHON=$(PYTHON) does not start. Name another one))

# The newest pre-release of Airflow, which `make test-next` installs. Its constraints follow from it: `make constraints`.
AIRFLOW_NEXT := 3.4.0b2
# What the next Airflow may change: kills, clears, deferral, triggers that move. `make test-next-all` runs every test that
# starts an Airflow, or runs a DAG in one.
NEXT_TESTS := tests/crash/test_people.py tests/crash/test_components.py tests/crash/test_clears.py tests/crash/test_ends.py \
	tests/crash/test_renamed_tasks.py tests/crash/test_chaos.py \
	tests/crash/test_kills.py::test_each_line_once_after[between_commit_and_last_block] \
	tests/crash/test_kills.py::test_each_line_once_after[create_between_answer_and_record] tests/test_retrying.py tests/test_reprs.py \
	tests/dags/test_page.py tests/plugin/test_page.py
ALL_NEXT_TESTS := tests/cli tests/crash tests/dags tests/own_platform tests/plugin tests/test_retrying.py tests/test_reprs.py tests/sensors/test_in_airflow.py \
	tests/operators/test_cleared_records.py tests/operators/test_lost_records.py tests/operators/test_killed_uploads.py tests/operators/test_killed_batches.py \
	tests/centrapay/test_crashes.py tests/centrapay/test_in_airflow.py tests/centrapay/test_example_dag.py \
	tests/extract_load/test_example_dag.py tests/extract_load/test_group_runs.py tests/extract_load/test_documents.py \
	tests/extract_load/test_delegated.py tests/extract_load/test_delegated_ends.py

# What a newer Python may change: the language, the standard library, processes that are started, wheels that are missing. With the
# demo, a real Airflow, this takes a minute and a half.
PYTHON_TESTS := -m "not slow and not distributed" tests/documents tests/hooks/sending tests/triggers tests/layout/test_imports.py \
	tests/extract_load/test_sql_readings.py tests/test_*.py

# `make crash LANE=next` and `make chaos LANE=next` play on AIRFLOW_NEXT.
LANE :=
VENV := .venv$(if $(filter next,$(LANE)),-next)$(OF_PYTHON)
CONSTRAINTS := $(if $(filter next,$(LANE)),constraints-next.txt,constraints.txt)
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# How many processes share the tests, three of them with an Airflow at times; on two processors a fourth process makes nothing
# faster, and heartbeats late. PYTEST_ARGS says which, for example `make test PYTEST_ARGS=tests/hooks`.
PYTEST_WORKERS ?= 3
PYTEST_ARGS ?=

# What a developer's shell may carry that would change what runs here: another Airflow's settings,
# another project's modules, and the switch that makes every Airflow start import uncompiled code (3 s each).
unexport PYTHONDONTWRITEBYTECODE PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTEST_ADDOPTS VIRTUAL_ENV CONDA_PREFIX
unexport UV_PROJECT_ENVIRONMENT UV_PYTHON UV_NO_BUILD_ISOLATION UV_CONSTRAINT UV_OVERRIDE
unexport $(filter AIRFLOW_%,$(.VARIABLES))
# Libraries of the S3 tests look for an account in these.
unexport $(filter AWS_%,$(.VARIABLES))

help:
	@echo "make demo    a real Airflow imports 69,659 purchases into the platform's emulator, and counts them"
	@echo "make up      the same Airflow and emulator stay up; prints where"
	@echo "make up-distributed  Airflow on Celery stays up: two workers without a shared disk, two triggerers, two schedulers, a store"
	@echo "make test    all tests but the slow ones"
	@echo "make test-slow  clears of every kind of run, canaries with OpenLineage, all crashes of an own platform"
	@echo "make test-distributed  imports, kills and WAITS (200) waits on such an Airflow, and a table; SHORT=1: three tests of them; LANE=next"
	@echo "make test-next  kills, clears, deferral and the demo on the newest pre-release of Airflow; test-next-all: all but the demo"
	@echo "make test-newest-python  the newest Python here that Airflow supports, in short: some tests and the demo; PYTHON=... test for all"
	@echo "make lint    ruff and mypy (strict)"
	@echo "make bench   speed and memory, side by side with split + curl"
	@echo "make fuzz    the fuzz tests under atheris, FUZZ_SECONDS (60) for each of 8 targets"
	@echo "make crash   blows at every write of every kind of run on a real Airflow, CRASH_ARGS cuts (--help); LANE=next"
	@echo "make chaos   RUNS (10) random imports and resends under random faults and blows, from SEED (1) on; LANE=next"
	@echo "make borders 50 GB in 2,000 parts on a real Airflow, killed at 95 %; BORDERS_ARGS=\"--size 1000000000\" for less; LANE=next"
	@echo "make release the files of a release, built from the last commit, checked and installed alone; publishes nothing"
	@echo "make bench-parse  a batch of 1,000 jobs, side by side with the same DAG by hand"
	@echo "make bench-peer   the same import with split, curl, HttpOperator and HttpSensor, side by side on a real Airflow"
	@echo "make bench-page   what the page Bulk asks of Airflow's database, with 10,000 imports"
	@echo "make bench-wait   what 1, 1,000 and 10,000 waiting triggers cost one event loop, connections and the platform"
	@echo "make bench-triggerer  500 deferred sensors in a real triggerer: is its loop held up, how soon does it hear of an end"
	@echo "make bench-scale  how an import's cost grows: 1, 10, 50 GB with 1, 2, 4 senders; BENCH_ARGS=\"--sizes 1 10\" for less"
	@echo "make bench-load   a load job of 10,000 to 1,000,000 records, side by side with pandas and PostgreSQL's MERGE; BENCH_ARGS"
	@echo "make docs    this documentation as a site, in site/; make docs-serve shows it on 127.0.0.1, DOCS_PORT (8000)"

demo: $(STAMP)
	@$(BIN)/python demo/run.py

up: $(STAMP)
	@$(BIN)/python demo/run.py --stay

# Both need PostgreSQL (POSTGRES_URL, or 127.0.0.1:5432) and Redis (REDIS_URL, or 127.0.0.1:6379), and start them where only the
# programs are there.
up-distributed: $(STAMP)
	@$(BIN)/python demo/run_distributed.py

test: $(STAMP)
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --no-loadscope-reorder \
		$(or $(PYTEST_ARGS),-m "not slow and not distributed")

test-slow:
	@$(MAKE) --no-print-directory test PYTEST_ARGS="-m 'slow and not distributed'"

SHORT :=
WAITS ?= 200
test-distributed: $(STAMP)
	WAITS=$(WAITS) $(BIN)/python -m pytest $(or $(PYTEST_ARGS),tests/distributed -m "distributed$(if $(SHORT), and not slow)")

test-next:
	@$(MAKE) --no-print-directory LANE=next PYTEST_ARGS='$(or $(PYTEST_ARGS),-m "not slow and not told_on_next" $(NEXT_TESTS))' test
	$(if $(PYTEST_ARGS),,@$(MAKE) --no-print-directory LANE=next demo)

test-next-all:
	@$(MAKE) --no-print-directory test-next PYTEST_ARGS="$(ALL_NEXT_TESTS)"

# Airflow's constraints are the same file for every Python: it names them all.
test-newest-python: $(STAMP)
	@newest=$$($(BIN)/python tests/layout/newest_python.py) && { test -z "$$newest" || { echo "On $$newest"; \
		$(MAKE) --no-print-directory PYTHON="$$newest" PYTEST_ARGS='$(or $(PYTEST_ARGS),$(PYTHON_TESTS))' test demo; }; }

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/python benchmarks/upload.py --wait 30 $(BENCH_ARGS)

borders: $(STAMP)
	$(BIN)/python benchmarks/borders.py $(BORDERS_ARGS)

bench-parse: $(STAMP)
	$(BIN)/python benchmarks/parse_batch.py

bench-peer: $(STAMP)
	$(BIN)/python benchmarks/peer.py $(BENCH_ARGS)

bench-page: $(STAMP)
	$(BIN)/python benchmarks/page.py $(BENCH_ARGS)

bench-wait: $(STAMP)
	$(BIN)/python benchmarks/wait.py $(BENCH_ARGS)

bench-triggerer: $(STAMP)
	$(BIN)/python benchmarks/triggerer.py $(BENCH_ARGS)

bench-scale: $(STAMP)
	$(BIN)/python benchmarks/scale.py $(BENCH_ARGS)

# pandas is a peer and no dependency: it has an environment of its own.
bench-load: $(STAMP)
	@$(MAKE) --no-print-directory VENV=.venv-pandas WANTED='--group pandas' .venv-pandas/.installed
	$(BIN)/python benchmarks/load.py $(BENCH_ARGS)

# Where atheris has no wheel, nothing is installed, and the script says what it needs.
FUZZ_SECONDS ?= 60
fuzz: $(STAMP)
	@$(BIN)/uv pip install --python $(BIN)/python --quiet -c constraints.txt --group fuzz || \
		$(BIN)/uv pip install --python $(BIN)/python --quiet -c constraints.txt --group fuzz --system-certs
	@$(BIN)/python tests/fuzz/run_atheris.py --seconds $(FUZZ_SECONDS)

crash: $(STAMP)
	@$(BIN)/python tests/crash/run_crash.py $(CRASH_ARGS)

# What a run does follows from its seed alone; how its processes interleave does not. CHAOS_ARGS="--at-once 8" plays more at
# once.
SEED ?= 1
RUNS ?= 10
chaos: $(STAMP)
	@$(BIN)/python tests/crash/run_chaos.py --seed $(SEED) --runs $(RUNS) $(CHAOS_ARGS)

release: $(STAMP)
	@$(BIN)/python tests/layout/run_release.py

# The docs have an environment of their own, without Airflow: the reference is read from the source as it stands.
DOCS_PORT ?= 8000
# What the theme says about its successor is no warning about these pages.
mkdocs-docs mkdocs-docs-serve: export NO_MKDOCS_2_WARNING := 1
docs docs-serve:
	@$(MAKE) --no-print-directory VENV=.venv-docs WANTED='--group docs' mkdocs-$@

# Strict: a dead link, a page in no menu, or a byte from another host ends it.
mkdocs-docs: $(STAMP)
	@$(BIN)/mkdocs build --strict --quiet
	@echo "The docs are in site/index.html"

mkdocs-docs-serve: $(STAMP)
	@$(BIN)/mkdocs serve --dev-addr 127.0.0.1:$(DOCS_PORT)

# The interpreter is linked, not rebuilt: only a missing environment is made anew.
$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer with venv found. Install one, or say make PYTHON=..." >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)

$(BIN)/uv: | $(BIN)/python
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv

WANTED := -e '.[emulator,s3]' --group dev
INSTALL := $(BIN)/uv pip install --python $(BIN)/python --quiet --compile-bytecode \
	-c $(CONSTRAINTS) $(WANTED)

# The second try is for networks whose own certificate authority only the system knows.
$(STAMP): pyproject.toml $(CONSTRAINTS) | $(BIN)/uv
	@echo "Installing into $(VENV)"
	@$(INSTALL) || { echo "Once more, with the system's certificates"; $(INSTALL) --system-certs; }
	@touch $@

# Written for all platforms and for Python 3.11 to 3.14 at once; names and versions only, no address.
COMPILE := $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --upgrade --extra emulator --extra s3 --extra redis \
	--group dev --group docs --group release --group pandas --no-header --no-annotate --no-emit-index-url --quiet

constraints: | $(BIN)/uv
	$(COMPILE) --output-file constraints.txt
	echo "apache-airflow==$(AIRFLOW_NEXT)" | $(COMPILE) --constraints - --output-file constraints-next.txt

clean:
	rm -rf .venv .venv-* .demo build dist site
