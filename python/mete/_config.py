"""Reads what people configure, strictly: E2071 names an unknown key or a bad value."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Union

from ._errors import invalid, shown
from ._models import UNSET, EnforcementMode, QuotaAction, ResourceLimits
from ._native import Quantity

LIMITS = tuple(field.name for field in dataclasses.fields(ResourceLimits))
RESOURCES = ("cpu", "memory", "gpu_memory", "tokens", "requests", "cost")
KEYS = ("default_limits", "enforcement", "token_budget_action", "actions",
        "usage_report_interval_seconds", "window_seconds", "thresholds", "soft_grace_seconds",
        "clock", "state_dir", "durability")

# Seconds as nanoseconds fit into 63 bits up to here.
LONGEST_SECONDS = 9.2e9

Limits = Union[ResourceLimits, Mapping[str, Any]]
# By resource, the words of (mode, action).
Policies = dict[str, tuple[str, str]]


def _known(what: str, given: Any, allowed: Sequence[str]) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise invalid(f"{what}: a mapping is allowed, not {type(given).__name__}")
    for key in given:
        if key not in allowed:
            raise invalid(f"{what}: {', '.join(allowed)} are allowed, not {shown(key)}")
    return given


def _word(what: str, kind: type[EnforcementMode] | type[QuotaAction], value: Any) -> str:
    try:
        return str(kind(value).value)
    except ValueError:
        allowed = ", ".join(word.value for word in kind)
        raise invalid(f"{what}: {allowed} are allowed, not {shown(value)}") from None


def nanoseconds(what: str, seconds: Any, least: float = 0.0) -> int:
    """Of a number of seconds that is at least `least`."""
    number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if not number or not least <= seconds < LONGEST_SECONDS:  # NaN too
        raise invalid(f"{what}: {least:g} seconds or more, and below {LONGEST_SECONDS:g}, are "
                      f"allowed, not {shown(seconds)}")
    fraction, whole = math.modf(seconds)
    return int(whole) * 10**9 + round(fraction * 1e9)


def _limit_text(what: str, name: str, value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Quantity):
        return str(value)
    if isinstance(value, int) and not isinstance(value, bool):
        # Far more than any limit: refused by its name, and Python does not write out longer ones.
        return str(max(min(value, 10**40), -10**40))
    if isinstance(value, Decimal) and value.is_finite():
        return format(value, "f")
    # The shortest decimal of a float is what was meant, but for money, where a float is a mistake.
    time = name in ("cpu", "cpu_seconds_per_hour")
    if time and isinstance(value, float) and math.isfinite(value):
        return repr(value)
    if isinstance(value, float) and not time:
        raise invalid(f"{what}{name}: a text, an int or a Decimal is allowed, since a float cannot "
                      f"say most decimals; only limits of cpu take one. Not {shown(value)}")
    raise invalid(f"{what}{name}: a quantity such as \"2\" or \"512Mi\", or None for unlimited, is "
                  f"allowed, not {shown(value)}")


def limit_texts(limits: Limits | None, what: str = "") -> dict[str, str | None]:
    """The limits that are given, as texts; None is unlimited."""
    if limits is None:
        return {}
    if isinstance(limits, ResourceLimits):
        given: Mapping[str, Any] = {name: getattr(limits, name) for name in LIMITS}
    else:
        given = _known(what.rstrip(".") or "limits", limits, LIMITS)
    return {name: _limit_text(what, name, value) for name, value in given.items()
            if value is not UNSET}


def read_policies(policy: Any, configured: Policies) -> Policies:
    """Those of one quota: what it leaves out is as configured."""
    if policy is None:
        return {}
    read = {}
    for resource, given in _known("policy", policy, RESOURCES).items():
        mode, action = configured[resource]
        given = _known(f"policy.{resource}", given, ("mode", "action"))
        if "mode" in given:
            mode = _word(f"policy.{resource}.mode", EnforcementMode, given["mode"])
        if "action" in given:
            action = _word(f"policy.{resource}.action", QuotaAction, given["action"])
        read[resource] = (mode, action)
    return read


@dataclasses.dataclass(frozen=True)
class Config:
    default_limits: dict[str, str | None]
    policies: Policies
    thresholds: list[int]
    soft_grace_ns: int
    window_ns: int
    usage_interval_ns: int
    clock: Callable[[], float] | None
    state_dir: str  # empty: in memory
    durability: str


def _configured_policies(given: Mapping[str, Any]) -> Policies:
    modes = {resource: "hard" for resource in RESOURCES} | {"tokens": "soft_then_hard"}
    actions = {resource: "suspend" for resource in RESOURCES}
    for resource, mode in _known("enforcement", given.get("enforcement", {}), RESOURCES).items():
        modes[resource] = _word(f"enforcement.{resource}", EnforcementMode, mode)
    own = _known("actions", given.get("actions", {}), RESOURCES)
    for resource, action in own.items():
        actions[resource] = _word(f"actions.{resource}", QuotaAction, action)
    if "token_budget_action" in given:
        action = _word("token_budget_action", QuotaAction, given["token_budget_action"])
        if "tokens" in own and actions["tokens"] != action:
            raise invalid("token_budget_action: the same as actions.tokens is allowed, not "
                          f"{action} beside {actions['tokens']}")
        actions["tokens"] = action
    return {resource: (modes[resource], actions[resource]) for resource in RESOURCES}


def _thresholds(value: Any) -> list[int]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence) or not all(
            isinstance(percent, int) and not isinstance(percent, bool)
            and 1 <= percent <= 100 for percent in value):
        raise invalid("thresholds: whole per cents from 1 to 100, rising, are allowed, not "
                      f"{shown(value)}")
    return list(value)


def _state_dir(given: Mapping[str, Any]) -> str:
    value = given.get("state_dir")
    if value is None:
        return ""
    try:
        path = os.fspath(value)
    except TypeError:
        path = None
    if not isinstance(path, str) or not path or "\0" in path:
        raise invalid(f"state_dir: the path of a folder, or None, is allowed, not {shown(value)}")
    return path


def _durability(given: Mapping[str, Any]) -> str:
    value = given.get("durability", "bounded")
    if value not in ("sync", "bounded", "none"):
        raise invalid(f"durability: sync, bounded, none are allowed, not {shown(value)}")
    if "durability" in given and given.get("state_dir") is None:
        raise invalid("durability: allowed with a state_dir only: there is nothing to keep")
    return str(value)


def read_config(config: Mapping[str, Any] | None) -> Config:
    given = _known("config", {} if config is None else config, KEYS)
    clock = given.get("clock")
    if clock is not None and not callable(clock):
        raise invalid(f"clock: a callable that returns seconds is allowed, not {shown(clock)}")
    return Config(
        default_limits=limit_texts(given.get("default_limits"), "default_limits."),
        policies=_configured_policies(given),
        thresholds=_thresholds(given.get("thresholds", [80, 95])),
        soft_grace_ns=nanoseconds("soft_grace_seconds", given.get("soft_grace_seconds", 0)),
        window_ns=nanoseconds("window_seconds", given.get("window_seconds", 3600), 1),
        usage_interval_ns=nanoseconds("usage_report_interval_seconds",
                                      given.get("usage_report_interval_seconds", 60)),
        clock=clock,
        state_dir=_state_dir(given),
        durability=_durability(given))
