"""For each row of `mete doctor --json` a limit is broken, or an action taken, to see what it said.

On this machine as it is, as a user without privileges, and on machines of other shapes made of this
one (shapes.py). A row without a check here fails the test.
"""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import time
import unittest

import shapes
from agents import LEFTOVER_SECONDS, PROGRAM, AgentTest, call, eventually, processes_with

HELD = ("kernel", "sampled")
OTHER = 65531  # a user that nobody in these tests is
SPIN = "while :; do :; done"
# Another session, parents that are gone, every signal ignored that can be.
STUBBORN = ("trap '' TERM HUP INT; (setsid sh -c \"trap '' TERM HUP; sleep 1000 & sleep 1000\" &); "
            "sleep 1000 & sleep 1000")


class Shape(AgentTest):
    """Runs mete in a shape of machine: everything that it starts is in it too."""

    shape = None  # of shapes.py; None: this machine as it is

    def setUp(self):
        if self.shape is not None and os.geteuid() != 0:
            self.skipTest("only root can give a process another user or other mounts")
        super().setUp()
        # Where every user may reach it.
        self.program = self.folder / "mete"
        shutil.copy(PROGRAM, self.program)
        self.environment["PATH"] = f"{self.folder}:{os.environ.get('PATH', '/usr/bin:/bin')}"
        if self.shape is shapes.nobody:
            for path in (self.folder, self.runtime, self.program):
                os.chown(path, shapes.NOBODY, shapes.NOBODY)

    def start(self, flags, command, **popen):
        return super().start(flags, command, preexec_fn=self.shape, cwd="/", **popen)

    def mete(self, *words, env=None):
        return subprocess.run([self.program, *words], capture_output=True, text=True, timeout=60,
                              env=env or self.environment, stdin=subprocess.DEVNULL,
                              preexec_fn=self.shape, cwd="/")

    def doctor(self):
        done = self.mete("doctor", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def rows(self):
        return {(row["kind"], row["what"]): row for row in self.doctor()["grades"]}

    def refused(self, row, flags):
        """Absent or advisory: not without --best-effort, and then the limit is named."""
        self.assertIn(row["grade"], ("absent", "advisory"), row)
        agent = self.run_agent(flags, "echo ran")
        self.assertEqual((agent.process.returncode, agent.out), (125, ""), agent.err)
        self.assertIn("E2071", agent.err)
        self.assertIn(f"{row['what']}: this machine cannot hold it ({row['grade']}: ", agent.err)
        agent = self.run_agent([*flags, "--best-effort"], "echo ran")
        self.assertEqual((agent.process.returncode, agent.out), (0, "ran\n"), agent.err)

    # --- limits ---

    def cpu(self, row):
        if row["grade"] not in HELD:
            return self.refused(row, ["--cpu", "200m"])
        agent = self.run_agent(["--cpu", "200m"], f"timeout 2 sh -c '{SPIN} & {SPIN}'")
        # 0.4 s; a period more at either end; where it is sampled, every core for 100 ms.
        self.assertLess(agent.report["cpu_seconds"], 0.4 + 0.1 + 0.1 * os.cpu_count() + 0.2)
        self.assertGreater(agent.report["cpu_seconds"], 0.02)

    def memory(self, row):
        if row["grade"] not in HELD:
            return self.refused(row, ["--memory", "64Mi"])
        agent = self.run_agent(["--memory", "64Mi", "--grace", "1s"],
                               "dd if=/dev/zero of=/dev/null bs=200M count=1000")
        self.assertEqual(agent.process.returncode, 124, agent.err)
        self.assertEqual(agent.report["exit"]["limit"], "memory")
        if row["grade"] == "kernel":
            self.assertLessEqual(agent.report["memory_peak_bytes"], 64 << 20)
        return None

    def gpu_memory(self, row):
        agent = self.start(["--max-suspend", "100ms"],
                           "read go; mete report --gpu-memory 20Mi; sleep 60",
                           stdin=subprocess.PIPE)
        agent.up()
        done = self.mete("quota", "set", agent.id, "--gpu-memory", "10Mi")
        self.assertEqual(done.returncode, 0, done.stderr)
        agent.process.stdin.write(b"go\n")
        agent.process.stdin.flush()
        self.assertEqual(row["grade"], "reported")
        self.assertEqual(agent.wait(), 124, agent.err)
        self.assertEqual(agent.report["violations"][0]["limit"], "gpu_memory")

    def cpu_seconds_per_hour(self, row):
        self.assertEqual(row["grade"], "sampled")
        agent = self.run_agent(["--cpu-seconds-per-hour", "0.3", "--max-suspend", "100ms"],
                               f"{SPIN} & {SPIN}")
        self.assertEqual(agent.process.returncode, 124, agent.err)
        self.assertGreaterEqual(agent.report["cpu_seconds"], 0.3)
        # 10 ms of every core, and what it takes to stop them on a machine with other work.
        self.assertLess(agent.report["cpu_seconds"], 0.3 + 0.01 * os.cpu_count() + 0.2)

    def counted(self, row, flags, report, limit):
        self.assertEqual(row["grade"], "reported")
        agent = self.run_agent([*flags, "--max-suspend", "100ms"],
                               f"mete report {report}; sleep 60")
        self.assertEqual(agent.process.returncode, 124, agent.err)
        self.assertEqual(agent.report["violations"][0]["limit"], limit)

    def tokens_per_hour(self, row):
        self.counted(row, ["--tokens-per-hour", "10", "--on-tokens", "suspend:hard"],
                     "--tokens 11", "tokens_per_hour")

    def tokens_per_day(self, row):
        self.counted(row, ["--tokens-per-day", "10", "--on-tokens", "suspend:hard"],
                     "--tokens 11", "tokens_per_day")

    def cost_per_day(self, row):
        self.counted(row, ["--cost-per-day", "0.10"], "--cost 0.11", "cost_per_day")

    def requests_per_minute(self, row):
        self.assertEqual(row["grade"], "reported")
        agent = self.start(["--requests-per-minute", "2"], "sleep 60")
        agent.up()
        answers = [call(agent.control_socket, "GET", f"/v1/quotas/agent/{agent.id}")[0]]
        self.assertEqual(answers, [200])
        agent.process.kill()
        agent = self.run_agent(["--requests-per-minute", "2"],
                               "mete report --requests 2; mete report --requests 1; echo counted")
        self.assertIn("counted", agent.out)
        self.assertEqual(agent.report["violations"][0]["limit"], "requests_per_minute")

    def pids(self, row):
        many = "i=0; while [ $i -lt 40 ]; do sleep 3 & i=$((i+1)); done; wait"
        if row["grade"] in HELD:
            agent = self.start(["--pids", "10"], many)
        else:
            self.refused(row, ["--pids", "10"])
            if row["grade"] == "absent":
                return
            agent = self.start(["--pids", "10", "--best-effort"], many)
        most = 0
        while agent.process.poll() is None:
            most = max(most, len(processes_with(self.mark)))
            time.sleep(0.05)
        agent.wait()
        # The agent's, mete run and its guardian; where it is the user's that count, some more.
        self.assertLessEqual(most, 10 + 2 + (0 if row["grade"] in HELD else 4))
        self.assertIn("fork", agent.err)

    # --- actions ---

    def warn(self, row):
        self.assertIn(row["grade"], HELD)
        agent = self.run_agent(["--tokens-per-hour", "10", "--on-tokens", "warn"],
                               "mete report --tokens 11; echo went on")
        self.assertIn("went on", agent.out)
        self.assertIn("mete: warned: tokens_per_hour", agent.err)

    def throttle(self, row):
        flags = ["--cpu", "1", "--cpu-seconds-per-hour", "0.1", "--on-cpu", "throttle"]
        if row["grade"] not in HELD:
            agent = self.run_agent(flags, "true")
            self.assertIn("E2071", agent.err)
            return
        agent = self.start(flags, SPIN)
        agent.up()
        self.assertTrue(eventually(lambda: agent.quota()["usage"]["cpu_seconds"] > 0.1))
        time.sleep(0.5)
        used, began = agent.quota()["usage"]["cpu_seconds"], time.monotonic()
        time.sleep(1)
        used, wall = agent.quota()["usage"]["cpu_seconds"] - used, time.monotonic() - began
        self.assertLess(used, 0.7 * wall, "half a core, or less")
        self.mete("terminate", agent.id)
        agent.wait()

    def suspend(self, row):
        if row["grade"] not in HELD:
            agent = self.start([], SPIN)
            agent.up()
            self.assertNotEqual(self.mete("suspend", agent.id).returncode, 0)
            return
        agent = self.start(["--grace", "0s"], f"(setsid sh -c '{SPIN}' &); {SPIN}")
        agent.up()
        self.assertEqual(self.mete("suspend", agent.id).returncode, 0)
        self.assertTrue(eventually(lambda: agent.state() == "suspended"))
        before = agent.quota()["usage"]["cpu_seconds"]
        time.sleep(0.4)
        self.assertLess(agent.quota()["usage"]["cpu_seconds"] - before, 0.02)
        if row["grade"] == "sampled":
            self.continued_from_inside(agent)
        before = agent.quota()["usage"]["cpu_seconds"]
        self.assertEqual(self.mete("resume", agent.id).returncode, 0)
        self.assertTrue(eventually(lambda: agent.quota()["usage"]["cpu_seconds"] > before + 0.05))
        self.mete("terminate", agent.id)
        agent.wait()

    def continued_from_inside(self, agent):
        """What the overshoot of the row allows."""
        pid = agent.quota()["pid"]
        os.kill(pid, signal.SIGCONT)

        def stopped():
            stat = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
            return stat.rsplit(")", 1)[1].split()[0] == "T"
        self.assertTrue(eventually(stopped))

    def terminate(self, row):
        self.assertIn(row["grade"], HELD)
        agent = self.start(["--grace", "300ms"], STUBBORN)
        agent.up()
        self.assertTrue(eventually(lambda: len(processes_with(self.mark)) >= 6))
        self.assertEqual(self.mete("terminate", agent.id).returncode, 0)
        self.assertEqual(agent.wait(), 128 + signal.SIGTERM)
        survivors = [pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
                     for pid in processes_with(self.mark)]
        self.assertEqual(survivors, [])

    # --- readings ---

    def cpu_time(self, row):
        self.assertIn(row["grade"], HELD)
        agent = self.run_agent([], "timeout 0.5 sh -c '" + SPIN + "'; timeout 0.3 sh -c '" + SPIN
                               + "'; times")
        of_children = agent.out.split("\n")[1].split()
        told = sum(float(minutes) * 60 + float(seconds) for minutes, seconds in
                   (part.rstrip("s").split("m") for part in of_children))
        self.assertGreater(told, 0)  # 0.05 s were seen on a busy machine
        self.assertGreaterEqual(agent.report["cpu_seconds"], told - 0.03)
        self.assertLess(agent.report["cpu_seconds"], told + 0.2)

    def memory_now(self, row):
        agent = self.start(["--grace", "0s"], "dd if=/dev/zero of=/dev/null bs=100M count=100000")
        agent.up()
        reading = lambda: agent.quota()["usage"]["memory_mb"]
        if row["grade"] in HELD:
            self.assertTrue(eventually(lambda: reading() > 98), reading())
            self.assertLess(reading(), 140)
        else:
            time.sleep(0.3)
            self.assertEqual(reading(), 0, "a reading that is absent is no reading")
        self.mete("terminate", agent.id)
        agent.wait()

    def memory_peak(self, row):
        agent = self.start(["--grace", "0s"], "dd if=/dev/zero of=/dev/null bs=100M count=100000")
        agent.up()
        if row["grade"] in HELD:
            eventually(lambda: agent.quota()["usage"]["memory_mb"] > 98)
        self.mete("terminate", agent.id)
        agent.wait()
        if row["grade"] in HELD:
            self.assertGreater(agent.report["memory_peak_bytes"], 98 << 20)
            self.assertLess(agent.report["memory_peak_bytes"], 140 << 20)
        else:
            self.assertEqual(agent.report["memory_peak_bytes"], 0)

    # --- the environment ---

    def start_in_the_group(self, row):
        """Either way the program never runs outside of its group."""
        agent = self.run_agent([], "cat /proc/self/cgroup; grep 'resident set' /proc/self/limits")
        resident = agent.out.strip().splitlines()[-1].split()
        inside = "/mete/" in agent.out or resident[3].isdigit()
        self.assertTrue(inside, agent.out)
        if self.shape is shapes.without_clone3:
            self.assertEqual(row["grade"], "absent")
            self.assertIn("clone3", row["how"])

    def slow_memory(self, row):
        flags = ["--memory", "64Mi", "--on-memory", "throttle"]
        agent = self.run_agent(flags, "echo ran")
        self.assertIn(row["grade"], ("kernel", "absent"))
        if row["grade"] == "kernel":
            self.assertEqual(agent.out, "ran\n", agent.err)

    def pressure(self, row):
        agent = self.start(["--grace", "0s"], "sleep 1000")
        agent.up()
        path = next((line.split("::", 1)[1] for line in pathlib.Path(
            f"/proc/{agent.quota()['pid']}/cgroup").read_text(encoding="utf-8").splitlines()
            if line.startswith("0::")), None)
        mounts = [point for point, kind, _ in shapes.cgroup_mounts() if kind == "cgroup2"]
        file = pathlib.Path(f"{mounts[0]}{path}/memory.pressure") if mounts and path else None
        if row["grade"] == "kernel":
            with open(file, "r+b", buffering=0) as trigger:
                trigger.write(b"some 100000 2000000\0")
        else:
            self.assertEqual(row["grade"], "absent")
        self.mete("terminate", agent.id)
        agent.wait()

    def labels(self, row):
        self.assertIn(row["grade"], ("kernel", "absent"))

    def limits_above(self, row):
        self.assertIn(row["grade"], ("kernel", "absent"))
        if row["grade"] == "kernel":
            self.assertIn(" by ", row["how"])

    def other_user(self, row):
        agent = self.run_agent(["--user", f"{OTHER}:{OTHER}"], "id -u; id -g")
        if row["grade"] == "kernel":
            self.assertEqual(agent.out, f"{OTHER}\n{OTHER}\n", agent.err)
            return
        self.assertEqual(row["grade"], "absent")
        self.assertEqual((agent.process.returncode, agent.out), (125, ""), agent.err)


CHECKS = {
    ("limit", "cpu"): Shape.cpu,
    ("limit", "memory"): Shape.memory,
    ("limit", "gpu_memory"): Shape.gpu_memory,
    ("limit", "cpu_seconds_per_hour"): Shape.cpu_seconds_per_hour,
    ("limit", "tokens_per_hour"): Shape.tokens_per_hour,
    ("limit", "tokens_per_day"): Shape.tokens_per_day,
    ("limit", "cost_per_day"): Shape.cost_per_day,
    ("limit", "requests_per_minute"): Shape.requests_per_minute,
    ("limit", "pids"): Shape.pids,
    ("action", "warn"): Shape.warn,
    ("action", "throttle"): Shape.throttle,
    ("action", "suspend"): Shape.suspend,
    ("action", "terminate"): Shape.terminate,
    ("reading", "cpu time"): Shape.cpu_time,
    ("reading", "memory"): Shape.memory_now,
    ("reading", "memory peak"): Shape.memory_peak,
    ("environment", "start in the group"): Shape.start_in_the_group,
    ("environment", "slow memory"): Shape.slow_memory,
    ("environment", "pressure"): Shape.pressure,
    ("environment", "labels"): Shape.labels,
    ("environment", "limits above"): Shape.limits_above,
    ("environment", "other user"): Shape.other_user,
}
# What differs between the shapes; the rest is the same code over the same readings.
OF_THE_SHAPE = [key for key in CHECKS
                if key[1] in ("cpu", "memory", "pids", "suspend", "terminate", "cpu time",
                              "memory peak", "start in the group", "pressure")]


class EveryRow:
    """Mixed into each machine: one row after the other, each told apart in the report."""

    keys = list(CHECKS)

    def test_every_row_is_what_a_program_experiences(self):
        rows = self.rows()
        self.assertEqual(set(rows) - set(CHECKS), set(), "a row that nothing tries")
        self.assertEqual(set(CHECKS) - set(rows), set(), "a row that is not there any more")
        for key, row in rows.items():
            self.assertIn(row["grade"], ("kernel", "sampled", "reported", "advisory", "absent"))
            self.assertNotEqual(row["how"], "")
            if row["grade"] == "sampled" and key[0] == "limit":
                self.assertNotEqual(row.get("overshoot", ""), "", f"{key}: how far, at worst?")
        for key in self.keys:
            with self.subTest(kind=key[0], what=key[1], grade=rows[key]["grade"]):
                CHECKS[key](self, rows[key])


class ThisMachine(EveryRow, Shape):
    pass


class AsNobody(EveryRow, Shape):
    shape = staticmethod(shapes.nobody)

    def killed(self, agent):
        """AgentTest.tearDown finds what is left of it, in /proc and in the runtime folder."""
        agent.process.kill()
        agent.process.communicate()
        self.assertTrue(eventually(lambda: not processes_with(self.mark), LEFTOVER_SECONDS))

    def test_the_report_says_how_each_limit_was_held(self):
        agent = self.run_agent(["--cpu", "1", "--memory", "64Mi"], "true")
        self.assertEqual(agent.process.returncode, 0, agent.err)
        grades = {each["limit"]: each["grade"] for each in agent.report["limits"]}
        self.assertEqual(grades, {"cpu": "sampled", "memory": "sampled", "pids": "absent"})

    def test_nothing_survives_a_kill_of_mete(self):
        agent = self.start(["--cpu", "100m"], STUBBORN)
        agent.up()
        self.assertTrue(eventually(lambda: len(processes_with(self.mark)) >= 6))
        self.killed(agent)

    def test_nothing_survives_a_kill_of_mete_while_it_is_suspended(self):
        agent = self.start(["--tokens-per-hour", "1", "--on-tokens", "suspend:hard"],
                           f"({STUBBORN}) & mete report --tokens 5; sleep 1000")
        agent.suspended()
        self.killed(agent)

    def test_a_fork_bomb_ends_with_its_agent(self):
        # As many as the user may have, by the kernel; each in a session of its own, and an orphan.
        bomb = "while :; do setsid sleep 60 & done 2>/dev/null"
        agent = self.start(["--grace", "200ms"],
                           ["prlimit", "--nproc=100", "sh", "-c",
                            f"while :; do (sh -c '{bomb}' &); sleep 1; done"])
        agent.up()
        self.assertTrue(eventually(lambda: len(processes_with(self.mark)) >= 60))
        self.assertEqual(self.mete("terminate", agent.id).returncode, 0)
        agent.wait()
        self.assertEqual(processes_with(self.mark), [])

    def test_a_program_that_takes_its_mark_off_is_still_held(self):
        agent = self.start(["--grace", "200ms"],
                           "prlimit --rss=unlimited setsid sh -c 'sleep 60 & sleep 60' & "
                           "sleep 60")
        agent.up()
        self.assertTrue(eventually(lambda: len(processes_with(self.mark)) >= 5))
        self.assertEqual(self.mete("suspend", agent.id).returncode, 0)
        agent.suspended()
        self.assertEqual(self.mete("terminate", agent.id).returncode, 0)
        agent.wait()
        self.assertEqual(processes_with(self.mark), [])

    def test_it_says_that_there_are_no_control_groups(self):
        found = self.doctor()
        self.assertEqual(found["layout"], "processes")
        self.assertTrue(any("no permission" in note for note in found["notes"]), found["notes"])


class Delegated(EveryRow, Shape):
    """A user without privileges to whom a group of the unified hierarchy was given."""

    keys = [("limit", "cpu"), ("limit", "memory"), ("limit", "pids"), ("action", "suspend"),
            ("action", "terminate"), ("reading", "cpu time"),
            ("environment", "start in the group"), ("environment", "labels")]

    def setUp(self):
        unified = [point for point, kind, _ in shapes.cgroup_mounts() if kind == "cgroup2"]
        if not unified or os.geteuid() != 0:
            self.skipTest("no unified hierarchy that a group of could be given away")
        given = pathlib.Path(unified[0]) / f"mete-test-{os.getpid()}"
        own = given / "own"
        own.mkdir(parents=True)
        self.addCleanup(given.rmdir)
        self.addCleanup(lambda: eventually(lambda: self.removed(own)))
        for folder in (given, own):
            for path in (folder, folder / "cgroup.procs", folder / "cgroup.subtree_control"):
                os.chown(path, shapes.NOBODY, shapes.NOBODY)

        def enter():
            (own / "cgroup.procs").write_text(str(os.getpid()), encoding="utf-8")
            shapes.nobody()
        self.shape = enter
        super().setUp()
        for path in (self.folder, self.runtime, self.program):
            os.chown(path, shapes.NOBODY, shapes.NOBODY)

    @staticmethod
    def removed(folder):
        try:
            folder.rmdir()
        except OSError:
            return False
        return True

    def test_groups_are_made_there(self):
        found = self.doctor()
        self.assertEqual(found["layout"], "v2")
        self.assertIn(f"mete-test-{os.getpid()}", found["root"])
        grades = {row["what"]: row["grade"] for row in found["grades"]}
        self.assertEqual((grades["suspend"], grades["terminate"]), ("kernel", "kernel"))


class WithoutAUnifiedHierarchy(EveryRow, Shape):
    shape = staticmethod(shapes.v1_only)
    keys = [("limit", "cpu"), ("limit", "memory"), ("action", "terminate")]

    def test_it_is_named(self):
        self.assertEqual(self.doctor()["layout"], "processes")


class ReadOnly(EveryRow, Shape):
    shape = staticmethod(shapes.read_only)
    keys = OF_THE_SHAPE

    def test_it_is_named(self):
        found = self.doctor()
        self.assertEqual(found["layout"], "processes")
        self.assertTrue(any("Read-only" in note for note in found["notes"]), found["notes"])


class WithoutMemory(EveryRow, Shape):
    shape = staticmethod(shapes.without_memory)
    keys = [("limit", "cpu"), ("limit", "memory"), ("reading", "memory peak"),
            ("reading", "memory")]

    def setUp(self):
        if not any("memory" in options for _, _, options in shapes.cgroup_mounts()):
            self.skipTest("this machine has no v1 hierarchy with memory, which alone can be taken "
                          "away from one process")
        super().setUp()

    def test_it_is_named(self):
        row = self.rows()["limit", "memory"]
        self.assertEqual(row["grade"], "absent")


class WithoutClone3(EveryRow, Shape):
    shape = staticmethod(shapes.without_clone3)
    keys = [("environment", "start in the group"), ("action", "terminate"), ("limit", "cpu")]


if __name__ == "__main__":
    unittest.main()
