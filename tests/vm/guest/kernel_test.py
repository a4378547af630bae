"""What the kernel holds for an agent of `mete run` on control groups v2."""

import json
import os
import pathlib
import signal
import time
import unittest

from agents import eventually, processes_with
from machine import (SOON, GuestTest, Witness, become, clock_moved, group, hog, not_the_kernels,
                     number_in, processes_in, read, setting)


class Doctor(GuestTest):
    def test_every_row_is_the_kernels(self):
        done = self.mete("doctor", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(done.stdout)["layout"], "v2")
        self.assertEqual(not_the_kernels(done.stdout), [])


class Limits(GuestTest):
    def test_are_in_the_control_files(self):
        agent = self.start(["--cpu", "250m", "--memory", "64Mi", "--pids", "20"], "sleep 1000")
        agent.up()
        folder = self.group_of(agent)
        held = {name: read(folder / name) for name in
                ("cpu.max", "memory.max", "memory.high", "memory.swap.max", "memory.oom.group",
                 "pids.max")}
        self.assertEqual(held["cpu.max"], "25000 100000")
        self.assertEqual(held["memory.max"], str(64 << 20))
        self.assertEqual(held["memory.high"], "max")
        self.assertIn(held["memory.swap.max"], ("0", None), "None: a kernel without swap")
        self.assertEqual(held["memory.oom.group"], "1")
        self.assertEqual(held["pids.max"], "20")
        self.assertEqual(self.mete("quota", "set", agent.id, "--cpu", "2").returncode, 0)
        self.assertEqual(read(folder / "cpu.max"), "200000 100000")
        self.mete("terminate", agent.id)
        agent.wait()

    def test_on_cpu_are_accurate(self):
        agent = self.start(["--cpu", "300m"], self.spinners(2))
        agent.up()
        stat = self.group_of(agent) / "cpu.stat"
        time.sleep(0.5)
        used, began = number_in(stat, "usage_usec"), time.monotonic()
        time.sleep(4)
        rate = (number_in(stat, "usage_usec") - used) / 1e6 / (time.monotonic() - began)
        self.assertGreater(rate, 0.24)
        self.assertLess(rate, 0.36)
        self.assertGreater(number_in(stat, "nr_throttled"), 0)
        agent.process.kill()

    def test_on_memory_are_never_passed(self):
        agent = self.run_agent(["--memory", "64Mi"], self.python(hog(300)), seconds=SOON)
        self.assertEqual(agent.process.returncode, 124, agent.err)
        self.assertNotIn("touched", agent.out)
        self.assertEqual(agent.report["exit"]["limit"], "memory")
        self.assertLessEqual(agent.report["memory_peak_bytes"], 64 << 20)
        self.assertEqual([action["action"] for action in
                          agent.report["violations"][0]["actions"]],
                         ["killed by the kernel", "terminated"])

    def test_on_processes_are_never_passed(self):
        agent = self.start(["--pids", "30"], self.python(
            "import os, time\nwhile True:\n"
            "    try: os.fork()\n    except OSError: time.sleep(0.01)"))
        agent.up()
        folder = self.group_of(agent)
        self.assertTrue(eventually(lambda: number_in(folder / "pids.events", "max") > 20, SOON))
        self.assertLessEqual(int(read(folder / "pids.current")), 30)
        self.assertLessEqual(int(read(folder / "pids.peak") or 0), 30)
        self.mete("terminate", agent.id)
        agent.wait(SOON)

    def test_hold_on_while_nobody_watches(self):
        agent = self.start(["--cpu", "200m", "--memory", "64Mi"], self.spinners(2))
        agent.up()
        folder = self.group_of(agent)
        agent.process.send_signal(signal.SIGSTOP)  # mete run itself
        used, began = number_in(folder / "cpu.stat", "usage_usec"), time.monotonic()
        time.sleep(2)
        rate = (number_in(folder / "cpu.stat", "usage_usec") - used) / 1e6 / (
            time.monotonic() - began)
        agent.process.send_signal(signal.SIGCONT)
        self.assertLess(rate, 0.26)
        self.assertEqual(read(folder / "memory.max"), str(64 << 20))
        agent.process.kill()


