"""`mete run` holds programs to their budgets, and leaves nothing of them behind."""

import os
import signal
import time
import unittest

from agents import LEFTOVER_SECONDS, AgentTest, eventually, groups_named, processes_with

SPIN = "while :; do :; done"


def actions(report):
    """What was done about each limit, in order."""
    return [(violation["limit"], [action["action"] for action in violation["actions"]])
            for violation in report["violations"]]


def idle_seconds():
    """How long the cores of this machine had nothing to do, all together."""
    with open("/proc/stat") as file:
        return int(file.readline().split()[4]) / os.sysconf("SC_CLK_TCK")


class Cpu(AgentTest):
    def test_is_held_to_its_cores(self):
        before = idle_seconds()
        agent = self.run_agent(["--cpu", "500m"], f"timeout 4 sh -c '{SPIN}'")
        idle = idle_seconds() - before
        self.assertEqual(agent.process.returncode, 124)  # of timeout(1)
        self.assertEqual(agent.report["exit"]["reason"], "exited")
        self.assertLess(agent.report["cpu_seconds"], 2.2)
        if idle >= 1:  # else others took what it was allowed
            self.assertGreater(agent.report["cpu_seconds"], 1.8)
        self.assertEqual(agent.report["violations"], [])

    def test_can_be_raised_while_it_runs(self):
        agent = self.start(["--cpu", "100m"], self.python(
            "import time\nwhile time.process_time() < 1: pass"))
        agent.up()
        self.assertEqual(self.mete("quota", "set", agent.id, "--cpu", "unlimited").returncode, 0)
        self.assertEqual(agent.wait(), 0)
        self.assertLess(agent.report["wall_seconds"], 8, "10 s at a tenth of a core")

    def test_seconds_are_a_budget(self):
        agent = self.run_agent(["--cpu-seconds-per-hour", "0.5", "--max-suspend", "300ms"], SPIN)
        self.assertEqual(agent.process.returncode, 124)
        self.assertEqual(actions(agent.report),
                         [("cpu_seconds_per_hour", ["suspended", "terminated"])])
        self.assertGreater(agent.report["cpu_seconds"], 0.5)
        self.assertLess(agent.report["cpu_seconds"], 0.7)
        self.assertIn("suspended: cpu_seconds_per_hour", agent.err)

    def test_a_suspended_agent_uses_none(self):
        agent = self.start([], SPIN)
        agent.up()
        self.assertEqual(self.mete("suspend", agent.id).returncode, 0)
        before = agent.quota()["usage"]["cpu_seconds"]
        time.sleep(0.3)
        self.assertEqual(agent.quota()["usage"]["cpu_seconds"], before)
        self.assertEqual(self.mete("resume", agent.id).returncode, 0)
        self.assertTrue(eventually(lambda: agent.quota()["usage"]["cpu_seconds"] > before))
        self.assertEqual(self.mete("terminate", agent.id).returncode, 0)
        self.assertEqual(agent.wait(), 128 + signal.SIGTERM)
        self.assertEqual(agent.report["exit"]["reason"], "operator")


