# The front door: `make demo` shows value crossing both ways, `make test` runs every test.
# Both create what they need from nothing. Downloads and builds are cached outside the tree.

PYTHON ?= $(shell for p in python3 python3.12 python3.11 python3.13; do \
	$$p -c 'import sys; raise SystemExit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
BLN ?= embedded
PYTEST_ARGS ?=
SLOW := devnet or daemons or node
CONTRACT := tests/integration/btc_contract
# so that neither of two processes ends with the long ones alone
LONG_FIRST := $(addprefix tests/integration/,kill lnd lnd_path docs bad_input cl_node) tests

.PHONY: demo test attack bench-devnet bench-l1 histories timelocks check fmt lint types unit validators validators-check lock daemons judge postgres docs docs-check wheel-test smoke clean

demo: $(VENV)/.runtime $(if $(filter lnd,$(BLN)),daemons)
	$(BIN)/python -m regtest.demo --bln $(BLN)

test: $(VENV)/.dev lint types unit docs-check validators-check judge attack daemons postgres
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "$(SLOW)" --ignore $(CONTRACT) $(PYTEST_ARGS) $(LONG_FIRST)
	$(BIN)/pytest -q -p no:hypothesispytest -m daemons $(CONTRACT) -k lnd-0.20 & first=$$!; \
	$(BIN)/pytest -q -p no:hypothesispytest -m daemons $(CONTRACT) -k lnd-0.21; second=$$?; wait $$first && exit $$second

# Every named mutation before two judges, every clause of the validator taken out once; writes build/attack.json.
attack: $(VENV)/.dev judge
	$(BIN)/python -m tests.attack.report

# Lives of channels on the embedded devnet: script transactions a minute (aim 1,000), where the time goes, scalus on the
# same transactions, a week of time travel (aim 1 s), a profile; writes build/bench/devnet.json. Half a minute.
bench-devnet: $(VENV)/.dev judge
	$(BIN)/python -m tests.bench.bench_devnet

# The largest batch of each step that the protocol parameters allow, by the number of pending cheques, each judged twice,
# beside the reference's costs; writes build/bench/l1.json. Minutes; GATEWAY_BENCH_STEPS="close respond" takes a part.
bench-l1: $(VENV)/.dev judge
	$(BIN)/python -m tests.bench.bench_l1

# The channel under 2 x 1000 random histories of 50 actions (honest ends, a cheating one), and 100 of real nodes settled on the judged devnet:
# minutes, so beside `make test`.
histories: $(VENV)/.dev judge
	GATEWAY_HISTORIES=1000 GATEWAY_DEVNET_HISTORIES=100 $(BIN)/pytest -n 2 $(PYTEST_ARGS) \
		tests/property/cl_channel/test_channel_machine.py tests/integration/cl_node/test_random_histories_on_chain.py

# The time locks against 10^7 sampled block paths of each of six lengths: three minutes on two cores.
timelocks: $(VENV)/.dev
	GATEWAY_BLOCK_PATHS=10000000 $(BIN)/pytest -n 2 $(PYTEST_ARGS) tests/unit/swap/test_sampled_blocks.py

# Everything that needs no daemon, but for the tests that take some seconds each: under two minutes.
check: $(VENV)/.dev lint types
	$(BIN)/pytest -n 2 -m "not ($(SLOW) or long)" $(PYTEST_ARGS)

unit: $(VENV)/.dev
	$(BIN)/pytest -n 2 -m "not ($(SLOW))" $(PYTEST_ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.dev
	$(BIN)/mypy

fmt: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

validators:
	$(PYTHON) validators/build.py

validators-check:
	$(PYTHON) validators/build.py --check

daemons:
	$(PYTHON) regtest/bitcoin/build.py --version $(if $(filter demo,$(MAKECMDGOALS)),0.21,all)

judge:
	$(PYTHON) regtest/judge/install.py

postgres:
	$(PYTHON) -m regtest.postgres

docs: $(VENV)/.dev
	$(BIN)/python -m docs.generate

# Tables made from code and markers are up to date, and each named threat has its tests.
docs-check: $(VENV)/.dev
	$(BIN)/python -m docs.generate --check

wheel-test: $(VENV)/.dev
	$(BIN)/python -m regtest.wheel

smoke:
	$(PYTHON) requirements/smoke.py

lock:
	$(PYTHON) requirements/lock.py

$(VENV)/.runtime: requirements/runtime.txt requirements/build.txt pyproject.toml
	test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --require-hashes -r requirements/runtime.txt -r requirements/build.txt
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements/dev.txt
	$(BIN)/python -m pip install -q --require-hashes -r requirements/dev.txt
	touch $@

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache
