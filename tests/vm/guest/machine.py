"""The guest's machine, for tests that own all of it: groups, clocks, process numbers, users."""

import contextlib
import ctypes
import json
import os
import pathlib
import signal
import subprocess
import time

from agents import AgentTest, eventually

ROOT = pathlib.Path("/sys/fs/cgroup")
SOON = 60  # seconds for what must happen; emulated, beside other work


def read(path):
    """A control file's text; None if it is gone."""
    try:
        return pathlib.Path(path).read_text().strip()
    except OSError:
        return None


def number_in(path, key):
    """The number after the key in a file of lines like "oom_kill 3"."""
    for line in (read(path) or "").splitlines():
        if line.split()[0] == key:
            return int(line.split()[1])
    raise KeyError(f"{path}: no {key}")


def group_of(pid):
    """The directory of the group that a process is in."""
    return ROOT / read(f"/proc/{pid}/cgroup").split(":", 2)[2].lstrip("/")


def not_the_kernels(doctor):
    """The rows of `mete doctor --json` that full control groups v2 should hold, and do not."""
    beside = {"cpu_seconds_per_hour", "gpu_memory", "tokens_per_hour", "tokens_per_day",
              "requests_per_minute", "cost_per_day"}  # mete's own, on every machine
    return [row for row in json.loads(doctor)["grades"]
            if row["grade"] != "kernel" and row["what"] not in beside
            and row["kind"] != "environment"]


def processes_in(group):
    """Every process of a group and of those below it."""
    found = []
    for folder, _, _ in os.walk(group):
        found += [int(pid) for pid in (read(f"{folder}/cgroup.procs") or "").split()]
    return found


@contextlib.contextmanager
def group(path, controllers="+cpu +memory +pids", owner=None, **limits):
    """A group with these limits (cpu_max="30000 100000"), gone afterwards with all that is in it;
    `owner`: the user to whom it is delegated, as the kernel's documentation says how."""
    folder = ROOT / path
    for above in reversed(folder.relative_to(ROOT).parents):
        (ROOT / above).mkdir(exist_ok=True)
        (ROOT / above / "cgroup.subtree_control").write_text(controllers)
    folder.mkdir()
    for name, value in limits.items():
        (folder / name.replace("_", ".", 1)).write_text(value)
    if owner is not None:
        for name in (".", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"):
            os.chown(folder / name, owner, owner)
    try:
        yield folder
    finally:
        (folder / "cgroup.kill").write_text("1")
        eventually(lambda: number_in(folder / "cgroup.events", "populated") == 0, SOON)
        for below, _, _ in os.walk(folder, topdown=False):
            os.rmdir(below)


@contextlib.contextmanager
def setting(path, value):
    """A value of the kernel, put back afterwards."""
    old = read(path)
    pathlib.Path(path).write_text(str(value))
    try:
        yield
    finally:
        pathlib.Path(path).write_text(old)


@contextlib.contextmanager
def clock_moved(seconds):
    """The wall clock jumps, and jumps back."""
    began = time.monotonic()
    wall = time.time()
    time.clock_settime(time.CLOCK_REALTIME, wall + seconds)
    try:
        yield
    finally:
        time.clock_settime(time.CLOCK_REALTIME, wall + time.monotonic() - began)


def become(user=None, group_path=None):
    """For Popen's preexec_fn: joins a group, then is that user."""
    def enter():
        if group_path is not None:
            (pathlib.Path(group_path) / "cgroup.procs").write_text("0")
        if user is not None:
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
    return enter


class GuestTest(AgentTest):
    """AgentTest, with the agents of other users and of groups that a test made."""

    def start_as(self, user, folder, flags, command, **popen):
        for path in (self.folder, self.runtime):
            os.chown(path, user, user)
        return self.start(flags, command, preexec_fn=become(user, folder), **popen)

    def group_of(self, agent):
        """The group of an agent that is up."""
        return group_of(agent.quota()["pid"])

    def spinners(self, count):
        """A program of so many busy processes, which ignores SIGTERM."""
        return f"trap '' TERM; for i in {' '.join(['1'] * (count - 1))}; do " \
               "(while :; do :; done) & done; while :; do :; done"


class Witness:
    """Processes outside of every agent, born and gone all the time, so that the numbers of theirs
    and of agents' are used for each other; counts signals that reach them."""

    SOURCE = r"""
import os, signal, sys, time
bad = 0
def told(number, frame):
    global bad
    bad += 1
def child():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCONT):
        signal.signal(number, lambda number, frame: os._exit(99))
    time.sleep(0.03)
    os._exit(7)
stop = False
def finish(number, frame):
    global stop
    stop = True
signal.signal(signal.SIGUSR2, finish)
living, born = set(), 0
while not stop or living:
    while not stop and len(living) < 40:
        try:
            pid = os.fork()
        except OSError:
            break
        if pid == 0:
            child()
        living.add(pid)
        born += 1
    pid, status = os.wait3(0)[:2]
    living.discard(pid)
    if status != 7 << 8:
        bad += 1
print(born, bad, flush=True)
"""

    def __init__(self):
        self.process = subprocess.Popen(["python3", "-c", self.SOURCE], stdout=subprocess.PIPE)

    def finish(self):
        """How many were born, and how many of them a signal reached."""
        self.process.send_signal(signal.SIGUSR2)
        born, bad = self.process.communicate(timeout=SOON)[0].split()
        return int(born), int(bad)


def hog(mebibytes, then="time.sleep(1000)"):
    """The source of a program that touches so much memory, slowly enough to be watched."""
    return ("import mmap, time\n"
            f"held = mmap.mmap(-1, {mebibytes} << 20)\n"
            f"for at in range(0, {mebibytes} << 20, 4096): held[at] = 1\n"
            f"print('touched', flush=True)\n{then}\n")


def unshare_mounts():
    """For preexec_fn: mounts made afterwards are this process's own."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x00020000) != 0 or libc.mount(b"none", b"/", None, 1 << 18 | 1 << 14, None):
        raise OSError(ctypes.get_errno(), "unshare")
