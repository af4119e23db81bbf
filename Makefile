# Every target makes .venv first when it is not there or the project's dependencies changed.
PYTHON ?= python3
# Each has a TensorFlow and a PyTorch of its own, some 3 GB.
TEST_PROCESSES ?= 2
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
WITH_TORCH := $(VENV)/.with-torch

.PHONY: install demo test lint matrix fuzz bench bench-runtime bench-compress bench-dashboard bench-fleet bench-rollouts chaos chaos-install soak format protobuf constraints system-packages clean

install: $(INSTALLED)  ## Make .venv with everything but PyTorch, which the tests add

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "edgeward's host side needs Python 3.11 to 3.13; name one with: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

$(WITH_TORCH): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[all]'
	@touch $@

demo: install  ## Train, convert, flash, predict, report and watch; stays up with the dashboard in a terminal
	@if [ -t 1 ]; then $(BIN)/edgeward demo; else $(BIN)/edgeward demo --once; fi

test: $(WITH_TORCH) system-packages  ## Run all tests
	$(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile

matrix: $(WITH_TORCH)  ## Convert every model family from every source to every engine; writes the table of docs/conversions.md
	$(BIN)/python -m tests.benchmarks.matrix --write docs/conversions.md

lint: install  ## Format, style, types, and who may import whom
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fuzz: $(WITH_TORCH)  ## Damaged sources, telemetry and updates: none may hang, crash, be counted or be installed
	EDGEWARD_FUZZ_INPUTS=500 $(BIN)/python -m pytest -s tests/integration/test_fuzzed_sources.py
	EDGEWARD_FUZZ_INPUTS=100000 $(BIN)/python -m pytest tests/unit/test_monitor_fuzz.py
	EDGEWARD_FUZZ_UPDATES=20000 $(BIN)/python -m pytest tests/integration/test_fuzzed_updates.py

bench: install  ## Time every variant of the demo's model here, and a conversion against the libraries alone (docs/performance.md)
	$(BIN)/python -m pytest tests/benchmarks --benchmark-enable --benchmark-group-by=group --benchmark-columns=median,iqr,rounds
	$(BIN)/python -m tests.benchmarks.conversion --write docs/performance.md

bench-runtime: install  ## Compare predict with the engine under it; writes the table of docs/performance.md
	$(BIN)/python -m tests.benchmarks.runtime --write docs/performance.md

bench-compress: $(WITH_TORCH)  ## Compress real models, beside what each library gives alone; writes docs/compression.md
	$(BIN)/python -m tests.benchmarks.compression --write docs/compression.md

bench-dashboard: install  ## The dashboard with 10,000 devices in Chromium: times and pictures (docs/performance.md, docs/pictures)
	$(BIN)/python -m tests.benchmarks.dashboard --write docs/performance.md --pictures docs/pictures

bench-fleet: install  ## What one ingest process takes beside a bare subscriber, and charts of 30 days; writes docs/performance.md
	$(BIN)/python -m tests.benchmarks.fleet --write docs/performance.md
	$(BIN)/python -m tests.benchmarks.history --write docs/performance.md

bench-rollouts: install  ## Rollouts of a good release and of bad ones through 50 real agents; writes docs/reliability.md
	$(BIN)/python -m tests.benchmarks.rollouts --write docs/reliability.md

chaos: install  ## Kill and cut everything for four minutes: every prediction is shown, once; as root; writes docs/reliability.md
	$(BIN)/python -m tests.benchmarks.chaos --write docs/reliability.md

chaos-install: install  ## Three hundred installs that go wrong: none may leave a brick; writes docs/reliability.md
	$(BIN)/python -m tests.benchmarks.chaos_install --write docs/reliability.md

soak: install  ## A million predictions over four threads with a hot swap every second: ten minutes
	$(BIN)/python -m tests.benchmarks.soak

format: install  ## Format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

protobuf: install  ## Write the *_pb2.py anew from their .proto (with the oldest protobuf that we support)
	$(PYTHON) -m venv build/protobuf
	build/protobuf/bin/pip install --quiet grpcio-tools==1.73.1
	build/protobuf/bin/python -m grpc_tools.protoc -I runtimes --python_out=runtimes --pyi_out=runtimes \
		runtimes/edgeward_runtimes/sparkplug/payload.proto
	build/protobuf/bin/python -m grpc_tools.protoc -I sdk --python_out=sdk --pyi_out=sdk sdk/edgeward/monitor/metrics.proto

constraints:  ## Write constraints.txt anew: what pip finds to fit together, with every extra, in an environment of its own
	rm -rf build/constraints && $(PYTHON) -m venv build/constraints
	build/constraints/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 --editable '.[all]'
	build/constraints/bin/python -m pip freeze --exclude-editable | sed 's/+.*//' | tr A-Z_ a-z- | LC_ALL=C sort > constraints.txt

# Tests that need Mosquitto, PostgreSQL, OpenSSH's server, Prometheus or Chromium install them where they may, and are
# skipped by name elsewhere.
system-packages:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		missing=""; \
		command -v mosquitto >/dev/null || [ -x /usr/sbin/mosquitto ] || missing="$$missing mosquitto"; \
		command -v chromium >/dev/null || missing="$$missing chromium"; \
		ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$$missing postgresql"; \
		command -v prometheus >/dev/null || missing="$$missing prometheus"; \
		[ -x /usr/sbin/sshd ] || missing="$$missing openssh-server"; \
		if [ -n "$$missing" ]; then \
			echo "installing$$missing for the tests"; \
			apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
			for service in mosquitto postgresql ssh prometheus; do \
				case "$$missing" in *$$service*) service $$service stop >/dev/null 2>&1 || true;; esac; \
			done; \
		fi; \
	else \
		echo "not root on Debian: tests that need mosquitto, postgresql, sshd, prometheus or chromium are skipped where those are absent"; \
	fi

clean:  ## Remove the environment and all caches
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
