"""Runs the test programs over and over, shuffled, each round with another seed, in every build.

    scripts/soak.py [--minutes N] [--seed FIRST]

Stops at the first failure and prints what repeats it.
"""

import argparse
import pathlib
import subprocess
import sys
import time

import run_tests

SEEDS = 99999  # GoogleTest's largest

# How often the tests that count their tries do so in the first round of the release build: the
# promises of docs/guarantees.md that name a number for `make soak`.
TRIES = {
    "METE_KILL_CYCLES": "5000",  # in each of two modes
    "METE_TERMINATIONS": "1000",
}


def programs(preset):
    return sorted(path for path in (run_tests.build_folder(preset) / "tests").glob("*_test")
                  if path.is_file())


def run_once(preset, program, seed, tries):
    command = [*(run_tests.fixed_addresses() if preset == "tsan" else []), str(program),
               "--gtest_shuffle", f"--gtest_random_seed={seed}", "--gtest_brief=1"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace",
                          env=run_tests.environment() | tries)
    if done.returncode != 0:
        print(done.stdout)
        sys.exit(f"failed with {done.returncode}; again with:\n  {' '.join(command)}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=int(time.time()) % SEEDS + 1)
    arguments = parser.parse_args()
    for preset in run_tests.PRESETS:
        if not run_tests.build(preset):
            sys.exit(1)
    end = time.monotonic() + 60 * arguments.minutes
    seed, rounds = arguments.seed, 0
    while rounds == 0 or time.monotonic() < end:
        for preset in run_tests.PRESETS:
            for program in programs(preset):
                run_once(preset, program, seed,
                         TRIES if rounds == 0 and preset == run_tests.PRESETS[0] else {})
        rounds += 1
        print(f"round {rounds}, seed {seed}: passed", flush=True)
        seed = seed % SEEDS + 1
    print(f"{rounds} rounds passed")


if __name__ == "__main__":
    main()
