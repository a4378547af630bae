"""Runs each fuzz target of build/fuzz for a while; inputs that fail are kept in build/fuzz/found.

    scripts/fuzz.py [--seconds N]
"""

import argparse
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "fuzz"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=60)
    arguments = parser.parse_args()
    targets = sorted(path for path in (BUILD / "targets").glob("*_fuzz") if path.is_file())
    if not targets:
        sys.exit(f"no fuzz target in {BUILD / 'targets'}")
    (BUILD / "found").mkdir(exist_ok=True)
    failed = []
    for target in targets:
        grown = BUILD / "corpus" / target.name
        grown.mkdir(parents=True, exist_ok=True)
        seeds = [path for path in [ROOT / "fuzz" / "corpus" / target.name] if path.is_dir()]
        print(f"{target.name}: {arguments.seconds} s", flush=True)
        done = subprocess.run(
            [target, f"-max_total_time={arguments.seconds}", "-print_final_stats=1",
             f"-artifact_prefix={BUILD / 'found'}/{target.name}-", grown, *seeds],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace")
        lines = done.stdout.splitlines()
        print("\n".join(lines[-40:] if done.returncode else
                        [line for line in lines if "number_of_executed_units" in line]))
        if done.returncode:
            failed.append(target.name)
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
