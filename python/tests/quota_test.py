"""Quotas: creating, reading, changing, resetting, removing; configuration; windows; trees."""

import datetime
import unittest
from decimal import Decimal

import mete
import mete.sync
from support import Clock


class QuotaCase(unittest.TestCase):
    def setUp(self):
        self.clock = Clock()
        self.manager = self.made()

    def made(self, **config):
        return mete.sync.ResourceManager({"clock": self.clock, **config})

    def refused(self, code, call, *arguments, **named):
        with self.assertRaises(mete.ResourceError) as raised:
            call(*arguments, **named)
        self.assertEqual(raised.exception.code, code, raised.exception)
        return raised.exception


class Limits(QuotaCase):
    def test_are_shown_as_they_were_entered(self):
        rows = (({"cpu": "4"}, "cpu", "4"), ({"cpu": "1500m"}, "cpu", "1500m"),
                ({"cpu": 4}, "cpu", "4"), ({"cpu": 0.5}, "cpu", "0.5"),
                ({"memory": "1.5Gi"}, "memory", "1.5Gi"),
                ({"memory": 1048576}, "memory", "1048576"),
                ({"memory": mete.Quantity("1.5Gi")}, "memory", "1.5Gi"),
                ({"tokens_per_hour": 200000}, "tokens_per_hour", 200000),
                ({"tokens_per_hour": "200k"}, "tokens_per_hour", "200k"),
                ({"tokens_per_day": 7}, "tokens_per_day", 7),
                ({"requests_per_minute": 60}, "requests_per_minute", 60),
                ({"cpu_seconds_per_hour": 1.5}, "cpu_seconds_per_hour", "1.5"),
                ({"gpu_memory": "8Gi"}, "gpu_memory", "8Gi"),
                ({"cost_per_day": Decimal("2.50")}, "cost_per_day", "2.50"),
                ({"cost_per_day": "0.1"}, "cost_per_day", "0.1"))
        for number, (given, name, shown) in enumerate(rows):
            for limits in (given, mete.ResourceLimits(**given)):
                quota = self.manager.create_quota("a", limits)
                self.assertEqual(quota.limits[name], shown)
                self.assertIs(type(quota.limits[name]), type(shown))
                self.manager.cleanup_quota("a")

    def test_that_are_not_given_take_the_default_for_an_agent_only(self):
        self.assertEqual(self.manager.create_quota("a", {"cpu": "1"}).limits,
                         {"cpu": "1", "memory": "2Gi", "tokens_per_hour": 100000})
        nothing = {"cpu": None, "memory": None, "tokens_per_hour": None}
        self.assertEqual(self.manager.create_quota("s", scope="session").limits, nothing)
        self.assertEqual(self.manager.create_quota("t", scope="tenant").limits, nothing)

    def test_none_is_unlimited_and_zero_allows_nothing(self):
        quota = self.manager.create_quota("a", {"tokens_per_hour": 0, "cpu": None})
        self.assertEqual((quota.limits["tokens_per_hour"], quota.limits["cpu"]), (0, None))
        self.assertFalse(self.manager.report_usage("a", cpu_seconds=1e6).suspended)
        self.manager.report_usage("a", tokens=1)
        self.assertTrue(self.manager.report_usage("a", tokens=1).suspended)

    def test_an_update_changes_what_it_names(self):
        self.manager.create_quota("a", {"cpu": "1", "memory": "1Gi"})
        self.manager.report_usage("a", tokens=5)
        quota = self.manager.update_quota("a", mete.ResourceLimits(cpu="2", tokens_per_hour=None))
        self.assertEqual(quota.limits, {"cpu": "2", "memory": "1Gi", "tokens_per_hour": None})
        self.assertEqual(quota.usage.tokens_consumed, 5)

    def test_equal_is_within(self):
        self.manager.create_quota("a", {"memory": "1Mi"})
        self.assertFalse(self.manager.report_usage("a", memory_mb=1).suspended)
        self.assertTrue(self.manager.report_usage("a", memory_mb=1 + 1 / 2**20).suspended)
        self.assertFalse(self.manager.report_usage("a", memory_mb=1).suspended)

    def test_cpu_is_cores_for_the_length_of_the_window(self):
        self.manager.create_quota("a", {"cpu": "500m"})
        self.assertEqual(self.manager.get_quota("a").window("cpu").allowed, 1800.0)
        self.assertFalse(self.manager.report_usage("a", cpu_seconds=1800).suspended)
        self.assertTrue(self.manager.report_usage("a", cpu_seconds=0.001).suspended)

    def test_in_every_window(self):
        self.manager.create_quota("a", {"tokens_per_hour": 1000, "tokens_per_day": 10000,
                                        "cost_per_day": "2"})
        self.clock.now += 100
        self.manager.report_usage("a", tokens=250, cost="0.5")
        quota = self.manager.get_quota("a")
        self.assertEqual([window.limit for window in quota.windows],
                         ["cpu", "memory", "tokens_per_hour", "tokens_per_day", "cost_per_day"])
        hour, cost = quota.window("tokens_per_hour"), quota.window("cost_per_day")
        self.assertEqual((hour.entered, hour.allowed, hour.used, hour.remaining, hour.load),
                         (1000, 1000, 250, 750, 0.25))
        self.assertEqual((hour.rate_per_second, hour.time_to_exhaustion), (2.5, 300.0))
        self.assertEqual((cost.used, cost.remaining, cost.load),
                         (Decimal("0.5"), Decimal("1.5"), 0.25))
        self.assertEqual(cost.reset_at - quota.reset_at, datetime.timedelta(hours=23))
        with self.assertRaises(KeyError):
            quota.window("gpu_memory")


