"""`pip install .`: the wheel has the package and nothing else, and works where it is installed."""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest
import zipfile

SOURCE = pathlib.Path(os.environ.get("METE_SOURCE", pathlib.Path(__file__).parents[2]))
PACKAGES = pathlib.Path(os.environ.get("METE_PYTHON_PACKAGES", "/nowhere"))


@unittest.skipUnless((PACKAGES / "scikit_build_core").exists(),
                     "scikit-build-core is not here (scripts/setup python)")
class Wheel(unittest.TestCase):
    def run_quietly(self, *command, **named):
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True,
                              timeout=500, stdin=subprocess.DEVNULL, **named)
        self.assertEqual(done.returncode, 0, done.stdout[-4000:] + done.stderr[-4000:])
        return done.stdout

    def test_builds_installs_and_runs(self):
        python = PACKAGES.resolve().parents[2] / "bin" / "python"
        build = pathlib.Path(os.environ["METE_BUILD"]) / "wheel"
        plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        with tempfile.TemporaryDirectory() as folder:
            self.run_quietly(python, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps",
                             "--disable-pip-version-check", "-C", f"build-dir={build}",
                             "-w", folder, SOURCE, env=plain)
            wheel, = pathlib.Path(folder).glob("mete-*.whl")
            names = zipfile.ZipFile(wheel).namelist()
            self.assertEqual({name.split("/")[0].split("-")[0] for name in names}, {"mete"})
            self.assertIn("mete/py.typed", names)
            self.assertIn("mete/_native.pyi", names)
            site = pathlib.Path(folder) / "site"
            self.run_quietly(python, "-m", "pip", "install", "--no-deps", "--no-index", "--target",
                             site, "--disable-pip-version-check", wheel, env=plain)
            printed = self.run_quietly(
                sys.executable, "-B", SOURCE / "examples" / "seed_workflow.py",
                env={**plain, "PYTHONPATH": str(site)}, cwd=folder)
            self.assertIn("Tokens Used: 10000\n", printed)


if __name__ == "__main__":
    unittest.main()
