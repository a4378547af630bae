"""scripts/setup: what it looks for, what it would install, and what it says when it cannot."""

import os
import pathlib
import subprocess
import tempfile
import unittest

SETUP = pathlib.Path(__file__).resolve().parent.parent / "scripts" / "setup"
DEBIAN_12 = 'ID=debian\nVERSION_ID="12"\n'
RECORD = '#!/bin/sh\necho "$@" >> "$RECORD"\n'
FAIL = '#!/bin/sh\necho "E: no network" >&2\nexit 100\n'


class SetupTest(unittest.TestCase):
    def run_setup(self, *groups, hide=(), release=DEBIAN_12, apt=RECORD):
        """Runs it with the programs of this machine but those in `hide`, and our own apt-get."""
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            programs = root / "bin"
            programs.mkdir()
            for directory in reversed(os.environ["PATH"].split(":")):
                for program in pathlib.Path(directory).glob("*"):
                    link = programs / program.name
                    link.unlink(missing_ok=True)
                    link.symlink_to(program)
            for name in (*hide, "apt-get", "sudo"):
                (programs / name).unlink(missing_ok=True)
            (programs / "apt-get").write_text(apt)
            (programs / "apt-get").chmod(0o755)
            # Whoever runs this test, the script is to believe that it is root.
            (programs / "id").unlink(missing_ok=True)
            (programs / "id").write_text("#!/bin/sh\necho 0\n")
            (programs / "id").chmod(0o755)
            (root / "os-release").write_text(release)
            record = root / "record"
            record.touch()
            done = subprocess.run(
                ["bash", str(SETUP), *groups], capture_output=True, text=True, timeout=60,
                env={"PATH": str(programs), "HOME": folder, "RECORD": str(record),
                     "METE_OS_RELEASE": str(root / "os-release")})
            return done, record.read_text()

    def test_nothing_missing_is_silent_and_leaves_the_package_manager_alone(self):
        done, called = self.run_setup("build")
        self.assertEqual((done.returncode, done.stdout, done.stderr, called), (0, "", "", ""))

    def test_a_missing_program_is_installed_by_its_package(self):
        done, called = self.run_setup("build", hide=["ninja"])
        self.assertEqual(done.stdout, "setup: installing ninja-build\n")
        self.assertIn("install -y --no-install-recommends ninja-build\n", called)
        # Our apt-get installs nothing, so the second look must find it missing still.
        self.assertEqual(done.returncode, 1)
        self.assertIn("command:ninja", done.stderr)

    def test_only_the_groups_asked_for(self):
        done, called = self.run_setup("build", hide=["clang-tidy-19", "ccache"])
        self.assertEqual((done.returncode, called), (0, ""))
        done, called = self.run_setup("build", "test", hide=["clang-tidy-19", "ccache"])
        self.assertIn("ccache", called)
        self.assertNotIn("clang-tidy", called)

    def test_vulkan_is_a_group_of_its_own(self):
        done, called = self.run_setup("build", hide=["glslangValidator"])
        self.assertEqual((done.returncode, called), (0, ""))
        done, called = self.run_setup("gpu", hide=["glslangValidator"])
        self.assertIn("install -y --no-install-recommends glslang-tools\n", called)

    def test_virtual_machines_are_a_group_of_their_own(self):
        hidden = ["qemu-system-x86_64"]
        done, called = self.run_setup("build", "test", hide=hidden)
        self.assertEqual((done.returncode, called), (0, ""))
        done, called = self.run_setup("vm", hide=hidden)
        self.assertIn("install -y --no-install-recommends qemu-system-x86\n", called)

    def test_a_failing_package_manager_is_shown(self):
        done, _ = self.run_setup("build", hide=["ninja"], apt=FAIL)
        self.assertEqual(done.returncode, 1)
        self.assertIn("E: no network", done.stderr)
        self.assertIn("by hand: apt-get install ninja-build", done.stderr)

    def test_an_unknown_distribution_is_told_the_names(self):
        done, called = self.run_setup("build", hide=["ninja"], release='ID=other\nVERSION_ID="7"\n')
        self.assertEqual((done.returncode, called), (1, ""))
        self.assertIn("ninja-build", done.stderr)
        self.assertIn("cannot install on this distribution", done.stderr)

    def test_an_unknown_distribution_with_everything_is_fine(self):
        done, _ = self.run_setup("build", release="ID=other\n")
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_bad_group(self):
        done, _ = self.run_setup("bild")
        self.assertEqual(done.returncode, 2)
        self.assertIn('unknown group "bild"', done.stderr)


if __name__ == "__main__":
    unittest.main()