class Lives(QuotaCase):
    def test_create_twice(self):
        self.manager.create_quota("a", {"cpu": "1"})
        self.manager.report_usage("a", tokens=5)
        self.refused("E2076", self.manager.create_quota, "a")
        quota = self.manager.create_quota("a", {"cpu": "9"}, exist_ok=True)
        self.assertEqual((quota.limits["cpu"], quota.usage.tokens_consumed), ("1", 5))

    def test_missing(self):
        for call in (self.manager.get_quota, self.manager.get_usage, self.manager.reset_quota,
                     self.manager.is_throttled, self.manager.suspend, self.manager.resume,
                     self.manager.terminate, self.manager.clear_throttle):
            self.assertIn("nobody", str(self.refused("E2070", call, "nobody")))
        self.refused("E2070", self.manager.report_usage, "nobody", tokens=1)
        self.refused("E2070", self.manager.get_quota, "nobody", scope="tenant")

    def test_cleanup_may_be_repeated(self):
        self.manager.create_quota("a")
        self.manager.cleanup_quota("a")
        self.manager.cleanup_quota("a")
        self.refused("E2070", self.manager.get_usage, "a")
        self.assertEqual(self.manager.create_quota("a").usage.tokens_consumed, 0)

    def test_reset_zeroes_the_window_and_leaves_the_total(self):
        self.manager.create_quota("a")
        self.manager.report_usage("a", cpu_seconds=5, memory_mb=10, tokens=5)
        self.manager.report_usage("a", memory_mb=4)
        self.clock.now += 60
        quota = self.manager.reset_quota("a")
        self.assertEqual((quota.usage.cpu_seconds, quota.usage.tokens_consumed,
                          quota.usage.memory_mb, quota.usage.memory_peak_mb), (0, 0, 4, 4))
        usage = self.manager.get_usage("a")
        self.assertEqual((usage.cpu_seconds, usage.tokens_consumed, usage.memory_peak_mb),
                         (5, 5, 10))

    def test_what_comes_out_is_a_copy(self):
        quota = self.manager.create_quota("a")
        quota.limits["cpu"] = "999"
        with self.assertRaises(AttributeError):
            quota.usage.tokens_consumed = 5
        self.manager.report_usage("a", tokens=7)
        self.assertEqual(quota.usage.tokens_consumed, 0)
        self.assertEqual(self.manager.get_quota("a").limits["cpu"], "2")

    def test_list(self):
        self.manager.create_quota("t", scope="tenant")
        self.manager.create_quota("s", scope="session", parent="tenant/t")
        for name in ("a", "b"):
            self.manager.create_quota(name, parent="session/s")
        self.assertEqual([quota.target_id for quota in self.manager.list_quotas(scope="agent")],
                         ["a", "b"])
        self.assertEqual(len(self.manager.list_quotas()), 4)
        self.refused("E2071", self.manager.list_quotas, scope="team")


