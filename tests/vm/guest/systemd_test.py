"""Delegation by systemd, which is the first process of this guest: units that got a subtree of
control groups, units that got none or a part, and owners that are killed in one."""

import json
import os
import pathlib
import signal
import subprocess
import unittest
import uuid

from agents import PROGRAM, Agent, eventually, processes_with
from machine import (ROOT, SOON, GuestTest, become, group_of, hog, not_the_kernels, number_in,
                     processes_in, read)

USER = 1000  # "agent" of /etc/passwd
ALL = {"cpu", "memory", "pids"}
FORKS = ("import os, time\nwhile True:\n    try: os.fork()\n    except OSError: time.sleep(0.01)")


def systemctl(*words, check=True):
    return subprocess.run(["systemctl", *words], check=check, capture_output=True, text=True,
                          timeout=SOON, stdin=subprocess.DEVNULL).stdout.strip()


def outside_of(unit):
    """The directories of the whole hierarchy and what they pass on, without the unit's."""
    return {folder: read(f"{folder}/cgroup.subtree_control") for folder, _, _ in os.walk(ROOT)
            if not pathlib.Path(folder).is_relative_to(unit)}


def made_by_systemd(folder):
    """Everything that a delegated group's own files say of its limits, owner and attributes."""
    values = {name: read(folder / name) for name in
              ("cpu.max", "cpu.weight", "memory.max", "memory.high", "pids.max", "cgroup.freeze")}
    status = os.stat(folder)
    return values, status.st_uid, status.st_mode, sorted(
        (name, os.getxattr(folder, name)) for name in os.listxattr(folder))


class Service(Agent):
    """A service that starts one `mete run` when it is told to, and ends with it; in a slice of its
    own, so that no other unit brings controllers along."""

    def __init__(self, test, words, user, properties):  # not Agent's: systemd starts it
        self.test = test
        self.id = f"unit-{uuid.uuid4().hex[:8]}"
        self.unit = f"{self.id}.service"
        self.slice = ROOT / f"metetest{self.id[5:]}.slice"
        self.folder = self.slice / self.unit
        self.output = test.folder / f"{self.id}.out"
        self.report_file = test.folder / f"{self.id}.json"
        self.begin = test.folder / f"{self.id}.begin"
        environment = {"METE_TEST_MARK": test.mark, "XDG_RUNTIME_DIR": str(test.runtime),
                       "PATH": test.environment["PATH"]}
        given = {"Slice": self.slice.name, "StandardOutput": f"file:{self.output}",
                 "StandardError": f"file:{self.output}", "User": str(user),
                 "TimeoutStopSec": "3"} | properties
        subprocess.run(
            ["systemd-run", "--quiet", f"--unit={self.unit}",
             *(f"--property={name}={value}" for name, value in given.items()),
             *(f"--setenv={name}={value}" for name, value in environment.items()),
             "sh", "-c", f"while ! [ -e {self.begin} ]; do sleep 0.05; done; " + words(self)],
            check=True, timeout=SOON, stdin=subprocess.DEVNULL)

    def go(self):
        self.begin.touch()

    def show(self, name):
        return systemctl("show", self.unit, f"--property={name}", "--value")

    def over(self):
        """Waits until the unit is dead; how its main process ended."""
        self.test.assertTrue(eventually(
            lambda: self.show("ActiveState") in ("inactive", "failed"), SOON), self.said())
        return int(self.show("ExecMainStatus"))

    def said(self):
        return read(self.output) or ""

    @property
    def owner(self):
        return int(self.show("MainPID"))

    def up(self):
        self.test.assertTrue(eventually(lambda: self.state() == "running", SOON), self.said())

    def suspended(self):
        self.test.assertTrue(eventually(lambda: self.state() == "suspended", SOON), self.said())

    @property
    def leaf(self):
        return group_of(self.quota()["pid"])


