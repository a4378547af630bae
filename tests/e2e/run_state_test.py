"""`mete run --state-dir`: accounts that outlive their runs, and runs that outlive their owner."""

import ctypes
import json
import os
import signal
import unittest

import shapes
from agents import AgentTest, Agent, eventually


class StateRun(AgentTest):
    def setUp(self):
        super().setUp()
        self.state = self.folder / "state"
        self.tenant = f"acme-{self.mark[:8]}"  # its group is this folder's alone

    def on_state(self, flags, command, name=None):
        """A run on the stored account of that name, or of one of its own."""
        agent = Agent(self, ["--state-dir", self.state, *flags], command, name=name)
        self.agents.append(agent)
        return agent

    def quota(self, name):
        shown = self.mete("quota", "get", name, "--state-dir", self.state, "--json")
        self.assertEqual(shown.returncode, 0, shown.stderr)
        return json.loads(shown.stdout)

    def tokens(self, name):
        return self.quota(name)["usage"]["tokens_consumed"]


class Account(StateRun):
    def test_adds_up_over_runs(self):
        first = self.on_state(["--tokens-per-hour", "1000"], "mete report --tokens 300")
        self.assertEqual(first.wait(), 0, first.err)
        self.assertEqual(first.report["ledger"], str(self.state))
        self.assertEqual(self.tokens(first.id), 300)
        second = self.on_state([], "mete report --tokens 400", first.id)
        self.assertEqual(second.wait(), 0, second.err)
        self.assertEqual(second.report["tokens"], 400, "of this run")
        self.assertEqual(self.tokens(first.id), 700)
        self.assertEqual(self.quota(first.id)["limits"], {"tokens_per_hour": "1000"})

    def test_that_is_suspended_stays_so_until_its_limit_is_raised(self):
        first = self.on_state(["--tokens-per-hour", "100", "--on-tokens", "suspend:hard"],
                              "mete report --tokens 300; sleep 1000")
        first.suspended()
        first.process.terminate()
        first.wait()
        again = self.on_state([], "echo went on", first.id)
        again.suspended()
        raised = self.mete("quota", "set", first.id, "--tokens-per-hour", "1000",
                           "--state-dir", self.state)
        self.assertEqual(raised.returncode, 0, raised.stderr)
        self.assertEqual(again.wait(), 0, again.err)
        self.assertEqual(again.out, "went on\n")

    def test_is_below_its_session_and_tenant(self):
        agent = self.on_state(["--tenant", self.tenant, "--session", "night"],
                              "mete report --tokens 5")
        self.assertEqual(agent.wait(), 0, agent.err)
        self.assertEqual(self.quota(agent.id)["parent"], "session/night")
        shown = self.mete("quota", "get", "tenant", self.tenant, "--state-dir", self.state,
                          "--json")
        self.assertEqual(json.loads(shown.stdout)["usage"]["tokens_consumed"], 5)
        other = self.on_state(["--tenant", "other"], "true", agent.id)
        self.assertEqual(other.wait(), 125)
        self.assertIn("below session night", other.err)

    def test_of_the_tenant_suspends_those_below(self):
        made = self.mete("quota", "create", "tenant", self.tenant, "--tokens-per-hour", "100",
                         "--state-dir", self.state)
        self.assertEqual(made.returncode, 0, made.stderr)
        agent = self.on_state(["--tenant", self.tenant],
                              "mete report --tokens 101; mete report --tokens 1; sleep 1; "
                              "echo went on")
        agent.suspended()  # soon after the answer
        reset = self.mete("quota", "reset", "tenant", self.tenant, "--state-dir", self.state)
        self.assertEqual(reset.returncode, 0, reset.stderr)
        self.assertEqual(agent.wait(), 0, agent.err)
        self.assertEqual(agent.out.splitlines()[-1], "went on")
        self.assertIn(f"tokens_per_hour of tenant {self.tenant}", agent.err)
        self.assertIn(f"mete quota reset tenant {self.tenant} --state-dir {self.state}", agent.err)

    def test_below_a_tenant_shares_what_the_kernel_gives_it(self):
        self.mete("quota", "create", "tenant", self.tenant, "--cpu", "400m",
                  "--state-dir", self.state)
        spin = "t=$(($(date +%s)+3)); while [ $(date +%s) -lt $t ]; do :; done"
        agents = [self.on_state(["--tenant", self.tenant], spin) for _ in range(2)]
        for agent in agents:
            agent.up()
            path = agent.group_path("cpu") or agent.group_path("")
            self.assertIn(f"/t-{self.tenant}/", str(path))
        for agent in agents:
            self.assertEqual(agent.wait(60), 0, agent.err)
        used = sum(agent.report["cpu_seconds"] for agent in agents)
        wall = max(agent.report["wall_seconds"] for agent in agents)
        self.assertLess(used / wall, 0.6, "both together, of which each alone would take 1")

    def test_cannot_be_changed_from_inside(self):
        agent = self.on_state(["--tokens-per-hour", "1000"], f"""
for words in "set --tokens-per-hour 1M" reset rm; do
  set -- $words; verb=$1; shift
  mete quota $verb $METE_AGENT --state-dir {self.state} "$@" 2>&1 | cut -c1-11
done
(setsid mete suspend $METE_AGENT --state-dir {self.state} 2>&1 | cut -c1-11)
mete report --agent $METE_AGENT --tokens 5 --state-dir {self.state} >/dev/null && echo reported
mete quota get $METE_AGENT --state-dir {self.state} >/dev/null && echo read""")
        self.assertEqual(agent.wait(), 0, agent.err)
        self.assertEqual(agent.out, "mete: E2078\n" * 4 + "reported\nread\n")
        self.assertEqual(self.quota(agent.id)["limits"], {"tokens_per_hour": "1000"})

    def test_keeps_its_policies(self):
        first = self.on_state(["--on-memory", "suspend"], "true")
        self.assertEqual(first.wait(), 0, first.err)
        other = self.on_state(["--on-memory", "warn"], "true", first.id)
        self.assertEqual(other.wait(), 125)
        self.assertIn("--on-memory", other.err)

    def test_limits_above_are_in_the_report_and_shown_inside(self):
        self.mete("quota", "create", "tenant", self.tenant, "--tokens-per-day", "1k",
                  "--state-dir", self.state)
        agent = self.on_state(["--tenant", self.tenant], "mete report --tokens 5; mete quota get")
        self.assertEqual(agent.wait(), 0, agent.err)
        self.assertRegex(agent.out, rf"\ntokens_per_day of tenant/{self.tenant} +1k +5 +995 ")
        self.assertEqual(agent.report["above"], [{"account": f"tenant/{self.tenant}", "text": "1k",
                                                  "limit": "tokens_per_day", "used": 5}])
        self.assertTrue(agent.report["durable"])
        ran = self.mete("run", "--agent", agent.id, "--state-dir", self.state, "--", "true")
        self.assertRegex(ran.stderr,
                         rf"\n  above +tenant {self.tenant}: tokens_per_day 1k: used 5\n")

    def test_actions_are_in_the_report_also_those_before_the_disk(self):
        agent = self.on_state(["--tokens-per-hour", "100", "--on-tokens", "suspend:hard",
                               "--max-suspend", "300ms"], "mete report --tokens 101; sleep 1000")
        self.assertEqual(agent.wait(), 124, agent.err)
        self.assertEqual([[action["action"] for action in violation["actions"]]
                          for violation in agent.report["violations"]],
                         [["suspended", "terminated"]])

    def test_whose_run_left_a_record_says_what_settles_the_rest(self):
        agent = self.on_state([], "sleep 1000")
        agent.up()
        record = self.runtime / "mete" / f"{agent.id}.record"
        kept = record.read_bytes()
        folder = ["--state-dir", self.state]
        self.assertNotIn("mete gc", self.mete("quota", "get", agent.id, *folder).stdout)
        agent.process.terminate()
        agent.wait()
        self.assertIn("no such agent", self.mete("quota", "get", agent.id).stderr)
        record.write_bytes(kept)  # as of one that was killed with its guardian
        shown = self.mete("quota", "get", agent.id, *folder)
        self.assertIn("processes of it may still run: `mete gc` ends them\n", shown.stdout)
        asked = self.mete("quota", "get", agent.id)
        self.assertEqual(asked.returncode, 1)
        self.assertIn("`mete gc` ends them", asked.stderr)
        record.unlink()

    def test_of_a_disk_that_is_full_at_the_end_says_so(self):
        if os.geteuid() != 0:
            self.skipTest("only root can give a process mounts of its own")
        self.state.mkdir(mode=0o700)

        def full_state():
            shapes.own_mounts()
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.mount(b"none", str(self.state).encode(), b"tmpfs", 0,
                          b"size=256k,mode=700") != 0:
                raise OSError(ctypes.get_errno(), "mount")

        agent = Agent(self, ["--state-dir", self.state, "--quiet"],
                      f"dd if=/dev/zero of={self.state}/fill bs=4k 2>/dev/null; "
                      "mete report --tokens 5 --json; exit 3", preexec_fn=full_state)
        self.agents.append(agent)
        self.assertEqual(agent.wait(60), 3, "the program's own")
        self.assertIn("mete: E2079: the account of this run is not on disk as it is: ", agent.err)
        self.assertEqual(agent.err.count("\n"), 1, agent.err)
        self.assertFalse(agent.report["durable"])
        self.assertEqual(agent.report["tokens"], 5, "counted all the same")

    def test_is_run_once_at_a_time(self):
        first = self.on_state([], "sleep 1000")
        first.up()
        second = self.on_state([], "true", first.id)
        self.assertEqual(second.wait(), 125)
        first.process.terminate()
        first.wait()


