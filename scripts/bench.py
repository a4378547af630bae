"""Runs the benchmarks, compares them with bench/bars.toml, writes build/bench.json.

    scripts/bench.py [--build DIR] [--strict] [--smoke]

A row that does not hold is printed as such; with --strict the exit status says so too. --smoke runs
everything for a moment and only looks whether each row is measured.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
REPETITIONS = 9  # odd: the median is a measurement
NANOSECONDS = {"ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9}


BUSY = "no burst"  # how a benchmark of two threads says that the machine never let both run


class Missing(Exception):
    """A row names a benchmark or counter that no program measures, or that failed."""


class Busy(Missing):
    """The machine had no two processors free while this was measured."""


def run_programs(build, smoke):
    """The runs of every benchmark program, as Google Benchmark writes them."""
    runs = []
    build = build.resolve()
    for program in sorted((build / "bench").glob("*_bench")):
        report = build / "bench" / (program.name + ".json")
        report.unlink(missing_ok=True)
        command = [program, f"--benchmark_out={report}", "--benchmark_out_format=json",
                   "--benchmark_enable_random_interleaving=true"]
        if smoke:
            command += ["--benchmark_min_time=0.001"]
        else:
            command += [f"--benchmark_repetitions={REPETITIONS}", "--benchmark_min_time=0.05"]
        environment = {**os.environ, "METE_SMOKE": "1"} if smoke else None
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, env=environment,
                              cwd=build / "bench")
        if done.returncode != 0:
            sys.exit(f"{done.stdout}\n{program.name} ended with {done.returncode}")
        runs += json.loads(report.read_text())["benchmarks"]
    return [run for run in runs if run.get("run_type") == "iteration"]


def measured(runs, reference, unit, take=statistics.median):
    """The median of "benchmark" in the row's unit, or of "benchmark:counter" as it is."""
    name, _, counter = reference.partition(":")
    own = [run for run in runs
           if run["run_name"] == name or run["run_name"].startswith(name + "/")]
    if len({run["run_name"] for run in own}) > 1:
        raise Missing(f"{name} names several benchmarks")
    failed = [run["error_message"] for run in own if run.get("error_occurred")]
    own = [run for run in own if not run.get("error_occurred")]
    if not own and failed and all(BUSY in message for message in failed):
        raise Busy(f"{name}: {failed[0]}")
    if not own or any(BUSY not in message for message in failed):
        raise Missing(f"{name}: {failed[0] if failed else 'no such benchmark'}")
    if counter:
        if any(counter not in run for run in own):
            raise Missing(f"{name} has no counter {counter}")
        return take(run[counter] for run in own)
    # A benchmark that takes its own time says so in its name.
    suffix = own[0]["run_name"].removeprefix(name)
    field = "real_time" if "manual_time" in suffix or "real_time" in suffix else "cpu_time"
    return take(run[field] * NANOSECONDS[run["time_unit"]] / NANOSECONDS[unit] for run in own)


def evaluate(expression, **names):
    return eval(expression, {"__builtins__": {}}, names)  # bars.toml is ours


def judge(row, runs):
    """The row as bench.json has it, and the peer's own figure (None where the row has none)."""
    take = min if row.get("take") == "min" else statistics.median
    value = measured(runs, row["value"], row["unit"], take)
    beside = measured(runs, row["beside"], row["unit"]) if "beside" in row else None
    ratio = evaluate(row["ratio"], value=value, beside=beside)
    holds = bool(evaluate(row["bar"], value=value, beside=beside, ratio=ratio))
    return {"name": row["name"], "peer": row["peer"], "value": round(value, 4),
            "unit": row["unit"], "ratio": round(ratio, 4), "bar": row["bar"],
            "holds": holds}, beside


def table(rows):
    header = ("what", "mete", "peer", "", "ratio", "bar", "")
    lines = [header]
    for row, judged, beside, bursts in rows:
        unit = row["unit"]
        lines.append((row["what"] + (f" ({bursts:.0f} bursts)" if bursts is not None else ""),
                      f"{judged['value']:.3g} {unit}",
                      f"{beside:.3g} {unit}" if beside is not None else "", row["peer"],
                      f"{judged['ratio']:.3g}", row["bar"],
                      "holds" if judged["holds"] else "DOES NOT HOLD"))
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip()
                     for line in lines)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--strict", action="store_true")
    parser.add_argument("--smoke", action="store_true")
    arguments = parser.parse_args()
    bars = tomllib.loads((ROOT / "bench" / "bars.toml").read_text())["row"]
    runs = run_programs(arguments.build, arguments.smoke)
    rows, missing, busy = [], [], []
    for row in bars:
        if "program" in row and not (arguments.build / "bench" / row["program"]).exists():
            busy.append(f"{row['name']}: this build has no {row['program']}")
            continue
        try:
            judged, beside = judge(row, runs)
            bursts = measured(runs, row["bursts"], row["unit"]) if "bursts" in row else None
            rows.append((row, judged, beside, bursts))
        except Busy as reason:
            busy.append(f"{row['name']}: {reason}")
        except Missing as reason:
            missing.append(f"{row['name']}: {reason}")
    if not arguments.smoke:
        unknown = {line.split(":")[0] for line in missing + busy}
        judged_rows = [judged for _, judged, _, _ in rows] + [
            {"name": row["name"], "peer": row["peer"], "value": None, "unit": row["unit"],
             "ratio": None, "bar": row["bar"], "holds": False}
            for row in bars if row["name"] in unknown]
        (arguments.build / "bench.json").write_text(json.dumps(judged_rows, indent=1) + "\n")
        print(table(rows))
    print("\n".join(f"not measured: {line}" for line in missing + busy)
          or f"{len(rows)} rows measured")
    fallen = [judged["name"] for _, judged, _, _ in rows if not judged["holds"]]
    sys.exit(1 if missing or (arguments.strict and (busy or fallen)) else 0)


if __name__ == "__main__":
    main()
