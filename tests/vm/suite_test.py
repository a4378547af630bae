"""The virtual machine suite, without a machine: what it makes of what a guest says."""

import pathlib
import subprocess
import sys
import tempfile
import unittest
import unittest.mock

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent / "scripts")]

import guest  # noqa: E402  (found through the line above)
import initramfs  # noqa: E402
import run_tests  # noqa: E402
import suite  # noqa: E402
import systemd_files  # noqa: E402
from cases import cases_in, write_account  # noqa: E402

GOOD = """@begin one_test
[==========] Running 2 tests from 1 test suite.
[ RUN      ] A.Good
some words
[       OK ] A.Good (12 ms)
[ RUN      ] A.Left/kernel
a_test.cc:7: Skipped
no such file here
[  SKIPPED ] A.Left/kernel (0 ms)
[  SKIPPED ] 1 test, listed below:
[  SKIPPED ] A.Left/kernel
@end one_test 0
@done
"""


class Cases(unittest.TestCase):
    def outcome(self, text):
        return [(case.name, case.status) for case in cases_in(text)]

    def test_of_a_good_program(self):
        self.assertEqual(self.outcome(GOOD),
                         [("one_test.A.Good", "run"), ("one_test.A.Left/kernel", "notrun")])
        self.assertEqual(cases_in(GOOD)[0].seconds, 0.012)

    def test_that_fail_keep_what_was_said(self):
        case, = cases_in("@begin a\n[ RUN      ] A.B\nexpected 1\n[  FAILED  ] A.B (3 ms)\n"
                         "[  FAILED  ] A.B\n@end a 1\n")
        self.assertEqual((case.status, case.text), ("fail", "expected 1"))

    def test_that_did_not_end_have_failed(self):
        for last in ("@end a 137\n", "@done\n", "", "[ RUN      ] A.C\n[       OK ] A.C (1 ms)\n"):
            with self.subTest(last):
                said = f"@begin a\n[ RUN      ] A.B\n{last}"
                self.assertIn(("a.A.B", "fail"), self.outcome(said))

    def test_a_program_that_ends_badly_or_ran_none_has_failed(self):
        self.assertEqual(self.outcome("@begin a\ncannot\n@end a 127\n"), [("a", "fail")])
        self.assertEqual(self.outcome("@begin a\n@end a 0\n"), [("a", "fail")])
        self.assertEqual(self.outcome(
            "@begin a\n[ RUN      ] A.B\n[       OK ] A.B (1 ms)\n@end a 139\n"),
            [("a.A.B", "run"), ("a", "fail")])
        self.assertEqual(self.outcome("@begin a\n[ RUN      ] A.B\n[       OK ] A.B (1 ms)\n"),
                         [("a.A.B", "run"), ("a", "fail")])

    def test_are_counted_by_the_one_sum(self):
        total = run_tests.Sum()
        with tempfile.TemporaryDirectory() as folder:
            account = pathlib.Path(folder, "6.1.xml")
            bad = "@begin b\n[ RUN      ] B.C\n\x1b\x00\ud800\n@end b 1\n"
            write_account(account, cases_in(GOOD + bad))
            total.add("vm 6.1", account)
        self.assertEqual(total.passed, 1)
        self.assertEqual(total.skipped, [("vm 6.1: one_test.A.Left/kernel", "no such file here")])
        self.assertEqual([name for name, _ in total.failed], ["vm 6.1: b.B.C"])


class Runner(unittest.TestCase):
    """guest/run_cases.py speaks what cases.py reads."""

    def test_says_what_became_of_each(self):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, "x_test.py")
            file.write_text("import unittest\nclass A(unittest.TestCase):\n"
                            "    def test_a(self): pass\n"
                            "    def test_b(self): self.fail('no reason')\n"
                            "    def test_c(self): self.skipTest('not here')\n"
                            "    def test_d(self):\n"
                            "        with self.subTest(1): 1 / 0\n")
            done = subprocess.run([sys.executable, "-B", HERE / "guest" / "run_cases.py", file],
                                  capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 1, done.stderr)
        cases = cases_in(f"@begin x\n{done.stdout}@end x 1\n")
        self.assertEqual([(case.name, case.status) for case in cases],
                         [("x.A.test_a", "run"), ("x.A.test_b", "fail"),
                          ("x.A.test_c", "notrun"), ("x.A.test_d", "fail")])
        self.assertIn("no reason", cases[1].text)