class UnitTest(GuestTest):
    USER = 0

    def setUp(self):
        super().setUp()
        self.services = []
        for path in (self.folder, self.runtime):
            os.chown(path, self.USER, self.USER)

    def tearDown(self):
        for service in self.services:
            systemctl("kill", "--signal=KILL", service.unit, check=False)
            systemctl("stop", service.unit, check=False)
            systemctl("reset-failed", service.unit, check=False)
            systemctl("stop", service.slice.name, check=False)
        super().tearDown()
        self.assertEqual([folder for folder, _, _ in os.walk(ROOT)
                          if folder.endswith(("/mete", "/mete-callers"))], [])

    def service(self, words, **properties):
        service = Service(self, words, self.USER, properties)
        self.services.append(service)
        return service

    def running(self, flags, command, **properties):
        """A unit whose main process becomes `mete run` with these flags, as soon as it may."""
        script = self.folder / f"{uuid.uuid4().hex}.sh"
        script.write_text(command)
        shell = "python3" if "import " in command else "sh"
        return self.service(
            lambda service: f"exec {PROGRAM} run --agent {service.id} --json "
            f"--report {service.report_file} {flags} -- {shell} {script}", **properties)

    def as_user(self, *words, **popen):
        return subprocess.run([PROGRAM, *words], capture_output=True, text=True, timeout=SOON,
                              env=self.environment, stdin=subprocess.DEVNULL, cwd="/",
                              preexec_fn=become(self.USER), **popen)

    def doctor(self, **properties):
        """What `mete doctor --json` says in such a unit; the unit is over then."""
        service = self.service(lambda service: f"exec {PROGRAM} doctor --json", **properties)
        before = outside_of(service.folder)
        service.go()
        self.assertEqual(service.over(), 0, service.said())
        # Nothing outside of the unit; systemd itself takes things away when the unit is over.
        self.assertEqual(set(outside_of(service.folder)) - set(before), set())
        return service, service.said()

    def nothing_left(self, service):
        self.assertTrue(eventually(lambda: not service.folder.exists(), SOON),
                        processes_in(service.folder))
        self.assertTrue(eventually(lambda: not processes_with(self.mark), SOON))

    def gc(self):
        """Of every agent that `mete gc` finds, what it is; what is left of it afterwards."""
        done = self.as_user("gc", "--json")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        again = self.as_user("gc", "--json")
        self.assertEqual(json.loads(again.stdout)["agents"], [], done.stdout)
        return json.loads(done.stdout)["agents"]


