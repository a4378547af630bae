"""Who may do what on control groups v2: delegation to a user, agents as another user, and a user to
whom nothing was delegated."""

import json
import os
import pathlib
import subprocess
import time
import unittest

from agents import PROGRAM, eventually, processes_with
from machine import (ROOT, SOON, GuestTest, become, group, hog, not_the_kernels, number_in,
                     read, unshare_mounts)

USER, OTHER = 1000, 1001  # "agent" and "other" of /etc/passwd


class Delegated(GuestTest):
    """A subtree that belongs to a user, as systemd's `Delegate=yes` leaves it: the group, its
    cgroup.procs, cgroup.subtree_control and cgroup.threads; not its limits."""

    def mete_as(self, user, folder, *words):
        return subprocess.run([PROGRAM, *words], capture_output=True, text=True, timeout=60,
                              env=self.environment, stdin=subprocess.DEVNULL, cwd="/",
                              preexec_fn=become(user, folder))

    def leaf(self, folder):
        """Where the user's own processes are, as in user@1000.service/init.scope."""
        leaf = folder / "leaf"
        leaf.mkdir()
        for name in (".", "cgroup.procs"):
            os.chown(leaf / name, USER, USER)
        return leaf

    def test_every_row_of_doctor_is_the_kernels(self):
        with group("delegated", owner=USER) as folder:
            done = self.mete_as(USER, self.leaf(folder), "doctor", "--json")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn(str(folder), done.stdout)
            self.assertEqual(not_the_kernels(done.stdout), [])
            self.assertEqual(sorted(os.listdir(ROOT)).count("mete"), 0)

    def test_limits_hold_without_privileges(self):
        with group("delegated", owner=USER) as folder:
            agent = self.start_as(USER, self.leaf(folder),
                                  ["--cpu", "200m", "--memory", "64Mi", "--pids", "20"],
                                  self.spinners(2))
            agent.up()
            own = self.group_of(agent)
            self.assertTrue(own.is_relative_to(folder))
            self.assertEqual((read(own / "cpu.max"), read(own / "memory.max"),
                              read(own / "pids.max")), ("20000 100000", str(64 << 20), "20"))
            self.assertEqual(self.suspend(agent), 0)
            self.assertEqual(number_in(own / "cgroup.events", "frozen"), 1)
            agent.process.kill()
            agent.process.communicate()
            self.assertTrue(eventually(lambda: not processes_with(self.mark), SOON))

    def suspend(self, agent):
        return self.mete_as(USER, None, "suspend", agent.id).returncode

    def test_memory_of_all_agents_stays_within_the_delegation(self):
        with group("delegated", owner=USER, memory_max=str(96 << 20)) as folder:
            leaf = self.leaf(folder)
            agents = [self.start_as(USER, leaf, ["--memory", "80Mi"], self.python(hog(70)))
                      for _ in range(2)]
            self.assertTrue(eventually(
                lambda: number_in(folder / "memory.events", "oom_kill") > 0, SOON))
            for agent in agents:
                agent.process.kill()
                agent.process.communicate()
            self.assertLessEqual(int(read(folder / "memory.peak")), 96 << 20)
            self.assertTrue(eventually(lambda: not processes_with(self.mark), SOON))

    def test_of_another_user_cannot_be_used(self):
        with group("delegated", owner=USER) as folder:
            self.leaf(folder)
            with self.assertRaises(subprocess.SubprocessError):  # the kernel lets nobody else in
                subprocess.run(["true"], preexec_fn=lambda: (become(OTHER)(),
                                                             become(None, folder)()))


class ReadOnly(GuestTest):
    def test_groups_are_not_promised(self):
        def enter():
            unshare_mounts()
            subprocess.run(["mount", "-o", "remount,bind,ro", "/sys/fs/cgroup"], check=True)

        done = subprocess.run([PROGRAM, "doctor", "--json"], capture_output=True, text=True,
                              timeout=60, env=self.environment, preexec_fn=enter)
        self.assertEqual(json.loads(done.stdout)["layout"], "processes", done.stdout)
        self.assertNotIn('"kernel","how":"cpu.max', done.stdout)
        # What is only counted for the whole user is not taken for a limit.
        refused = subprocess.run([PROGRAM, "run", "--pids", "10", "--", "true"],
                                 capture_output=True, text=True, timeout=60,
                                 env=self.environment, preexec_fn=enter)
        self.assertEqual(refused.returncode, 125, refused.stderr)
        self.assertIn("pids", refused.stderr)


if __name__ == "__main__":
    unittest.main()
