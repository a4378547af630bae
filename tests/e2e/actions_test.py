"""What mete does to programs: throttles, holds fork bombs, keeps agents in, takes over others."""

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import unittest
import uuid

from agents import PROGRAM, REPORT, Agent, AgentTest, eventually, processes_with

FORK_BOMB = pathlib.Path(os.environ["METE_BUILD"]) / "tests" / "fork_bomb"
SPIN = "while :; do :; done"
NOBODY = "65534:65534"

# In the agent: where the groups are mounted, by controller ("" is the unified hierarchy).
PLACES = """
import ctypes, errno, os, re, struct, sys, time
def places():
    found = {}
    for line in open("/proc/self/mountinfo"):
        before, after = line.split(" - ")
        kind, options = after.split()[0], after.split()[2].split(",")
        if kind == "cgroup2": found.setdefault("", before.split()[4])
        for name in ("cpu", "memory", "pids"):
            if kind == "cgroup" and name in options: found.setdefault(name, before.split()[4])
    return found
def own(controller=""):
    for line in open("/proc/self/cgroup"):
        _, controllers, path = line.rstrip("\\n").split(":", 2)
        if controller in controllers.split(","): return path
def attempt(what):
    try:
        what()
        return "done"
    except OSError as error:
        return errno.errorcode[error.errno]
def write(path, text):
    with open(path, "w") as file: file.write(text)
"""


def unified_group(agent):
    """The directory of its group in the unified hierarchy."""
    pid = agent.quota()["pid"]
    own = re.search(r"^0::(.*)$", pathlib.Path(f"/proc/{pid}/cgroup").read_text(), re.M)[1]
    return next(pathlib.Path(mount + own) for mount in ("/sys/fs/cgroup/unified", "/sys/fs/cgroup")
                if os.path.exists(mount + "/cgroup.procs"))


def cpu_quota(agent):
    """What the kernel gives it, in thousandths of a core; nothing without a limit."""
    path = agent.group_path("cpu")
    if path:
        quota = int((path / "cpu.cfs_quota_us").read_text())
        return None if quota < 0 else quota // 100
    quota = (unified_group(agent) / "cpu.max").read_text().split()[0]
    return None if quota == "max" else int(quota) // 100