class Delegated(UnitTest):
    """Delegate=yes, as root."""

    def test_every_row_of_doctor_is_the_kernels(self):
        service, said = self.doctor(Delegate="yes")
        self.assertEqual(not_the_kernels(said), [])
        self.assertEqual(json.loads(said)["root"], f"{service.folder}/mete")
        self.assertNotIn("did not delegate", said)
        self.nothing_left(service)

    def test_its_own_subtree_and_nothing_outside_is_used(self):
        service = self.running("--cpu 200m --memory 64Mi --pids 20", "while :; do :; done",
                               Delegate="yes", CPUQuota="80%", MemoryMax="128M", TasksMax="100")
        outside, own = outside_of(service.folder), made_by_systemd(service.folder)
        service.go()
        service.up()
        leaf = service.leaf
        self.assertTrue(leaf.is_relative_to(service.folder / "mete"), leaf)
        self.assertEqual((read(leaf / "cpu.max"), read(leaf / "memory.max"),
                          read(leaf / "pids.max")), ("20000 100000", str(64 << 20), "20"))
        self.assertTrue(eventually(lambda: number_in(leaf / "cpu.stat", "nr_throttled") > 2, SOON))
        # Who keeps the agent is in the unit as well, so that systemd ends all of it.
        self.assertEqual(group_of(service.owner), service.folder / "mete-callers")
        self.assertEqual(outside_of(service.folder), outside)
        self.assertEqual(made_by_systemd(service.folder), own)
        self.as_user("terminate", service.id)
        service.over()
        self.assertEqual(outside_of(service.folder), outside)
        self.nothing_left(service)

    def test_memory_and_processes_are_never_passed(self):
        greedy = self.running("--memory 64Mi", hog(300), Delegate="yes")
        greedy.go()
        self.assertEqual(greedy.over(), 124, greedy.said())
        self.assertEqual(greedy.report["exit"]["limit"], "memory")
        self.assertLessEqual(greedy.report["memory_peak_bytes"], 64 << 20)
        self.nothing_left(greedy)
        bomb = self.running("--pids 10", FORKS, Delegate="yes")
        bomb.go()
        bomb.up()
        leaf = bomb.leaf
        self.assertTrue(eventually(lambda: number_in(leaf / "pids.events", "max") > 5, SOON))
        self.assertLessEqual(int(read(leaf / "pids.current")), 10)
        self.as_user("terminate", bomb.id)
        bomb.over()
        self.nothing_left(bomb)

    def test_a_unit_that_goes_on_keeps_no_group_of_an_agent(self):
        service = self.service(
            lambda service: f"{PROGRAM} run --pids 10 --quiet -- true && echo once && "
            f"{PROGRAM} run --pids 10 --quiet -- cat /proc/self/cgroup && sleep 1000",
            Delegate="yes")
        service.go()
        self.assertTrue(eventually(
            lambda: service.said().startswith("once") and "/mete/" in service.said() and
            not (service.folder / "mete").exists(), SOON), service.said())
        below = [path.name for path in service.folder.iterdir() if path.is_dir()]
        self.assertEqual(below, ["mete-callers"])
        self.assertIn(service.owner, processes_in(service.folder / "mete-callers"))
        systemctl("stop", service.unit)
        self.nothing_left(service)

    def test_stopping_the_unit_ends_owner_and_agent(self):
        for suspended in (False, True):
            with self.subTest(suspended=suspended):
                service = self.running("--cpu 200m --grace 100ms", self.spinners(2),
                                       Delegate="yes")
                service.go()
                service.up()
                if suspended:
                    self.assertEqual(self.as_user("suspend", service.id).returncode, 0)
                    self.assertEqual(number_in(service.leaf / "cgroup.events", "frozen"), 1)
                systemctl("stop", service.unit)
                self.nothing_left(service)
                self.assertEqual([agent for agent in self.gc() if agent["frozen"]], [])


class DelegatedToAUser(Delegated):
    """Delegate=yes and User=: systemd gives the subtree to that user."""
    USER = USER


class NotDelegated(UnitTest):
    """Delegate=no, as root: groups are made all the same, and it is said where."""

    def test_limits_hold_and_the_tree_is_said_to_be_systemds(self):
        service, said = self.doctor(Delegate="no")
        self.assertEqual(not_the_kernels(said), [])
        notes = " ".join(json.loads(said)["notes"])
        self.assertIn(f"systemd did not delegate /{service.folder.relative_to(ROOT)}", notes)
        self.assertFalse(pathlib.Path(json.loads(said)["root"]).is_relative_to(service.folder))
        service = self.running("--cpu 200m --pids 20", "sleep 1000", Delegate="no")
        service.go()
        service.up()
        leaf = service.leaf
        self.assertEqual((read(leaf / "cpu.max"), read(leaf / "pids.max")),
                         ("20000 100000", "20"))
        self.assertEqual([path for path in service.folder.iterdir() if path.is_dir()], [])
        # Not in the unit, so its guardian is who ends the agent; systemd goes on as before.
        systemctl("stop", service.unit)
        self.assertTrue(eventually(lambda: not leaf.exists(), SOON))
        self.nothing_left(service)
        self.doctor(Delegate="no")


class NotDelegatedToAUser(UnitTest):
    USER = USER

    def test_nothing_is_written_and_nothing_is_promised(self):
        service, said = self.doctor(Delegate="no")
        self.assertEqual(json.loads(said)["layout"], "processes")
        self.assertNotIn("kernel", [row["grade"] for row in json.loads(said)["grades"]
                                    if row["kind"] == "limit"])
        service = self.running("--pids 10", "true", Delegate="no")
        service.go()
        self.assertEqual(service.over(), 125, service.said())
        self.assertIn("E2071", service.said())
        self.assertIn("pids", service.said())


