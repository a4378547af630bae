"""An agent runtime on a budget: a quota on spawn, reports while running, nothing left on terminate.

    PYTHONPATH=build/python python3 examples/embedding_runtime.py

Three agents of one session work until they are done. One of them asks for more tokens than it has
and is suspended; an operator raises its limit and it goes on. The fleet manager looks at how much
of its budget each uses and how long the rest will last.
"""

import asyncio

import mete


class Runtime:
    """Runs agents as tasks. To mete it is the lifecycle manager: what suspends and terminates."""

    def __init__(self):
        self.quotas = mete.ResourceManager(config={"enforcement": {"tokens": "hard"}},
                                           lifecycle_manager=self)
        self.tasks = {}
        self.may_run = {}

    async def start(self, session):
        await self.quotas.initialize()
        await self.quotas.create_quota(session, scope="session")

    async def spawn(self, agent_id, session, limits, work):
        """The quota is there before the agent is."""
        await self.quotas.create_quota(agent_id, limits, parent=f"session/{session}")
        self.may_run[agent_id] = asyncio.Event()
        self.may_run[agent_id].set()
        self.tasks[agent_id] = asyncio.create_task(self._run(agent_id, work))

    async def _run(self, agent_id, work):
        try:
            for tokens in work:
                # Ask before, say after: what was reserved cannot be taken by another.
                await self.call(agent_id)
                await self.quotas.report_usage(agent_id, cpu_seconds=0.01, memory_mb=64,
                                               tokens=tokens)
        finally:
            # What it held goes back to the session; what it used stays counted there.
            await self.quotas.cleanup_quota(agent_id)

    async def call(self, agent_id):
        """Asks the language model, when nothing suspends the agent."""
        while True:
            try:
                await self.may_run[agent_id].wait()
                async with self.quotas.reserve(agent_id, requests=1) as call:
                    await asyncio.sleep(0.01)  # it answers
                    await call.settle(requests=1)
                    return
            except mete.ResourceError as refused:
                if refused.code != "E2072":
                    raise
                await asyncio.sleep(0.001)  # mete is about to call suspend

    # What mete calls.

    async def suspend(self, agent_id, checkpoint):
        print(f"suspend {agent_id}")
        self.may_run[agent_id].clear()

    async def resume(self, agent_id):
        print(f"resume {agent_id}")
        self.may_run[agent_id].set()

    async def terminate(self, agent_id, reason):
        print(f"terminate {agent_id}: {reason}")
        self.tasks[agent_id].cancel()

    async def fleet(self):
        """What a fleet manager scales by: used over limit, tokens per second, seconds left."""
        figures = {}
        for quota in await self.quotas.list_quotas(scope="agent"):
            tokens = quota.window("tokens_per_hour")
            figures[quota.target_id] = (tokens.load, tokens.rate_per_second,
                                        tokens.time_to_exhaustion)
        return figures


async def main():
    runtime = Runtime()
    await runtime.start("nightly")
    limits = mete.ResourceLimits(cpu="1", memory="256Mi", tokens_per_hour=1000)
    for name, tokens in (("reader", 50), ("writer", 90), ("talker", 300)):
        await runtime.spawn(name, "nightly", limits, work=[tokens] * 10)

    while runtime.may_run["talker"].is_set():
        await asyncio.sleep(0.005)
    for name, (load, rate, left) in (await runtime.fleet()).items():
        lasts = "never ends" if left is None else "is used up" if left == 0 else "lasts a while"
        print(f"{name}: {'over' if load > 1 else 'within'} its limit, what is left {lasts}")

    await runtime.quotas.update_quota("talker", mete.ResourceLimits(tokens_per_hour=5000))
    await asyncio.gather(*runtime.tasks.values())

    used = await runtime.quotas.get_usage("nightly", scope="session")
    print(f"session nightly: {used.tokens_consumed} tokens, {used.cpu_seconds:.1f} s of CPU, "
          f"{used.memory_mb:.0f} MiB held")
    print(f"agents left: {len(await runtime.quotas.list_quotas(scope='agent'))}")
    await runtime.quotas.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
