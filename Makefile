# Two commands for a fresh machine (Linux x86-64, Python >= 3.11, make): `make demo` and `make test`.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

VENV ?= .venv
PYTHON ?= python3

bin := $(VENV)/bin
native := $(shell find src examples/cpp tests/triton -name "*.?pp" -o -name "*.h")
sources := pyproject.toml CMakeLists.txt $(native)
# Python compiles a module when it is first imported: of 20,000 files in an environment most never are.
install := $(bin)/python release/install.py
# Stamps record the extras of an environment, so that the demo never installs torch.
demo_ready := $(VENV)/.ready-demo
test_ready := $(VENV)/.ready-test
docs_ready := $(VENV)/.ready-docs
release_ready := $(VENV)-release/.ready

# Number of tests at once.
WORKERS ?= 2
at_once := -m pytest -n $(WORKERS) --dist loadfile
# Tests of servers wait for answers most of the time. They run in the order of their folders, so that each worker starts
# the server that a folder shares once. One file needs that no other test starts a server meanwhile.
of_servers := tests/triton tests/serving tests/fleet
alone := tests/triton/server/test_cleanup.py
others := $(filter-out $(of_servers),$(patsubst %/__init__.py,%,$(wildcard tests/*/__init__.py))) $(wildcard tests/test_*.py)

.PHONY: models demo test test-random test-lowest coverage extras release-check check bench bench-serving bench-fleet bench-sanitizers bench-calibration bench-analysisops bench-compare docs docs-check format clean help

help:
	@echo "make demo   start the service, find tracks in simulated events: figures, and pictures under demo/serving/"
	@echo "make test   every test"
	@echo "make test-random   the property tests, with other examples each time"
	@echo "make coverage   branch coverage by area, of the tests that start no server"
	@echo "make check  format, lint, import contracts, types"
	@echo "make bench  benchmarks: a table and JSON each, under runs/bench/"
	@echo "make bench-serving   the same for the service"
	@echo "make bench-fleet   the same for a fleet: balancing, latency, faults"
	@echo "make bench-sanitizers   the native backend under sanitizers, inside the real server"
	@echo "make bench-calibration   the same for the calibration, beside coffea"
	@echo "make bench-analysisops   the same for tasks for agents: pulls, mistakes, attacks"
	@echo "make bench-compare   what became worse than the records in benchmarks/results/ by more than its spread"
	@echo "make models   learn the shipped tracker models again: hours"
	@echo "make test-lowest   tests with the lowest versions of every dependency"
	@echo "make test-arm   the wheel for AArch64, emulated: labels equal those of this processor"
	@echo "make extras   the install lines of README resolve; each extra alone runs its first command, in an environment of its own"
	@echo "make wheels   the source and the wheels, into dist/"
	@echo "make release-check   the dry run of a release: build, check, install, use"
	@echo "make release VERSION=1.2.3   a release, all but the upload"
	@echo "make docs   the documentation with executed notebooks, under docs/_build/"
	@echo "make docs-check   the same, and each page checked in a browser: two widths, light and dark"

demo: $(demo_ready)
	$(bin)/python -m beampipe serving engine install
	$(bin)/python -m beampipe serving demo

test: $(test_ready) programs
	$(bin)/python -m beampipe serving engine install
	$(bin)/python $(at_once) $(others)
	$(bin)/python $(at_once) --no-loadscope-reorder $(addprefix --ignore=,$(alone)) $(of_servers)
	$(bin)/python -m pytest $(alone)

# `make test` draws the same examples each time. An example that fails here is printed, to be added to its test.
test-random: $(test_ready)
	$(bin)/python $(at_once) -m hypothesis --hypothesis-profile random tests

# Takes three times as long as these tests; lines and branches that no test reaches: runs/coverage/html/index.html
coverage: $(test_ready)
	mkdir -p runs/coverage
	$(bin)/python -m pip install -q "pytest-cov>=7"
	COVERAGE_FILE=runs/coverage/data $(bin)/python $(at_once) --cov beampipe --cov-branch --cov-report html:runs/coverage/html $(others)
	for files in "src/beampipe/*.py" $(patsubst %/__init__.py,"%/*",$(wildcard src/beampipe/*/__init__.py)); do \
	  echo "$$files: $$($(bin)/coverage report --data-file runs/coverage/data --include "$$files" --precision 1 --format total) %"; \
	done

# The lowest versions of what pyproject.toml names, and every test that starts no server.
test-lowest: $(bin)/python
	$(bin)/python -m venv $(VENV)-lowest
	$(VENV)-lowest/bin/python release/install.py --resolution lowest-direct -e ".[all,dev]"
	$(VENV)-lowest/bin/python $(at_once) $(others)

# The wheel for AArch64, emulated: labels are those of this processor. ARM_OPTIONS: --all; or --wheel, one that is there.
ARM_OPTIONS ?=
.PHONY: test-arm wheels release
test-arm: $(test_ready) $(release_ready) release-programs
	$(VENV)-release/bin/python release/arm.py --here $(bin)/python $(ARM_OPTIONS)

# Each extra in an environment of its own runs the first command of README's table. EXTRAS: names, or --two.
EXTRAS ?=
extras: $(bin)/python
	$(bin)/python -m pip install -q uv
	$(bin)/python release/extras.py $(EXTRAS)

# The source, and the wheels for each Python and processor, in dist/; ten minutes.
wheels: $(release_ready) release-programs
	$(VENV)-release/bin/python release/wheels.py

# Build, check and use the files for a package index; nothing is uploaded. Takes an hour. RELEASE_OPTIONS: --dist FOLDER.
RELEASE_OPTIONS ?=
release-check: $(release_ready) release-programs
	$(VENV)-release/bin/python release/check.py $(RELEASE_OPTIONS)

# All of a release but the upload: docs/release.md.
VERSION ?=
release: $(release_ready) release-programs
	$(VENV)-release/bin/python release/release.py "$(VERSION)"

check: $(test_ready)
	$(bin)/ruff format --check .
	$(bin)/ruff check .
	$(bin)/clang-format --dry-run --Werror $(native)
	$(bin)/lint-imports
	$(bin)/mypy
	$(bin)/zizmor --offline --quiet .github

format: $(test_ready)
	$(bin)/ruff check --fix .
	$(bin)/ruff format .
	$(bin)/clang-format -i $(native)

# BENCH_OPTIONS is for benchmarks that read events: "--max-events 2" for a quick run.
BENCH_THREADS ?= 2
BENCH_OPTIONS ?=
event_benchmarks := physics fit robustness scaling
bench: $(test_ready)
	mkdir -p runs/bench
	$(bin)/python benchmarks/make_samples.py events --workers $(BENCH_THREADS)
	$(bin)/python benchmarks/fit.py --gun generic odd --output runs/bench/fit-gun.json
	$(bin)/python benchmarks/robustness.py --mismatch --output runs/bench/mismatch.json
	failed=""; for name in $(event_benchmarks); do \
	  $(bin)/python "benchmarks/$$name.py" --threads $(BENCH_THREADS) --output "runs/bench/$$name.json" $(BENCH_OPTIONS) \
	    || failed="$$failed $$name"; \
	done; if [ -n "$$failed" ]; then echo "failed:$$failed"; exit 1; fi

serving_benchmarks := overhead throughput equality fuzz
bench-serving: $(test_ready)
	mkdir -p runs/bench
	$(bin)/python -m beampipe serving engine install
	failed=""; for name in $(serving_benchmarks); do \
	  $(bin)/python "benchmarks/serving/$$name.py" --output "runs/bench/$$name.json" || failed="$$failed $$name"; \
	done; if [ -n "$$failed" ]; then echo "failed:$$failed"; exit 1; fi

# Into a separate folder, as names are those of the service.
fleet_benchmarks := balancing latency intent
bench-fleet: $(test_ready) programs
	mkdir -p runs/bench/fleet
	$(bin)/python -m beampipe serving engine install
	failed=""; for name in $(fleet_benchmarks); do \
	  $(bin)/python "benchmarks/fleet/$$name.py" --output "runs/bench/fleet/$$name.json" || failed="$$failed $$name"; \
	done; if [ -n "$$failed" ]; then echo "failed:$$failed"; exit 1; fi

# The native backend under the sanitizers of the compiler, inside the real server; an hour.
FUZZED ?= 100000
bench-sanitizers: $(test_ready)
	$(bin)/python -m beampipe serving engine install
	failed=""; for name in address thread; do \
	  $(bin)/python benchmarks/serving/equality.py --backend native --sanitize $$name \
	    --output runs/bench/equality-$$name.json || failed="$$failed equality-$$name"; \
	  $(bin)/python benchmarks/serving/fuzz.py --backend native --sanitize $$name --requests $(FUZZED) \
	    --output runs/bench/fuzz-$$name.json || failed="$$failed fuzz-$$name"; \
	done; if [ -n "$$failed" ]; then echo "failed:$$failed"; exit 1; fi

analysisops_benchmarks := valid redteam
bench-analysisops: $(test_ready)
	mkdir -p runs/bench/analysisops
	failed=""; for name in $(analysisops_benchmarks); do \
	  $(bin)/python "benchmarks/analysisops/$$name.py" || failed="$$failed $$name"; \
	done; if [ -n "$$failed" ]; then echo "failed:$$failed"; exit 1; fi

calibration_benchmarks := calibration_vs_coffea calibration/changes
bench-calibration: $(test_ready)
	mkdir -p runs/bench
	$(bin)/python -m pip install -q "coffea>=2026.9"
	failed=""; for name in $(calibration_benchmarks); do \
	  $(bin)/python "benchmarks/$$name.py" || failed="$$failed $$name"; \
	done; if [ -n "$$failed" ]; then echo "failed:$$failed"; exit 1; fi

# Exit code 1 if a figure in runs/bench is worse than that of its record by more than the recorded spread.
bench-compare: $(test_ready)
	$(bin)/python benchmarks/page.py --compare runs/bench

# The shipped tracker models. Events are simulated once, into EVENTS; takes hours on one core. Vertices lie evenly over
# |z| < 250 mm. Only the shipped tables of the track fit are from others, with vertices spread normally by 50 mm: `beampipe
# tracking simulate -o train200.parquet -n 30 --mu 200 --seed 1`; the card has the command that learned them.
EVENTS ?= runs/events
GENERIC := ACTS's Generic detector, 2 T, vertices to |z| = 250 mm; soft parts from single collisions
models: $(test_ready)
	mkdir -p $(EVENTS) runs/models
	[ -e $(EVENTS)/train200_even.parquet ] || $(bin)/python -m beampipe tracking simulate -o $(EVENTS)/train200_even.parquet -n 144 --mu 200 --seed 2 --vertex-z-max 250
	[ -e $(EVENTS)/train0_even.parquet ] || $(bin)/python -m beampipe tracking simulate -o $(EVENTS)/train0_even.parquet -n 2250 --mu 0 --seed 2 --vertex-z-max 250
	[ -e $(EVENTS)/jets.parquet ] || $(bin)/python -m beampipe tracking simulate -o $(EVENTS)/jets.parquet -n 1000 --mu 0 --hard jets --seed 7
	rm -rf runs/models/generic
	$(bin)/python -m beampipe tracking train $(EVENTS)/train200_even.parquet --soft --soft-events $(EVENTS)/train0_even.parquet \
	  --jets $(EVENTS)/jets.parquet \
	  --full --field 2 --name generic --for "$(GENERIC)" -o runs/models/generic
	cp runs/models/generic/{model.json,*.safetensors} src/beampipe/tracking/models/generic/
	for stem in module_map fit exatrkx module_map_displaced module_map_far module_map_soft exatrkx_soft; do \
	  cp runs/models/generic/$$stem.json src/beampipe/tracking/models/generic/; done

docs: $(docs_ready)
	$(bin)/python -m beampipe serving engine install
	$(bin)/python -m sphinx -W -q -j auto -d docs/_build/trees docs docs/_build/html
	$(bin)/python -m sphinx -q -b text -d docs/_build/trees docs docs/_build/text
	find docs/_build/text -name "*.txt" | sort | xargs cat > docs/_build/html/llms-full.txt
	@echo "docs/_build/html/index.html"

docs-check: $(test_ready) programs docs
	$(bin)/python docs/check_site.py docs/_build/html

clean:
	rm -rf build docs/_build demo

# Programs that are no Python packages: PROGRAM=PACKAGE of Debian. If they cannot be installed, the tests that need them are
# skipped and counted.
define programs_of_debian
@export PATH="$$PATH:/usr/sbin"; missing=""; \
for pair in $(1); do command -v "$${pair%=*}" >/dev/null || missing="$$missing $${pair#*=}"; done; \
if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null \
    || echo "could not be installed: $$missing"; \
fi
endef
.PHONY: programs release-programs
programs:
	$(call programs_of_debian,chromium=chromium slurmctld=slurm-wlm munged=munge xrootd=xrootd-server \
	  promtool=prometheus prometheus-alertmanager=prometheus-alertmanager)

release-programs:
	$(call programs_of_debian,mmdebstrap=mmdebstrap bwrap=bubblewrap qemu-aarch64=qemu-user g++=g++)

$(bin)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "beampipe needs Python >= 3.11, got $$($(PYTHON) --version 2>&1); try: make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(demo_ready): $(sources) | $(bin)/python
	$(install) -e ".[serving]"
	@touch $@

$(test_ready): $(sources) | $(bin)/python
	$(install) -e ".[all,dev]"
	@touch $@ $(demo_ready)

$(release_ready): pyproject.toml | $(bin)/python
	$(bin)/python -m venv $(VENV)-release
	$(VENV)-release/bin/python -m pip install -q uv
	$(VENV)-release/bin/uv pip install -q -p $(VENV)-release/bin/python --group release
	@touch $@

$(docs_ready): $(sources) | $(bin)/python
	$(install) -e ".[fleet,calibration,analysisops,dev]"
	@touch $@ $(demo_ready)