class Refused(StateRun):
    """A run that is refused has changed no account, and made none."""

    def refused(self, text, *flags):
        ran = self.mete("run", "--state-dir", str(self.state), *flags, "--", "true")
        self.assertEqual(ran.returncode, 125, ran.stderr)
        self.assertIn(text, ran.stderr)

    def accounts(self):
        listed = self.mete("quota", "list", "--state-dir", str(self.state), "--json")
        return {f"{quota['scope']}/{quota['target_id']}": quota["limits"]
                for quota in json.loads(listed.stdout)["quotas"]}

    def test_changes_nothing(self):
        first = self.on_state(["--memory", "64Mi"], "sleep 1000")
        first.up()
        other = self.start([], "sleep 1000")
        other.up()
        there = {f"agent/{first.id}": {"memory": "64Mi"}}
        self.assertEqual(self.accounts(), there)
        name = ("--agent", first.id)
        self.refused("E2080", *name, "--memory", "50Mi")
        self.refused("E2076", "--agent", other.id, "--tenant", "T8")
        first.process.terminate()
        first.wait()
        self.refused("--memory: more than the kernel can hold, allowed: at most 2Ei, given: 7Ei",
                     *name, "--cpu", "300m", "--memory", "7Ei")
        self.refused("below nothing", *name, "--tenant", "ZZ")
        self.refused("below nothing", *name, "--session", "S1", "--tenant", "ZZ", "--cpu", "1")
        self.refused("at most 2Ei", "--agent", "new", "--tenant", "T9", "--memory", "7Ei")
        self.refused("characters", "--agent", "n" * 128, "--tenant", "T9")
        made = self.mete("quota", "create", "tenant", "T9", "--memory", "7Ei",
                         "--state-dir", str(self.state))
        self.assertEqual(made.returncode, 2, made.stderr)
        self.assertIn("--memory: more than the kernel can hold, allowed: at most 2Ei", made.stderr)
        self.assertEqual(self.accounts(), there)

    def test_session_of_another_tenant_makes_no_agent(self):
        first = self.on_state(["--tenant", self.tenant, "--session", "night"], "true")
        self.assertEqual(first.wait(), 0, first.err)
        there = self.accounts()
        self.refused("session night is there already", "--agent", "new", "--session", "night",
                     "--tenant", "other")
        self.assertEqual(self.accounts(), there)


