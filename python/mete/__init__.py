"""mete: budgets for programs and AI agents.

    manager = mete.ResourceManager()
    await manager.initialize()
    await manager.create_quota("agent-1", mete.ResourceLimits(tokens_per_hour=20000))
    receipt = await manager.report_usage("agent-1", tokens=1500)

docs/python.md says what each call does; mete.sync has the same without an event loop.
"""

from . import sync
from ._asyncio import EventReader, Reservation, ResourceManager
from ._errors import ResourceError
from ._models import (
    Cause, EnforcementMode, Event, EventKind, LimitUsage, Policy, QuotaAction, QuotaScope,
    QuotaUsage, ResourceLimits, ResourceQuota, ResourceUsage, Settlement)
from ._native import Quantity, Receipt, parse_cpu, parse_memory_mb

__all__ = [
    "Cause", "EnforcementMode", "Event", "EventKind", "EventReader", "LimitUsage", "Policy",
    "Quantity", "QuotaAction", "QuotaScope", "QuotaUsage", "Receipt", "Reservation",
    "ResourceError", "ResourceLimits", "ResourceManager", "ResourceQuota", "ResourceUsage",
    "Settlement", "parse_cpu", "parse_memory_mb", "sync"]

__version__ = "0.1.0"
