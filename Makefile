# `make` alone checks everything that a change must pass; `make help` lists the rest.

PYTHON ?= python3
WORLD_SEED ?= 1
TRAIN_SEED ?= 1
OUT ?= demo
# Real animals and pretrained weights for the benchmarks; they are not part of the project.
DATA ?= ../shared/data
WEIGHTS ?= ../shared/weights
# Pictures and clips of real camera traps, boxes set by hand, a small detector.
CAMERA_TRAP ?= ../shared/camera-trap
# The device that a wheelhouse is for.
PLATFORM ?=
PYTHON_VERSION ?= 3.11
# Finished runs for bench-export, as bench-quality leaves them with --keep.
RUNS ?= benchmarks/results/quality

# Only the demo's own folder is cleared; one that you name with OUT= must be empty.
CLEAR_DEMO := $(if $(filter file,$(origin OUT)),rm -rf demo,true)

PY := .venv/bin/python
EDGE_PY := .venv-edge/bin/python

.DEFAULT_GOAL := check
.NOTPARALLEL:
.PHONY: check help env demo test test-edge lint types imports ci fault bench-demo bench-quality bench-indivaid bench-clustering bench-training bench-export bench-identity dist wheelhouse target installed bench-detect bench-search bench

check: lint types imports test  ## what a change must pass (also: plain `make`)

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: .venv/.dependencies  ## make .venv with everything for training and development
	@if [ ! -e .venv/.editable ]; then \
	    $(PY) -m pip install -qq --no-deps -e . && touch .venv/.editable; fi

demo: installed  ## draw a world, train on it, name who walked past (WORLD_SEED=1 TRAIN_SEED=1)
	@$(CLEAR_DEMO)
	@out=$$(mkdir -p "$(OUT)" && cd "$(OUT)" && pwd) && cd .venv && bin/python -I -m trainer.demo \
	    --out "$$out" --world-seed $(WORLD_SEED) --train-seed $(TRAIN_SEED)

test: env  ## the default test suite
	@$(PY) -m pytest -q

test-edge: dist .venv-edge/.dependencies  ## the device's tests against the built wheel, without torch
	@$(EDGE_PY) -m pip install -qq --no-deps --force-reinstall dist/fancl-*.whl
	@sh tests/run_on_wheel.sh .venv-edge
	@cat .venv-edge/.size

lint: env  ## style and formatting
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

types: env  ## static types
	@$(PY) -m mypy edge export trainer benchmarks

imports: env  ## who may import whom
	@.venv/bin/lint-imports

ci: lint types imports test test-edge  ## everything the build server runs

fault: env  ## kills, power cuts, failing and full disks: 15 minutes, or all of it with FULL=1, which goes on where it stopped
	@FULL=$(FULL) $(PY) -m pytest -q -s -m fault

bench: env benchmarks/results/peers/.ready  ## edge-watch against other programs and the ceiling; start, memory, guarantees; decoding (CAMERA_TRAP= WEIGHTS=); FULL=1
	@$(PY) benchmarks/end_to_end.py --out benchmarks/results/end-to-end \
	    --peers benchmarks/results/peers $(if $(FULL),--full)
	@$(PY) benchmarks/start.py --out benchmarks/results/start \
	    --fp32 benchmarks/results/end-to-end/models/resnet50.fp32.onnx \
	    --int8 benchmarks/results/end-to-end/models/resnet50.int8.onnx \
	    --photos benchmarks/results/end-to-end/photos/inbox
	@$(PY) benchmarks/guarantees.py --out benchmarks/results/guarantees
	@$(PY) benchmarks/decode.py --shared $(CAMERA_TRAP) --weights $(WEIGHTS) \
	    --out benchmarks/results/decode

# wildlife-tools beside, not in, this environment: it pulls in packages that nothing else needs.
benchmarks/results/peers/.ready: benchmarks/peers.txt
	@$(PY) -m pip install -qq --no-deps --upgrade --target benchmarks/results/peers -r benchmarks/peers.txt
	@touch $@

bench-demo: env  ## the demo over fresh pairs of seeds: two, or ten with FULL=1; goes on where it stopped
	@$(PY) benchmarks/demo_seeds.py --out benchmarks/results/demo --pairs $(if $(FULL),10,2)

bench-quality: env  ## training on real animals (DATA= WEIGHTS=); all sets and seeds with FULL=1; goes on where it stopped
	@$(PY) benchmarks/quality.py --data $(DATA) --weights $(WEIGHTS) --out benchmarks/results/quality \
	    $(if $(FULL),--full)
	@$(if $(FULL),$(PY) benchmarks/ablation.py --data $(DATA) --weights $(WEIGHTS) \
	    --out benchmarks/results/ablation,true)

