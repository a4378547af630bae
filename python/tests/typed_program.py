"""Uses all of the package as its types allow; runtime_test.py gives it to mypy --strict."""

import asyncio
import datetime
from decimal import Decimal

import mete
import mete.sync


class Lifecycle:
    async def suspend(self, agent_id: str, checkpoint: bool) -> None: ...

    async def terminate(self, agent_id: str, reason: str) -> None: ...


async def main() -> None:
    manager = mete.ResourceManager(config={"window_seconds": 60}, lifecycle_manager=Lifecycle())
    await manager.initialize()
    quota: mete.ResourceQuota = await manager.create_quota(
        agent_id="a", limits=mete.ResourceLimits(cpu="4", tokens_per_hour=1000, memory=None))
    reset_at: datetime.datetime = quota.reset_at
    mode: mete.EnforcementMode = quota.policy["cpu"].mode
    receipt: mete.Receipt = await manager.report_usage("a", cpu_seconds=0.5, tokens=3, cost="0.1")
    task: asyncio.Task[mete.Receipt] = asyncio.create_task(manager.report_usage("a", tokens=3))
    one, two = await asyncio.gather(manager.get_usage("a"), manager.get_quota("a"))
    total: int = one.tokens_consumed + two.usage.tokens_consumed
    left: float | None = (await task).time_to_exhaustion("tokens")
    async with manager.reserve("a", tokens=5, scope=mete.QuotaScope.AGENT) as hold:
        settlement: mete.Settlement = await hold.settle(tokens=3, cost=Decimal("0.5"))
    async for event in manager.events():
        kind: mete.EventKind = event.kind
        print(kind, reset_at, mode, total, left, receipt.remaining, settlement.used)
        break
    throttled: bool = await manager.is_throttled("a")
    quotas: list[mete.ResourceQuota] = await manager.list_quotas(scope="agent")
    await manager.update_quota("a", {"cpu": "1"})
    await manager.reset_quota("a")
    await manager.suspend("a")
    await manager.resume("a", override=throttled)
    await manager.cleanup_quota("a", cascade=bool(quotas))
    await manager.cleanup()


def without_a_loop() -> mete.Receipt:
    manager = mete.sync.ResourceManager()
    quota: mete.ResourceQuota = manager.create_quota("a", window_seconds=60)
    with manager.reserve("a", tokens=5) as hold:
        settlement: mete.Settlement = hold.settle(tokens=3)
    value: int = mete.Quantity("1.5Gi").value
    print(quota, settlement, value, mete.parse_cpu("500m"), mete.parse_memory_mb("2Gi"))
    return manager.report_usage("a", tokens=3, scope="agent")
