# Everything a developer types. `make test` is what .ci/run runs.

.PHONY: build demo test test-vm soak bench fuzz format lint clean
.DEFAULT_GOAL := build

MINUTES ?= 10
SECONDS_EACH ?= 60

# Release binaries in build/: build/mete; the Python package in build/python, where it can be built.
build:
	@scripts/setup build
	@scripts/setup python || echo "The Python package is left out; the rest goes on."
	@cmake --preset release
	@cmake --build --preset release

# The program alone.
demo:
	@scripts/setup build
	@cmake --preset release
	@cmake --build --preset release --target mete_program
	@python3 scripts/demo.py

# Builds and runs everything with GCC: release, ASan + UBSan, TSan, and two kernels in virtual
# machines. The last line counts.
test:
	@scripts/setup build test gpu python vm
	@python3 scripts/run_tests.py

# The virtual machines alone: control groups v2 on two kernels.
test-vm:
	@scripts/setup build test gpu vm
	@python3 scripts/run_tests.py --only vm

# The test programs over and over, each round with another seed: make soak MINUTES=60
soak:
	@scripts/setup build test gpu python
	@python3 scripts/soak.py --minutes $(MINUTES)

# Measures, prints the table of bench/bars.toml, writes build/bench.json.
bench:
	@scripts/setup build test gpu python
	@cmake --preset test
	@cmake --build --preset test
	@python3 scripts/bench.py

# Each fuzz target for SECONDS_EACH.
fuzz:
	@scripts/setup build lint
	@cmake --preset fuzz
	@cmake --build --preset fuzz
	@python3 scripts/fuzz.py --seconds $(SECONDS_EACH)

format:
	@scripts/setup test
	@scripts/format

# A second compiler and clang-tidy over the whole tree.
lint:
	@scripts/setup build test gpu lint
	@scripts/format --check
	@python3 scripts/check.py
	@cmake --preset clang
	@cmake --build --preset clang
	@scripts/tidy build/clang

clean:
	@rm -rf build