class Trees(QuotaCase):
    def setUp(self):
        super().setUp()
        self.manager.create_quota("t", {"tokens_per_hour": 100}, scope=mete.QuotaScope.TENANT)
        self.manager.create_quota("s", scope="session", parent="tenant/t")
        for name in ("a", "b"):
            self.manager.create_quota(name, parent="session/s")

    def test_a_report_counts_on_everything_above(self):
        self.manager.report_usage("a", tokens=5, memory_mb=10)
        self.manager.report_usage("b", tokens=7, memory_mb=20)
        self.manager.report_usage("s", tokens=1, scope="session")
        for scope, name, tokens in (("agent", "a", 5), ("session", "s", 13), ("tenant", "t", 13)):
            usage = self.manager.get_usage(name, scope=scope)
            self.assertEqual(usage.tokens_consumed, tokens)
        self.assertEqual(self.manager.get_usage("t", scope="tenant").memory_mb, 30)

    def test_above_acts_below(self):
        for _ in range(2):
            self.manager.report_usage("a", tokens=60)
        self.manager.report_usage("b", tokens=1)
        for name in ("a", "b"):
            quota = self.manager.get_quota(name)
            self.assertTrue(quota.suspended)
            self.assertEqual(quota.causes, [mete.Cause("tenant/t", "tokens_per_hour",
                                                       mete.QuotaAction.SUSPEND)])
        self.assertTrue(self.manager.create_quota("late", parent="session/s").suspended)
        self.manager.update_quota("t", {"tokens_per_hour": 1000}, scope="tenant")
        self.assertFalse(any(quota.suspended for quota in self.manager.list_quotas()))

    def test_what_has_children_is_not_removed(self):
        self.refused("E2080", self.manager.cleanup_quota, "s", scope="session")
        self.manager.cleanup_quota("s", scope="session", cascade=True)
        self.assertEqual([quota.target_id for quota in self.manager.list_quotas()], ["t"])

    def test_parents_are_shown_as_they_are_given(self):
        self.assertEqual(self.manager.get_quota("a").parent, "session/s")
        self.assertEqual(self.manager.get_quota("s", scope="session").parent, "tenant/t")
        self.assertIsNone(self.manager.get_quota("t", scope="tenant").parent)


class Windows(QuotaCase):
    def test_end_by_themselves(self):
        self.manager.create_quota("a", {"tokens_per_hour": 10})
        self.manager.report_usage("a", tokens=8)
        before = self.manager.get_quota("a")
        self.clock.now += 3600
        after = self.manager.get_quota("a")
        self.assertEqual((before.usage.tokens_consumed, after.usage.tokens_consumed), (8, 0))
        self.assertEqual(after.reset_at - before.reset_at, datetime.timedelta(hours=1))
        self.assertEqual(self.manager.get_usage("a").tokens_consumed, 8)

    def test_keep_their_phase_over_idle_hours(self):
        first = self.manager.create_quota("a").reset_at
        self.clock.now += 3 * 3600 + 10
        self.assertEqual(self.manager.get_quota("a").reset_at - first, datetime.timedelta(hours=3))

    def test_of_another_length(self):
        manager = self.made(window_seconds=60)
        first = manager.create_quota("a", {"tokens_per_hour": 10})
        manager.create_quota("b", window_seconds=30)
        manager.report_usage("a", tokens=8)
        manager.report_usage("b", tokens=8)
        self.clock.now += 30
        self.assertEqual(manager.get_quota("b").usage.tokens_consumed, 0)
        self.assertEqual(manager.get_quota("a").usage.tokens_consumed, 8)
        self.clock.now += 30
        self.assertEqual(manager.get_quota("a").usage.tokens_consumed, 0)
        self.assertAlmostEqual(
            (manager.get_quota("a").reset_at - first.reset_at).total_seconds(), 60, places=3)

    def test_advance_ends_what_is_due_and_frees_the_target(self):
        reader = self.manager.events()
        self.manager.create_quota("a", {"tokens_per_hour": 10},
                                  policy={"tokens": {"mode": "hard"}})
        self.assertTrue(self.manager.report_usage("a", tokens=11).suspended)
        self.clock.now += 3600
        self.manager.advance()
        happened = [event.kind.value for event in reader.take()]
        self.assertIn("window_rolled", happened)
        self.assertEqual([kind for kind in happened if kind in ("suspended", "resumed")],
                         ["suspended", "resumed"])
        self.assertFalse(self.manager.get_quota("a").suspended)

    def test_a_clock_that_goes_back_is_not_followed(self):
        self.manager.create_quota("a")
        self.clock.now -= 500
        self.manager.report_usage("a", tokens=1)
        self.clock.now = 1000 + 3599
        self.assertEqual(self.manager.get_quota("a").usage.tokens_consumed, 1)

    def test_a_clock_that_fails_is_the_callers_error(self):
        self.manager.create_quota("a")
        for bad in (lambda: 1 / 0, lambda: "noon", lambda: float("nan"), lambda: 1e300):
            self.clock.__class__ = type("Broken", (Clock,), {"__call__": lambda self: bad()})
            with self.assertRaises((ZeroDivisionError, TypeError, mete.ResourceError)):
                self.manager.report_usage("a", tokens=1)
            self.clock.__class__ = Clock
        self.assertEqual(self.manager.get_usage("a").tokens_consumed, 0)


