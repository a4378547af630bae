"""scripts/run_tests.py: the sum says what ctest's account says, and nothing better."""

import contextlib
import io
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "scripts"))

import run_tests  # noqa: E402  (found through the line above)

ACCOUNT = """<?xml version="1.0"?>
<testsuite name="x" tests="9">
 <testcase name="ok" time="0.1" status="run"><system-out>fine</system-out></testcase>
 <testcase name="bad" time="0.1" status="fail"><failure message=""/>
  <system-out>expected 1, got 2</system-out></testcase>
 <testcase name="slow" time="1.0" status="fail"><failure message=""/><system-out/></testcase>
 <testcase name="code" time="0.1" status="notrun"><skipped message="SKIP_RETURN_CODE=77"/>
  <system-out>no clang-format here</system-out></testcase>
 <testcase name="google" time="0.1" status="notrun">
  <skipped message="SKIP_REGULAR_EXPRESSION_MATCHED"/>
  <system-out>[ RUN      ] A.B
src/a_test.cc:7: Skipped
no control groups here

[  SKIPPED ] A.B (0 ms)</system-out></testcase>
 <testcase name="python" time="0.1" status="notrun">
  <skipped message="SKIP_REGULAR_EXPRESSION_MATCHED"/>
  <system-out>test_a (x.A.test_a) ... skipped 'not root'
OK (skipped=1)</system-out></testcase>
 <testcase name="gone" time="0" status="notrun"><skipped message="Unable to find executable"/>
 </testcase>
 <testcase name="off" time="0" status="disabled"/>
</testsuite>
"""


class SumTest(unittest.TestCase):
    def sum_of(self, text):
        with tempfile.TemporaryDirectory() as folder:
            account = pathlib.Path(folder, "junit.xml")
            if text:
                account.write_text(text)
            total = run_tests.Sum()
            total.add("asan", account)
            return total

    def test_counts_and_reasons(self):
        total = self.sum_of(ACCOUNT)
        self.assertEqual(total.passed, 1)
        self.assertEqual([name for name, _ in total.failed],
                         ["asan: bad", "asan: slow", "asan: gone", "asan: off"])
        self.assertEqual(total.skipped, [("asan: code", "no clang-format here"),
                                         ("asan: google", "no control groups here"),
                                         ("asan: python", "not root")])

    def test_prints_the_sum_last(self):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            self.sum_of(ACCOUNT).print()
        lines = out.getvalue().splitlines()
        self.assertEqual(lines[-1], "1 passed, 4 failed, 3 skipped")
        self.assertIn("expected 1, got 2", lines)
        self.assertIn("  asan: python: not root", lines)

    def test_no_account_is_a_failure(self):
        self.assertEqual(len(self.sum_of("").failed), 1)
        self.assertEqual(len(self.sum_of('<testsuite name="x"/>').failed), 1)


class CoverageTest(unittest.TestCase):
    def test_cases_of_a_file_that_runs_as_one_are_seen(self):
        total = run_tests.Sum()
        with tempfile.TemporaryDirectory() as folder:
            account = pathlib.Path(folder) / "junit.xml"
            account.write_text("""<testsuite><testcase name="whole_test" status="run"><system-out>
test_it (__main__.Whole.test_it) ... ok
test_more (whole_test.Whole.test_more)
What it is about. ... ok</system-out></testcase></testsuite>""")
            total.add("test", account)
        self.assertEqual(total.seen, {"whole_test", "Whole.test_it", "Whole.test_more"})

    def test_what_never_ran_is_found(self):
        seen = {"Suite.Case", "All/Table.Rows/3", "a_test.Some.test_it", "python_b_test@3.12.1"}
        named = {"Suite", "Suite.Case", "Table.Rows", "Some.test_it", "Some", "a_row", "Suite.Cas",
                 "Some.test_other", "Gone"}
        self.assertEqual(run_tests.never_ran(named, seen), ["Gone", "Some.test_other", "Suite.Cas"])


if __name__ == "__main__":
    unittest.main()
