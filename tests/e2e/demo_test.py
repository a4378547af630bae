"""`make demo`: its figures against those of the kernel and of the programs themselves."""

import json
import os
import pathlib
import resource
import subprocess
import threading
import unittest

PROGRAM = os.environ["METE_PROGRAM"]
BUILD = pathlib.Path(os.environ["METE_BUILD"])
SOURCE = pathlib.Path(os.environ["METE_SOURCE"])
MIB = 1 << 20


def peak_file_of(pid):
    """The file in which the kernel keeps the peak of the memory group that a process is in."""
    for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return pathlib.Path("/sys/fs/cgroup/memory" + path, "memory.max_usage_in_bytes")
        if controllers == "" and pathlib.Path("/sys/fs/cgroup" + path, "memory.peak").exists():
            return pathlib.Path("/sys/fs/cgroup" + path, "memory.peak")
    return None


class PeakWatch(threading.Thread):
    """Reads the peaks of all running agents from their groups until it is told to stop."""

    def __init__(self):
        super().__init__()
        self.stop = threading.Event()
        self.peaks = {}  # command line -> the last peak that was seen

    def run(self):
        files = {}
        while not self.stop.wait(0.1):
            listed = subprocess.run([PROGRAM, "quota", "list", "--json"], capture_output=True)
            for quota in json.loads(listed.stdout or b"{}").get("quotas", []):
                try:
                    words = pathlib.Path(f"/proc/{quota['pid']}/cmdline").read_text()
                    files.setdefault(words.replace("\0", " "), peak_file_of(quota["pid"]))
                except (OSError, KeyError, ValueError):
                    pass  # it ended meanwhile
            for words, file in files.items():
                try:
                    self.peaks[words] = int(file.read_text())
                except (OSError, AttributeError, ValueError):
                    pass


class DemoTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        watch = PeakWatch()
        watch.start()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        cls.done = subprocess.run(["python3", "-B", str(SOURCE / "scripts" / "demo.py"),
                                   "--build", str(BUILD)], capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        watch.stop.set()
        watch.join()
        cls.cpu_of_all = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        cls.peaks = watch.peaks
        cls.demo = json.loads((BUILD / "demo.json").read_text())
        cls.agents = {agent["name"]: agent for agent in cls.demo["agents"]}

    def own_account(self, name):
        return json.loads((BUILD / "demo" / f"{name}.out").read_text().splitlines()[-1])

    def peak_of(self, part):
        found = [peak for words, peak in self.peaks.items() if part in words]
        self.assertTrue(found, f"no group of {part} was seen: {list(self.peaks)}")
        return found[0]

    def test_it_is_as_promised_and_says_so(self):
        self.assertEqual(self.done.returncode, 0, self.done.stdout + self.done.stderr)
        self.assertTrue(self.demo["holds"])
        self.assertIn("As promised.", self.done.stdout)
        self.assertLess(self.demo["seconds"], 60)
        for name in ("worker", "spinner", "hog", "talker"):
            self.assertRegex(self.done.stdout, f"(?m)^{name} ")

    def test_cpu_against_rusage_of_the_programs(self):
        for name in ("worker", "spinner"):
            own = self.own_account(name)["cpu_seconds"]
            said = self.agents[name]["cpu_seconds"]
            # The program speaks just before its end, and mete counts from before its start.
            self.assertGreaterEqual(said, own - 0.02, name)
            self.assertLessEqual(said, own * 1.05 + 0.3, name)

    def test_cpu_against_rusage_of_the_whole(self):
        said = sum(agent["cpu_seconds"] for agent in self.agents.values())
        self.assertLessEqual(said, self.cpu_of_all + 0.1)
        self.assertGreater(said, 1)

    def test_memory_against_the_groups_own_peak(self):
        worker = self.agents["worker"]["memory_peak_bytes"]
        seen = self.peak_of("compress_sources.py")
        self.assertGreaterEqual(worker, seen)
        self.assertLessEqual(worker, seen + MIB)
        self.assertGreater(worker, 4 * MIB)
        self.assertLessEqual(self.agents["hog"]["memory_peak_bytes"], 64 * MIB)
        self.assertGreater(self.agents["hog"]["memory_peak_bytes"], 60 * MIB)

    def test_tokens_against_those_sent(self):
        self.assertEqual(self.own_account("talker"), {"tokens_sent": 2400})
        self.assertEqual(self.agents["talker"]["tokens"], 2400)
        self.assertEqual(self.agents["talker"]["actions"], ["warned", "suspended", "resumed"])

    def test_the_hog_is_ended_and_its_neighbours_are_not(self):
        self.assertEqual(self.agents["hog"]["status"], 124)
        self.assertEqual(self.agents["hog"]["exit"]["limit"], "memory")
        for name in ("worker", "spinner", "talker"):
            self.assertEqual(self.agents[name]["status"], 0, name)


if __name__ == "__main__":
    unittest.main()
