# make reproduce: install, run the embedded experiment and write its report; make test: install and run all tests and checks;
# make rehearse: what is to run on a GPU machine, on a CPU.

PYTHON ?= python3
CORES ?= all
export PATH := $(CURDIR)/.venv/bin:$(PATH)

# img2dataset, which downloads images, imports imghdr, which Python 3.13 no longer has
define PYTHONS
import sys
version = "%d.%d" % sys.version_info[:2]
if not (3, 11) <= sys.version_info < (3, 13):
    why = "too old" if sys.version_info < (3, 11) else "too new: img2dataset imports imghdr, which Python 3.13 removed"
    sys.exit("error: Python " + version + " is " + why + "; use 3.11 or 3.12, as in: make reproduce PYTHON=python3.12")
endef
export PYTHONS

.PHONY: reproduce report test torture mutants test-slurm rehearse lint bench lock clean

reproduce: .venv/installed
	snakemake --cores $(CORES)
	@cat results/embedded/tables/measures.md
	@echo "Figures: results/embedded/figures/   Report: results/embedded/report.html"

report: .venv/installed
	snakemake --cores $(CORES) report

test: .venv/installed lint
	pytest -n 4 --dist loadfile --no-loadscope-reorder

# the long form of the tests that kill, fill disks and make files fail; 30 minutes at most
torture: .venv/installed
	timeout 1800 pytest --torture tests/data/test_hostile_images.py tests/training/test_torture_training.py \
		tests/workflow/test_places.py tests/workflow/test_torture_workflow.py
	python -m benchmarks.hostile
	python -m benchmarks.page

# puts small faults into a copy of the code, one at a time, and sees whether the tests find them (tests/mutants/): hours, for there
# are hundreds; `python -m tests.mutants.run WORDS` tries those of which file or description has one of the words
mutants: .venv/installed
	python -m tests.mutants.run

# on a Slurm of one node that is installed (as root, from Debian's packages), started and stopped for it; 5 minutes or so
test-slurm: .venv/installed
	tests/workflow/slurm.sh pytest tests/workflow/test_slurm.py

# installs a Python 3.12 with PyTorch, 6 GB, into .rehearsal/; 5 minutes at most
rehearse: .venv/installed
	benchmarks/rehearse.sh

lint: .venv/installed
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile workflow
	snakemake --lint

bench: .venv/installed
	snakemake --cores $(CORES) data
	python -m benchmarks.limits
	python -m benchmarks.arithmetic
	python -m benchmarks.training
	python -m benchmarks.growth
	python -m benchmarks.pool
	python -m benchmarks.loader
	python -m benchmarks.host
	python -m benchmarks.captions
	python -m benchmarks.tokens
	python -m benchmarks.memory
	python -m benchmarks.poisoning
	python -m benchmarks.check_data
	python -m benchmarks.detectors
	python -m benchmarks.probe
	python -m benchmarks.page

# pip takes only files whose hashes are listed; connection-pool, which Snakemake needs, is given out as source alone. What pip
# compiles on one core is compiled on all, but for tests; files for other versions of Python cannot be
INSTALL := pip install --quiet --disable-pip-version-check --no-compile
.venv/installed: pyproject.toml constraints.txt install/build.txt
	@$(PYTHON) -c "$$PYTHONS"
	$(PYTHON) -m venv .venv
	$(INSTALL) --require-hashes --only-binary :all: --requirement install/build.txt
	$(INSTALL) --require-hashes --only-binary :all: --no-binary connection-pool --no-build-isolation --requirement constraints.txt
	$(INSTALL) --no-index --no-deps --no-build-isolation --editable .
	python -m compileall -qq -j 0 -x '/tests?/' .venv/lib >/dev/null 2>&1 || true
	touch $@

# pins what pyproject.toml names, and all that it needs, with hashes; UPGRADE=--upgrade takes the newest versions
lock: .venv/installed
	python -m install.lock $(UPGRADE)

clean:
	rm -rf .venv .rehearsal results/embedded results/test