class Owner(StateRun):
    """Two runs on one folder: the first owns it, the second asks the first."""

    REPORTS = """
i=0
while [ $i -lt 40 ]; do
  mete report --tokens 10 --json >/dev/null || exit 9
  i=$((i+1))
done
mete report --tokens 0 >/dev/null
"""

    def start_both(self):
        first = self.on_state(["--tenant", self.tenant, "--durability", "sync"], "sleep 1000")
        first.up()
        second = self.on_state(["--tenant", self.tenant, "--durability", "sync",
                                "--cpu-seconds-per-hour", "3600"], self.REPORTS)
        return first, second

    def test_counts_for_others(self):
        first, second = self.start_both()
        self.assertEqual(second.wait(60), 0, second.err)
        self.assertEqual(self.tokens(second.id), 400)
        self.assertEqual(second.report["tokens"], 400)
        first.process.terminate()
        first.wait()
        self.assertEqual(self.tokens(second.id), 400)

    def test_that_is_killed_is_followed_by_another(self):
        first, second = self.start_both()
        second.up()
        self.assertTrue(eventually(lambda: self.tokens(second.id) >= 50))
        first.process.send_signal(signal.SIGKILL)
        self.assertEqual(second.wait(60), 0, second.err)
        self.assertEqual(self.tokens(second.id), 400, "each report once, none twice")
        quota = self.quota(second.id)
        self.assertAlmostEqual(quota["usage"]["cpu_seconds"], second.report["cpu_seconds"],
                               delta=1e-6)

    def test_that_is_killed_loses_nothing_that_it_acknowledged(self):
        agent = self.on_state(["--durability", "sync"], """
i=0
while :; do mete report --tokens 1 >/dev/null && i=$((i+1)) && echo $i; done""")
        said = b""
        while said.count(b"\n") < 20:
            said += os.read(agent.process.stdout.fileno(), 4096)
        agent.process.send_signal(signal.SIGKILL)
        while chunk := os.read(agent.process.stdout.fileno(), 4096):
            said += chunk
        agent.wait()
        heard = int(said.split()[-1])
        counted = self.tokens(agent.id)
        self.assertIn(counted - heard, (0, 1), "at most one was counted and not yet answered")


class BadInput(StateRun):
    def test_is_told(self):
        for flags, word in (
                (["--state-dir", self.state], "--agent"),
                (["--session", "s"], "--state-dir"),
                (["--tenant", "t", "--agent", "x"], "--state-dir"),
                (["--state-dir", self.state, "--agent", "x", "--durability", "often"], "bounded"),
                (["--state-dir", "/dev/null/x", "--agent", "x"], "/dev/null/x"),
                (["--state-dir", "", "--agent", "x"], "state folder")):
            with self.subTest(flags=flags):
                ran = self.mete("run", *map(str, flags), "--", "true")
                self.assertEqual(ran.returncode, 125, ran.stderr)
                self.assertIn(word, ran.stderr)
                self.assertEqual(ran.stderr.count("\n"), 1, ran.stderr)
        self.assertFalse(self.state.exists(), "nothing was made")


if __name__ == "__main__":
    unittest.main()
