"""The bookkeeping of a report in plain Python, as one would write it for speed.

The peer of bench/python_bench.py. It does what a report of mete does for an agent without session:
looks the agent up, refuses bad amounts, ends the window in time, adds to the window and to the
total, keeps the peak, compares with limits and thresholds, and answers with a receipt. Limits are
parsed once, and nothing is done for names, trees, holds, events or threads.
"""

import dataclasses
import math
import time

HOUR = 3600.0
THRESHOLD = 0.8


@dataclasses.dataclass(slots=True)
class Usage:
    cpu_seconds: float = 0.0
    memory_mb: float = 0.0
    memory_peak_mb: float = 0.0
    tokens: int = 0


@dataclasses.dataclass(slots=True)
class Quota:
    agent_id: str
    cpu_limit: float
    memory_limit: float
    token_limit: int
    usage: Usage
    total: Usage
    reset_at: float
    crossed: set
    suspended: bool = False


@dataclasses.dataclass(slots=True)
class Receipt:
    cpu_remaining: float
    memory_remaining: float
    tokens_remaining: int
    suspended: bool


class PlainManager:
    def __init__(self):
        self.quotas = {}

    def create_quota(self, agent_id, cpu_limit, memory_limit, token_limit):
        self.quotas[agent_id] = Quota(agent_id, cpu_limit, memory_limit, token_limit, Usage(),
                                      Usage(), time.monotonic() + HOUR, set())

    def crossed(self, quota, name, used, limit):
        if used > limit:
            quota.suspended = True
        quota.crossed.add(name)

    def record(self, agent_id, cpu_seconds=None, memory_mb=None, tokens=None):
        quota = self.quotas.get(agent_id)
        if quota is None:
            raise KeyError(agent_id)
        if cpu_seconds is not None and not 0 <= cpu_seconds < math.inf:
            raise ValueError("cpu_seconds")
        if memory_mb is not None and not 0 <= memory_mb < math.inf:
            raise ValueError("memory_mb")
        if tokens is not None and (not isinstance(tokens, int) or tokens < 0):
            raise ValueError("tokens")
        now = time.monotonic()
        if now >= quota.reset_at:
            quota.usage = Usage(memory_mb=quota.usage.memory_mb)
            quota.reset_at += HOUR * (1 + (now - quota.reset_at) // HOUR)
            quota.crossed.clear()
        usage, total = quota.usage, quota.total
        if cpu_seconds is not None:
            usage.cpu_seconds += cpu_seconds
            total.cpu_seconds += cpu_seconds
            if usage.cpu_seconds >= THRESHOLD * quota.cpu_limit:
                self.crossed(quota, "cpu", usage.cpu_seconds, quota.cpu_limit)
        if memory_mb is not None:
            usage.memory_mb = total.memory_mb = memory_mb
            if memory_mb > usage.memory_peak_mb:
                usage.memory_peak_mb = memory_mb
                if memory_mb > total.memory_peak_mb:
                    total.memory_peak_mb = memory_mb
            if memory_mb >= THRESHOLD * quota.memory_limit:
                self.crossed(quota, "memory", memory_mb, quota.memory_limit)
        if tokens is not None:
            usage.tokens += tokens
            total.tokens += tokens
            if usage.tokens >= THRESHOLD * quota.token_limit:
                self.crossed(quota, "tokens", usage.tokens, quota.token_limit)
        return Receipt(quota.cpu_limit - usage.cpu_seconds, quota.memory_limit - usage.memory_mb,
                       quota.token_limit - usage.tokens, quota.suspended)

    async def report_usage(self, agent_id, cpu_seconds=None, memory_mb=None, tokens=None):
        return self.record(agent_id, cpu_seconds, memory_mb, tokens)

    report_usage_sync = record
