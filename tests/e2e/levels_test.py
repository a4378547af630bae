"""What holds for all agents of a tenant or session together: while its limits are changed, and when
an owner was killed in the middle of an action."""

import json
import pathlib
import unittest

from agents import Agent, AgentTest, eventually, groups_named

MEBI = 1 << 20


def number(path):
    """What a control file holds; None: no limit, or no such file."""
    try:
        word = path.read_text().split()[0]
    except OSError:
        return None
    return None if word in ("max", "-1") or int(word) > 1 << 62 else int(word)


def held(group, *files):
    """The limit in one of these files, in whichever hierarchy of this group it is."""
    for path in groups_named(group):
        for file in files:
            value = number(pathlib.Path(path, file))
            if value is not None:
                return value
    return None


def cpu(group):
    """In thousandths of a core."""
    quota = held(group, "cpu.cfs_quota_us", "cpu.max")
    return quota and quota // 100


def memory(group):
    return held(group, "memory.limit_in_bytes", "memory.max")


def pids(group):
    return held(group, "pids.max")


class LevelTest(AgentTest):
    def setUp(self):
        super().setUp()
        self.state = self.folder / "state"
        self.tenant = f"e2e-{self.mark[:8]}"
        self.top = "t-" + self.tenant
        layout = json.loads(self.mete("doctor", "--json").stdout)["layout"]
        if layout not in ("v2", "hybrid"):
            self.skipTest("this machine has no control groups")

    def tearDown(self):
        super().tearDown()
        self.assertEqual(groups_named(self.top), [])

    def quota(self, verb, *words):
        done = self.mete("quota", verb, *words, "--state-dir", self.state)
        self.assertEqual(done.returncode, 0, done.stderr)

    def below(self, flags=(), command="sleep 1000"):
        agent = Agent(self, ["--state-dir", self.state, "--tenant", self.tenant, *flags], command)
        self.agents.append(agent)
        agent.up()
        agent.leaf = f"a-{agent.id}.1"
        return agent

    def end(self, *agents):
        for agent in agents:
            self.assertEqual(self.mete("terminate", agent.id).returncode, 0)
            agent.wait()

    def comes_to(self, value, reading, group):
        self.assertTrue(eventually(lambda: reading(group) == value), (reading(group), value))


class Changed(LevelTest):
    """Of two agents, one owns the state folder and one asks it."""

    def test_limits_of_a_tenant_are_held_while_its_agents_run(self):
        self.quota("create", "tenant", self.tenant, "--cpu", "600m")
        agents = [self.below(["--cpu", "500m"]) for _ in range(2)]
        self.assertEqual((cpu(self.top), memory(self.top)), (600, None))
        self.assertEqual(pids(self.top), 4096)
        self.quota("set", "tenant", self.tenant, "--cpu", "200m", "--memory", "96Mi")
        self.comes_to(200, cpu, self.top)
        self.comes_to(160 * MEBI, memory, self.top)  # with the headroom of a suspending policy
        self.quota("set", "tenant", self.tenant, "--cpu", "800m", "--memory", "unlimited")
        self.comes_to(800, cpu, self.top)
        self.comes_to(None, memory, self.top)
        for agent in agents:  # v1 had lowered it with the tenant's
            self.comes_to(500, cpu, agent.leaf)
        self.end(*agents)
        self.assertIn(f"limits of tenant {self.tenant} changed: cpu = 200m (kernel), "
                      "memory = 96Mi (kernel)\n", agents[0].err + agents[1].err)
        for agent in agents:  # of two changes within a second it may have seen the second only
            self.assertIn("changed: cpu = 800m (kernel)", agent.err)

    def test_limits_of_a_session_and_of_the_agent_itself_too(self):
        session = self.tenant + "-s"
        first = self.below(["--session", session])
        second = self.below(["--session", session, "--cpu", "2"])
        self.assertEqual((cpu("s-" + session), cpu(second.leaf)), (None, 2000))
        self.quota("set", "session", session, "--cpu", "300m")
        self.comes_to(300, cpu, "s-" + session)
        self.quota("set", second.id, "--cpu", "150m")
        self.comes_to(150, cpu, second.leaf)
        self.end(first, second)
        self.assertIn(f"limits of session {session} changed: cpu = 300m (kernel)\n", first.err)
        self.assertIn("limits changed: cpu = 150m (kernel)\n", second.err)

    def test_a_memory_limit_is_never_written_below_what_is_in_use(self):
        agent = self.below([], self.python(
            "import time\nheld = bytearray(120 << 20)\n"
            "for i in range(0, len(held), 4096): held[i] = 1\n"
            "print('up', flush=True)\ntime.sleep(3)\nprint('lived')"))
        self.assertEqual(agent.process.stdout.readline(), b"up\n")
        self.quota("set", "tenant", self.tenant, "--cpu", "400m", "--memory", "16Mi")
        self.comes_to(400, cpu, self.top)
        agent.suspended()  # by the account: more is in use than allowed
        self.assertIsNone(memory(self.top))
        self.quota("set", "tenant", self.tenant, "--memory", "512Mi")
        self.comes_to(640 * MEBI, memory, self.top)
        self.assertEqual(agent.wait(), 0, agent.err)
        self.assertEqual(agent.out, "lived\n")
        self.assertIn(f"limits of tenant {self.tenant} not held yet: E2073: memory_max", agent.err)


