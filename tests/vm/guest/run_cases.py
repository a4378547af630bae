"""Runs the cases of unittest files and says of each what became of it, in GoogleTest's words.

    run_cases.py FILE [CLASS[.CASE]]...
"""

import importlib.util
import os
import pathlib
import signal
import sys
import time
import traceback
import unittest


CASE_SECONDS = 100


class Hung(Exception):
    """A case that takes this long is not slow."""


def hung(number, frame):
    for entry in sorted(filter(str.isdigit, os.listdir("/proc")), key=int):
        try:
            folder = pathlib.Path("/proc", entry)
            words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if words:
                state = (folder / "stat").read_text().rsplit(")", 1)[1].split()[0]
                print(entry, state, (folder / "wchan").read_text(), words[:120],
                      (folder / "cgroup").read_text().strip().splitlines()[-1])
        except OSError:
            pass  # it ended meanwhile
    raise Hung(f"not over after {CASE_SECONDS} s")


class Lines(unittest.TestResult):
    def startTest(self, test):
        super().startTest(test)
        signal.alarm(CASE_SECONDS)
        self.started, self.became = time.monotonic(), "      OK"
        print(f"[ RUN      ] {name_of(test)}", flush=True)

    def stopTest(self, test):
        super().stopTest(test)
        signal.alarm(0)
        print(f"[ {self.became} ] {name_of(test)} "
              f"({(time.monotonic() - self.started) * 1000:.0f} ms)", flush=True)

    def _bad(self, error):
        self.became = " FAILED "
        print("".join(traceback.format_exception(*error)), flush=True)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._bad(err)

    def addError(self, test, err):
        super().addError(test, err)
        self._bad(err)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err:
            self._bad(err)
        else:  # a case of many rows is not to be taken for a guest that hangs
            print(f"guest: {subtest._subDescription()}", flush=True)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.became = " SKIPPED"
        print(f"guest: Skipped\n{reason}", flush=True)


def name_of(test):
    return ".".join(test.id().split(".")[-2:])


def main():
    path = pathlib.Path(sys.argv[1])
    sys.path[:0] = [str(path.parent), "/e2e"]
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    load = unittest.defaultTestLoader
    suite = load.loadTestsFromNames(sys.argv[2:], module) if sys.argv[2:] else \
        load.loadTestsFromModule(module)
    signal.signal(signal.SIGALRM, hung)
    result = Lines()
    suite.run(result)
    sys.exit(0 if result.wasSuccessful() else 1)


if __name__ == "__main__":
    main()