class PartlyDelegated(UnitTest):
    """A list of controllers: what it lacks is graded and refused, what it has holds."""

    def check(self, controllers):
        only = {"Delegate": controllers, "MemoryAccounting": "no", "CPUAccounting": "no"}
        service, said = self.doctor(**only)
        doctor = json.loads(said)
        grades = {row["what"]: row["grade"] for row in doctor["grades"] if row["kind"] == "limit"}
        self.assertEqual(doctor["root"], f"{service.folder}/mete")
        missing = sorted(ALL - set(controllers.split()))
        self.assertEqual({what: grades[what] for what in ALL},
                         {what: "absent" if what in missing else "kernel" for what in ALL}, said)
        for flag in missing:
            amount = {"cpu": "100m", "memory": "64Mi"}[flag]
            refused = self.running(f"--{flag} {amount}", "true", **only)
            outside = outside_of(refused.folder)
            refused.go()
            self.assertEqual(refused.over(), 125, refused.said())
            self.assertIn("E2071", refused.said())
            self.assertIn(flag, refused.said())
            self.assertEqual([folder for folder in outside_of(refused.folder)
                              if folder not in outside], [])
        service = self.running("--pids 10", "sleep 1000", **only)
        service.go()
        service.up()
        self.assertTrue(service.leaf.is_relative_to(service.folder))
        self.assertEqual(read(service.leaf / "pids.max"), "10")
        systemctl("stop", service.unit)
        self.nothing_left(service)

    def test_processes_only(self):
        self.check("pids")

    def test_no_memory(self):
        self.check("cpu pids")


class PartlyDelegatedToAUser(PartlyDelegated):
    USER = USER


class OwnerKilled(UnitTest):
    def start_suspended(self, **properties):
        service = self.running("--cpu 200m", self.spinners(2), Delegate="yes", **properties)
        service.go()
        service.up()
        self.assertEqual(self.as_user("suspend", service.id).returncode, 0)
        service.suspended()
        return service

    def test_systemd_ends_what_is_left_in_the_unit(self):
        service = self.start_suspended(KillMode="control-group")
        os.kill(service.owner, signal.SIGKILL)
        service.over()
        self.nothing_left(service)
        self.assertEqual([agent for agent in self.gc() if agent["frozen"]], [])

    def test_the_guardian_does_where_systemd_does_not(self):
        service = self.start_suspended(KillMode="process")
        os.kill(service.owner, signal.SIGKILL)
        self.nothing_left(service)
        self.assertEqual(self.gc(), [])

    def test_without_a_guardian_too_it_is_neither_lost_nor_looser(self):
        service = self.start_suspended(KillMode="process")
        leaf = service.leaf
        for pid in sorted(processes_in(service.folder / "mete-callers"), reverse=True):
            os.kill(pid, signal.SIGKILL)  # the guardian first
        service.over()
        self.assertEqual(read(leaf / "cpu.max"), "20000 100000")
        seen = json.loads(self.as_user("gc", "--json").stdout)["agents"]
        self.assertEqual([(agent["id"], agent["action"]) for agent in seen],
                         [(service.id, "leave")], "its group is not below this caller's")
        systemctl("kill", "--signal=KILL", service.unit)
        self.nothing_left(service)
        self.assertEqual([(agent["id"], agent["action"]) for agent in self.gc()],
                         [(service.id, "forget")])

    def test_a_restarted_unit_starts_anew(self):
        service = self.start_suspended(Restart="always", RestartSec="100ms")
        before, owner = os.stat(service.leaf).st_ino, service.owner
        os.kill(owner, signal.SIGKILL)
        self.assertTrue(eventually(lambda: service.owner not in (0, owner), SOON))
        service.up()
        self.assertNotEqual(os.stat(service.leaf).st_ino, before)
        self.assertEqual(number_in(service.leaf / "cgroup.events", "frozen"), 0)
        self.assertEqual([path.name for path in (service.folder / "mete").iterdir()
                          if path.is_dir()], [service.leaf.name])
        systemctl("stop", service.unit)
        self.nothing_left(service)
        self.assertEqual([agent for agent in self.gc() if agent["frozen"]], [])


if __name__ == "__main__":
    unittest.main()