class Memory(GuestTest):
    def test_suspend_holds_the_agent_at_the_line(self):
        agent = self.start(["--memory", "64Mi", "--on-memory", "suspend"], self.python(hog(300)))
        agent.up()
        agent.suspended()
        folder = self.group_of(agent)
        self.assertEqual(read(folder / "memory.high"), str((64 << 20) + 4096))
        self.assertEqual(read(folder / "memory.max"), str(128 << 20))
        self.assertEqual(number_in(folder / "cgroup.events", "frozen"), 1)
        self.assertEqual(number_in(folder / "memory.events", "oom_kill"), 0)
        self.assertLess(int(read(folder / "memory.peak")), 128 << 20)
        # A limit below what is in use is not written to the kernel, which would kill there.
        self.mete("quota", "set", agent.id, "--memory", "32Mi")
        self.assertEqual(number_in(folder / "memory.events", "oom_kill"), 0)
        self.assertEqual(agent.state(), "suspended")
        self.mete("terminate", agent.id)
        self.assertEqual(agent.wait(SOON), 128 + signal.SIGTERM)

    def test_warn_sets_no_limit(self):
        agent = self.start(["--memory", "32Mi", "--on-memory", "warn"], self.python(hog(64)))
        agent.up()
        folder = self.group_of(agent)
        self.assertEqual((read(folder / "memory.max"), read(folder / "memory.high")),
                         ("max", "max"))
        self.assertTrue(eventually(lambda: int(read(folder / "memory.current")) > 64 << 20, SOON))
        self.assertTrue(eventually(lambda: agent.quota()["usage"]["memory_mb"] >= 64, SOON))
        self.assertEqual(agent.state(), "running")
        self.mete("terminate", agent.id)
        agent.wait(SOON)
        self.assertEqual([action["action"] for action in
                          agent.report["violations"][0]["actions"]], ["warned"])

    def test_a_kill_ends_every_process(self):
        agent = self.run_agent(
            ["--memory", "64Mi"],
            "setsid sleep 1000 & (sleep 1000) & python3 -c '" + hog(300) + "'; sleep 1000",
            seconds=SOON)
        self.assertEqual(agent.process.returncode, 124, agent.err)
        self.assertEqual(processes_with(self.mark), [])


class Suspend(GuestTest):
    def test_freezes_all_under_the_smallest_quota(self):
        agent = self.start(["--grace", "300ms"], self.spinners(16))
        agent.up()
        folder = self.group_of(agent)
        self.assertTrue(eventually(lambda: len(processes_in(folder)) == 16, SOON))
        self.assertEqual(self.mete("quota", "set", agent.id, "--cpu", "10m").returncode, 0)
        self.assertEqual(self.mete("suspend", agent.id).returncode, 0)
        self.assertEqual(number_in(folder / "cgroup.events", "frozen"), 1)
        self.assertEqual(read(folder / "cpu.max"), "1000 100000", "back as soon as it is frozen")
        used = number_in(folder / "cpu.stat", "usage_usec")
        time.sleep(1)
        self.assertEqual(number_in(folder / "cpu.stat", "usage_usec"), used)
        self.assertEqual(self.mete("resume", agent.id).returncode, 0)
        self.assertEqual(number_in(folder / "cgroup.events", "frozen"), 0)
        self.assertTrue(eventually(
            lambda: number_in(folder / "cpu.stat", "usage_usec") > used, SOON))
        self.assertEqual(self.mete("terminate", agent.id).returncode, 0)
        # With the quota left on, the kill alone takes 16 to 42 s here.
        self.assertEqual(agent.wait(14), 128 + signal.SIGTERM)

    def test_reaches_who_left_the_session_and_keeps_signals_for_later(self):
        agent = self.start([], "setsid sh -c 'trap \"exit 3\" USR1; echo ready; "
                               "while :; do sleep 0.05; done'; echo $?")
        agent.up()
        self.assertEqual(self.mete("suspend", agent.id).returncode, 0)
        folder = self.group_of(agent)
        self.assertEqual(number_in(folder / "cgroup.events", "frozen"), 1)
        for pid in processes_in(folder):
            if b"setsid" not in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes() and \
                    b"USR1" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes():
                last = pid
        os.kill(last, signal.SIGUSR1)
        time.sleep(0.3)
        self.assertEqual(agent.state(), "suspended")
        self.assertEqual(self.mete("resume", agent.id).returncode, 0)
        agent.wait(SOON)


class Pressure(GuestTest):
    def test_is_counted_for_an_agent(self):
        for resource in ("cpu", "memory", "io"):
            self.assertIn("some avg10", read(f"/proc/pressure/{resource}"))
        agent = self.start(["--cpu", "100m"], self.spinners(3))
        agent.up()
        pressure = self.group_of(agent) / "cpu.pressure"
        waited = lambda: int(read(pressure).splitlines()[0].split("total=")[1])
        self.assertTrue(eventually(lambda: waited() > 500_000, SOON))
        agent.process.kill()


