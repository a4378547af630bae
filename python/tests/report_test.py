"""Reports: what they take, refuse and answer, and how their answers are awaited."""

import asyncio
import collections.abc
import fractions
import gc
import math
import unittest
import warnings
from decimal import Decimal

import mete
import mete.sync
from support import Clock

UNLIMITED = mete.ResourceLimits(cpu=None, memory=None, tokens_per_hour=None)


class Integer:
    """As those of numpy: no int, but one where it counts."""

    def __init__(self, value):
        self.value = value

    def __index__(self):
        return self.value


class Numbers(unittest.TestCase):
    def setUp(self):
        self.manager = mete.sync.ResourceManager()
        self.manager.create_quota("a", UNLIMITED)

    def used(self, **amounts):
        self.manager.cleanup_quota("a")  # totals too
        self.manager.create_quota("a", UNLIMITED)
        return self.manager.report_usage("a", **amounts).used

    def test_seconds_are_rounded_once_to_the_nearest_nanosecond(self):
        for seconds in (0.1, 0.3, 1e-9, 4.9e-10, 5.1e-10, 2.5e-9, 3.5e-9, 1 / 3, 5.5, 86400.1,
                        12345678.123456789, 2.0**30 + 2.0**-20, 9e9, 9.2e9):
            fraction = fractions.Fraction(seconds) * 10**9
            nanoseconds = round(fraction)  # to the nearest, ties to even
            used = self.used(cpu_seconds=seconds)["cpu_seconds"]
            self.assertEqual(used, nanoseconds / 10**9, seconds)

    def test_the_ledger_adds_exactly(self):
        floats = 0.0
        for _ in range(1000):
            receipt = self.manager.report_usage("a", cpu_seconds=0.1)
            floats += 0.1
        self.assertEqual(receipt.used["cpu_seconds"], 100.0)
        self.assertNotEqual(floats, 100.0)

    def test_mebibytes(self):
        for given, shown in ((1, 1.0), (0.5, 0.5), (1 / 2**20, 1 / 2**20), (1536.25, 1536.25),
                             (0.0000001, 0.0), (2**42, 2.0**42)):
            self.assertEqual(self.used(memory_mb=given)["memory_mb"], shown)
            self.assertEqual(self.used(gpu_memory_mb=given)["gpu_memory_mb"], shown)

    def test_numbers_of_other_types(self):
        self.assertEqual(self.used(tokens=Integer(7))["tokens"], 7)
        self.assertEqual(self.used(requests=Integer(3))["requests"], 3)
        self.assertEqual(self.used(cpu_seconds=2)["cpu_seconds"], 2.0)
        self.assertEqual(self.used(cpu_seconds=fractions.Fraction(1, 4))["cpu_seconds"], 0.25)
        self.assertEqual(self.used(memory_mb=Decimal("1.5"))["memory_mb"], 1.5)

    def test_money_is_exact(self):
        for given in ("0.1", "1", "0.000000001", Decimal("2.50"), Decimal("1E+2"), 3):
            self.assertEqual(self.used(cost=given)["cost"], Decimal(given))

    def test_none_is_not_named_and_zero_is(self):
        receipt = self.manager.report_usage("a", cpu_seconds=None, tokens=0)
        self.assertEqual(receipt.recorded, {"tokens"})

    def test_the_largest_counts(self):
        self.assertEqual(self.used(tokens=2**62)["tokens"], 2**62)

    def test_the_most_that_can_be_used_is_not_none(self):
        most, cost = 2**63 - 1, Decimal("9223372036.854775807")
        receipt = self.manager.report_usage("a", tokens=most, cost=str(cost))
        self.assertEqual((receipt.used["tokens"], receipt.used["cost"]), (most, cost))
        self.assertEqual(receipt.remaining, {"tokens": None, "cost": None})
        usage = self.manager.get_usage("a")
        self.assertEqual((usage.tokens_consumed, usage.cost), (most, cost))

        self.manager.create_quota("b", {"tokens_per_hour": 5, "cost_per_day": "1"})
        events = self.manager.events()
        self.manager.report_usage("b", tokens=most, cost=str(cost))
        for limit, used in (("tokens_per_hour", most), ("cost_per_day", cost)):
            window = self.manager.get_quota("b").window(limit)
            self.assertEqual(window.used, used)
            self.assertEqual(window.remaining, 0)
        self.assertIn((most, 5), [(event.used, event.amount) for event in events.take()])