class Policies(QuotaCase):
    def policies(self, manager, **named):
        return {name: (policy.mode.value, policy.action.value)
                for name, policy in manager.create_quota("a", **named).policy.items()}

    def test_from_the_configuration(self):
        manager = self.made(enforcement={"cpu": "warn_only", "cost": mete.EnforcementMode.HARD,
                                         "memory": "soft_then_hard"},
                            actions={"memory": "terminate", "cost": mete.QuotaAction.THROTTLE},
                            token_budget_action="warn")
        self.assertEqual(self.policies(manager), {
            "cpu": ("warn_only", "suspend"), "memory": ("soft_then_hard", "terminate"),
            "gpu_memory": ("hard", "suspend"), "tokens": ("soft_then_hard", "warn"),
            "requests": ("hard", "suspend"), "cost": ("hard", "throttle")})

    def test_of_one_quota(self):
        own = self.policies(self.manager, policy={"tokens": {"mode": "hard"},
                                                  "memory": {"action": "terminate"}})
        self.assertEqual((own["tokens"], own["memory"], own["cpu"]),
                         (("hard", "suspend"), ("hard", "terminate"), ("hard", "suspend")))

    def test_soft_then_hard_warns_first(self):
        reader = self.manager.events()
        self.manager.create_quota("a", {"tokens_per_hour": 10})
        self.assertFalse(self.manager.report_usage("a", tokens=11).suspended)
        self.manager.report_usage("a", cpu_seconds=1)  # another resource: nothing
        self.assertFalse(self.manager.get_quota("a").suspended)
        self.assertTrue(self.manager.report_usage("a", tokens=1).suspended)
        happened = [event.kind.value for event in reader.take()]
        self.assertEqual([kind for kind in happened if kind in ("warned", "suspended")],
                         ["warned", "suspended"])

    def test_soft_grace(self):
        manager = self.made(soft_grace_seconds=5)
        manager.create_quota("a", {"tokens_per_hour": 10})
        manager.report_usage("a", tokens=11)
        self.clock.now += 4
        self.assertFalse(manager.report_usage("a", tokens=1).suspended)
        self.clock.now += 1
        self.assertTrue(manager.report_usage("a", tokens=1).suspended)

    def test_throttle(self):
        manager = self.made(token_budget_action="throttle", enforcement={"tokens": "hard"})
        manager.create_quota("a", {"tokens_per_hour": 10})
        self.assertFalse(manager.is_throttled("a"))
        self.assertTrue(manager.report_usage("a", tokens=11).throttled)
        self.assertTrue(manager.is_throttled("a"))
        manager.clear_throttle("a")
        self.assertFalse(manager.is_throttled("a"))

    def test_thresholds(self):
        manager = self.made(thresholds=[50])
        reader = manager.events()
        manager.create_quota("a", {"tokens_per_hour": 100})
        for _ in range(10):
            manager.report_usage("a", tokens=10)
        crossed = [event for event in reader.take() if event.kind is mete.EventKind.THRESHOLD]
        self.assertEqual([(event.percent, event.limit, event.used, event.amount)
                          for event in crossed], [(50, "tokens_per_hour", 50, 100)])


