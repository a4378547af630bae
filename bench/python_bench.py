"""Python's report_usage beside the same bookkeeping in plain Python.

Takes the options of Google Benchmark that scripts/bench.py gives, and writes its format. Everything
runs in this process, in turns; the figure is the CPU time of this thread for one call.
"""

import argparse
import asyncio
import gc
import json
import random
import sys
import time

import mete
import mete.sync
from plain_quota import PlainManager

LIMITS = mete.ResourceLimits(cpu="1k", memory="64Gi", tokens_per_hour=10**12)
MANY = 100_000


def names(count):
    return [f"agent-{number:06d}" for number in range(count)]


def managers(count):
    """Of each kind one, with that many agents."""
    waiting, direct, plain = mete.ResourceManager(), mete.sync.ResourceManager(), PlainManager()
    for name in names(count):
        waiting.create_quota(name, LIMITS)
        direct.create_quota(name, LIMITS)
        plain.create_quota(name, 3.6e6, 65536.0, 10**12)
    return waiting, direct, plain


def order(count, calls):
    """Names to report for, at random, as other strings than those of the quotas."""
    numbers = random.Random(1)
    made = names(count)
    return [made[numbers.randrange(count)] for _ in range(calls)]


async def awaited(report_usage, called):
    start = time.thread_time_ns()
    for name in called:
        await report_usage(name, cpu_seconds=0.001, memory_mb=512.0, tokens=3)
    return (time.thread_time_ns() - start) / len(called)


def direct(report_usage, called):
    start = time.thread_time_ns()
    for name in called:
        report_usage(name, cpu_seconds=0.001, memory_mb=512.0, tokens=3)
    return (time.thread_time_ns() - start) / len(called)


def rows(smoke):
    """(name, a function that measures once)."""
    for label, count, calls in (("1", 1, 30_000), ("100k", MANY, MANY)):
        if smoke:
            count, calls = min(count, 1000), 1000
        waiting, twin, plain = managers(count)
        called = order(count, calls)
        yield f"python_await_{label}/mete", waiting.report_usage, True, called
        yield f"python_await_{label}/plain", plain.report_usage, True, called
        yield f"python_sync_{label}/mete", twin.report_usage, False, called
        yield f"python_sync_{label}/plain", plain.report_usage_sync, False, called


def measure(repetitions, smoke):
    kept = list(rows(smoke))
    gc.collect()
    gc.disable()  # of both: its runs fall where they fall
    turns = [row for row in kept for _ in range(repetitions)]
    random.Random(2).shuffle(turns)
    for _, report_usage, wait, called in kept:  # touches everything once
        asyncio.run(awaited(report_usage, called)) if wait else direct(report_usage, called)
    runs = []
    for name, report_usage, wait, called in turns:
        nanoseconds = asyncio.run(awaited(report_usage, called)) if wait \
            else direct(report_usage, called)
        runs.append({"name": name, "run_name": name, "run_type": "iteration",
                     "iterations": len(called), "real_time": nanoseconds,
                     "cpu_time": nanoseconds, "time_unit": "ns"})
    return runs


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--benchmark_out")
    parser.add_argument("--benchmark_repetitions", type=int, default=1)
    parser.add_argument("--benchmark_min_time", type=float, default=0.05)
    options, _ = parser.parse_known_args()
    runs = measure(options.benchmark_repetitions, smoke=options.benchmark_min_time < 0.01)
    for run in runs:
        print(f"{run['name']}: {run['cpu_time']:.0f} ns")
    if options.benchmark_out:
        with open(options.benchmark_out, "w") as out:
            json.dump({"context": {"executable": sys.argv[0]}, "benchmarks": runs}, out)


if __name__ == "__main__":
    main()