class BadInput(unittest.TestCase):
    def setUp(self):
        self.manager = mete.sync.ResourceManager()
        self.manager.create_quota("a", UNLIMITED)
        self.manager.report_usage("a", cpu_seconds=1, memory_mb=1, tokens=1)

    def refused(self, field, call, *arguments, **named):
        before = self.manager.list_quotas()
        usage = self.manager.get_usage("a")
        with self.assertRaises(mete.ResourceError) as raised:
            call(*arguments, **named)
        self.assertEqual(raised.exception.code, "E2071", raised.exception)
        self.assertIn(field, str(raised.exception))
        self.assertNotIn("\n", str(raised.exception))
        self.assertEqual(self.manager.get_usage("a"), usage)
        after = self.manager.list_quotas()
        self.assertEqual([(quota.limits, quota.usage, quota.causes) for quota in after],
                         [(quota.limits, quota.usage, quota.causes) for quota in before])
        return raised.exception

    def test_bad_amounts_are_refused_whole(self):
        bad = {"cpu_seconds": (math.nan, math.inf, -math.inf, -0.1, -1, 2**63, 9.3e9, 1e300, "1",
                               True, [], b"1"),
               "memory_mb": (math.nan, math.inf, -1.0, 2**63, 2.0**43, "1Gi", False),
               "gpu_memory_mb": (math.nan, -1.0, 2.0**43),
               "tokens": (-1, 2**63, 2**64, -2**63, 1.5, 5.0, math.nan, "5", True, Decimal(5)),
               "requests": (-1, 2**63, 0.5, True),
               "cost": (0.1, 1.0, "-1", "1e3", "abc", "", Decimal("NaN"), Decimal("-1"),
                        "0.0000000001", "9223372037", True, math.nan, "\ud800")}
        for field, values in bad.items():
            for value in values:
                with self.subTest(field=field, value=value):
                    # The good one beside it is not recorded either.
                    good = {"tokens": 3} if field != "tokens" else {"cpu_seconds": 3.0}
                    self.refused(field, self.manager.report_usage, "a", **good, **{field: value})

    def test_ints_of_more_digits_than_python_writes(self):
        huge = 10**5000
        for field in ("cpu_seconds", "memory_mb", "gpu_memory_mb", "tokens", "requests", "cost"):
            for value in (huge, -huge):
                with self.subTest(field=field):
                    self.refused(field, self.manager.report_usage, "a", **{field: value})
                    self.refused(field, self.manager.reserve, "a", **{field: value})
        for field in ("cpu", "memory", "tokens_per_hour", "cost_per_day"):
            for value in (huge, -huge):
                with self.subTest(field=field):
                    self.refused(field, self.manager.create_quota, "b", {field: value})
        self.refused("window_seconds", self.manager.create_quota, "b", window_seconds=huge)
        self.refused("ttl_seconds", self.manager.reserve, "a", tokens=1, ttl_seconds=huge)
        self.refused("after", self.manager.events, after=huge)

    def test_values_that_cannot_be_shown(self):
        class Raises:
            def __repr__(self):
                raise OSError("no")

        class Writes:
            def __repr__(self):
                return "a\nb\u202ec\x1b[2J" + "x" * 5000

        for bad in (Raises(), Writes()):
            for field in ("cpu_seconds", "tokens", "cost"):
                with self.subTest(field=field):
                    error = self.refused(field, self.manager.report_usage, "a", **{field: bad})
                    self.assertTrue(str(error).isprintable(), ascii(str(error)))
                    self.assertLess(len(str(error)), 200)
            error = self.refused("memory", self.manager.create_quota, "b", {"memory": bad})
            self.assertTrue(str(error).isprintable(), ascii(str(error)))
            error = self.refused("scope", self.manager.create_quota, "b", scope=bad)
            self.assertTrue(str(error).isprintable(), ascii(str(error)))
        error = self.refused("", self.manager.create_quota, "b", policy={"cpu": {Writes(): 1}})
        self.assertTrue(str(error).isprintable(), ascii(str(error)))

    def test_events_after_what_is_no_number_of_one(self):
        for bad in (-1, 2**63, 10**30, 1.0, True, "1"):
            with self.subTest(after=bad):
                self.refused("after", self.manager.events, after=bad)
                self.refused("after", mete.ResourceManager().events, after=bad)
        self.assertEqual(self.manager.events(after=2**63 - 1).take(), [])
        self.assertTrue(self.manager.events(after=0).take())

    def test_a_float_is_said_to_be_what_is_wrong(self):
        error = self.refused("memory", self.manager.create_quota, "b", {"memory": 1.5})
        self.assertIn("float", str(error))
        error = self.refused("cpu", self.manager.create_quota, "b", {"cpu": math.nan})
        self.assertNotIn("float cannot", str(error))

    def test_a_sum_that_would_pass_63_bits(self):
        self.manager.report_usage("a", tokens=2**63 - 10)
        self.refused("tokens", self.manager.report_usage, "a", tokens=10)

    def test_minus_zero_is_zero(self):
        self.assertEqual(self.manager.report_usage("a", cpu_seconds=-0.0).used["cpu_seconds"], 1.0)

    def test_bad_ids(self):
        for bad in ("", "x" * 10240, "x" * 256, "a/b", "a\nb", "a\0b", "a\u202eb", "a\u2066b",
                    "\x1b[31m", "\x7f", "a\u0085", "\ud800", 5, None, b"a"):
            with self.subTest(id=bad):
                self.refused("", self.manager.create_quota, bad)
        self.assertEqual(self.manager.create_quota("x" * 255).target_id, "x" * 255)
        self.assertEqual(self.manager.create_quota("wörk-é-子").target_id, "wörk-é-子")
        for bad in (5, None, b"a", "\ud800"):
            with self.subTest(report=bad):
                for scope in ("agent", "session", "tenant"):
                    self.refused(f"{scope} id: ", self.manager.report_usage, bad, scope=scope)
                    self.refused(f"{scope} id: ", self.manager.create_quota, bad, scope=scope)

    def test_bad_scopes(self):
        for bad in ("", "Agent", "team", 1, None, "agent\0", "\ud800"):
            with self.subTest(scope=bad):
                self.refused("scope", self.manager.create_quota, "b", scope=bad)
                self.refused("scope", self.manager.report_usage, "a", tokens=1, scope=bad)

    def test_unknown_limits(self):
        self.refused("disk", self.manager.create_quota, "b", {"disk": "1Gi"})
        self.refused("disk", mete.sync.ResourceManager, {"default_limits": {"disk": "1Gi"}})
        with self.assertRaises(TypeError):
            mete.ResourceLimits(disk="1Gi")

    def test_bad_limits(self):
        for name, bad in (("cpu", "abc"), ("cpu", ""), ("memory", "2GB"), ("memory", "-1Gi"),
                          ("memory", 1.5), ("cpu", math.nan), ("cpu", True), ("memory", b"1"),
                          ("tokens_per_hour", 5.0), ("tokens_per_hour", -1),
                          ("tokens_per_hour", 2**63), ("cost_per_day", 0.5), ("memory", "1Gi ")):
            with self.subTest(limit=name, value=bad):
                self.refused(name, self.manager.create_quota, "b", {name: bad})

    def test_bad_parents(self):
        self.manager.create_quota("s", scope="session")
        for parent in ("session/none", "agent/a", "s", "session", "session/", "team/s", 5, "/s"):
            with self.subTest(parent=parent):
                self.refused("", self.manager.create_quota, "b", parent=parent)
        self.refused("", self.manager.create_quota, "t", scope="tenant", parent="session/s")

    def test_from_an_update_it_is_e2073_with_that_cause(self):
        for arguments, named, cause in (
                (("a", {"cpu": "abc"}), {}, "E2071"), (("a", {"disk": "1"}), {}, "E2071"),
                (("a", {"cpu": -1}), {}, "E2071"), (("nobody", {"cpu": "1"}), {}, "E2070"),
                (("a", {"cpu": "1"}), {"scope": "team"}, "E2071")):
            with self.subTest(arguments=arguments), self.assertRaises(mete.ResourceError) as raised:
                self.manager.update_quota(*arguments, **named)
            self.assertEqual(raised.exception.code, "E2073")
            self.assertEqual(raised.exception.__cause__.code, cause)
        self.assertEqual(self.manager.get_quota("a").limits["cpu"], None)