class Watchdog(unittest.TestCase):
    """A guest that hangs, or goes down, is a failure that shows its last words."""

    def boot(self, script):
        def command(kernel, image, console, results):
            return ["sh", "-c", script, "sh", str(console), str(results)]
        with tempfile.TemporaryDirectory() as folder, \
                unittest.mock.patch.object(guest, "command", command), \
                unittest.mock.patch.object(guest, "SILENT_SECONDS", 1):
            return guest.boot("kernel", "image", pathlib.Path(folder))

    def test_a_guest_that_is_done(self):
        self.assertEqual(self.boot("printf '@begin a\\r\\n@done\\r\\n' >$2"),
                         ("@begin a\n@done\n", ""))

    def test_a_guest_that_hangs(self):
        _, why = self.boot("echo 'BUG: locked up' >$1; exec sleep 60")
        self.assertIn("nothing was heard", why)
        self.assertIn("BUG: locked up", why)

    def test_a_guest_that_goes_down(self):
        text, why = self.boot(
            "echo '@begin a' >$2; echo 'Kernel panic' >$1; echo no kvm >&2; exit 1")
        self.assertEqual(text, "@begin a\n")
        self.assertIn("went down before it was done", why)
        self.assertIn("Kernel panic", why)
        self.assertIn("no kvm", why)


class Kernels(unittest.TestCase):
    def test_that_cannot_be_fetched_say_why(self):
        with tempfile.TemporaryDirectory() as folder, \
                unittest.mock.patch.object(suite, "SOURCE", pathlib.Path(folder)):
            script = pathlib.Path(folder, "scripts", "setup_vm")
            script.parent.mkdir()
            script.write_text("#!/bin/sh\necho 'E: no network' >&2\nexit 100\n")
            script.chmod(0o755)
            self.assertIn("E: no network", suite.fetch(pathlib.Path(folder, "kept")))
            for meta in suite.KERNELS.values():
                pathlib.Path(folder, "kept", meta).mkdir(parents=True)
                pathlib.Path(folder, "kept", meta, "vmlinuz").touch()
            self.assertIn("E: no network", suite.fetch(pathlib.Path(folder, "kept")))
            pathlib.Path(folder, "kept", suite.SYSTEMD, "root").mkdir(parents=True)
            self.assertEqual(suite.fetch(pathlib.Path(folder, "kept")), "")


class FileSystem(unittest.TestCase):
    def test_is_an_archive_that_others_can_read(self):
        archive = initramfs.Archive()
        archive.file("a/b/c", b"12345", 0o755)
        archive.file("a/b/c", b"again")
        archive.link("a/d", "b/c")
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "image")
            archive.write(path)
            data = path.read_bytes()
        self.assertEqual([name for name in ("a", "a/b", "a/b/c", "a/d") if
                          data.count(name.encode() + b"\0") == 1], ["a", "a/b", "a/b/c", "a/d"])
        self.assertEqual(len(data) % 4, 0)
        self.assertTrue(data.endswith(b"TRAILER!!!\0\0\0\0"))

    def test_may_have_systemd_as_its_first_process(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in (*systemd_files.PROGRAMS, "lib/systemd/system/basic.target",
                         "lib/systemd/system/systemd-journald.service",
                         "lib/x86_64-linux-gnu/libc.so.6", "lib/x86_64-linux-gnu/libcap.so.2"):
                pathlib.Path(folder, name).parent.mkdir(parents=True, exist_ok=True)
                pathlib.Path(folder, name).touch()
            archive = initramfs.Archive()
            archive.file("lib/x86_64-linux-gnu/libc.so.6", b"this machine's")
            systemd_files.add_to(archive, pathlib.Path(folder))
        self.assertLessEqual({*systemd_files.PROGRAMS, "init", "lib/systemd/system/basic.target",
                              "etc/systemd/system/default.target",
                              "lib/x86_64-linux-gnu/libcap.so.2"}, archive.names)
        self.assertNotIn("lib/systemd/system/systemd-journald.service", archive.names)
        self.assertIn(b"this machine's", archive.parts)

    def test_libraries_come_along(self):
        self.assertTrue(any("libc.so" in name for name in initramfs.libraries(sys.executable)))


if __name__ == "__main__":
    unittest.main()
