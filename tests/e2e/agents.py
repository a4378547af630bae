"""Starts `mete run` as a user would, and finds whatever it left behind."""

import contextlib
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import uuid

PROGRAM = pathlib.Path(os.environ["METE_PROGRAM"])
LEFTOVER_SECONDS = 5  # the bound that the product promises for the guardian


def eventually(condition, seconds=10):
    """Whether the condition came true in time. Bounds a wait; measures nothing."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return bool(condition())


def processes_with(mark):
    """Every process that inherited the environment of a test, however it was started."""
    found = []
    needle = f"METE_TEST_MARK={mark}".encode()
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            if needle in pathlib.Path("/proc", entry, "environ").read_bytes().split(b"\0"):
                found.append(int(entry))
        except OSError:
            pass  # it ended meanwhile
    return found


def groups_named(name):
    """The control groups of that name, in every hierarchy."""
    return [path for path, _, _ in os.walk("/sys/fs/cgroup") if os.path.basename(path) == name]


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("mete", timeout=20)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(self.path)
        except OSError:
            self.close()
            raise


def call(path, method, target, body=None, key=None):
    """One exchange with a socket: the status, and the JSON of the answer."""
    headers = {"Idempotency-Key": key} if key else {}
    with contextlib.closing(UnixConnection(path)) as connection:
        connection.request(method, target, json.dumps(body) if body is not None else None, headers)
        response = connection.getresponse()
        text = response.read()
    return response.status, json.loads(text) if text else None


class Agent:
    """One `mete run`; the report is JSON in a file."""

    def __init__(self, test, flags, command, name=None, **popen):
        self.test = test
        self.id = name or f"e2e-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.report_file = test.folder / f"{uuid.uuid4().hex}.json"
        if isinstance(command, str):
            command = ["sh", "-c", command]
        popen.setdefault("stdin", subprocess.DEVNULL)
        popen.setdefault("stdout", subprocess.PIPE)
        popen.setdefault("stderr", subprocess.PIPE)
        popen.setdefault("env", test.environment)
        self.process = subprocess.Popen(
            [getattr(test, "program", PROGRAM), "run", "--agent", self.id, "--json", "--report",
             self.report_file, *flags, "--", *command], **popen)
        self.out = self.err = ""

    def wait(self, seconds=30):
        out, err = self.process.communicate(timeout=seconds)
        self.out = out.decode(errors="replace") if out else ""
        self.err = err.decode(errors="replace") if err else ""
        return self.process.returncode

    @property
    def report(self):
        return json.loads(self.report_file.read_text())

    @property
    def control_socket(self):
        return str(self.test.runtime / "mete" / f"{self.id}.sock")

    @property
    def agent_socket(self):
        return str(self.test.runtime / "mete" / f"{self.id}.agent")

    def up(self):
        """Waits until it answers."""
        self.test.assertTrue(eventually(lambda: os.path.exists(self.control_socket)))
        self.test.assertTrue(eventually(lambda: self.quota() is not None))

    def quota(self):
        try:
            return call(self.control_socket, "GET", f"/v1/quotas/agent/{self.id}")[1]
        except OSError:
            return None

    def state(self):
        quota = self.quota()
        return quota and quota["state"]

    def suspended(self):
        self.test.assertTrue(eventually(lambda: self.state() == "suspended"))

    def group_path(self, controller):
        """The directory of the group that holds the main process."""
        pid = self.quota()["pid"]
        for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controller in controllers.split(","):
                return pathlib.Path(f"/sys/fs/cgroup/{controller}{path}")
        return None


class AgentTest(unittest.TestCase):
    """Fails a test that leaves a process, a control group or a socket behind."""

    def setUp(self):
        self.mark = uuid.uuid4().hex
        self.temporary = tempfile.TemporaryDirectory(prefix="mete-e2e-")
        self.folder = pathlib.Path(self.temporary.name)
        self.runtime = self.folder / "runtime"
        self.runtime.mkdir()
        self.agents = []
        inherited = {name: value for name, value in os.environ.items()
                     if not name.startswith("METE_")}
        self.environment = inherited | {
            "METE_TEST_MARK": self.mark,
            "XDG_RUNTIME_DIR": str(self.runtime),
            "PATH": f"{PROGRAM.parent}:{inherited.get('PATH', '/usr/bin:/bin')}",
        }

    def tearDown(self):
        for agent in self.agents:
            if agent.process.poll() is None:
                agent.process.kill()
            agent.process.communicate()
        left = {}

        def nothing_left():
            left["processes"] = processes_with(self.mark)
            left["groups"] = [path for agent in self.agents for path in groups_named(agent.id)]
            sockets = self.runtime / "mete"
            left["sockets"] = os.listdir(sockets) if sockets.exists() else []
            return not any(left.values())

        clean = eventually(nothing_left, LEFTOVER_SECONDS)
        for pid in left["processes"]:
            os.kill(pid, signal.SIGKILL)
        self.temporary.cleanup()
        self.assertTrue(clean, f"left behind: {left}")

    def start(self, flags, command, **popen):
        agent = Agent(self, flags, command, **popen)
        self.agents.append(agent)
        return agent

    def run_agent(self, flags, command, seconds=30, **popen):
        agent = self.start(flags, command, **popen)
        agent.wait(seconds)
        return agent

    def mete(self, *words, env=None):
        """Another command of mete, from outside."""
        return subprocess.run([PROGRAM, *words], capture_output=True, text=True, timeout=20,
                              env=env or self.environment, stdin=subprocess.DEVNULL)

    def python(self, source):
        """The command line of a Python program."""
        return [sys.executable, "-c", source]


REPORT = """
import http.client, json, os, socket
class Mete(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(os.environ["METE_SOCKET"])
def call(method, path, body=None, key=None):
    connection = Mete("mete", timeout=20)
    connection.request(method, path, json.dumps(body), {"Idempotency-Key": key} if key else {})
    response = connection.getresponse()
    answer = response.read()
    return response.status, json.loads(answer) if answer else None
"""
