"""The complete workflow of the ResourceManager's own documentation; only the imports changed.

    PYTHONPATH=build/python python3 examples/seed_workflow.py
"""

import asyncio

from mete import ResourceManager


async def main():
    # Complete resource management workflow
    resource_mgr = ResourceManager(config={
        "default_limits": {
            "cpu": "2",
            "memory": "4Gi",
            "tokens_per_hour": 100000
        },
        "enforcement": {
            "cpu": "hard",
            "memory": "hard",
            "tokens": "soft_then_hard"
        }
    })

    await resource_mgr.initialize()

    # Create quota for agent
    quota = await resource_mgr.create_quota("agent-1")

    # Simulate usage reporting during execution
    for i in range(10):
        await resource_mgr.report_usage(
            agent_id="agent-1",
            cpu_seconds=0.5,
            memory_mb=512 + i * 100,
            tokens=1000
        )

    # Check usage
    usage = await resource_mgr.get_usage("agent-1")
    print(f"Total CPU: {usage.cpu_seconds}s")
    print(f"Peak Memory: {usage.memory_peak_mb}MB")
    print(f"Tokens Used: {usage.tokens_consumed}")

    # Reset at hour boundary
    await resource_mgr.reset_quota("agent-1")

    # Cleanup on agent terminate
    await resource_mgr.cleanup_quota("agent-1")

    # Shutdown
    await resource_mgr.cleanup()


asyncio.run(main())