bench-indivaid: env  ## IndivAID and its relatives on real animals (DATA= WEIGHTS=); both sets and two seeds with FULL=1
	@$(PY) benchmarks/indivaid.py --data $(DATA) --weights $(WEIGHTS) --out benchmarks/results/indivaid \
	    $(if $(FULL),--full)

bench-clustering: env  ## neighbours, Jaccard and DBSCAN at 20,000 and 50,000 pictures
	@$(PY) benchmarks/clustering.py --out benchmarks/results/clustering

bench-training: env  ## a training step against the bare networks, on a GPU
	@$(PY) benchmarks/training_speed.py --out benchmarks/results/training-speed

bench-export: env  ## parity, int8 and speed of exported files (DATA= WEIGHTS= RUNS=); more with FULL=1; goes on where it stopped
	@$(PY) benchmarks/exported.py --data $(DATA) --weights $(WEIGHTS) --runs $(RUNS) \
	    --out benchmarks/results/export $(if $(FULL),--full)

bench-identity: env  ## names, ghosts and stated rates on real animals (DATA= RUNS=); 5 seeds with FULL=1; goes on where it stopped
	@$(PY) benchmarks/identity.py --data $(DATA) --runs $(RUNS) --out benchmarks/results/identity \
	    $(if $(FULL),--full)

bench-search: env  ## searching a gallery: time beside a frame, recall of an index, memory; 1,000,000 exemplars with FULL=1
	@$(PY) benchmarks/search.py --out benchmarks/results/search $(if $(FULL),--full)

bench-detect: env  ## animals found by motion on drawn worlds, by a detector on real ones (CAMERA_TRAP=); ten worlds with FULL=1
	@$(PY) benchmarks/detect.py --shared $(CAMERA_TRAP) --out benchmarks/results/detect \
	    --worlds $(if $(FULL),10,5)

dist: .venv-build/.ready  ## build the wheel that goes to a device
	@rm -rf build dist/fancl-*.whl
	@.venv-build/bin/python -m pip wheel -qq --no-deps -w dist .
	@echo "built $$(ls dist/fancl-*.whl)"

wheelhouse: target dist  ## all that a device without internet needs, in one folder (PLATFORM=aarch64|x86_64 PYTHON_VERSION=3.11)
	@.venv-build/bin/python -m pip install -qq 'uv>=0.9'
	@.venv-build/bin/python deploy/wheelhouse.py "$(PLATFORM)" "$(PYTHON_VERSION)" \
	    --wheel dist/fancl-*.whl --out dist

target:
	@$(PYTHON) deploy/wheelhouse.py "$(PLATFORM)" "$(PYTHON_VERSION)"

# The built wheel in .venv, in place of the editable install: what the demo runs is what ships.
installed: .venv/.dependencies dist
	@rm -f .venv/.editable
	@$(PY) -m pip install -qq --no-deps --force-reinstall dist/fancl-*.whl
	@cd .venv && bin/python -I -c "import trainer; assert 'site-packages' in trainer.__file__, trainer"

define make_venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	    echo "fancl needs Python 3.10 or later, $(PYTHON) is $$($(PYTHON) --version 2>&1);" \
	         "name another one: make PYTHON=python3.12"; exit 1; }
	@test -x $(1)/bin/python || $(PYTHON) -m venv $(1) || { \
	    rm -rf $(1); echo "cannot make $(1); on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@$(1)/bin/python -m pip install -qq --upgrade pip
endef

.venv/.dependencies: pyproject.toml
	$(call make_venv,.venv)
	@echo "installing training and development packages into .venv (several GB, a few minutes) ..."
	@$(PY) -m pip install -qq -e '.[train,dev]'
	@touch .venv/.editable $@

.venv-build/.ready:
	$(call make_venv,.venv-build)
	@touch $@

# Its size is taken before the test tools come in: this is what a device needs.
.venv-edge/.dependencies: pyproject.toml | dist
	@rm -rf .venv-edge
	$(call make_venv,.venv-edge)
	@echo "installing the device's packages into .venv-edge ..."
	@$(EDGE_PY) -m pip install -qq "$$(ls dist/fancl-*.whl)[edge]"
	@echo "size of the device's environment: $$(du -sm .venv-edge | cut -f1) MB" > .venv-edge/.size
	@$(EDGE_PY) -m pip install -qq 'pytest>=8.3' 'pytest-timeout>=2.3' 'hypothesis>=6.100'
	@touch $@
