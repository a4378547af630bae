"""What goes in and comes out of a ResourceManager.

Everything that comes out is a copy: it does not change afterwards, and changing it changes nothing.
`memory_mb` is MiB (2^20 bytes) everywhere; times are aware datetimes in UTC; `cost` is a Decimal.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
from decimal import Decimal
from typing import TYPE_CHECKING, Final, Union

if TYPE_CHECKING:
    from ._native import Quantity, Receipt


class _Word(str, enum.Enum):
    def __str__(self) -> str:
        return str(self.value)


class EnforcementMode(_Word):
    """When a policy acts."""

    HARD = "hard"
    SOFT_THEN_HARD = "soft_then_hard"
    WARN_ONLY = "warn_only"


class QuotaAction(_Word):
    """What a policy does."""

    WARN = "warn"
    THROTTLE = "throttle"
    SUSPEND = "suspend"
    TERMINATE = "terminate"


class QuotaScope(_Word):
    """What has quotas. A session may be in a tenant, an agent in either."""

    AGENT = "agent"
    SESSION = "session"
    TENANT = "tenant"


class EventKind(_Word):
    """What happened."""

    CREATED = "created"
    UPDATED = "updated"
    THRESHOLD = "threshold"
    VIOLATION = "violation"
    WARNED = "warned"
    THROTTLED = "throttled"
    SUSPENDED = "suspended"
    RESUMED = "resumed"
    TERMINATED = "terminated"
    ACTION_FAILED = "action_failed"
    RESET = "reset"
    WINDOW_ROLLED = "window_rolled"
    SETTLED_ABOVE_HOLD = "settled_above_hold"
    REMOVED = "removed"
    USAGE = "usage"
    STORE_UNAVAILABLE = "store_unavailable"
    STORE_RECOVERED = "store_recovered"


class Unset(enum.Enum):
    """The limit that was not given: the default on create, unchanged on update."""

    UNSET = "unset"

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset.UNSET

# What a limit may be given as. None: unlimited.
LimitValue = Union[str, int, Decimal, "Quantity", None, Unset]
# A float cannot say most decimals; the shortest one that reads the same is right for cores.
CpuLimitValue = Union[LimitValue, float]


@dataclasses.dataclass(frozen=True, repr=False)
class ResourceLimits:
    """Limits as Kubernetes quantities ("500m", "2Gi"), or as numbers.

    What is not given takes the default when a quota is created, and stays when it is updated. None
    is unlimited, 0 allows nothing.
    """

    cpu: CpuLimitValue = UNSET
    memory: LimitValue = UNSET
    tokens_per_hour: LimitValue = UNSET
    cpu_seconds_per_hour: CpuLimitValue = UNSET
    gpu_memory: LimitValue = UNSET
    tokens_per_day: LimitValue = UNSET
    requests_per_minute: LimitValue = UNSET
    cost_per_day: LimitValue = UNSET

    def __repr__(self) -> str:
        given = ((field.name, getattr(self, field.name)) for field in dataclasses.fields(self))
        shown = ", ".join(f"{name}={value!r}" for name, value in given if value is not UNSET)
        return f"ResourceLimits({shown})"


@dataclasses.dataclass(frozen=True)
class ResourceUsage:
    """What was used since the quota was created; a reset leaves it."""

    cpu_seconds: float = 0.0
    memory_peak_mb: float = 0.0
    tokens_consumed: int = 0
    memory_mb: float = 0.0
    gpu_memory_mb: float = 0.0
    gpu_memory_peak_mb: float = 0.0
    requests: int = 0
    cost: Decimal = Decimal(0)


@dataclasses.dataclass(frozen=True)
class QuotaUsage(ResourceUsage):
    """What was used in the main window."""


@dataclasses.dataclass(frozen=True)
class Policy:
    mode: EnforcementMode
    action: QuotaAction


@dataclasses.dataclass(frozen=True)
class Cause:
    """Why a target is held back: a limit of `account` ("tenant/t1"), or None for an operator."""

    account: str
    limit: str | None
    action: QuotaAction


@dataclasses.dataclass(frozen=True)
class LimitUsage:
    """One limit and what stands against it, in the unit that reports use: seconds, MiB, counts.

    None is unlimited. `allowed` is what is compared: `cpu` allows its cores for the length of the
    window, in seconds. `load` is used over limit, and with `rate_per_second` and
    `time_to_exhaustion` (seconds; None where it does not end) what a fleet would be scaled by.
    """

    limit: str
    entered: str | int | None
    allowed: float | int | Decimal | None
    used: float | int | Decimal
    held: float | int | Decimal
    peak: float | int | Decimal
    remaining: float | int | Decimal | None
    reset_at: datetime.datetime | None
    violated: bool
    load: float
    rate_per_second: float
    time_to_exhaustion: float | None


@dataclasses.dataclass(frozen=True)
class ResourceQuota:
    """An account as its owner sees it.

    `limits` has, as they were entered, those that are set, and always cpu, memory and
    tokens_per_hour; None is unlimited.
    """

    scope: QuotaScope
    target_id: str
    limits: dict[str, str | int | None]
    usage: QuotaUsage
    reset_at: datetime.datetime
    parent: str | None
    policy: dict[str, Policy]
    windows: list[LimitUsage]
    causes: list[Cause]
    suspended: bool
    throttled: bool
    terminated: bool

    def window(self, limit: str) -> LimitUsage:
        """What stands against a limit that is set; KeyError otherwise."""
        for window in self.windows:
            if window.limit == limit:
                return window
        raise KeyError(limit)


@dataclasses.dataclass(frozen=True)
class Settlement:
    """What a hold came to: what was counted, and the part that nothing had been reserved for."""

    receipt: Receipt
    used: dict[str, float | int | Decimal]
    above_hold: dict[str, float | int | Decimal]


@dataclasses.dataclass(frozen=True)
class Event:
    """Something that happened, once. `missed` events before it were not kept for this reader.

    `account` is whose limit it is about: the target, or what is above it. `used` and `amount` are
    in the unit of that limit.
    """

    sequence: int
    kind: EventKind
    time: datetime.datetime
    target: str
    account: str
    limit: str | None
    percent: int
    used: float | int | Decimal | None
    amount: float | int | Decimal | None
    windows: int
    detail: str
    usage: ResourceUsage | None
    missed: int


_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def moment(nanoseconds: int) -> datetime.datetime:
    """Of the wall clock; what a datetime cannot hold is its last."""
    try:
        return _EPOCH + datetime.timedelta(microseconds=nanoseconds // 1000)
    except OverflowError:
        return datetime.datetime.max.replace(tzinfo=datetime.timezone.utc)
