# `make demo` trains a recogniser on real images, `make test` runs the tests. Both make a virtual environment first if
# there is none. Other folders and Pythons: make test VENV=/tmp/venv PYTHON=python3.12

PYTHON ?= python3
VENV ?= .venv
EXTRAS ?= dev
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile
INSTALLED := $(VENV)/.installed
NATIVE := native_build.py $(wildcard csrc/*.* csrc/*/*.*)

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all lint bench gpu-check clean machine

help:
	@echo "make demo      train and evaluate on the bundled images, on whatever this machine has"
	@echo "make test      the tests, without the slow ones"
	@echo "make test-all  all the tests"
	@echo "make lint      ruff"
	@echo "make bench     time every part side by side with its plain counterpart, into bench-results"
	@echo "make install   only make the virtual environment $(VENV) and install into it"
	@echo "make gpu-check on a machine with an NVIDIA GPU: everything there is to check and to time on it"
	@echo "make clean     remove what tests and builds left behind; $(VENV), data and runs stay"

install: $(INSTALLED)

demo: machine $(INSTALLED)
	$(BIN)/python -m fastlt demo

test: machine $(INSTALLED)
	$(PYTEST) -m "not slow"

test-all: machine $(INSTALLED)
	$(PYTEST)

lint: $(INSTALLED)
	$(BIN)/python -m ruff check .

bench: machine $(INSTALLED)
	$(BIN)/python -m fastlt bench all --out bench-results

gpu-check: $(INSTALLED)
	$(BIN)/python tools/gpu_check.py --out gpu-check

# The stamp is written last, so an installation that was broken off is taken up again. `venv` also mends a folder that
# has no pip, and leaves what is installed there alone. Without build isolation, an environment that already has
# everything needs no network; torch must then be there first, because the native library is compiled with its headers.
$(INSTALLED): pyproject.toml setup.py $(NATIVE)
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { $(check_python) && $(PYTHON) -m venv "$(VENV)"; }
	@echo "installing into $(VENV); the first time this takes some minutes: PyTorch is large, and operators are compiled"
	$(BIN)/python -m pip install --quiet "setuptools>=77" "torch>=2.13"
	$(BIN)/python -m pip install --no-build-isolation --editable ".[$(EXTRAS)]"
	@[ ! -f build/native/log ] || cat build/native/log
	@touch "$@"

# Neither is needed, so their absence is worth one line and no more.
machine:
	@lacks=""; \
	for compiler in "$${CXX:-c++}" g++ clang++ none; do command -v "$$compiler" >/dev/null 2>&1 && break; done; \
	[ "$$compiler" != none ] || lacks="no C++ compiler (the plain PyTorch references of the operators serve)"; \
	nvidia-smi -L >/dev/null 2>&1 || lacks="$${lacks:+$$lacks, }no NVIDIA GPU (everything runs on the CPU)"; \
	[ -z "$$lacks" ] || echo "note: $$lacks"

clean:
	rm -rf build dist ./*.egg-info .pytest_cache .ruff_cache .hypothesis
	find fastlt pipelines configs bench tests -name __pycache__ -type d -prune -exec rm -rf {} +

# One line for each thing that may be wrong with the Python that shall make the environment.
define check_python
{ \
	command -v "$(PYTHON)" >/dev/null 2>&1 || \
		{ echo "no $(PYTHON) found: install Python 3.10 to 3.13, or name one with make PYTHON=..." >&2; exit 1; }; \
	"$(PYTHON)" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "$$("$(PYTHON)" --version 2>&1) is too old or too new: fastlt needs 3.10 to 3.13;" \
			"name one with make PYTHON=python3.12" >&2; exit 1; }; \
	"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$(PYTHON) cannot make a virtual environment: install its venv package" \
			"(Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }; \
}
endef
