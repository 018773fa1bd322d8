# Targets for people; `make help` lists them. Tests and the demo need root.
VENV := .venv
PYTHON := $(VENV)/bin/python
READY := $(VENV)/.ready
LAB ?= require

BPF := agent/leakstop/bpf
CLANG ?= clang
# The object holds no path of the machine that built it, so that a rebuild can be compared.
BPF_FLAGS := -g -gno-column-info -O2 -mcpu=v3 -target bpf -Wall -Werror \
	-I/usr/include/$(shell uname -m)-linux-gnu -ffile-prefix-map=$(CURDIR)=/leakstop
# Nor what no loader reads: libbpf skips relocations of BTF and the labels that they point to.
BPF_STRIP := -g -R .rel.BTF -R .rel.BTF.ext -R .llvm_addrsig -w -N 'LBB*'

.DEFAULT_GOAL := help
.PHONY: help demo test lint unit lab vmtest bench fix bpf bpf-check gen gen-check clean always

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(READY): pyproject.toml tools/install_system.sh
	tools/install_system.sh
	python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --upgrade pip
	$(PYTHON) -m pip install --quiet --group dev
	@touch $@

demo: $(READY) ## two thefts in a sealed network: unguarded, audit, block, side by side
	@$(PYTHON) tools/demo.py

test: lint lab vmtest ## everything but the benchmarks

lint: $(READY) gen-check bpf-check ## style, types, import direction, house rules
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	PYTHONPATH=agent $(VENV)/bin/lint-imports
	clang-format --dry-run -Werror $(BPF)/*.h $(BPF)/*.c tests/bpf/*.[ch]
	$(PYTHON) tools/check_hosts.py
	$(VENV)/bin/zizmor --offline --quiet action.yml agent/hook/action.yml

unit: $(READY) ## the tests that need nothing of the machine
	$(PYTHON) -m pytest -n 2 --lab=off tests/unit tests/property

lab: $(READY) ## all tests on this machine; LAB=auto leaves out what it cannot run
	$(PYTHON) -m pytest -n 2 --lab=$(LAB) tests

vmtest: $(READY) ## Linux 6.1, 6.12 and a machine like a hosted runner, as virtual machines
	$(PYTHON) tests/vm/boot.py

bench: $(READY) ## what the guard costs, as ratios
	$(PYTHON) tests/bench/run.py

fix: $(READY) ## put code into shape
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .
	clang-format -i $(BPF)/*.h $(BPF)/*.c tests/bpf/*.[ch]

bpf: $(foreach source,leakstop deny,$(foreach machine,x86_64 aarch64,$(BPF)/$(source).$(machine).bpf.o)) ## build the data plane for both architectures

$(BPF)/%.x86_64.bpf.o: always
	$(CLANG) $(BPF_FLAGS) -D__TARGET_ARCH_x86 -c $(BPF)/$*.bpf.c -o $@
	llvm-strip $(BPF_STRIP) $@

$(BPF)/%.aarch64.bpf.o: always
	$(CLANG) $(BPF_FLAGS) -D__TARGET_ARCH_arm64 -c $(BPF)/$*.bpf.c -o $@
	llvm-strip $(BPF_STRIP) $@

bpf-check: $(READY) ## the committed objects are what the sources make
	tools/check_bpf.sh

gen: $(READY) ## write what is generated
	for tool in tools/gen_*.py; do $(PYTHON) $$tool; done

gen-check: $(READY) ## what is generated is up to date
	for tool in tools/gen_*.py; do $(PYTHON) $$tool --check || exit 1; done

clean: ## remove what was built here
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis
