# Every target builds what it needs. PYTHON chooses the interpreter (3.11 or newer) that .venv is made from.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# vLLM has an environment of its own beside it, and for the CPU it exists on x86-64 alone.
VLLM_VENV := .venv-vllm
VLLM_READY := $(if $(filter x86_64,$(shell uname -m)),$(VLLM_VENV)/.ready)

.PHONY: demo test test-fast test-main test-cluster test-vllm lint format bench lock clean

demo: $(READY)
	$(BIN)/forklock run demo

# Each in a process of its own: with `make -j2 test` side by side, which two cores have room for.
test: test-main test-cluster test-vllm

test-main: $(READY)
	$(BIN)/python -m pytest --ignore=tests/vllm --ignore=tests/cluster

test-cluster: $(READY)
	$(BIN)/python -m pytest tests/cluster

test-vllm: $(VLLM_READY)
	$(if $(VLLM_READY),$(VLLM_VENV)/bin/python -m pytest tests/vllm,@echo "vLLM: not tested on $$(uname -m)")

test-fast: $(READY)
	$(BIN)/python -m pytest --ignore=tests/vllm --ignore=tests/cluster -m "not slow"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)
	@set -e; for script in benchmarks/[!_]*.py; do echo "== $$script"; $(BIN)/python $$script; done

lock: pyproject.toml
	@PYTHON="$(PYTHON)" tools/make-lock

clean:
	rm -rf $(VENV) $(VLLM_VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist

$(READY): pyproject.toml constraints.txt tools/make-env
	@PYTHON="$(PYTHON)" tools/make-env $(VENV)
	@touch $@

$(VLLM_VENV)/.ready: $(READY) constraints-vllm.txt tools/make-vllm-env
	@PYTHON="$(PYTHON)" tools/make-vllm-env $(VLLM_VENV)
	@touch $@
