"""What happens beside the reports: actions on agents, log lines, and waking who waits for events.

Nothing here refers to a manager: the functions run on the manager's own thread, where the last
reference to it must not fall.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ._errors import failure_of, invalid
from ._models import Event, EventKind
from ._native import Events, Intent, event_kinds

logger = logging.getLogger("mete")

LOGGED = frozenset({EventKind.WARNED, EventKind.THROTTLED, EventKind.SUSPENDED,
                    EventKind.TERMINATED, EventKind.ACTION_FAILED, EventKind.STORE_UNAVAILABLE,
                    EventKind.STORE_RECOVERED})


def kinds_mask(kinds: frozenset[EventKind] | None = None) -> int:
    """The set of kinds as the native reader takes it; all of them without an argument."""
    return sum(1 << bit for bit, name in enumerate(event_kinds())
               if kinds is None or EventKind(name) in kinds)


ALL_KINDS = kinds_mask()
LOGGED_MASK = kinds_mask(LOGGED)
USAGE_MASK = kinds_mask(frozenset({EventKind.USAGE}))


def check_lifecycle(lifecycle: Any) -> None:
    for name in ("suspend", "terminate"):
        if lifecycle is not None and not callable(getattr(lifecycle, name, None)):
            raise invalid("lifecycle_manager: an object with suspend and terminate is allowed, "
                          f"not {type(lifecycle).__name__}")


def why(intent: Intent) -> str:
    """"tokens_per_hour of session/s1": the reason that a lifecycle manager is told."""
    return f"{intent.limit} of {intent.account}" if intent.limit else "operator"


def call(lifecycle: Any, intent: Intent) -> Any:
    """Calls the method for an intent; what it returns may have to be awaited.

    Throttling is what reservations and `is_throttled` answer: there is nothing to call for it, and
    `resume` is there for those who have it.
    """
    if intent.verb == "suspend" and lifecycle is not None:
        return lifecycle.suspend(intent.agent_id, checkpoint=True)
    if intent.verb == "terminate" and lifecycle is not None:
        return lifecycle.terminate(intent.agent_id, reason=why(intent))
    if intent.verb == "resume" and callable(getattr(lifecycle, "resume", None)):
        return lifecycle.resume(intent.agent_id)
    return None


class CallbackRun:
    """A callback that runs, or is over. `mark` stands for its manager."""

    def __init__(self, mark: object) -> None:
        self.mark = mark
        self.running = True


# Those that whoever looks was called by. Tasks and asyncio.to_thread take it from their maker.
_inside: contextvars.ContextVar[tuple[CallbackRun, ...]] = contextvars.ContextVar(
    "mete_callbacks", default=())


@contextmanager
def callback_of(mark: object) -> Iterator[None]:
    run = CallbackRun(mark)
    # Left set: a coroutine of a closed loop ends in another context, and what is over says so.
    _inside.set((*(other for other in _inside.get() if other.running), run))
    try:
        yield
    finally:
        run.running = False


def check_not_inside(mark: object) -> None:
    """A cleanup waits for the callbacks; one that waited for the cleanup would wait for ever."""
    if any(run.running and run.mark is mark for run in _inside.get()):
        raise RuntimeError("a callback of the manager cannot clean it up")


def performer(lifecycle: Any, mark: object) -> Callable[[Intent], str | None]:
    """For the manager's thread: plain functions. Answers why one failed."""

    def perform(intent: Intent) -> str | None:
        try:
            with callback_of(mark):
                result = call(lifecycle, intent)
        except BaseException as error:
            return failure_of(error)
        if not hasattr(result, "__await__"):
            return None
        if hasattr(result, "close"):
            result.close()  # or Python warns of a coroutine that nobody awaits
        return (f"TypeError: {intent.verb} is async: mete.sync calls plain functions; "
                "mete.ResourceManager awaits")

    return perform


def _log(event: Event) -> None:
    about = f" ({event.limit} of {event.account})" if event.limit else ""
    if event.kind is EventKind.ACTION_FAILED:
        logger.warning("action failed: %s: %s", event.target, event.detail)
    elif event.kind in (EventKind.STORE_UNAVAILABLE, EventKind.STORE_RECOVERED):
        logger.warning("%s%s", event.kind.value, f": {event.detail}" if event.detail else "")
    elif event.kind is EventKind.USAGE and event.usage is not None:
        usage = event.usage
        logger.info("usage: %s: cpu %.2f s, memory %.2f MiB (peak %.2f), tokens %d", event.target,
                    usage.cpu_seconds, usage.memory_mb, usage.memory_peak_mb,
                    usage.tokens_consumed)
    else:
        used = f": {event.used} of {event.amount} used" if event.limit else ""
        logger.warning("%s: %s%s%s", event.kind.value, event.target, about, used)


def log_events(reader: Events) -> None:
    """Warnings and actions as warnings, the records of usage as info."""
    mask = 0
    if logger.isEnabledFor(logging.WARNING):
        mask |= LOGGED_MASK
    if logger.isEnabledFor(logging.INFO):
        mask |= USAGE_MASK
    while True:
        events = reader.take(256, mask)
        for event in events:
            _log(event)
        if not events:
            return


class Bells:
    """Who is to be called, in which event loop, when the manager has something new.

    Rung on the manager's thread; a loop that was closed is forgotten.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: dict[object, tuple[asyncio.AbstractEventLoop, Callable[[], None]]] = {}
        self._pending: set[object] = set()
        self.open = False

    def add(self, key: object, loop: asyncio.AbstractEventLoop,
            callback: Callable[[], None]) -> None:
        with self._lock:
            self._calls[key] = (loop, callback)
            self._pending.discard(key)  # of a loop that may never get to it

    def remove(self, key: object) -> None:
        with self._lock:
            self._calls.pop(key, None)
            self._pending.discard(key)

    def _answer(self, key: object, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            called = self._calls.get(key)
            if called is None or called[0] is not loop:
                return
            self._pending.discard(key)
        called[1]()

    def ring(self) -> None:
        with self._lock:
            due = [(key, loop) for key, (loop, _) in self._calls.items()
                   if key not in self._pending]
            self._pending.update(key for key, _ in due)
        for key, loop in due:
            try:
                loop.call_soon_threadsafe(self._answer, key, loop)
            except RuntimeError:  # closed
                self.remove(key)
