"""The operations of a manager, each of which does its work in the call and returns the answer.

`mete.sync.ResourceManager` is this; `mete.ResourceManager` makes its answers awaitable.
"""

from __future__ import annotations

import atexit
import weakref
from collections.abc import Mapping
from typing import Any

from . import _native
from ._config import Limits, limit_texts, nanoseconds, read_config, read_policies
from ._errors import ResourceError, invalid, shown
from ._lifecycle import ALL_KINDS, check_lifecycle
from ._models import Event, QuotaScope, ResourceQuota, ResourceUsage, Settlement

_running: weakref.WeakSet[Operations]
_keeping: weakref.WeakSet[Operations]

LONGEST_HOLD_SECONDS = 86400


class Operations(_native.Engine):
    """Quotas of agents, sessions and tenants, and what is used of them.

    Every operation takes `scope`: "agent" (the default), "session" or "tenant", or a QuotaScope.
    All of them may be called from any thread and any event loop.
    """

    def __init__(self, config: Mapping[str, Any] | None = None,
                 lifecycle_manager: Any = None) -> None:
        check_lifecycle(lifecycle_manager)
        read = read_config(config)
        self._policies = read.policies
        self._lifecycle = lifecycle_manager
        self._mark = object()  # stands for this manager where it must not be referred to
        super().__init__(read.default_limits, dict(read.policies), read.thresholds,
                         read.soft_grace_ns, read.window_ns, read.usage_interval_ns, read.clock,
                         read.state_dir, read.durability)
        if read.state_dir:
            _keeping.add(self)

    def create_quota(self, agent_id: str, limits: Limits | None = None, *,
                     scope: str | QuotaScope = "agent", parent: str | None = None,
                     policy: Mapping[str, Any] | None = None, window_seconds: float | None = None,
                     exist_ok: bool = False) -> ResourceQuota:
        """Creates a quota. A limit that is not given takes `default_limits` for an agent.

        `parent` is "session/ID" or "tenant/ID". `policy` overrides what is configured:
        {"tokens": {"mode": "hard", "action": "terminate"}}. E2076 if it exists, unless `exist_ok`.
        """
        window = None
        if window_seconds is not None:
            window = nanoseconds("window_seconds", window_seconds, 1)
        return self.native_create(scope, agent_id, limit_texts(limits), parent,
                                  dict(read_policies(policy, self._policies)), window, exist_ok)

    def get_quota(self, agent_id: str, *, scope: str | QuotaScope = "agent") -> ResourceQuota:
        """Limits, usage in the windows, causes and figures to scale by."""
        return self.native_get(scope, agent_id)

    def list_quotas(self, *, scope: str | QuotaScope | None = None) -> list[ResourceQuota]:
        """All quotas, or those of one scope."""
        return self.native_list(scope)

    def update_quota(self, agent_id: str, limits: Limits, *,
                     scope: str | QuotaScope = "agent") -> ResourceQuota:
        """Changes the limits that are given. E2073 says why not; its cause is E2070 or E2071."""
        try:
            return self.native_update(scope, agent_id, limit_texts(limits))
        except ResourceError as error:
            if error.code != "E2073":
                raise ResourceError("E2073", str(error)) from error
            code, _, message = error.message.partition(": ")
            raise error from ResourceError(code, message)

    def get_usage(self, agent_id: str, *, scope: str | QuotaScope = "agent") -> ResourceUsage:
        """What was used since the quota was created."""
        return self.native_usage(scope, agent_id)

    def reset_quota(self, agent_id: str, *, scope: str | QuotaScope = "agent") -> ResourceQuota:
        """Zeroes the windows, clears warnings and this quota's own causes; totals stay."""
        return self.native_reset(scope, agent_id)

    def cleanup_quota(self, agent_id: str, *, scope: str | QuotaScope = "agent",
                      cascade: bool = False) -> None:
        """Removes a quota; nothing happens if there is none. E2080: it has others below it."""
        self.native_cleanup(scope, agent_id, cascade)

    def is_throttled(self, agent_id: str, *, scope: str | QuotaScope = "agent") -> bool:
        return self.native_is_throttled(scope, agent_id)

    def clear_throttle(self, agent_id: str, *, scope: str | QuotaScope = "agent") -> None:
        """Lifts the causes of throttling until their next window or raise."""
        self.native_clear_throttle(scope, agent_id)

    def advance(self) -> None:
        """Ends the windows, rates and holds whose time has come.

        Every operation does so for what it concerns, and an initialized manager for all in time;
        this is for those who set a `clock`.
        """
        self.native_advance()


class Hold:
    """An amount that was reserved: settle it with what was used, or release it.

    When it is dropped, or its block is left, it ends as if its owner had died: released, but for
    `cost`, which may have been spent, and is charged in full.
    """

    def __init__(self, operations: Operations, hold: int) -> None:
        self._operations = operations
        self._hold = hold
        self._over = False

    def _settle(self, amounts: dict[str, Any]) -> Settlement:
        settlement = self._operations.native_settle(self._hold, amounts)
        self._over = True
        return settlement

    def _release(self) -> None:
        self._operations.native_release(self._hold)
        self._over = True

    def _abandon(self) -> None:
        if not self._over:
            self._over = True
            self._operations.native_abandon(self._hold)

    def __del__(self) -> None:
        if not getattr(self, "_over", True):
            self._abandon()


def reserve(operations: Operations, agent_id: str, scope: str | QuotaScope, ttl: float | None,
            amounts: dict[str, Any]) -> int:
    """Reserves all or nothing; the number of the hold."""
    nanos = None
    if ttl is not None:
        number = isinstance(ttl, (int, float)) and not isinstance(ttl, bool)
        nanos = round(ttl * 1e9) if number and 0 < ttl <= LONGEST_HOLD_SECONDS else 0  # NaN too
        if nanos < 1:
            raise invalid(f"ttl_seconds: more than 0 and up to {LONGEST_HOLD_SECONDS} seconds (24 "
                          f"hours) are allowed, not {shown(ttl)}")
    return operations.native_reserve(scope, agent_id, amounts, nanos)


def sequence(after: int | None) -> int | None:
    if after is None or (type(after) is int and 0 <= after < 2**63):
        return after
    raise invalid("after: the number of an event, 0 or more and below 2^63, or None is allowed, "
                  f"not {shown(after)}")


class EventStream:
    """The events from here on, or from the one after a sequence number, as far as they are kept."""

    def __init__(self, reader: _native.Events) -> None:
        self._reader = reader

    def take(self, most: int = 1024) -> list[Event]:
        """Those that are there, oldest first, without waiting."""
        return self._reader.take(most, ALL_KINDS)


def stop_at_exit(operations: Operations) -> None:
    """Stops its thread before the interpreter goes: it could not call into Python any more."""
    _running.add(operations)


def stopped(operations: Operations) -> None:
    _running.discard(operations)


_running = weakref.WeakSet()
_keeping = weakref.WeakSet()  # those with a state_dir


@atexit.register
def _stop_all() -> None:
    for operations in list(_running):
        operations.native_stop()
    for operations in list(_keeping):
        operations.native_close()
    _native.wait_for_ends()
