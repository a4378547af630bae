"""scripts/find_pythons.py: which interpreters an extension is built for."""

import os
import pathlib
import sys
import tempfile
import tomllib
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import find_pythons  # noqa: E402  (found through the line above)


class FindPythonsTest(unittest.TestCase):
    def fake(self, folder, name, answer, status=0):
        path = pathlib.Path(folder) / name
        path.write_text(f"#!/bin/sh\necho '{answer}'\nexit {status}\n")
        path.chmod(0o755)
        return str(path)

    def test_takes_each_version_and_place_once(self):
        with tempfile.TemporaryDirectory() as folder:
            one = self.fake(folder, "python3.12", "3.12.1;x;cpython-312;i;.so;place")
            os.symlink(one, os.path.join(folder, "python3"))
            same = self.fake(folder, "python3.12-again", "3.12.1;x;cpython-312;i;.so;place")
            other = self.fake(folder, "python3.13", "3.13.0;y;cpython-313;i;.so;elsewhere")
            found = find_pythons.find([os.path.join(folder, "python3"), one, same, other])
            self.assertEqual([row[0] for row in found], ["3.12.1", "3.13.0"])
            self.assertEqual(found[0], ["3.12.1", "x", "cpython-312", "i", ".so"])

    def test_leaves_out_what_fails_or_is_too_old(self):
        with tempfile.TemporaryDirectory() as folder:
            silent = self.fake(folder, "python3.9", "")
            broken = self.fake(folder, "python3.14", "3.14.0;x;t;i;.so;p", status=1)
            missing = os.path.join(folder, "python3.99")
            self.assertEqual(find_pythons.find([silent, broken, missing, None]), [])

    def test_the_package_claims_what_is_tested(self):
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        claimed = {line.rsplit(" ", 1)[1] for line in project["classifiers"]
                   if line.startswith("Programming Language :: Python :: 3")}
        here = {".".join(row[0].split(".")[:2]) for row in find_pythons.find(
            find_pythons.candidates())}
        self.assertIn(project["requires-python"].removeprefix(">="), claimed)
        if claimed - here:
            self.skipTest(f"no CPython {', '.join(sorted(claimed - here))} with headers here")

    def test_this_interpreter_is_what_it_says(self):
        row = find_pythons.probe(sys.executable)
        if row is None:
            self.skipTest("the headers of this Python are not installed")
        self.assertEqual(row[2], sys.implementation.cache_tag)
        self.assertTrue(os.path.exists(os.path.join(row[3], "Python.h")))


if __name__ == "__main__":
    unittest.main()
