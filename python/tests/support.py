"""What the tests of the package share."""

import asyncio
import contextlib
import pathlib
import subprocess
import sys
import time

import mete
import mete.sync

SECONDS = 60  # longer than anything here may take; no test asserts how long it took


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self, now=1000.0):
        self.now = now

    def __call__(self):
        return self.now


class Lifecycle:
    """Records what it is told; fails as often as it is told to."""

    def __init__(self, failures=0):
        self.calls = []
        self.loops = set()
        self.failures = failures

    async def _record(self, *call):
        self.loops.add(asyncio.get_running_loop())
        self.calls.append(call)
        await asyncio.sleep(0)
        if self.failures > 0:
            self.failures -= 1
            raise OSError("the runtime is away")

    async def suspend(self, agent_id, checkpoint):
        await self._record("suspend", agent_id, checkpoint)

    async def terminate(self, agent_id, reason):
        await self._record("terminate", agent_id, reason)

    async def resume(self, agent_id):
        await self._record("resume", agent_id)


async def until(condition, what="it"):
    """Lets the loop run until the condition holds."""
    end = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited in vain for {what}")
        await asyncio.sleep(0.002)


def wait_until(condition, what="it"):
    end = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited in vain for {what}")
        time.sleep(0.002)


@contextlib.asynccontextmanager
async def running(config=None, lifecycle=None):
    manager = mete.ResourceManager(config, lifecycle)
    await manager.initialize()
    try:
        yield manager
    finally:
        await manager.cleanup()


def kinds(events, target=None):
    return [event.kind.value for event in events if target in (None, event.target)]


def native_threads():
    with open("/proc/self/status") as status:
        return int(next(line.split()[1] for line in status if line.startswith("Threads:")))


def run_program(text, *arguments):
    """A program of its own; returns what subprocess.run does."""
    return subprocess.run([sys.executable, "-c", text, *arguments], capture_output=True, text=True,
                          timeout=SECONDS * 2, stdin=subprocess.DEVNULL)


def source_folder():
    return pathlib.Path(__file__).resolve().parent.parent.parent