class Receipts(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.clock = Clock()
        self.manager = mete.ResourceManager({"clock": self.clock})
        await self.manager.create_quota("a", mete.ResourceLimits(cpu="1", tokens_per_hour=1000))
        self.clock.now += 10

    async def test_say_what_was_recorded_and_what_remains(self):
        receipt = await self.manager.report_usage("a", cpu_seconds=60.0, tokens=400)
        self.assertEqual(receipt.recorded, {"cpu_seconds", "tokens"})
        self.assertEqual(receipt.measured, set())
        self.assertEqual(receipt.used, {"cpu_seconds": 60.0, "tokens": 400})
        self.assertEqual(receipt.limit, {"cpu_seconds": 3600.0, "tokens": 1000})
        self.assertEqual(receipt.remaining, {"cpu_seconds": 3540.0, "tokens": 600})
        self.assertEqual(receipt.load("tokens"), 0.4)
        self.assertEqual(receipt.rate_per_second("tokens"), 40)
        self.assertEqual(receipt.time_to_exhaustion("tokens"), 15)
        self.assertEqual(receipt.rate_per_second("cpu_seconds"), 6)
        self.assertEqual((receipt.suspended, receipt.throttled, receipt.terminated,
                          receipt.action_pending, receipt.retry_after),
                         (False, False, False, False, 0.0))
        self.assertIn("'tokens': 600", repr(receipt))

    async def test_say_that_an_action_is_pending(self):
        receipt = await self.manager.report_usage("a", cpu_seconds=3600.5)
        self.assertTrue(receipt.suspended and receipt.action_pending)
        self.assertEqual(receipt.remaining["cpu_seconds"], 0.0)
        again = await self.manager.report_usage("a", cpu_seconds=1)
        self.assertTrue(again.suspended)
        self.assertFalse(again.action_pending)

    async def test_of_unlimited_resources_none_remains(self):
        receipt = await self.manager.report_usage("a", requests=1, cost="0.5")
        self.assertEqual(receipt.remaining, {"requests": None, "cost": None})
        self.assertEqual(receipt.load("cost"), 0.0)
        self.assertIsNone(receipt.time_to_exhaustion("cost"))

    async def test_refuse_names_they_do_not_know(self):
        receipt = await self.manager.report_usage("a", tokens=1)
        for bad in ("disk", 5, "cpu", "cost"):  # the last was not in the report
            with self.assertRaises(mete.ResourceError):
                receipt.load(bad)

    async def test_of_a_wrong_call_are_type_errors_at_once(self):
        for arguments, named in (((), {}), (("a", 1, 2, 3, 4), {}), (("a",), {"disk": 1}),
                                 (("a",), {"agent_id": "a"})):
            with self.subTest(arguments=arguments), self.assertRaises(TypeError):
                self.manager.report_usage(*arguments, **named)

    async def test_positional_and_computed_keywords(self):
        named = {"".join(("tok", "ens")): 5, "".join(["agent", "_id"]): "a"}  # not interned
        self.assertEqual((await self.manager.report_usage(**named)).used["tokens"], 5)
        receipt = await self.manager.report_usage("a", 1.5, 64, 7)
        self.assertEqual(receipt.used, {"cpu_seconds": 1.5, "memory_mb": 64.0, "tokens": 12})

    async def test_cannot_be_made_or_changed(self):
        with self.assertRaises(TypeError):
            mete.Receipt()
        receipt = await self.manager.report_usage("a", tokens=1)
        with self.assertRaises(AttributeError):
            receipt.suspended = True


class Awaiting(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.manager = mete.ResourceManager()
        await self.manager.create_quota("a")

    async def test_the_call_has_done_its_work(self):
        answer = self.manager.report_usage("a", tokens=5)
        self.assertEqual((await self.manager.get_usage("a")).tokens_consumed, 5)
        self.assertIs(await answer, answer)
        self.assertIs(await answer, answer)

    async def test_as_a_task(self):
        for call in (self.manager.report_usage("a", tokens=1), self.manager.get_quota("a"),
                     self.manager.list_quotas()):
            self.assertIsInstance(call, collections.abc.Coroutine)
            self.assertTrue(asyncio.iscoroutine(call))
            self.assertIsNotNone(await asyncio.create_task(call))

    async def test_gathered_and_with_a_timeout(self):
        one, two, refused = await asyncio.gather(
            self.manager.report_usage("a", tokens=1), self.manager.get_usage("a"),
            self.manager.get_usage("nobody"), return_exceptions=True)
        self.assertEqual((one.used["tokens"], two.tokens_consumed, refused.code), (1, 1, "E2070"))
        receipt = await asyncio.wait_for(self.manager.report_usage("a", tokens=1), 60)
        self.assertEqual(receipt.used["tokens"], 2)
        async with asyncio.timeout(60):
            await self.manager.report_usage("a", tokens=1)

    async def test_in_a_task_group(self):
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.manager.report_usage("a", tokens=1))
                     for _ in range(100)]
        self.assertEqual(max(task.result().used["tokens"] for task in tasks), 100)
        self.assertEqual((await self.manager.get_usage("a")).tokens_consumed, 100)

    async def test_a_cancelled_task_has_counted(self):
        task = asyncio.create_task(self.manager.report_usage("a", tokens=5))
        task.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await task
        self.assertEqual((await self.manager.get_usage("a")).tokens_consumed, 5)

    async def test_throw_and_close(self):
        for call in (self.manager.report_usage("a", tokens=1), self.manager.get_usage("a")):
            for arguments in ((ValueError("x"),), (ValueError,), (ValueError, "x", None)):
                with self.assertRaises(ValueError):
                    call.throw(*arguments)
            with self.assertRaises(TypeError):
                call.throw(5)
            self.assertIsNone(call.close())
            with self.assertRaises(StopIteration) as stopped:
                call.send(None)
            self.assertIsNotNone(stopped.exception.value)

    async def test_an_error_is_raised_at_the_await_each_time(self):
        answer = self.manager.report_usage("nobody", tokens=1)
        for _ in range(2):
            with self.assertRaises(mete.ResourceError) as raised:
                await answer
            self.assertEqual(raised.exception.code, "E2070")

    async def test_a_failure_that_nobody_awaits_is_a_warning(self):
        for call, name in ((lambda: self.manager.report_usage("nobody", tokens=1), "report_usage"),
                           (lambda: self.manager.report_usage("a", tokens=-1), "report_usage"),
                           (lambda: self.manager.get_quota("nobody"), "get_quota"),
                           (lambda: self.manager.reserve("nobody", tokens=1), "reserve")):
            with self.assertWarnsRegex(RuntimeWarning, f"^{name} failed and was not awaited: E207"):
                call()
                gc.collect()

    async def test_a_success_that_nobody_awaits_is_silent(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            self.manager.report_usage("a", tokens=1)
            self.manager.get_quota("a")
            gc.collect()

    async def test_a_warning_that_is_an_error_breaks_nothing(self):
        with warnings.catch_warnings(), self.captured_unraisable() as caught:
            warnings.simplefilter("error")
            self.manager.report_usage("nobody", tokens=1)
            gc.collect()
        self.assertEqual([type(error) for error in caught], [RuntimeWarning])

    @staticmethod
    def captured_unraisable():
        import contextlib
        import sys

        @contextlib.contextmanager
        def capture():
            caught, hook = [], sys.unraisablehook
            sys.unraisablehook = lambda raised: caught.append(raised.exc_value)
            try:
                yield caught
            finally:
                sys.unraisablehook = hook

        return capture()


class WithoutALoop(unittest.TestCase):
    def test_asyncio_run_takes_each_answer(self):
        manager = mete.ResourceManager()
        self.assertEqual(asyncio.run(manager.create_quota("a")).target_id, "a")
        self.assertEqual(asyncio.run(manager.report_usage("a", tokens=3)).used["tokens"], 3)
        with self.assertRaises(mete.ResourceError):
            asyncio.run(manager.get_quota("b"))

    def test_nothing_switches_to_another_task(self):
        async def main():
            manager, order = mete.ResourceManager(), []
            await manager.create_quota("a")
            asyncio.get_running_loop().call_soon(order.append, "another")
            await manager.report_usage("a", tokens=1)
            await manager.get_quota("a")
            order.append("this")
            await asyncio.sleep(0)
            return order

        self.assertEqual(asyncio.run(main()), ["this", "another"])

    def test_in_asyncios_debug_mode(self):
        manager = mete.ResourceManager()

        async def main():
            await manager.create_quota("a")
            return await asyncio.create_task(manager.report_usage("a", tokens=3))

        self.assertEqual(asyncio.run(main(), debug=True).used["tokens"], 3)


if __name__ == "__main__":
    unittest.main()
