# Two commands do everything on a machine that has only Python and make:
#   make demo    environment, install, train the demo with and without teleportation
#   make test    environment, install, tests
SHELL  := bash
VENV   := .venv
PY     := $(VENV)/bin/python
CANDIDATES := python3.11 python3.12 python3.13 python3.14 python3 python
OUT    ?= out/demo
ARGS   ?=
WORKERS ?= 2

.PHONY: demo test lint format types clean
.DELETE_ON_ERROR:

demo: $(VENV)/.demo
	$(PY) -m isoloss demo --out $(OUT) $(ARGS)

# One thread per worker: the nets are small, and two workers with two threads each fight over two cores.
test: $(VENV)/.dev
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(PY) -m pytest -n $(WORKERS) $(ARGS)

lint: $(VENV)/.dev
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .

format: $(VENV)/.dev
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

types: $(VENV)/.dev
	$(PY) -m pyright

clean:
	rm -rf $(VENV) out dist .pytest_cache .ruff_cache

$(PY):
	@for python in $(CANDIDATES); do \
	  if "$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "environment: $$python -m venv $(VENV)"; exec "$$python" -m venv $(VENV); \
	  fi; \
	done; \
	echo "make: isoloss needs Python >= 3.11 with the venv module; none of [$(CANDIDATES)] is one;" \
	     "install it (Debian and Ubuntu: apt install python3 python3-venv), or put it on PATH." >&2; exit 1

# The extra `landscape`, without the torchvision that one of them names and none imports here: built for another
# torch than the one installed, it breaks the import of transformers.
CURVLINOPS := curvlinops-for-pytorch backpack-for-pytorch unfoldNd einconv einops linear_operator opt_einsum

# The build backend first, from the same constraints, so that an editable install needs no isolated download.
install = $(PY) -m pip install --disable-pip-version-check --quiet -c constraints.txt

$(VENV)/.demo: pyproject.toml constraints.txt | $(PY)
	$(install) hatchling editables
	$(install) --no-build-isolation -e '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(PY)
	$(install) hatchling editables
	$(install) --no-build-isolation -e '.[dev]'
	$(install) --no-deps $(CURVLINOPS)
	@touch $@ $(VENV)/.demo
