"""What was wrong with the first implementation, as far as Python sees it: one test each."""

import asyncio
import datetime
import unittest

import mete
import mete.sync
from support import Clock, Lifecycle, native_threads, running, until

HARD = {"enforcement": {"tokens": "hard"}}


class Defects(unittest.IsolatedAsyncioTestCase):
    def setUp(self):
        self.clock = Clock()
        self.manager = mete.sync.ResourceManager({"clock": self.clock})

    def refused(self, code, call, *arguments, **named):
        with self.assertRaises(mete.ResourceError) as raised:
            call(*arguments, **named)
        self.assertEqual(raised.exception.code, code)

    def test_cpu_seconds_were_compared_with_cores(self):
        self.manager.create_quota("a", {"cpu": "2"})
        self.assertFalse(self.manager.report_usage("a", cpu_seconds=2.001).suspended)
        self.assertFalse(self.manager.report_usage("a", cpu_seconds=7197).suspended)
        self.assertTrue(self.manager.report_usage("a", cpu_seconds=1).suspended)

    def test_create_again_wiped_the_usage(self):
        self.manager.create_quota("a")
        self.manager.report_usage("a", tokens=5)
        self.refused("E2076", self.manager.create_quota, "a")
        self.assertEqual(self.manager.get_quota("a").usage.tokens_consumed, 5)

    def test_get_quota_returned_the_live_object(self):
        self.manager.create_quota("a")
        self.manager.get_quota("a").limits.clear()
        self.assertEqual(self.manager.get_quota("a").limits["cpu"], "2")

    def test_a_bad_limit_was_accepted_and_broke_the_next_report(self):
        self.manager.create_quota("a")
        for bad in ("abc", b"4", [], True):
            self.refused("E2073", self.manager.update_quota, "a", mete.ResourceLimits(cpu=bad))
        self.manager.update_quota("a", mete.ResourceLimits(cpu=4, memory=None))
        self.assertEqual(self.manager.report_usage("a", cpu_seconds=1).used["cpu_seconds"], 1)

    def test_negative_amounts_were_credit(self):
        self.manager.create_quota("a")
        self.refused("E2071", self.manager.report_usage, "a", tokens=-1000)

    def test_nan_disabled_the_cpu_limit(self):
        self.manager.create_quota("a", {"cpu": "1"})
        self.refused("E2071", self.manager.report_usage, "a", cpu_seconds=float("nan"))
        self.assertTrue(self.manager.report_usage("a", cpu_seconds=3601).suspended)

    def test_a_report_answered_nothing(self):
        self.manager.create_quota("a")
        self.assertEqual(self.manager.report_usage("a", tokens=1).remaining, {"tokens": 99999})

    def test_zero_and_negative_limits_were_unlimited(self):
        self.manager.create_quota("a", {"tokens_per_hour": 0}, policy={"tokens": {"mode": "hard"}})
        self.assertTrue(self.manager.report_usage("a", tokens=1).suspended)
        self.refused("E2071", self.manager.create_quota, "b", {"tokens_per_hour": -1})

    def test_reset_of_an_unknown_id_was_silent(self):
        self.refused("E2070", self.manager.reset_quota, "nobody")

    def test_reset_left_throttling_and_suspension(self):
        self.manager.create_quota("a", {"tokens_per_hour": 1, "cpu": "1"}, policy={
            "tokens": {"mode": "hard", "action": "throttle"}})
        receipt = self.manager.report_usage("a", tokens=2, cpu_seconds=3601)
        self.assertTrue(receipt.throttled and receipt.suspended)
        quota = self.manager.reset_quota("a")
        self.assertFalse(quota.throttled or quota.suspended)

    def test_windows_never_ended(self):
        self.manager.create_quota("a", {"tokens_per_hour": 10})
        self.manager.report_usage("a", tokens=10)
        self.clock.now += 3 * 3600
        receipt = self.manager.report_usage("a", tokens=10)
        self.assertEqual((receipt.used["tokens"], receipt.suspended), (10, False))

    def test_one_spike_of_memory_suspended_for_good(self):
        self.manager.create_quota("a", {"memory": "1Gi"})
        self.assertTrue(self.manager.report_usage("a", memory_mb=1025).suspended)
        self.assertFalse(self.manager.report_usage("a", memory_mb=10).suspended)
        self.assertEqual(self.manager.get_usage("a").memory_peak_mb, 1025)

    def test_unknown_suffixes_were_unlimited(self):
        for text, mebibytes in (("2Ki", 2 / 1024), ("1Ti", 2**20), ("2147483648", 2048)):
            self.manager.create_quota("a", {"memory": text})
            self.assertEqual(self.manager.get_quota("a").window("memory").allowed, mebibytes)
            self.manager.cleanup_quota("a")
        for bad in ("1GB", "2g", "infGi", "-1Gi", "nanMi"):
            self.refused("E2071", self.manager.create_quota, "a", {"memory": bad})

    def test_cores_in_thousandths_were_read_as_cores(self):
        self.manager.create_quota("a", {"cpu": "500m"})
        self.assertEqual(self.manager.get_quota("a").window("cpu").allowed, 1800)

    def test_a_late_report_after_a_suspension_raised(self):
        self.manager.create_quota("a", {"tokens_per_hour": 1}, policy={"tokens": {"mode": "hard"}})
        for _ in range(3):
            receipt = self.manager.report_usage("a", tokens=2)
        self.assertEqual(receipt.used["tokens"], 6)

    def test_another_resource_set_off_the_second_strike(self):
        self.manager.create_quota("a", {"tokens_per_hour": 1})
        self.manager.report_usage("a", tokens=2)
        self.assertFalse(self.manager.report_usage("a", cpu_seconds=0.001).suspended)
        self.assertFalse(self.manager.report_usage("a", tokens=0).suspended)
        self.assertTrue(self.manager.report_usage("a", tokens=1).suspended)

    def test_500_times_the_limit_was_only_noticed_afterwards(self):
        self.manager.create_quota("a", {"tokens_per_hour": 10})
        self.refused("E2072", self.manager.reserve, "a", tokens=5000)
        self.assertEqual(self.manager.get_quota("a").usage.tokens_consumed, 0)

    async def test_racing_violations_suspended_three_times(self):
        lifecycle = Lifecycle()
        async with running(HARD, lifecycle) as manager:
            await manager.create_quota("a", {"tokens_per_hour": 1})
            await asyncio.gather(*(asyncio.to_thread(
                lambda: asyncio.run(manager.report_usage("a", tokens=2))) for _ in range(3)))
            await until(lambda: lifecycle.calls)
            await asyncio.sleep(0.05)
            self.assertEqual(lifecycle.calls, [("suspend", "a", True)])

    async def test_the_first_of_three_violations_hid_the_terminate(self):
        lifecycle = Lifecycle()
        async with running({"token_budget_action": "terminate", **HARD}, lifecycle) as manager:
            await manager.create_quota("a", {"tokens_per_hour": 1, "cpu": "1", "memory": "1Mi"})
            receipt = await manager.report_usage("a", cpu_seconds=3601, memory_mb=2, tokens=2)
            self.assertTrue(receipt.terminated)
            await until(lambda: any(call[0] == "terminate" for call in lifecycle.calls))

    async def test_a_cleanup_during_a_suspension_leaked(self):
        class Removing(Lifecycle):
            async def suspend(self, agent_id, checkpoint):
                await manager.cleanup_quota(agent_id)
                await super().suspend(agent_id, checkpoint)

        lifecycle = Removing()
        async with running(HARD, lifecycle) as manager:
            await manager.create_quota("a", {"tokens_per_hour": 1})
            await manager.report_usage("a", tokens=2)
            await until(lambda: lifecycle.calls)
            quota = await manager.create_quota("a", {"tokens_per_hour": 1})
            self.assertEqual((quota.causes, quota.usage.tokens_consumed), ([], 0))

    async def test_initialize_twice_leaked_a_loop(self):
        async with running() as manager:
            before = native_threads()
            await manager.initialize()
            self.assertEqual(native_threads(), before)

    async def test_a_report_waited_for_the_lifecycle_manager(self):
        class Hanging(Lifecycle):
            async def suspend(self, agent_id, checkpoint):
                await asyncio.Event().wait()

        async with running(HARD, Hanging()) as manager:
            await manager.create_quota("a", {"tokens_per_hour": 1})
            self.assertTrue((await manager.report_usage("a", tokens=2)).suspended)
            await asyncio.sleep(0)
            self.assertEqual((await manager.report_usage("a", tokens=2)).used["tokens"], 4)

    def test_bad_words_of_the_configuration_were_bare_value_errors(self):
        self.refused("E2071", mete.sync.ResourceManager, {"enforcement": {"cpu": "Hard"}})
        self.refused("E2071", mete.sync.ResourceManager, {"default_limits": {"cpu": "two"}})
        self.assertEqual(mete.sync.ResourceManager(
            {"default_limits": {"cpu": 2}}).create_quota("a").limits["cpu"], "2")

    def test_some_times_had_no_zone(self):
        quota = self.manager.create_quota("a")
        self.assertEqual(quota.reset_at.tzinfo, datetime.timezone.utc)
        self.assertLess(quota.reset_at - datetime.datetime.now(datetime.timezone.utc),
                        datetime.timedelta(hours=1, minutes=1))

    def test_sessions_and_tenants_were_words_only(self):
        self.manager.create_quota("t", scope="tenant")
        self.manager.create_quota("a", parent="tenant/t")
        self.manager.report_usage("a", tokens=5)
        self.assertEqual(self.manager.get_usage("t", scope="tenant").tokens_consumed, 5)

    def test_a_fleet_was_scaled_by_a_method_that_did_not_exist(self):
        self.manager.create_quota("a", {"tokens_per_hour": 100})
        self.clock.now += 10
        receipt = self.manager.report_usage("a", tokens=50)
        self.assertEqual((receipt.load("tokens"), receipt.rate_per_second("tokens"),
                          receipt.time_to_exhaustion("tokens")), (0.5, 5.0, 10.0))


if __name__ == "__main__":
    unittest.main()