class OfAnotherFolder(LevelTest):
    """Two state folders that have a tenant of the same name, and so the same group."""

    def test_a_tenant_that_another_folder_has_agents_in_is_refused(self):
        other = self.folder / "other"
        self.quota("create", "tenant", self.tenant, "--cpu", "100m", "--memory", "64Mi")
        done = self.mete("quota", "create", "tenant", self.tenant, "--cpu", "800m", "--memory",
                         "512Mi", "--state-dir", other)
        self.assertEqual(done.returncode, 0, done.stderr)
        first = self.below()
        before = memory(self.top)
        words = ["run", "--quiet", "--agent", first.id + "-q", "--tenant", self.tenant,
                 "--state-dir"]
        mark = self.folder / "started"
        done = self.mete(*words, other, "--", "touch", mark)
        self.assertEqual((done.returncode, done.stderr), (
            125, "mete: E2076: agents of a tenant of that name are there already, of another state "
            f"folder: tenant {self.tenant}, folder \"{self.state.resolve()}\"\n"))
        self.assertFalse(mark.exists())
        self.assertEqual((cpu(self.top), memory(self.top)), (100, before))
        self.assertEqual(first.state(), "running")
        link = self.folder / "link"
        link.symlink_to(self.state)
        same = self.mete(*words, link, "--", "true")
        self.assertEqual((same.returncode, same.stderr), (0, ""))
        self.end(first)
        after = self.mete(*words, other, "--", "true")
        self.assertEqual((after.returncode, after.stderr), (0, ""))


class Lifted(LevelTest):
    def test_a_quota_that_a_killed_owner_lifted_is_put_back_by_the_others(self):
        self.quota("create", "tenant", self.tenant, "--cpu", "300m")
        agents = [self.below() for _ in range(2)]
        for path in groups_named(self.top):
            for file, text in (("cpu.cfs_quota_us", "-1"), ("cpu.max", "max")):
                if pathlib.Path(path, file).exists():
                    pathlib.Path(path, file).write_text(text)
        self.comes_to(300, cpu, self.top)
        self.end(*agents)

    def test_actions_on_many_agents_at_once_leave_the_limit_as_it_is(self):
        self.quota("create", "tenant", self.tenant, "--cpu", "300m")
        spin = "while :; do :; done"
        agents = [self.below([], spin) for _ in range(4)]
        for _ in range(3):
            for verb in ("suspend", "resume"):
                for agent in agents:
                    self.assertEqual(self.mete(verb, agent.id).returncode, 0)
        self.comes_to(300, cpu, self.top)
        self.end(*agents[1:])
        self.comes_to(300, cpu, self.top)
        self.end(agents[0])


if __name__ == "__main__":
    unittest.main()
