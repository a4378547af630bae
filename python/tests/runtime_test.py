"""The runtime around the manager: quotas on spawn, none left after, figures to scale by."""

import ast
import os
import pathlib
import re
import subprocess
import sys
import unittest

import mete
import mete.sync
from mete import _config
from support import Clock, run_program, source_folder


TESTS = pathlib.Path(__file__).resolve().parent


class Example(unittest.TestCase):
    def test_a_runtime_creates_on_spawn_and_cleans_up_on_terminate(self):
        done = subprocess.run(
            [sys.executable, source_folder() / "examples" / "embedding_runtime.py"],
            capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = done.stdout.splitlines()
        self.assertEqual(lines[0], "suspend talker")
        self.assertIn("reader: within its limit, what is left lasts a while", lines)
        self.assertIn("talker: over its limit, what is left is used up", lines)
        self.assertIn("resume talker", lines)
        self.assertRegex(lines[-2], r"^session nightly: 4400 tokens, 0\.3 s of CPU, 0 MiB held$")
        self.assertEqual(lines[-1], "agents left: 0")


class Documentation(unittest.TestCase):
    def test_the_example_of_the_page_runs(self):
        page = (source_folder() / "docs" / "python.md").read_text()
        done = run_program(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1])
        self.assertEqual((done.returncode, done.stdout), (0, "18500 False\n"), done.stderr)

    def test_names_every_key_of_the_configuration_and_every_call(self):
        page = (source_folder() / "docs" / "python.md").read_text()
        calls = {name for name in dir(mete.sync.ResourceManager)
                 if not name.startswith(("_", "native_", "report_awaited"))} - {"report"}
        for name in {*calls, *_config.KEYS}:
            self.assertRegex(page, rf"`{name}\b")


class Fleet(unittest.TestCase):
    def test_figures_of_the_receipt_and_of_the_quota_agree(self):
        clock = Clock()
        manager = mete.sync.ResourceManager({"clock": clock})
        manager.create_quota("a", {"tokens_per_hour": 1000, "cpu": "1", "memory": "100Mi"})
        clock.now += 20
        receipt = manager.report_usage("a", tokens=400, cpu_seconds=40, memory_mb=25)
        quota = manager.get_quota("a")
        for name, limit in (("tokens", "tokens_per_hour"), ("cpu_seconds", "cpu"),
                            ("memory_mb", "memory")):
            window = quota.window(limit)
            self.assertEqual(receipt.load(name), window.load)
            self.assertEqual(receipt.rate_per_second(name), window.rate_per_second)
            self.assertEqual(receipt.time_to_exhaustion(name), window.time_to_exhaustion)
            self.assertEqual(receipt.remaining[name], window.remaining)
        tokens = quota.window("tokens_per_hour")
        self.assertEqual((tokens.load, tokens.rate_per_second, tokens.time_to_exhaustion),
                         (0.4, 20, 30))

    def test_the_tightest_limit_on_the_path_counts(self):
        manager = mete.sync.ResourceManager()
        manager.create_quota("t", {"tokens_per_hour": 100}, scope="tenant")
        manager.create_quota("a", {"tokens_per_hour": 1000}, parent="tenant/t")
        receipt = manager.report_usage("a", tokens=80)
        self.assertEqual((receipt.load("tokens"), receipt.remaining["tokens"]), (0.8, 20))


@unittest.skipUnless(os.environ.get("METE_PYTHON_PACKAGES") and (
    pathlib.Path(os.environ["METE_PYTHON_PACKAGES"]) / "mypy").exists(),
    "mypy is not here (scripts/setup python)")
class Types(unittest.TestCase):
    """With the mypy of build/venv, whatever interpreter runs this."""

    def mypy(self, module, *arguments):
        packages = pathlib.Path(os.environ["METE_PYTHON_PACKAGES"]).resolve()
        python = packages.parents[2] / "bin" / "python"
        return subprocess.run(
            [python, "-m", module, *map(str, arguments)], capture_output=True, text=True,
            timeout=600, cwd=pathlib.Path(os.environ["METE_BUILD"]) / "python",
            env={**os.environ,
                 "MYPY_CACHE_DIR": str(pathlib.Path(os.environ["METE_BUILD"]) / "mypy_cache")})

    def test_the_package_and_a_program_that_uses_it_are_strictly_typed(self):
        done = self.mypy("mypy", "--strict", "-p", "mete")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        done = self.mypy("mypy", "--strict", TESTS / "typed_program.py")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_wrong_programs_are_found(self):
        done = self.mypy("mypy", "--strict", TESTS / "untypable_program.py")
        program = (TESTS / "untypable_program.py").read_text().splitlines()
        expected = [number for number, line in enumerate(program, 1) if line.endswith("# wrong")]
        found = sorted({int(line.split(":")[1]) for line in done.stdout.splitlines()
                        if ": error: " in line})
        self.assertEqual(found, expected, done.stdout)


class Stubs(unittest.TestCase):
    def test_have_the_names_of_the_native_module(self):
        native = mete._native
        stub = ast.parse(pathlib.Path(native.__file__).with_name("_native.pyi").read_text())

        def named(body):
            return {item.name for item in body
                    if isinstance(item, (ast.FunctionDef, ast.ClassDef))
                    and not item.name.startswith("_")}

        def public(thing):
            return {name for name in vars(thing) if not name.startswith("_")}

        self.assertEqual(named(stub.body), public(native))
        for item in stub.body:
            if isinstance(item, ast.ClassDef):
                with self.subTest(item.name):
                    self.assertEqual(named(item.body), public(getattr(native, item.name)))


if __name__ == "__main__":
    unittest.main()