class Configuration(QuotaCase):
    def test_an_unknown_key_is_named_with_what_is_allowed(self):
        for config, named in (({"defaults": {}}, ("config", "defaults", "default_limits")),
                              ({"enforcement": {"disk": "hard"}}, ("enforcement", "disk", "cpu")),
                              ({"actions": {"disk": "warn"}}, ("actions", "disk", "cpu"))):
            message = str(self.refused("E2071", mete.sync.ResourceManager, config))
            for part in named:
                self.assertIn(part, message)

    def test_bad_values(self):
        for key, value in (("enforcement", {"cpu": "HARD"}), ("enforcement", "hard"),
                           ("token_budget_action", "stop"), ("actions", {"cpu": 1}),
                           ("usage_report_interval_seconds", -1), ("window_seconds", 0.5),
                           ("window_seconds", "60"), ("window_seconds", True),
                           ("window_seconds", float("nan")), ("soft_grace_seconds", -0.1),
                           ("soft_grace_seconds", 1e12), ("thresholds", [0]),
                           ("thresholds", [101]), ("thresholds", [95, 80]), ("thresholds", "80"),
                           ("thresholds", list(range(1, 20))), ("thresholds", [80.5]),
                           ("clock", 5), ("default_limits", {"cpu": "x"}),
                           ("default_limits", {"memory": -1})):
            with self.subTest(key=key, value=value):
                self.refused("E2071", mete.sync.ResourceManager, {key: value})
        self.refused("E2071", mete.sync.ResourceManager, [("window_seconds", 60)])
        self.refused("E2071", mete.sync.ResourceManager,
                     {"token_budget_action": "warn", "actions": {"tokens": "suspend"}})

    def test_bad_values_of_a_quota(self):
        for named in ({"policy": {"disk": {}}}, {"policy": {"cpu": "hard"}},
                      {"policy": {"cpu": {"mode": "x"}}}, {"policy": {"cpu": {"when": "x"}}},
                      {"policy": "hard"}, {"window_seconds": 0}, {"window_seconds": "60"}):
            with self.subTest(named=named):
                self.refused("E2071", self.manager.create_quota, "a", **named)
        self.assertEqual(self.manager.list_quotas(), [])

    def test_a_lifecycle_manager_that_is_none(self):
        self.refused("E2071", mete.sync.ResourceManager, {}, object())
        self.refused("E2071", mete.ResourceManager, lifecycle_manager="runtime")

    def test_an_error_names_the_default_limit(self):
        for name, value in (("cpu", "x"), ("memory", -1), ("tokens_per_hour", 1.5)):
            with self.subTest(name=name):
                error = self.refused("E2071", mete.sync.ResourceManager,
                                     {"default_limits": {name: value}})
                self.assertTrue(error.message.startswith(f"default_limits.{name}: "), error)

    def test_default_limits(self):
        manager = self.made(default_limits={"cpu": "1", "memory": None, "gpu_memory": "8Gi"})
        self.assertEqual(manager.create_quota("a").limits,
                         {"cpu": "1", "memory": None, "tokens_per_hour": 100000,
                          "gpu_memory": "8Gi"})
        manager = self.made(default_limits=mete.ResourceLimits(cpu="3"))
        self.assertEqual(manager.create_quota("a").limits["cpu"], "3")


class Quantities(QuotaCase):
    def test_parse_cpu(self):
        for text, cores in (("2", 2), ("500m", 0.5), ("1500m", 1.5), ("1", 1), ("0", 0),
                            ("0.1", 0.1), ("1e1", 10), ("2k", 2000)):
            self.assertEqual(mete.parse_cpu(text), cores)

    def test_parse_memory_mb(self):
        for text, megabytes in (("2Gi", 2048), ("512Mi", 512), ("4G", 4000), ("1024M", 1024),
                                ("1Ki", 1 / 1024), ("1Ti", 2**20), ("2000000", 2), ("1.5Gi", 1536)):
            self.assertEqual(mete.parse_memory_mb(text), megabytes)

    def test_junk_is_an_error_and_never_unlimited(self):
        for bad in ("", "abc", "2GB", "2g", "infGi", "nanMi", "-1Gi", "1 Gi", "0x10", None, 5,
                    "1e", "\ud800", "2\0"):
            for parse in (mete.parse_cpu, mete.parse_memory_mb):
                with self.subTest(parse=parse, text=bad):
                    self.refused("E2071", parse, bad)

    def test_quantity(self):
        quantity = mete.Quantity("1.5Gi")
        self.assertEqual((quantity.value, quantity.milli, quantity.canonical, str(quantity)),
                         (1610612736, 1610612736000, "1536Mi", "1.5Gi"))
        self.assertEqual(repr(quantity), "Quantity('1.5Gi')")
        self.assertEqual(mete.Quantity("100m").value, 1)
        self.assertEqual(mete.Quantity("1Ki"), mete.Quantity("1024"))
        self.assertEqual(len({mete.Quantity("1Ki"), mete.Quantity("1024")}), 1)
        self.assertLess(mete.Quantity("1M"), mete.Quantity("1Mi"))
        self.assertGreaterEqual(mete.Quantity("1"), mete.Quantity("1000m"))
        self.assertNotEqual(mete.Quantity("1"), "1")
        self.refused("E2071", lambda: mete.Quantity("8E").milli)
        for bad in ("", "two", None, 5):
            self.refused("E2071", mete.Quantity, bad)


if __name__ == "__main__":
    unittest.main()
