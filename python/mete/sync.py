"""The manager for programs without an event loop: each call returns its answer, or raises."""

from __future__ import annotations

import types
from collections.abc import Callable
from decimal import Decimal

from . import _native
from ._lifecycle import check_not_inside, log_events, performer
from ._models import QuotaScope, Settlement
from ._operations import (
    EventStream, Hold, Operations, reserve, sequence, stop_at_exit, stopped)

__all__ = ["EventReader", "Reservation", "ResourceManager"]


class Reservation(Hold):
    """As a block: `with manager.reserve("a", tokens=500) as hold: .. hold.settle(tokens=420)`."""

    def settle(self, *, cpu_seconds: float | None = None, memory_mb: float | None = None,
               tokens: int | None = None, gpu_memory_mb: float | None = None,
               requests: int | None = None, cost: str | Decimal | None = None) -> Settlement:
        """Uses what is named; what was reserved and is not named was used as reserved.

        More than was reserved is never refused. A second settle answers as the first did.
        """
        return self._settle({"cpu_seconds": cpu_seconds, "memory_mb": memory_mb, "tokens": tokens,
                             "gpu_memory_mb": gpu_memory_mb, "requests": requests, "cost": cost})

    def release(self) -> None:
        """Gives everything back."""
        self._release()

    def __enter__(self) -> Reservation:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: types.TracebackType | None) -> None:
        self._abandon()


class EventReader(EventStream):
    def wait(self, seconds: float) -> bool:
        """Waits until there is something to take, or the time is over: False."""
        return self._reader.wait(seconds)


def _logging(reader: _native.Events) -> Callable[[], None]:
    return lambda: log_events(reader)


class ResourceManager(Operations):
    """mete.ResourceManager without an event loop.

    The methods of `lifecycle_manager` are plain functions here, called one after the other on the
    manager's own thread.
    """

    report_usage = _native.Engine.report

    def initialize(self) -> None:
        """Starts the thread that ends windows in time and calls the lifecycle manager."""
        self.native_open()
        self.native_start(performer(self._lifecycle, self._mark),
                          _logging(self.native_events(None)))
        stop_at_exit(self)

    def cleanup(self) -> None:
        """Stops that thread and removes every quota, but those of a `state_dir`, which it closes.

        A callback of it cannot: RuntimeError.
        """
        check_not_inside(self._mark)
        self.native_stop()
        stopped(self)
        self.native_end()

    def reserve(self, agent_id: str, *, cpu_seconds: float | None = None,
                memory_mb: float | None = None, tokens: int | None = None,
                gpu_memory_mb: float | None = None, requests: int | None = None,
                cost: str | Decimal | None = None, scope: str | QuotaScope = "agent",
                ttl_seconds: float | None = None) -> Reservation:
        """All or nothing. E2072 names the limit that refused; E2077 has the time to retry."""
        amounts = {"cpu_seconds": cpu_seconds, "memory_mb": memory_mb, "tokens": tokens,
                   "gpu_memory_mb": gpu_memory_mb, "requests": requests, "cost": cost}
        return Reservation(self, reserve(self, agent_id, scope, ttl_seconds, amounts))

    def suspend(self, agent_id: str, *, scope: str | QuotaScope = "agent") -> None:
        """By an operator; until `resume`. Returns before the lifecycle manager is called."""
        self.native_suspend(scope, agent_id)

    def resume(self, agent_id: str, *, scope: str | QuotaScope = "agent",
               override: bool = False) -> None:
        """Takes the operator's suspension back. E2072 names what else suspends the target.

        `override` lifts those causes until their next window or raise.
        """
        self.native_resume(scope, agent_id, override)

    def terminate(self, agent_id: str, *, scope: str | QuotaScope = "agent") -> None:
        """By an operator. Returns before the lifecycle manager is called."""
        self.native_terminate(scope, agent_id)

    def events(self, after: int | None = None) -> EventReader:
        """The events from here on, or from the one after a sequence number."""
        return EventReader(self.native_events(sequence(after)))