class Clock(GuestTest):
    """Windows, waits and reports go by a clock that does not jump."""

    def test_a_day_forward_ends_no_window(self):
        agent = self.start(["--tokens-per-hour", "10", "--on-tokens", "suspend:hard",
                            "--max-suspend", "1h"], "mete report --tokens 11; sleep 1000")
        agent.suspended()
        with clock_moved(+86400):
            time.sleep(1)
            self.assertEqual(agent.state(), "suspended")
            self.assertEqual(agent.quota()["usage"]["tokens_consumed"], 11)
        self.mete("terminate", agent.id)
        agent.wait(SOON)
        self.assertLess(agent.report["wall_seconds"], 3600)

    def test_a_day_back_stops_no_wait(self):
        agent = self.start(["--tokens-per-hour", "10", "--on-tokens", "suspend:hard",
                            "--max-suspend", "2s"], "mete report --tokens 11; sleep 1000")
        agent.suspended()
        with clock_moved(-86400):
            self.assertEqual(agent.wait(SOON), 124)
        self.assertEqual(agent.report["exit"]["reason"], "max_suspend")
        self.assertGreater(agent.report["wall_seconds"], 0)

    def test_jumps_do_not_wake_the_guardian(self):
        agent = self.start([], "sleep 1000")
        agent.up()
        pid = agent.quota()["pid"]
        for seconds in (+86400, -86400):
            with clock_moved(seconds):
                time.sleep(0.5)
        self.assertEqual(agent.state(), "running")
        agent.process.kill()
        self.assertTrue(eventually(lambda: not os.path.exists(f"/proc/{pid}"), SOON))


class Strangers(GuestTest):
    """No signal reaches a process outside of the agent, also where numbers are used again."""

    def test_are_never_met(self):
        made = lambda: number_in("/proc/stat", "processes")
        before = made()
        with setting("/proc/sys/kernel/pid_max", 420):
            witness = Witness()
            for turn in range(8):
                agent = self.start(
                    ["--pids", "40", "--grace", "100ms"],
                    "trap '' TERM; while :; do (:) & (:) & (:) & wait; done")
                agent.up()
                # A quarter round or more with each, so that its numbers become others' and back.
                until = made() + 110
                self.assertTrue(eventually(lambda: made() >= until, SOON))
                if turn % 2:
                    self.assertEqual(self.mete("suspend", agent.id).returncode, 0)
                if turn % 3:
                    self.assertEqual(self.mete("terminate", agent.id).returncode, 0)
                    self.assertEqual(agent.wait(SOON), 128 + signal.SIGTERM)
                else:
                    agent.process.kill()
                    agent.process.communicate()
            born, reached = witness.finish()
        self.assertGreater(made() - before, 2 * 420, "the numbers went round")
        self.assertGreater(born, 100)
        self.assertEqual(reached, 0)


class Sums(GuestTest):
    """A group above holds the sum of its agents, however much each of them was given."""

    def start_in(self, folder, flags, command):
        leaf = folder / "caller"
        leaf.mkdir(exist_ok=True)
        return self.start(flags, command, preexec_fn=become(None, leaf))

    def test_of_cpu(self):
        with group("sum", cpu_max="30000 100000") as folder:
            agents = [self.start_in(folder, ["--cpu", "1"], self.spinners(1)) for _ in range(2)]
            for agent in agents:
                agent.up()
                self.assertTrue(self.group_of(agent).is_relative_to(folder))
            used, began = number_in(folder / "cpu.stat", "usage_usec"), time.monotonic()
            time.sleep(3)
            rate = (number_in(folder / "cpu.stat", "usage_usec") - used) / 1e6 / (
                time.monotonic() - began)
            for agent in agents:
                agent.process.kill()
                agent.process.communicate()
            self.assertTrue(eventually(lambda: not processes_with(self.mark), SOON))
        self.assertGreater(rate, 0.24)
        self.assertLess(rate, 0.36)

    def test_of_processes(self):
        with group("sum", pids_max="40") as folder:
            agents = [self.start_in(folder, ["--pids", "30"], self.python(
                "import os, time\nwhile True:\n"
                "    try: os.fork()\n    except OSError: time.sleep(0.01)")) for _ in range(2)]
            # Who counts a refused fork is another group in 6.1 than in 6.12.
            self.assertTrue(eventually(lambda: int(read(folder / "pids.current")) >= 40, SOON))
            time.sleep(0.5)
            self.assertLessEqual(int(read(folder / "pids.current")), 40)
            for agent in agents:
                agent.process.kill()
                agent.process.communicate()
            self.assertTrue(eventually(lambda: not processes_with(self.mark), SOON))


if __name__ == "__main__":
    unittest.main()