class Memory(AgentTest):
    HOG = "held = []\nwhile True: held.append(bytearray(1 << 20))"

    def test_at_its_limit_ends_with_124_and_the_limit(self):
        agent = self.run_agent(["--memory", "64Mi"], self.python("x = bytearray(300 << 20)"))
        self.assertEqual(agent.process.returncode, 124)
        report = agent.report
        self.assertEqual((report["exit"]["reason"], report["exit"]["limit"]), ("limit", "memory"))
        self.assertIn("memory = 64Mi", report["exit"]["text"])
        self.assertIn("memory: limit 64Mi reached", agent.err)
        self.assertLessEqual(report["memory_peak_bytes"], 64 << 20)
        self.assertEqual(actions(report), [("memory", ["killed by the kernel", "terminated"])])

    def test_a_killed_child_ends_the_whole_agent(self):
        hog = self.folder / "hog.py"
        hog.write_text(self.HOG)
        started = time.monotonic()
        agent = self.run_agent(["--memory", "64Mi"], f"python3 {hog}; sleep 1000")
        self.assertEqual(agent.process.returncode, 124)
        self.assertLess(time.monotonic() - started, 20)

    def test_of_a_neighbour_is_unharmed(self):
        neighbour = self.start(["--memory", "64Mi"], self.python(
            "import hashlib, time\n"
            "held = bytearray(30 << 20)\n"
            "for i in range(len(held) >> 12): held[i << 12] = i & 255\n"
            "time.sleep(1.5)\n"
            "assert all(held[i << 12] == i & 255 for i in range(len(held) >> 12))\n"
            "print('whole')"))
        neighbour.up()
        hog = self.run_agent(["--memory", "64Mi"], self.python(self.HOG))
        self.assertEqual(hog.process.returncode, 124)
        self.assertEqual(neighbour.wait(), 0)
        self.assertEqual(neighbour.out, "whole\n")
        self.assertEqual(neighbour.report["violations"], [])

    def test_can_suspend_and_go_on_when_raised(self):
        agent = self.start(["--memory", "64Mi", "--on-memory", "suspend"], self.python(
            "import time\nheld = []\n"
            "for _ in range(100): held.append(bytearray(1 << 20))\n"
            "time.sleep(1)\nprint('done')"))
        agent.suspended()
        quota = agent.quota()
        self.assertEqual(quota["causes"], ["memory"])
        self.assertGreater(quota["usage"]["memory_mb"], 64)
        self.assertLess(quota["usage"]["memory_mb"], 128, "the kernel's own limit was not met")
        self.assertEqual(self.mete("quota", "set", agent.id, "--memory", "256Mi").returncode, 0)
        self.assertEqual(agent.wait(), 0, agent.err)
        self.assertEqual(agent.out, "done\n")
        self.assertIn(f"mete quota set {agent.id} --memory ", agent.err)
        # Where the kernel reclaims page cache at the line, it may be within the limit for a moment.
        (limit, taken), = actions(agent.report)
        self.assertEqual(limit, "memory")
        self.assertEqual(taken, ["suspended", "resumed"] * (len(taken) // 2))

    def test_can_only_warn(self):
        agent = self.run_agent(["--memory", "32Mi", "--on-memory", "warn"], self.python(
            "import time\nheld = bytearray(64 << 20)\ntime.sleep(0.5)"))
        self.assertEqual(agent.process.returncode, 0)
        self.assertEqual(actions(agent.report), [("memory", ["warned"])])
        self.assertEqual(agent.err.count("mete: warned: memory: "), 1)


class Tokens(AgentTest):
    def test_warn_then_suspend_then_end(self):
        started = time.monotonic()
        agent = self.run_agent(
            ["--tokens-per-hour", "1000", "--max-suspend", "2s"],
            "mete report --tokens 900; mete report --tokens 200; mete report --tokens 200; "
            "sleep 60")
        self.assertEqual(agent.process.returncode, 124)
        self.assertLess(time.monotonic() - started, 10)
        self.assertEqual(agent.report["tokens"], 1300)
        self.assertEqual(agent.report["exit"]["reason"], "max_suspend")
        self.assertEqual(actions(agent.report),
                         [("tokens_per_hour", ["warned", "suspended", "terminated"])])
        lines = agent.err.splitlines()
        self.assertTrue(all(line.startswith("mete: ") for line in lines), agent.err)
        self.assertEqual([line.split(":")[1].strip() for line in lines],
                         ["warned", "suspended", "terminated"])
        self.assertIn(f"mete quota set {agent.id} --tokens-per-hour 2600", lines[1])

    def test_go_on_when_the_limit_is_raised(self):
        agent = self.start(["--tokens-per-hour", "10"],
                           "mete report --tokens 11 && mete report --tokens 1; sleep 0.5; "
                           "echo went on")
        agent.suspended()
        done = self.mete("quota", "set", agent.id, "--tokens-per-hour", "100")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(agent.wait(), 0)
        self.assertTrue(agent.out.endswith("went on\n"))
        self.assertEqual(agent.report["tokens"], 12)
        self.assertIn("mete: resumed after ", agent.err)

    def test_resume_needs_the_cause_to_go_or_an_override(self):
        agent = self.start(["--tokens-per-hour", "10", "--on-tokens", "suspend:hard"],
                           "mete report --tokens 11; sleep 0.5; echo went on")
        agent.suspended()
        refused = self.mete("resume", agent.id)
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("E2072", refused.stderr)
        self.assertIn("tokens_per_hour", refused.stderr)
        self.assertEqual(agent.state(), "suspended")
        self.assertEqual(self.mete("quota", "reset", agent.id).returncode, 0)
        self.assertEqual(agent.wait(), 0)

    def test_can_end_the_agent_at_once(self):
        agent = self.run_agent(["--tokens-per-hour", "10", "--on-tokens", "terminate:hard"],
                               "mete report --tokens 11; sleep 60")
        self.assertEqual(agent.process.returncode, 124)
        self.assertEqual(agent.report["exit"]["limit"], "tokens_per_hour")
        self.assertEqual(actions(agent.report), [("tokens_per_hour", ["terminated"])])

    def test_can_only_warn(self):
        agent = self.run_agent(["--tokens-per-hour", "10", "--on-tokens", "warn"],
                               "for i in 1 2 3; do mete report --tokens 11; done; exit 5")
        self.assertEqual(agent.process.returncode, 5)
        self.assertEqual(agent.report["tokens"], 33)
        self.assertEqual(actions(agent.report), [("tokens_per_hour", ["warned"])])

    def test_of_cost_and_days_count_too(self):
        agent = self.run_agent(
            ["--cost-per-day", "0.30", "--tokens-per-day", "5k", "--max-suspend", "100ms"],
            "mete report --cost 0.10 --tokens 5000; mete report --cost 0.20; "
            "mete report --cost 0.000000001; sleep 60")
        self.assertEqual(agent.process.returncode, 124)
        self.assertEqual(agent.report["violations"][0]["limit"], "cost_per_day")
        self.assertEqual(len(agent.report["violations"]), 1, "5000 of 5000 is within")


class Inside(AgentTest):
    def test_an_agent_cannot_change_its_limits_nor_start_another(self):
        agent = self.run_agent(
            ["--tokens-per-hour", "1000"],
            "mete quota set $METE_AGENT --tokens-per-hour 99999; echo set $?; "
            "mete terminate $METE_AGENT; echo terminate $?; "
            "mete quota reset $METE_AGENT; echo reset $?; "
            "mete run -- true; echo nested $?; "
            "env -u METE_AGENT -u METE_SOCKET mete run -- true; echo hidden $?; "
            "(setsid mete run -- true; echo detached $?); mete quota get")
        self.assertEqual(agent.process.returncode, 0, agent.err)
        for word, status in (("set", 1), ("terminate", 1), ("reset", 1), ("nested", 125),
                             ("hidden", 125), ("detached", 125)):
            self.assertIn(f"{word} {status}\n", agent.out)
        self.assertEqual(agent.err.count("E2078"), 6, agent.err)
        limit = [each["text"] for each in agent.report["limits"]
                 if each["limit"] == "tokens_per_hour"]
        self.assertEqual(limit, ["1000"])


DETACHED = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGHUP, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(1000)
    os._exit(0)
os.wait()
"""


class Leftovers(AgentTest):
    """AgentTest.tearDown fails whatever leaves a process, a group or a socket behind."""

    def test_detached_children_end_with_the_program(self):
        agent = self.run_agent([], self.python(DETACHED))
        self.assertEqual(agent.process.returncode, 0)
        self.assertEqual(processes_with(self.mark), [], "when mete run has ended, not later")
        self.assertEqual(groups_named(agent.id), [])

    def test_who_ignores_the_end_is_killed_after_the_grace(self):
        agent = self.start(["--grace", "300ms"], "trap '' TERM HUP INT; sleep 1000 & " + SPIN)
        agent.up()
        self.assertEqual(self.mete("terminate", agent.id).returncode, 0)
        self.assertEqual(agent.wait(), 128 + signal.SIGTERM)

    def test_a_fork_bomb_stays_in_its_bounds(self):
        agent = self.start(["--pids", "30", "--cpu", "1"], self.python(
            "import os, time\n"
            "while True:\n"
            "    try: os.fork()\n"
            "    except OSError: time.sleep(0.01)"))
        agent.up()
        self.assertTrue(eventually(lambda: len(processes_with(self.mark)) >= 30))
        # Those of the agent, mete run and its guardian.
        self.assertLessEqual(len(processes_with(self.mark)), 32)
        agent.process.send_signal(signal.SIGTERM)
        self.mete("terminate", agent.id)
        agent.process.send_signal(signal.SIGINT)
        agent.wait()

    def killed(self, agent):
        agent.process.kill()
        agent.process.communicate()
        started = time.monotonic()
        gone = lambda: not processes_with(self.mark) and not groups_named(agent.id)
        self.assertTrue(eventually(gone, LEFTOVER_SECONDS), "the guardian did not clean up")
        self.assertFalse(os.path.exists(agent.control_socket))
        self.assertFalse(os.path.exists(agent.agent_socket))
        return time.monotonic() - started

    def test_nothing_survives_a_kill_while_it_runs(self):
        agent = self.start(["--cpu", "100m"], self.python(DETACHED + "\nwhile True: pass"))
        agent.up()
        self.killed(agent)

    def test_nothing_survives_a_kill_while_it_is_suspended(self):
        agent = self.start(["--tokens-per-hour", "1", "--on-tokens", "suspend:hard"],
                           "(trap '' TERM; setsid sleep 1000) & mete report --tokens 5; sleep 1000")
        agent.suspended()
        self.killed(agent)

    def test_nothing_survives_a_kill_while_it_is_terminated(self):
        agent = self.start(["--grace", "1h"], "trap '' TERM; " + SPIN)
        agent.up()
        self.assertEqual(self.mete("terminate", agent.id).returncode, 0)
        self.killed(agent)

    def test_nothing_survives_a_kill_at_any_moment(self):
        for delay in (0, 0.002, 0.004, 0.006, 0.008, 0.012, 0.02):
            agent = self.start([], "sleep 1000")
            time.sleep(delay)
            self.killed(agent)

    def test_a_terminal_cannot_reach_the_guardian(self):
        agent = self.start([], "trap '' HUP INT QUIT TERM; sleep 1000 & wait",
                           start_new_session=True)
        agent.up()
        os.killpg(agent.process.pid, signal.SIGKILL)  # everything in the session
        agent.process.communicate()
        self.assertTrue(eventually(lambda: not processes_with(self.mark), LEFTOVER_SECONDS))

    def test_many_runs_at_once_do_not_disturb_each_other(self):
        agents = [self.start(["--memory", "64Mi", "--cpu", "1"], f"sleep 0.0{i}; exit {i}")
                  for i in range(10)]
        for status, agent in enumerate(agents):
            self.assertEqual(agent.wait(), status, agent.err)


if __name__ == "__main__":
    unittest.main()