class Throttle(AgentTest):
    def test_cpu_goes_down_in_steps_and_is_cleared(self):
        agent = self.start(["--cpu", "800m", "--cpu-seconds-per-hour", "0.1", "--on-cpu",
                            "throttle"], SPIN)
        self.assertTrue(eventually(lambda: (agent.quota() or {}).get("is_throttled")))
        quota = agent.quota()
        self.assertEqual((quota["state"], quota["causes"]), ("running", ["cpu_seconds_per_hour"]))
        self.assertTrue(eventually(lambda: cpu_quota(agent) == 400), cpu_quota(agent))
        done = self.mete("clear-throttle", agent.id, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertFalse(json.loads(done.stdout)["is_throttled"])
        self.assertEqual(cpu_quota(agent), 800)
        self.assertEqual(self.mete("terminate", agent.id).returncode, 0)
        agent.wait()
        self.assertIn("throttled: cpu_seconds_per_hour", agent.err)
        self.assertIn("throttled: cpu at 50 %, 0.4 cores", agent.err)
        self.assertIn("no longer throttled", agent.err)

    def test_tokens_let_reservations_wait(self):
        agent = self.run_agent(
            ["--tokens-per-hour", "100", "--on-tokens", "throttle:hard"],
            self.python(REPORT + """
print(call("POST", "/v1/self/usage", {"tokens": 101})[1]["throttled"])
status, answer = call("POST", "/v1/self/holds", {"tokens": 1})
print(status, answer["code"], 3500 < answer["retry_after_seconds"] <= 3600)
print(call("GET", "/v1/self")[1]["state"])
"""))
        self.assertEqual(agent.out, "True\n429 E2077 True\nrunning\n", agent.err)

    def test_memory_slows_an_agent_down_without_ending_it(self):
        agent = self.start(["--memory", "32Mi", "--on-memory", "throttle"], self.python(
            "import time\nheld = bytearray(48 << 20)\n"
            "for i in range(0, len(held), 4096): held[i] = 1\n"
            "time.sleep(0.5)\ndel held\ntime.sleep(1.5)\nprint('lived')"))
        self.assertTrue(eventually(lambda: (agent.quota() or {}).get("is_throttled")))
        # Where the kernel slows it down (v2), the last 16 MiB would take minutes.
        self.assertEqual(self.mete("quota", "set", agent.id, "--memory", "128Mi").returncode, 0)
        self.assertEqual(agent.wait(), 0, agent.err)
        self.assertEqual(agent.out, "lived\n")
        self.assertIn("throttled: memory", agent.err)

    def test_warned_cpu_is_not_held(self):
        agent = self.start(["--cpu", "100m", "--on-cpu", "warn"], "sleep 1000")
        agent.up()
        self.assertIsNone(cpu_quota(agent))
        self.mete("terminate", agent.id)
        agent.wait()


class ForkBomb(AgentTest):
    LIMITS = ["--cpu", "500m", "--memory", "128Mi", "--pids", "64"]

    def test_ends_in_order_and_leaves_nothing(self):
        agent = self.run_agent(self.LIMITS, [FORK_BOMB])
        self.assertEqual(agent.process.returncode, 0, agent.err)
        started, refused = map(int, re.findall(r"\d+", agent.out))
        self.assertGreaterEqual(started, 63)
        self.assertGreater(refused, 0)
        self.assertEqual(agent.report["exit"]["reason"], "exited")
        self.assertIn("pids: limit 64 reached", agent.err)

    def test_is_bounded_in_its_grace_and_ended_after_it(self):
        agent = self.start(["--pids", "64", "--grace", "2s"], self.python(
            "import os, signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
            f"os.execv('{FORK_BOMB}', ['fork_bomb', '60', '100000'])"))
        agent.up()
        procs = unified_group(agent) / "cgroup.procs"
        self.assertTrue(eventually(lambda: len(procs.read_text().split()) > 60, 30))
        quota = agent.group_path("cpu")
        quota = quota / "cpu.cfs_quota_us" if quota else procs.with_name("cpu.max")
        self.assertEqual(self.mete("terminate", agent.id).returncode, 0)
        # In its grace, unless that is over already.
        with contextlib.suppress(FileNotFoundError, OSError):
            held = quota.read_text().split()[0]
            self.assertIn(held, (str(min(os.cpu_count() * 50_000, 100_000)), "-1", "max"))
        self.assertEqual(agent.wait(), 128 + signal.SIGTERM, agent.err)
        self.assertEqual(processes_with(self.mark), [])

    # A timer in another group while the bomb runs in its limits.
    def test_lets_its_neighbours_wake_in_time(self):
        bomb = self.start(self.LIMITS, [FORK_BOMB, "8"])
        bomb.up()
        neighbour = self.run_agent([], self.python(
            "import time\nlate = []\n"
            "for _ in range(300):\n"
            "    due = time.monotonic() + 0.01\n"
            "    time.sleep(0.01)\n"
            "    late.append(time.monotonic() - due)\n"
            "print(sorted(late)[297])"))
        self.assertIsNone(bomb.process.poll(), "the bomb was there all along")
        self.assertLessEqual(float(neighbour.out), 0.1)
        self.assertEqual(bomb.wait(), 0)


def python_for_all():
    """A Python that every user may run; one in the folder of root is none."""
    for path in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        real = os.path.realpath(path)
        above = [real, *map(str, pathlib.Path(real).parents)]
        if os.path.exists(real) and all(os.stat(each).st_mode & 1 for each in above):
            return path
    return None


class AnotherUser(AgentTest):
    PYTHON = python_for_all()

    def setUp(self):
        super().setUp()
        if os.geteuid() != 0:
            self.skipTest("only root may start an agent as another user")
        if not self.PYTHON:
            self.skipTest("this machine has no Python that another user may run")

    def python(self, source):
        return [self.PYTHON, "-c", source]

    def run_as_nobody(self, source, flags=()):
        agent = self.run_agent(["--user", NOBODY, *flags], self.python(source), cwd="/")
        self.assertEqual(agent.process.returncode, 0, agent.err)
        return agent

    def test_is_who_it_is_said_to_be(self):
        agent = self.run_as_nobody("import os; print(os.getresuid(), os.getresgid(), "
                                   "os.getgroups(), os.environ['HOME'])")
        uid = (65534,) * 3
        self.assertTrue(agent.out.startswith(f"{uid} {uid} "), agent.out)

    def test_reports_over_its_socket(self):
        agent = self.run_as_nobody(
            REPORT + "print(call('POST', '/v1/self/usage', {'tokens': 5})[0])",
            ["--tokens-per-hour", "100"])
        self.assertEqual(agent.out, "200\n")
        self.assertEqual(agent.report["tokens"], 5)

    # Each way out, and each way to more: refused by the kernel.
    def test_cannot_leave_nor_raise_its_limits(self):
        agent = self.run_as_nobody(PLACES + """
class CloneArgs(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("flags", "pidfd", "child", "parent", "signal",
                "stack", "size", "tls", "tids", "count", "group")]
def clone_elsewhere(path):
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    arguments = CloneArgs(flags=0x200000000, signal=17, group=fd)
    libc = ctypes.CDLL(None, use_errno=True)
    pid = libc.syscall(435, ctypes.byref(arguments), ctypes.sizeof(arguments))
    if pid == 0: os._exit(0)
    if pid < 0: raise OSError(ctypes.get_errno(), "clone3")
before = open("/proc/self/cgroup").read()
tried = []
for controller, mount in places().items():
    group = mount + own(controller)
    for target in (mount, os.path.dirname(os.path.dirname(group))):
        tried.append(attempt(lambda: write(target + "/cgroup.procs", str(os.getpid()))))
    tried.append(attempt(lambda: os.chmod(group, 0o777)))
    tried.append(attempt(lambda: os.mkdir(group + "/below")))
    for name in os.listdir(group):
        if re.match(r"(cpu.cfs_quota_us|cpu.max|memory.limit_in_bytes|memory.max|memory.high|"
                    r"pids.max|cgroup.(freeze|kill|procs|type))$", name):
            tried.append(attempt(lambda: write(group + "/" + name, "0")))
            tried.append(attempt(lambda: os.chmod(group + "/" + name, 0o777)))
tried.append(attempt(lambda: clone_elsewhere(places()[""])))
print(len(tried) > 15, sorted(set(tried)), open("/proc/self/cgroup").read() == before)
""", ["--cpu", "500m", "--memory", "64Mi"])
        said = re.match(r"True (\[.*\]) True$", agent.out)
        self.assertTrue(said, agent.out)
        self.assertLessEqual(set(re.findall(r"\w+", said[1])), {"EACCES", "EPERM", "EROFS"})

    def test_cannot_reach_the_control_socket_nor_mete(self):
        agent = self.start(["--user", NOBODY], self.python(PLACES + """
import socket
path = sys.stdin.readline().strip()
print(attempt(lambda: socket.socket(socket.AF_UNIX).connect(path)),
      attempt(lambda: os.kill(int(sys.stdin.readline()), 15)))
"""), stdin=subprocess.PIPE, cwd="/")
        agent.up()
        agent.process.stdin.write(f"{agent.control_socket}\n{agent.process.pid}\n".encode())
        agent.process.stdin.flush()
        self.assertEqual(agent.wait(), 0, agent.err)
        self.assertEqual(agent.out, "EACCES EPERM\n")

    def test_inherits_no_descriptor_from_3_up(self):
        ours, theirs = os.pipe()
        self.addCleanup(os.close, ours)
        self.addCleanup(os.close, theirs)
        agent = self.run_agent(["--user", NOBODY], self.python(
            f"import os\nprint(os.path.exists('/proc/self/fd/{theirs}'))"),
            pass_fds=[theirs], cwd="/")
        self.assertEqual(agent.out, "False\n", agent.err)

    def test_that_does_not_exist_is_refused(self):
        agent = self.run_agent(["--user", "no-such-user-here"], "true")
        self.assertEqual(agent.process.returncode, 125)
        self.assertIn("--user", agent.err)


class SameUser(AgentTest):
    # Leaves `times` times, and says each time when it found itself inside again.
    LEAVE = PLACES + """
controller = sys.argv[1] if len(sys.argv) > 1 else ""
inside = own(controller)
for _ in range(int(sys.argv[2]) if len(sys.argv) > 2 else 1):
    write(places()[controller] + "/cgroup.procs", str(os.getpid()))
    assert own(controller) != inside
    left = time.monotonic()
    while own(controller) != inside and time.monotonic() - left < 5: time.sleep(0.01)
    print(time.monotonic() - left, flush=True)
"""

    def setUp(self):
        super().setUp()
        if os.geteuid() != 0:
            self.skipTest("leaving the groups of root takes root")

    def test_who_leaves_is_put_back_and_told_of(self):
        agent = self.run_agent([], self.python(self.LEAVE))
        self.assertEqual(agent.process.returncode, 0, agent.err)
        self.assertLess(float(agent.out), 1)
        self.assertIn("left its control group: process ", agent.err)

    def test_leaving_one_hierarchy_is_leaving(self):
        if not os.path.exists("/sys/fs/cgroup/memory/cgroup.procs"):
            self.skipTest("this machine has no hierarchy of memory alone")
        agent = self.run_agent(["--memory", "64Mi"], self.python(self.LEAVE) + ["memory"])
        self.assertEqual(agent.process.returncode, 0, agent.err)
        self.assertLess(float(agent.out), 1)

    def test_who_leaves_again_is_ended(self):
        agent = self.run_agent(["--grace", "0s"], self.python(self.LEAVE) + ["", "10"])
        self.assertEqual(agent.process.returncode, 124, agent.err)
        self.assertEqual(agent.report["exit"]["reason"], "escape")
        self.assertLessEqual(len(agent.out.split()), 2, "times that it was put back")

    def test_who_leaves_all_the_time_is_ended(self):
        agent = self.run_agent(["--grace", "0s"], self.python(PLACES + """
path, pid, began = places()[""] + "/cgroup.procs", str(os.getpid()), time.monotonic()
while time.monotonic() - began < 25: write(path, pid)
"""))
        self.assertEqual(agent.process.returncode, 124, agent.err)
        self.assertEqual(agent.report["exit"]["reason"], "escape")

    def outside(self):
        """An agent whose main process has left its group just now."""
        agent = self.start(["--grace", "0s"], self.python(PLACES + """
sys.stdin.readline()
write(places()[""] + "/cgroup.procs", str(os.getpid()))
print("outside", flush=True)
time.sleep(1000)
"""), stdin=subprocess.PIPE)
        agent.up()
        agent.process.stdin.write(b"go\n")
        agent.process.stdin.flush()
        self.assertEqual(agent.process.stdout.readline(), b"outside\n")
        return agent

    def test_who_is_outside_at_a_suspend_is_put_back(self):
        agent = self.outside()
        self.assertEqual(self.mete("suspend", agent.id).returncode, 0)
        own = pathlib.Path(f"/proc/{agent.quota()['pid']}/cgroup")
        self.assertTrue(eventually(lambda: agent.id in own.read_text().splitlines()[-1]))
        self.assertEqual(agent.state(), "suspended")
        self.assertEqual(self.mete("terminate", agent.id).returncode, 0)
        agent.wait()

    def test_who_is_outside_at_a_kill_is_ended(self):
        agent = self.outside()
        self.assertEqual(self.mete("terminate", agent.id).returncode, 0)
        self.assertEqual(agent.wait(), 128 + signal.SIGTERM, agent.err)

    def test_what_is_outside_at_the_end_is_ended_too(self):
        agent = self.run_agent([], self.python(PLACES + """
if os.fork() == 0:
    os.setsid()
    write(places()[""] + "/cgroup.procs", str(os.getpid()))
    time.sleep(1000)
time.sleep(0.3)
"""))
        self.assertEqual(agent.process.returncode, 0, agent.err)
        self.assertEqual(processes_with(self.mark), [])


class Attach(AgentTest):
    def program(self, script):
        process = subprocess.Popen(["sh", "-c", script], env=self.environment,
                                   stdin=subprocess.DEVNULL, start_new_session=True)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def attach(self, process, *flags):
        agent = Agent.__new__(Agent)
        agent.test, agent.out, agent.err = self, "", ""
        agent.id = f"e2e-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        agent.report_file = self.folder / f"{agent.id}.json"
        agent.process = subprocess.Popen(
            [PROGRAM, "attach", "--agent", agent.id, "--json", "--report", agent.report_file,
             *flags, str(process.pid)], env=self.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.agents.append(agent)
        return agent

    def test_takes_the_whole_tree_and_ends_with_it(self):
        process = self.program("sleep 1000 & (sleep 1000 & sleep 1000) & read x < /dev/null; "
                               "sleep 1000; exit 3")
        self.assertTrue(eventually(lambda: len(processes_with(self.mark)) >= 5))
        time.sleep(0.2)
        everyone = processes_with(self.mark)
        agent = self.attach(process, "--pids", "50", "--cpu", "500m")
        agent.up()
        for pid in everyone:
            self.assertIn(agent.id, pathlib.Path(f"/proc/{pid}/cgroup").read_text())
        self.assertEqual(cpu_quota(agent), 500)
        process.kill()
        process.wait()
        agent.wait()
        self.assertEqual(processes_with(self.mark), [])
        self.assertIn(agent.report["exit"]["reason"], ("signal", "unknown"))
        self.assertEqual(agent.report["command"][:2], ["sh", "-c"])

    def test_knows_the_exit_status_or_says_that_it_does_not(self):
        process = self.program("sleep 0.5; exit 3")
        agent = self.attach(process)
        self.assertEqual(process.wait(), 3)
        status = agent.wait()
        self.assertIn((agent.report["exit"]["reason"], status), (("exited", 3), ("unknown", 0)))

    def test_holds_it_to_its_limits(self):
        process = self.program(f"sleep 0.3; {SPIN}")
        agent = self.attach(process, "--cpu-seconds-per-hour", "0.2", "--on-cpu", "terminate",
                            "--grace", "0s")
        self.assertEqual(agent.wait(), 124, agent.err)
        self.assertEqual(process.wait(), -signal.SIGKILL)
        self.assertEqual(agent.report["exit"]["limit"], "cpu_seconds_per_hour")

    def test_refuses_what_it_cannot_take(self):
        process = self.program("sleep 1000")
        gone = subprocess.Popen(["true"])
        gone.wait()
        self.assertEqual(self.attach(gone).wait(), 125)
        own = self.attach(type("Own", (), {"pid": os.getpid()}))
        self.assertEqual(own.wait(), 125)
        self.assertIn("started by it", own.err)
        agent = self.attach(process)
        agent.up()
        again = self.attach(process)
        self.assertEqual(again.wait(), 125)
        self.assertIn("E2080", again.err)
        self.assertEqual(self.mete("terminate", agent.id).returncode, 0)
        agent.wait()


if __name__ == "__main__":
    unittest.main()
