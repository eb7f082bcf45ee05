# Everything happens in a private .venv beside this file; a second call of any target is quick.
# Quiet tools keep their log in build/logs, shown when they fail.

PYTHON  := .venv/bin/python
STAMPS  := .venv/stamps
OUTPUT  := labextension/wheel_data/data/share/jupyter/labextensions/claw-jupyter
RUST    := $(shell find rust_core -path rust_core/target -prune -o \( -name '*.rs' -o -name 'Cargo.*' \) -print)
WEB     := $(shell find labextension -maxdepth 1 -type f ! -name '.*') \
           $(shell find labextension/src labextension/style labextension/schema -type f 2>/dev/null)
SHIPPED := pyproject.toml $(shell find labextension/wheel_data -path '*/kernels/*' -type f)
PYTHONS := $(shell find claw_kernel claw_magics -name '*.py' -o -name '*.pyi')
STEP    := .ci/step

# What this machine must have, asked before anything is built: the demo needs neither Node nor Chromium.
NEEDS := python rust cc $(if $(filter setup build test lab check bench,$(MAKECMDGOALS)),node) \
         $(if $(filter test,$(MAKECMDGOALS)),chromium)

# Whatever environment this shell has active is left alone.
unexport VIRTUAL_ENV CONDA_PREFIX PYTHONHOME PYTHONPATH
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PATH := $(if $(wildcard $(HOME)/.cargo/bin/cargo),$(HOME)/.cargo/bin:)$(PATH)

# An environment of ours in a copied or moved checkout, or with a Python that is gone, is made anew.
$(shell if [ -f $(STAMPS)/python ] && ! { [ "$$(cat $(STAMPS)/python)" = '$(CURDIR)' ] && $(PYTHON) -c pass; } 2>/dev/null; \
        then rm -rf .venv; fi)

.DEFAULT_GOAL := help
.PHONY: help setup build demo test lab check tables bench clean preflight
.NOTPARALLEL:
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

help:
	@echo 'Claw for Jupyter'
	@echo
	@echo '  make demo    run notebooks/quickstart.ipynb headless on a scripted model (no key, no network at run time)'
	@echo '  make lab     open JupyterLab on notebooks/'
	@echo '  make setup   build everything and install it into .venv'
	@echo '  make build   build the wheel into dist/'
	@echo '  make test    all tests: Rust, Python, notebooks, JupyterLab in headless Chromium'
	@echo '  make check   formatters, linters and type checkers'
	@echo '  make tables  write what is generated: tables of tools, attacks and carriers, snapshots, the schema of records'
	@echo '  make bench   the benchmarks'
	@echo '  make clean   remove .venv and everything that was built'

preflight:
	@.ci/preflight $(NEEDS)

$(STAMPS)/python: | preflight
	@$(STEP) venv 'Making the Python environment .venv' sh -c '"$$(.ci/find-python)" -m venv .venv'
	@mkdir -p $(STAMPS) && echo '$(CURDIR)' > $@

$(STAMPS)/packages: pyproject.toml .ci/requirements.py $(STAMPS)/python
	@$(PYTHON) .ci/requirements.py runtime demo build > $(STAMPS)/packages.txt
	@$(STEP) packages 'Installing the Python packages Claw needs' $(PYTHON) -m pip install -q -r $(STAMPS)/packages.txt
	@touch $@

$(STAMPS)/tools: pyproject.toml .ci/requirements.py $(STAMPS)/packages
	@$(PYTHON) .ci/requirements.py dev > $(STAMPS)/tools.txt
	@$(STEP) tools 'Installing the packages that tests and checks need' $(PYTHON) -m pip install -q -r $(STAMPS)/tools.txt
	@touch $@

labextension/node_modules/.stamp: labextension/package.json labextension/package-lock.json | preflight
	@$(STEP) npm-ci 'Installing the Node packages of the JupyterLab extension' npm ci --prefix labextension --no-audit --no-fund
	@touch $@

$(OUTPUT)/package.json: $(WEB) labextension/node_modules/.stamp
	@rm -rf $(OUTPUT)
	@$(STEP) labextension 'Building the JupyterLab extension' npm run build --prefix labextension
	@touch $@

