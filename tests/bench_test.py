"""scripts/bench.py: medians, units, bars, and rows that nothing measures."""

import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "scripts"))

import bench  # noqa: E402  (found through the line above)


def run(name, cpu, real=1e9, unit="ns", **extra):
    return {"run_name": name, "cpu_time": cpu, "real_time": real, "time_unit": unit, **extra}


ROW = {"name": "a", "peer": "b", "what": "c", "value": "a/mete", "beside": "a/peer", "unit": "ns",
       "ratio": "beside / value", "bar": "ratio >= 10 and value <= 2"}
PEER = [run("a/peer", 20)]


class BenchTest(unittest.TestCase):
    def judge(self, *times, row=ROW):
        return bench.judge(row, PEER + [run("a/mete", time) for time in times])[0]

    def test_takes_the_median_and_compares(self):
        self.assertEqual(self.judge(1, 2, 90), {
            "name": "a", "peer": "b", "value": 2, "unit": "ns", "ratio": 10,
            "bar": "ratio >= 10 and value <= 2", "holds": True})

    def test_a_row_that_does_not_hold(self):
        self.assertFalse(self.judge(2.1)["holds"])
        self.assertFalse(self.judge(1, row={**ROW, "bar": "ratio >= 21"})["holds"])

    def test_take_min(self):
        row = {**ROW, "value": "a/mete:n", "take": "min", "ratio": "value", "bar": "value >= 5"}
        runs = PEER + [run("a/mete", 1, n=count) for count in (9, 4, 9)]
        self.assertEqual(bench.judge(row, runs)[0]["value"], 4)
        self.assertEqual(bench.judge({**row, "take": "median"}, runs)[0]["value"], 9)

    def test_units_and_own_time(self):
        self.assertEqual(bench.measured([run("x", 3, unit="us")], "x", "ms"), 0.003)
        own = [run("x/iterations:1/manual_time", 3, real=7, unit="ms")]
        self.assertEqual(bench.measured(own, "x", "ms"), 7)

    def test_what_nobody_measures_is_missing(self):
        failed = run("x", 1, error_occurred=True, error_message="it ended with 3")
        for runs, name in (([], "x"), ([run("xy", 1)], "x"), ([run("x", 1)], "x:n"),
                           ([run("x/1", 1), run("x/2", 1)], "x"), ([failed], "x")):
            with self.assertRaises(bench.Missing) as raised:
                bench.measured(runs, name, "ns")
            self.assertNotIsInstance(raised.exception, bench.Busy)

    def test_a_busy_machine_is_no_failure_and_no_figure(self):
        busy = run("x", 1, error_occurred=True, error_message="no burst in which both ran")
        with self.assertRaises(bench.Busy):
            bench.measured([busy], "x", "ns")
        self.assertEqual(bench.measured([busy, run("x", 3)], "x", "ns"), 3)


if __name__ == "__main__":
    unittest.main()
