"""Four programs on budgets, side by side: `make demo`. Writes build/demo.json.

    scripts/demo.py [--build DIR]

Exits 1, with the reason, when mete did not do what it promises.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
MIB = 1 << 20
DEADLINE = 45  # seconds for everything; nothing here should take a third of it
RAISED_TO = 5000


class Broken(Exception):
    """Something that the demo needs did not happen."""


class Run:
    """One program under `mete run`, and what is to be expected of it."""

    def __init__(self, name, what, budget, command, judge):
        self.name, self.what, self.command, self.judge = name, what, command, judge
        self.budget = budget  # flag -> value, as typed
        self.process = None

    def start(self, mete, folder):
        self.agent = f"{self.name}-{os.getpid()}"
        self.report_path = folder / f"{self.name}.json"
        self.report_path.unlink(missing_ok=True)
        self.said_path = folder / f"{self.name}.out"
        flags = [part for flag, value in self.budget.items() for part in (f"--{flag}", value)]
        with open(self.said_path, "w") as out, open(folder / f"{self.name}.err", "w") as err:
            self.process = subprocess.Popen(
                [mete, "run", *flags, "--agent", self.agent, "--json", "--report", self.report_path,
                 "--", *self.command],
                stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        self.started = time.monotonic()

    def finish(self, end):
        """Waits for the end and reads the report; what the program said last is its own account."""
        try:
            status = self.process.wait(timeout=max(0.1, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise Broken(f"{self.name}: still running after {DEADLINE} s") from None
        try:
            report = json.loads(self.report_path.read_text())
        except (OSError, ValueError) as error:
            complaint = self.report_path.with_suffix(".err").read_text().strip()
            raise Broken(f"{self.name}: ended with {status} and no report: {complaint}") from error
        lines = self.said_path.read_text().splitlines()
        own = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
        actions = [action["action"] for violation in report["violations"]
                   for action in violation["actions"]]
        return {"name": self.name, "what": self.what, "budget": self.budget, "status": status,
                "wall_seconds": report["wall_seconds"], "cpu_seconds": report["cpu_seconds"],
                "memory_peak_bytes": report["memory_peak_bytes"], "tokens": report["tokens"],
                "exit": report["exit"], "actions": actions, "own_account": own}


# Each judge returns what was used and what mete did, in words, and why it is wrong (or "").

def judge_worker(row):
    wrong = ""
    if row["status"] != 0 or row["actions"]:
        wrong = f"it ended with {row['status']}, after {row['actions'] or 'nothing'}"
    elif row["memory_peak_bytes"] >= 128 * MIB:
        wrong = "it used all of its memory"
    return (f"{row['memory_peak_bytes'] / MIB:.0f} MiB, {row['cpu_seconds']:.1f} s of CPU",
            "nothing: it stayed within", wrong)


def judge_spinner(row):
    cores = row["cpu_seconds"] / row["wall_seconds"]
    wrong = ""
    if cores > 0.55:
        wrong = f"it got {cores:.2f} cores, and was to get 0.50"
    elif row["status"] != 0:
        wrong = f"it ended with {row['status']}"
    return (f"{row['cpu_seconds']:.1f} s of CPU in {row['wall_seconds']:.1f} s",
            f"held it to {cores:.2f} cores", wrong)


def judge_hog(row):
    wrong = ""
    if row["status"] != 124 or row["exit"]["limit"] != "memory":
        wrong = f"it ended with {row['status']}: {row['exit']['text']}"
    elif row["memory_peak_bytes"] > 64 * MIB:
        wrong = f"it used {row['memory_peak_bytes']} bytes"
    return (f"{row['memory_peak_bytes'] / MIB:.0f} MiB",
            "ended it; its neighbours went on", wrong)


def judge_talker(row):
    wrong = ""
    sent = row["own_account"].get("tokens_sent")
    if row["status"] != 0:
        wrong = f"it ended with {row['status']}: {row['exit']['text']}"
    elif row["actions"] != ["warned", "suspended", "resumed"]:
        wrong = f"it was {', then '.join(row['actions']) or 'left alone'}"
    elif row["tokens"] != sent:
        wrong = f"{row['tokens']} tokens were counted, and {sent} were sent"
    return (f"{row['tokens']} tokens",
            f"warned, suspended, resumed at {RAISED_TO}", wrong)


RUNS = (
    Run("worker", "compresses these sources", {"cpu": "1", "memory": "128Mi"},
        ["python3", str(EXAMPLES / "compress_sources.py"), str(ROOT / "src"), "5"], judge_worker),
    Run("spinner", "two endless loops", {"cpu": "500m"},
        ["python3", str(EXAMPLES / "spin.py"), "2", "4"], judge_spinner),
    Run("hog", "takes all memory", {"memory": "64Mi"},
        ["tail", "/dev/zero"], judge_hog),
    Run("talker", "12 calls of 200 tokens", {"tokens-per-hour": "1000"},
        ["python3", str(EXAMPLES / "token_agent.py"), "12", "200"], judge_talker),
)


def wait_until(end, what, condition):
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise Broken(f"waited in vain for {what}")


def raise_tokens(mete, talker, end, tell):
    """Waits until mete suspends the talker, lets that be for a second, and raises its limit."""
    def suspended():
        if talker.process.poll() is not None:
            raise Broken("talker: ended before it was suspended")
        got = subprocess.run([mete, "quota", "get", talker.agent, "--json"], capture_output=True)
        return got.returncode == 0 and json.loads(got.stdout)["state"] == "suspended"

    wait_until(end, "mete to suspend the talker", suspended)
    tell("talker: suspended, over 1000 tokens")
    time.sleep(1)
    command = ["quota", "set", talker.agent, "--tokens-per-hour", str(RAISED_TO)]
    tell("$ mete " + " ".join(command))
    done = subprocess.run([mete, *command], capture_output=True, text=True)
    if done.returncode != 0:
        raise Broken(f"mete {' '.join(command)}: {done.stderr.strip()}")


def table(rows):
    header = ("agent", "what it does", "budget", "used", "what mete did")
    lines = [header] + [
        (row["name"], row["what"], ", ".join(f"{k} {v}" for k, v in row["budget"].items()),
         row["used"], row["did"]) for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip()
                     for line in lines)


def play(mete, folder, tell):
    """Starts all four, raises the talker's limit, and returns a row for each."""
    begun = time.monotonic()
    end = begun + DEADLINE
    for run in RUNS:
        run.start(mete, folder)
    tell("four programs start, each under `mete run`")
    raise_tokens(mete, RUNS[-1], end, tell)
    rows = [run.finish(end) for run in RUNS]
    for run, row in zip(RUNS, rows):
        row["used"], row["did"], row["wrong"] = run.judge(row)
    by_name = {row["name"]: row for row in rows}
    if by_name["hog"]["wall_seconds"] > by_name["worker"]["wall_seconds"]:
        by_name["hog"]["wrong"] = "its neighbours had ended before it was stopped"
    return rows


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    build = parser.parse_args().build
    folder = build / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()

    def tell(text):
        print(f"{time.monotonic() - begun:4.1f} s  {text}", flush=True)

    rows, wrong = [], []
    try:
        rows = play(build / "mete", folder, tell)
        wrong = [f"{row['name']}: {row['wrong']}" for row in rows if row["wrong"]]
        print("\n" + table(rows))
    except Broken as reason:
        wrong = [str(reason)]
    finally:
        for run in RUNS:
            if run.process and run.process.poll() is None:
                run.process.terminate()
    (build / "demo.json").write_text(json.dumps(
        {"seconds": round(time.monotonic() - begun, 2), "holds": not wrong, "agents": rows},
        indent=1) + "\n")
    print("\n" + ("\n".join(f"demo: not as promised: {line}" for line in wrong)
                  or f"As promised. The figures are in {os.path.relpath(build / 'demo.json')}."))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