# "core" is enough for the demo; "installed" has the JupyterLab extension too, and so is both.
INSTALL = 'VIRTUAL_ENV=$(CURDIR)/.venv' .venv/bin/maturin develop --release --locked

$(STAMPS)/core: $(RUST) $(SHIPPED) $(STAMPS)/packages
	@$(STEP) core 'Compiling the native core and installing Claw (Rust)' env $(INSTALL)
	@touch $@

$(STAMPS)/installed: $(RUST) $(SHIPPED) $(OUTPUT)/package.json $(STAMPS)/packages
	@$(STEP) core 'Compiling the native core and installing Claw (Rust)' env $(INSTALL)
	@touch $(STAMPS)/core $@

setup: $(STAMPS)/installed

dist/stamp: $(RUST) $(SHIPPED) LICENSE README.md $(PYTHONS) $(OUTPUT)/package.json $(STAMPS)/packages
	@rm -rf dist
	@$(STEP) wheel 'Building the wheel' .venv/bin/maturin build --release --locked --out dist
	@touch $@

build: dist/stamp
	@ls dist/*.whl

demo: $(STAMPS)/core
	@.venv/bin/claw demo --output demo-output

lab: $(STAMPS)/installed
	@cd notebooks && ../.venv/bin/claw lab $$([ "$$(id -u)" -ne 0 ] || echo --allow-root)

test: $(STAMPS)/installed $(STAMPS)/tools dist/stamp
	@$(STEP) cargo-build 'Compiling the tests of the native core (Rust)' cargo test --manifest-path rust_core/Cargo.toml --locked --no-run
	@# A failure in Rust does not keep the others from being run; pytest's closing line stays the last one.
	@$(STEP) launcher-test 'Running the tests of the launcher (Rust)' cargo test --manifest-path rust_core/launcher/Cargo.toml --locked --quiet
	@echo 'Running the tests of the native core (Rust)'; \
	cargo test --manifest-path rust_core/Cargo.toml --locked --quiet; rust=$$?; \
	[ $$rust -eq 0 ] || echo 'The tests of the native core FAILED, see above'; \
	echo 'Running all other tests'; \
	$(PYTHON) -m pytest || exit $$?; \
	exit $$rust

check: $(STAMPS)/installed $(STAMPS)/tools
	@$(STEP) ruff 'Python: lint' .venv/bin/ruff check .
	@$(STEP) ruff-format 'Python: format' .venv/bin/ruff format --check .
	@$(STEP) mypy 'Python: types' .venv/bin/mypy
	@$(STEP) cargo-fmt 'Rust: format' cargo fmt --manifest-path rust_core/Cargo.toml --check
	@$(STEP) clippy 'Rust: lint' cargo clippy --manifest-path rust_core/Cargo.toml --locked --all-targets --quiet -- -D warnings
	@$(STEP) launcher 'Rust: format and lint of the launcher' sh -c 'cargo fmt --manifest-path rust_core/launcher/Cargo.toml --check \
	  && cargo clippy --manifest-path rust_core/launcher/Cargo.toml --locked --all-targets --quiet -- -D warnings'
	@$(STEP) npm-check 'TypeScript: lint, format, types' npm run check --prefix labextension

tables: $(STAMPS)/installed
	@$(PYTHON) tests/core/tool_snapshots.py
	@$(PYTHON) -m tests.attacks.tables
	@$(PYTHON) -m claw_kernel.session.schema
	@$(PYTHON) -m tests.carriers.tools

bench: $(STAMPS)/installed $(STAMPS)/tools
	@$(PYTHON) benchmarks/run.py
	@$(PYTHON) benchmarks/growth.py
	@$(PYTHON) benchmarks/spawn.py
	@$(PYTHON) benchmarks/sessions.py

clean:
	rm -rf .venv build dist demo-output rust_core/target rust_core/launcher/target labextension/node_modules labextension/lib $(OUTPUT)
	rm -f claw_kernel/_core*.so claw_kernel/_core*.pyd labextension/tsconfig.tsbuildinfo
