"""Mistakes that a type checker finds; runtime_test.py looks whether it does."""

import mete
import mete.sync


async def main() -> None:
    manager = mete.ResourceManager()
    await manager.report_usage("a", tokens="3")  # wrong
    await manager.report_usage("a", tokens=3.5)  # wrong
    await manager.report_usage("a", cost=0.5)  # wrong
    await manager.create_quota("a", limit=mete.ResourceLimits())  # wrong
    receipt = manager.report_usage("a", tokens=3)
    print(receipt.remaining)  # wrong
    mete.ResourceLimits(disk="1Gi")  # wrong
    usage = await manager.get_usage("a")
    usage.tokens_consumed = 5  # wrong
    mete.sync.ResourceManager().get_quota("a").usage.tokens_used  # wrong
