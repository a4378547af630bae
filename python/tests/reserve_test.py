"""Reservations, settlements and events."""

import asyncio
import gc
import unittest
from decimal import Decimal

import mete
import mete.sync
from support import Clock, kinds, running


class Reserving(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.clock = Clock()
        self.manager = mete.ResourceManager({"clock": self.clock})
        await self.manager.create_quota("a", {"tokens_per_hour": 100, "cost_per_day": "1"})

    async def held(self, limit="tokens_per_hour"):
        window = (await self.manager.get_quota("a")).window(limit)
        return window.used, window.held

    async def test_settled_with_less(self):
        async with self.manager.reserve("a", tokens=60) as hold:
            self.assertEqual(await self.held(), (0, 60))
            settlement = await hold.settle(tokens=40)
        self.assertEqual(await self.held(), (40, 0))
        self.assertEqual((settlement.used, settlement.above_hold), ({"tokens": 40}, {}))
        self.assertEqual(settlement.receipt.remaining["tokens"], 60)

    async def test_settled_with_more_is_never_refused(self):
        async with self.manager.reserve("a", tokens=60) as hold:
            settlement = await hold.settle(tokens=110)
        self.assertEqual(settlement.above_hold, {"tokens": 50})
        self.assertEqual(await self.held(), (110, 0))

    async def test_settled_as_reserved(self):
        async with self.manager.reserve("a", tokens=60) as hold:
            await hold.settle()
        self.assertEqual(await self.held(), (60, 0))

    async def test_a_second_settle_answers_as_the_first(self):
        hold = await self.manager.reserve("a", tokens=60)
        first = await hold.settle(tokens=10)
        second = await hold.settle(tokens=50)
        self.assertEqual((first.used, second.used), ({"tokens": 10}, {"tokens": 10}))
        self.assertEqual(await self.held(), (10, 0))

    async def test_released(self):
        async with self.manager.reserve("a", tokens=60) as hold:
            await hold.release()
        self.assertEqual(await self.held(), (0, 0))

    async def test_a_block_that_is_left_gives_back(self):
        async with self.manager.reserve("a", tokens=60):
            pass
        self.assertEqual(await self.held(), (0, 0))
        with self.assertRaises(ValueError):
            async with self.manager.reserve("a", tokens=60):
                raise ValueError
        self.assertEqual(await self.held(), (0, 0))

    async def test_one_that_is_dropped_gives_back_but_for_money(self):
        hold = self.manager.reserve("a", tokens=60, cost="0.25")
        self.assertEqual(await self.held(), (0, 60))
        self.assertEqual(await self.held("cost_per_day"), (0, Decimal("0.25")))
        del hold
        gc.collect()
        self.assertEqual(await self.held(), (0, 0))
        self.assertEqual(await self.held("cost_per_day"), (Decimal("0.25"), 0))

    async def test_a_cancelled_block_gives_back(self):
        entered = asyncio.Event()

        async def work():
            async with self.manager.reserve("a", tokens=60):
                entered.set()
                await asyncio.sleep(3600)

        task = asyncio.create_task(work())
        await entered.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        self.assertEqual(await self.held(), (0, 0))

    async def test_a_refusal_names_the_limit_and_leaves_no_trace(self):
        await self.manager.report_usage("a", tokens=50)
        with self.assertRaises(mete.ResourceError) as raised:
            async with self.manager.reserve("a", tokens=51):
                self.fail("entered")
        self.assertEqual(raised.exception.code, "E2072")
        self.assertIn("tokens_per_hour", str(raised.exception))
        self.assertEqual(await self.held(), (50, 0))
        await self.manager.reserve("a", tokens=50)

    async def test_a_rate_says_when_to_retry(self):
        await self.manager.create_quota("r", {"requests_per_minute": 2})
        for _ in range(2):
            await (await self.manager.reserve("r", requests=1)).settle()
        with self.assertRaises(mete.ResourceError) as raised:
            await self.manager.reserve("r", requests=1)
        self.assertEqual(raised.exception.code, "E2077")
        self.assertAlmostEqual(raised.exception.retry_after, 30, places=3)
        self.clock.now += raised.exception.retry_after + 0.001
        await self.manager.reserve("r", requests=1)

    async def test_a_time_to_live(self):
        hold = await self.manager.reserve("a", tokens=60, ttl_seconds=5)
        self.clock.now += 6
        await self.manager.advance()
        self.assertEqual(await self.held(), (0, 0))
        with self.assertRaises(mete.ResourceError) as raised:
            await hold.settle(tokens=5)
        self.assertEqual(raised.exception.code, "E2070")

    async def test_the_range_of_a_time_to_live(self):
        for ttl in (0, -1, 1e-12, 86400.001, 86401, float("nan"), float("inf"), "5", True):
            with self.subTest(ttl=ttl), self.assertRaises(mete.ResourceError) as raised:
                await self.manager.reserve("a", tokens=1, ttl_seconds=ttl)
            self.assertEqual(raised.exception.code, "E2071")
            self.assertIn("ttl_seconds: more than 0 and up to 86400", str(raised.exception))
        for ttl in (1e-9, 1, 86400, 86400.0):
            await (await self.manager.reserve("a", tokens=1, ttl_seconds=ttl)).release()

    async def test_bad_amounts(self):
        for amounts in ({"tokens": -1}, {"tokens": 1.5}, {"cost": 0.1}, {"tokens": 1, "scope": ""},
                        {"tokens": 1, "ttl_seconds": -1}):
            with self.assertRaises(mete.ResourceError) as raised:
                await self.manager.reserve("a", **amounts)
            self.assertEqual(raised.exception.code, "E2071")
        hold = await self.manager.reserve("a", tokens=5)
        with self.assertRaises(mete.ResourceError):
            await hold.settle(tokens=-1)
        self.assertEqual(await self.held(), (0, 5))

    async def test_of_the_sync_twin(self):
        manager = mete.sync.ResourceManager()
        manager.create_quota("a", {"tokens_per_hour": 100})
        with manager.reserve("a", tokens=60) as hold:
            self.assertEqual(hold.settle(tokens=10).used, {"tokens": 10})
        with manager.reserve("a", tokens=60) as hold:
            hold.release()
        with self.assertRaises(mete.ResourceError):
            manager.reserve("a", tokens=91)
        self.assertEqual(manager.get_quota("a").usage.tokens_consumed, 10)


class Events(unittest.IsolatedAsyncioTestCase):
    async def test_tell_a_story_in_order(self):
        manager = mete.ResourceManager({"enforcement": {"tokens": "hard"}})
        events = manager.events()
        await manager.create_quota("a", {"tokens_per_hour": 10})
        await manager.report_usage("a", tokens=11)
        await manager.update_quota("a", {"tokens_per_hour": 100})
        await manager.reset_quota("a")
        await manager.cleanup_quota("a")
        story = events.take()
        self.assertEqual([event.sequence for event in story], list(range(1, len(story) + 1)))
        told = [kind for kind in kinds(story) if kind != "threshold"]
        self.assertEqual(told, ["created", "violation", "suspended", "updated", "resumed", "reset",
                                "removed"])
        violation = next(event for event in story if event.kind is mete.EventKind.VIOLATION)
        self.assertEqual((violation.target, violation.account, violation.limit, violation.used,
                          violation.amount), ("agent/a", "agent/a", "tokens_per_hour", 11, 10))
        self.assertEqual(violation.time.utcoffset().total_seconds(), 0)
        self.assertEqual(story[-1].usage.tokens_consumed, 11)
        self.assertEqual(events.take(), [])

    async def test_from_a_sequence_number_on(self):
        manager = mete.ResourceManager()
        for number in range(5):
            await manager.create_quota(str(number))
        self.assertEqual([event.sequence for event in manager.events(after=2).take()], [3, 4, 5])
        self.assertEqual(len(manager.events(after=0).take(most=2)), 2)
        self.assertEqual(manager.events().take(), [])

    async def test_a_slow_reader_is_told_what_it_missed(self):
        manager = mete.sync.ResourceManager()
        manager.create_quota("a")
        events, kept = manager.events(), 65536
        for _ in range(kept // 2 + 50):
            manager.suspend("a")
            manager.resume("a")
        first, second = events.take(2)
        self.assertGreaterEqual(first.missed, 100)
        self.assertEqual(first.sequence, 1 + first.missed + 1)
        self.assertEqual((second.sequence, second.missed), (first.sequence + 1, 0))

    async def test_as_an_async_iterator(self):
        async with running() as manager:
            seen = []

            async def follow(reader):
                async for event in reader:
                    seen.append((event.kind.value, event.target))

            task = asyncio.create_task(follow(manager.events()))
            await asyncio.sleep(0)
            for name in ("a", "b"):
                await manager.create_quota(name)
                await asyncio.sleep(0.01)
            while len(seen) < 2:
                await asyncio.sleep(0.002)
            self.assertEqual(seen, [("created", "agent/a"), ("created", "agent/b")])
            await manager.cleanup()
            await asyncio.wait_for(task, 60)  # cleanup ends the iteration, after what came before
        self.assertEqual(seen[2:], [("removed", "agent/a"), ("removed", "agent/b")])

    async def test_of_the_sync_twin_can_be_waited_for(self):
        manager = mete.sync.ResourceManager()
        events = manager.events()
        self.assertFalse(events.wait(0.01))
        manager.create_quota("a")
        self.assertTrue(events.wait(60))
        self.assertEqual(kinds(events.take()), ["created"])

    async def test_kinds_are_those_of_the_core(self):
        from mete._native import event_kinds
        self.assertEqual([kind.value for kind in mete.EventKind], event_kinds())


if __name__ == "__main__":
    unittest.main()
