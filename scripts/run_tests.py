"""Builds and tests everything: release, ASan + UBSan, TSan, and the release build in virtual
machines. The last line is the sum.

    scripts/run_tests.py [--only PRESET|vm]...

The sum is `N passed, N failed, N skipped`; the exit status is 1 if any failed.
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree

import check

ROOT = pathlib.Path(__file__).resolve().parent.parent
PRESETS = ("test", "asan", "tsan")
GUESTS = "vm"  # tests/vm/suite.py, with what the preset "test" builds
SANITIZERS = {
    # Without the last one GCC 12 takes a thread's memory that happens to lie 16 bytes into a
    # page for one of an older C library, and fails on its size when it looks for leaks.
    "ASAN_OPTIONS": "detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1:"
                    "intercept_tls_get_addr=0",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
}
SHOWN_LINES = 60  # of the output of a failed test


def say(text):
    print(text, flush=True)


def quietly(what, command):
    """Runs a command; shows its output only if it fails. The output goes to the log as well."""
    started = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace")
    seconds = time.monotonic() - started
    if done.returncode != 0:
        say(done.stdout)
        say(f"{what}: failed after {seconds:.0f} s")
    else:
        say(f"{what}: {seconds:.0f} s")
    return done.returncode == 0


def build_folder(preset):
    return ROOT / "build" if preset == "test" else ROOT / "build" / preset


def environment():
    return {**SANITIZERS, **os.environ}


def build(preset):
    return quietly(f"{preset}: configure", ["cmake", "--preset", preset]) and quietly(
        f"{preset}: build", ["cmake", "--build", "--preset", preset])


def build_for_guests():
    """What the virtual machine suite runs, and nothing else of the release build."""
    return quietly("test: configure", ["cmake", "--preset", "test"]) and quietly(
        "vm: build", ["cmake", "--build", "--preset", "test", "--target", "vm_programs"])


def fixed_addresses():
    """TSan of GCC 12 cannot live with much address space randomisation; setarch turns it off."""
    command = ["setarch", "-R"]
    if shutil.which("setarch") and subprocess.run([*command, "true"],
                                                  stderr=subprocess.DEVNULL).returncode == 0:
        return command
    return []


def run_tests(preset):
    """Runs the tests of a build that is there; returns the path of ctest's own account."""
    account = build_folder(preset) / "junit.xml"
    account.unlink(missing_ok=True)
    prefix = fixed_addresses() if preset == "tsan" else []
    started = time.monotonic()
    subprocess.run(
        [*prefix, "ctest", "--test-dir", build_folder(preset), "--quiet", "-j",
         str(os.cpu_count() or 1), "--output-junit", account,
         "--test-output-size-passed", "4000", "--test-output-size-failed", "20000"],
        cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=environment())
    say(f"{preset}: tests ran {time.monotonic() - started:.0f} s")
    return account


class Sum:
    """What passed, failed and was skipped, with the names and reasons of the latter two."""

    def __init__(self):
        self.passed = 0
        self.failed = []  # (name, output)
        self.skipped = []  # (name, reason)
        self.seen = set()  # all names

    def add(self, preset, account):
        cases = []
        if account.exists():
            cases = xml.etree.ElementTree.parse(account).getroot().iter("testcase")
        before = self.passed + len(self.failed) + len(self.skipped)
        for case in cases:
            name = f"{preset}: {case.get('name')}"
            self.seen.add(case.get("name"))
            output = case.findtext("system-out") or ""
            # A unittest file that runs as one test says which cases it has.
            self.seen.update(re.findall(r"^\w+ \([\w.]*?(\w+\.test\w*)\)", output, re.MULTILINE))
            if case.get("status") == "run":
                self.passed += 1
            elif case.find("skipped") is not None and case.get("status") == "notrun" \
                    and "SKIP" in (case.find("skipped").get("message") or ""):
                self.skipped.append((name, skip_reason(output)))
            else:
                self.failed.append((name, f"{output}\n[{case.get('status')} after "
                                          f"{float(case.get('time') or 0):.1f} s]"))
        if before == self.passed + len(self.failed) + len(self.skipped):
            self.failed.append((f"{preset}: tests", "no test ran"))

    def print(self):
        for name, output in self.failed:
            lines = output.strip().splitlines()
            say(f"\n--- {name}")
            say("\n".join(lines[-SHOWN_LINES:]))
        if self.failed:
            say("\nfailed:\n" + "\n".join(f"  {name}" for name, _ in self.failed))
        if self.skipped:
            say("\nskipped:\n" + "\n".join(f"  {name}: {why}" for name, why in self.skipped))
        say(f"{self.passed} passed, {len(self.failed)} failed, {len(self.skipped)} skipped")


def skip_reason(output):
    """The reason a skipped test gave: GoogleTest's, unittest's, or its last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for number, line in enumerate(lines):
        if line.endswith(": Skipped") and number + 1 < len(lines):
            return lines[number + 1]
        if "skipped '" in line or 'skipped "' in line:
            return line.split("skipped ", 1)[1].strip("'\"")
    return lines[-1] if lines else "no reason given"


def never_ran(named, seen):
    """The tests among `named` (Suite, Suite.Case) of which none was seen."""
    def ran(name):
        return any(re.search(rf"(?:^|[./]){re.escape(name)}(?:$|[./])", test) for test in seen)

    # Rows and programs, which begin small, are bench_smoke's and the linker's.
    return sorted(name for name in named if name[0].isupper() and not ran(name))


def run_guests(total):
    """The virtual machine suite: one account for each kernel."""
    folder = build_folder("test") / "vm"
    for account in folder.glob("*.xml"):
        account.unlink()
    subprocess.run([sys.executable, "-B", ROOT / "tests" / "vm" / "suite.py",
                    "--build", build_folder("test"), "--folder", folder],
                   cwd=ROOT, stdin=subprocess.DEVNULL)
    accounts = sorted(folder.glob("*.xml"))
    for account in accounts:
        total.add(f"vm {account.stem}", account)
    if not accounts:
        total.failed.append((f"{GUESTS}: suite", "it ended without an account; see above"))


def look_at_coverage(total):
    """What docs/seed-coverage.md names has run."""
    named = {name for _, proofs in check.coverage_rows(check.Tree(ROOT)) for name in proofs}
    for name in never_ran(named, total.seen):
        total.failed.append((f"{check.COVERAGE}: {name}", "named there, and did not run"))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", action="append", choices=(*PRESETS, GUESTS))
    wanted = parser.parse_args().only or (*PRESETS, GUESTS)
    started = time.monotonic()
    total = Sum()
    built = {}
    for preset in wanted:
        if preset == GUESTS:
            continue
        built[preset] = build(preset)
        if built[preset]:
            total.add(preset, run_tests(preset))
        else:
            total.failed.append((f"{preset}: build", "did not build; see above"))
    if GUESTS in wanted and (built["test"] if "test" in built else build_for_guests()):
        run_guests(total)
    elif GUESTS in wanted:
        total.failed.append((f"{GUESTS}: build", "did not build; see above"))
    if set(wanted) == {*PRESETS, GUESTS} and not total.failed:
        look_at_coverage(total)
    say(f"all: {time.monotonic() - started:.0f} s")
    total.print()
    sys.exit(1 if total.failed else 0)


if __name__ == "__main__":
    main()
