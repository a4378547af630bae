"""Many threads and event loops at once, forked children, and managers that end anywhere."""

import asyncio
import gc
import logging
import os
import threading
import unittest
import weakref

import mete
import mete.sync
from support import Clock, Lifecycle, running, until, wait_until

UNLIMITED = mete.ResourceLimits(cpu=None, memory=None, tokens_per_hour=None)
SANITIZED = bool(os.environ.get("METE_SANITIZED"))
REPORTS = 200 if SANITIZED else 2000


def in_threads(count, work):
    """Runs work(number) in threads that start together; raises what one of them raised."""
    failures, start = [], threading.Barrier(count)

    def run(number):
        start.wait()
        try:
            work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    if any(thread.is_alive() for thread in threads):
        raise AssertionError("a thread is stuck")
    if failures:
        raise failures[0]


class Threads(unittest.TestCase):
    def test_sums_are_exact_on_all_levels(self):
        manager = mete.sync.ResourceManager()
        manager.initialize()
        self.addCleanup(manager.cleanup)
        manager.create_quota("t", scope="tenant")
        manager.create_quota("s", scope="session", parent="tenant/t")
        for number in range(4):
            manager.create_quota(str(number), UNLIMITED, parent="session/s")

        def work(number):
            for _ in range(REPORTS):
                manager.report_usage(str(number % 4), cpu_seconds=0.001, memory_mb=number, tokens=3)

        in_threads(16, work)
        for scope, name, share in (("tenant", "t", 16), ("session", "s", 16), ("agent", "2", 4)):
            usage = manager.get_usage(name, scope=scope)
            self.assertEqual(usage.tokens_consumed, share * REPORTS * 3)
            self.assertEqual(usage.cpu_seconds, share * REPORTS / 1000)

    def test_several_loops_share_a_manager(self):
        manager = mete.ResourceManager()
        asyncio.run(manager.create_quota("a", UNLIMITED))

        async def main():
            await asyncio.gather(*(manager.report_usage("a", tokens=1) for _ in range(REPORTS)))

        in_threads(8, lambda number: asyncio.run(main()))
        self.assertEqual(asyncio.run(manager.get_usage("a")).tokens_consumed, 8 * REPORTS)

    def test_exactly_the_limit_is_reserved(self):
        manager = mete.sync.ResourceManager()
        manager.create_quota("a", {"tokens_per_hour": 1000})
        admitted = []

        def work(number):
            for _ in range(100):
                try:
                    hold = manager.reserve("a", tokens=7)
                except mete.ResourceError as refusal:
                    self.assertEqual(refusal.code, "E2072")
                else:
                    admitted.append(hold)

        in_threads(16, work)
        self.assertEqual(len(admitted), 1000 // 7)

    def test_one_of_two_that_reserve_60_of_100(self):
        manager = mete.sync.ResourceManager()
        for round_ in range(20 if SANITIZED else 200):
            name, admitted = str(round_), []
            manager.create_quota(name, {"tokens_per_hour": 100})

            def work(number, name=name, admitted=admitted):
                try:
                    admitted.append(manager.reserve(name, tokens=60))
                except mete.ResourceError:
                    pass

            in_threads(2, work)
            self.assertEqual(len(admitted), 1)

    def test_created_reported_reset_and_removed_at_once(self):
        logging.getLogger("mete").setLevel(logging.CRITICAL)
        self.addCleanup(logging.getLogger("mete").setLevel, logging.NOTSET)
        manager = mete.sync.ResourceManager({"enforcement": {"tokens": "hard"}})
        manager.initialize()
        self.addCleanup(manager.cleanup)
        manager.create_quota("t", {"tokens_per_hour": 500}, scope="tenant")
        events = manager.events()

        def work(number):
            for turn in range(REPORTS // 4):
                name = str((number * 7 + turn) % 11)
                try:
                    manager.create_quota(name, {"tokens_per_hour": 5}, parent="tenant/t",
                                         exist_ok=True)
                    manager.report_usage(name, tokens=turn % 4, memory_mb=turn % 3)
                    with manager.reserve(name, memory_mb=1) as hold:
                        hold.settle(memory_mb=1)
                    manager.reset_quota(name)
                    manager.update_quota(name, {"tokens_per_hour": turn % 9})
                    manager.list_quotas()
                    manager.cleanup_quota(name)
                    manager.reset_quota("t", scope="tenant")
                except mete.ResourceError as error:
                    if error.code not in ("E2070", "E2072", "E2073", "E2077"):
                        raise

        in_threads(6, work)
        seen = []
        while batch := events.take(5000):
            seen += batch
        numbers = [event.sequence for event in seen]
        self.assertEqual(numbers, sorted(set(numbers)))

    def test_with_a_clock_in_python(self):
        """The manager's thread never calls the clock, which would need the interpreter's lock."""
        clock = Clock()
        manager = mete.sync.ResourceManager({"clock": clock, "window_seconds": 1})
        manager.initialize()
        self.addCleanup(manager.cleanup)
        manager.create_quota("a", UNLIMITED)

        def work(number):
            for _ in range(REPORTS):
                clock.now += 0.01
                manager.report_usage("a", tokens=1)

        in_threads(4, work)
        self.assertEqual(manager.get_usage("a").tokens_consumed, 4 * REPORTS)

    def test_waiting_for_events_lets_others_run(self):
        manager = mete.sync.ResourceManager()
        events, result = manager.events(), []
        waiter = threading.Thread(target=lambda: result.append(events.wait(100)))
        waiter.start()
        manager.create_quota("a")
        waiter.join(60)
        self.assertEqual(result, [True])


class Ends(unittest.TestCase):
    def test_one_that_is_dropped_is_collected_with_its_clock_and_callbacks(self):
        class Owner(Lifecycle):
            def clock(self):
                return 1.0

            def suspend(self, agent_id, checkpoint):
                pass

        for kind in (mete.sync.ResourceManager, mete.ResourceManager):
            owner = Owner()
            owner.manager = kind({"clock": owner.clock}, owner)  # a cycle, through the native half
            if kind is mete.ResourceManager:
                asyncio.run(owner.manager.initialize())
            else:
                owner.manager.initialize()
            gone = weakref.ref(owner), weakref.ref(owner.manager)
            del owner
            gc.collect()
            self.assertEqual([reference() for reference in gone], [None, None], kind)

    def test_the_last_reference_may_fall_in_a_callback(self):
        for _ in range(10):
            entered, dropped, left = threading.Event(), threading.Event(), threading.Event()

            class Last:
                def suspend(self, agent_id, checkpoint):
                    mine = self.manager
                    del self.manager
                    entered.set()
                    dropped.wait(60)
                    del mine  # here the manager ends, on its own thread
                    left.set()

                def terminate(self, agent_id, reason):
                    pass

            lifecycle = Last()
            manager = mete.sync.ResourceManager({"enforcement": {"tokens": "hard"}}, lifecycle)
            lifecycle.manager = manager
            gone = weakref.ref(manager)
            manager.initialize()
            manager.create_quota("a", {"tokens_per_hour": 1})
            manager.report_usage("a", tokens=2)
            self.assertTrue(entered.wait(60))
            del manager, lifecycle
            dropped.set()
            self.assertTrue(left.wait(60))
            wait_until(lambda: gone() is None, "its end")

    @unittest.skipIf(SANITIZED, "the sanitizers here cannot follow a fork beside threads")
    def test_a_forked_child_is_told_to_make_its_own(self):
        manager = mete.sync.ResourceManager()
        manager.initialize()
        self.addCleanup(manager.cleanup)
        manager.create_quota("a")
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                try:
                    manager.report_usage("a", tokens=1)
                    said = "nothing"
                except RuntimeError as error:
                    said = str(error)
                own = mete.sync.ResourceManager()
                own.initialize()
                own.create_quota("a")
                said += f"; {own.report_usage('a', tokens=2).used['tokens']}"
                own.cleanup()
                del manager, own
                gc.collect()
                os.write(writing, said.encode())
            finally:
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            said = pipe.read()
        self.assertEqual(os.waitpid(child, 0)[1], 0)
        self.assertIn("forked", said)
        self.assertTrue(said.endswith("; 2"), said)
        self.assertEqual(manager.get_usage("a").tokens_consumed, 0)

    def test_one_that_was_not_made_says_so(self):
        for call in (lambda manager: manager.report_usage("a", tokens=1),
                     lambda manager: manager.get_quota("a")):
            manager = mete.sync.ResourceManager.__new__(mete.sync.ResourceManager)
            with self.assertRaises((RuntimeError, TypeError)):
                call(manager)
            gc.collect()


class Loops(unittest.IsolatedAsyncioTestCase):
    async def test_actions_wait_for_no_lock_of_the_interpreter(self):
        """Reports of threads that keep the interpreter busy, while actions come and go."""
        logging.getLogger("mete").setLevel(logging.CRITICAL)
        self.addCleanup(logging.getLogger("mete").setLevel, logging.NOTSET)
        lifecycle = Lifecycle()
        async with running({"enforcement": {"tokens": "hard"}}, lifecycle) as manager:
            await manager.create_quota("t", {"tokens_per_hour": 50}, scope="tenant")
            for name in range(8):
                await manager.create_quota(str(name), UNLIMITED, parent="tenant/t")

            def work(number):
                for _ in range(REPORTS // 4):
                    asyncio.run(manager.report_usage(str(number), tokens=1)) if number == 0 else \
                        manager.report_usage(str(number), tokens=1)
                    manager.reset_quota("t", scope="tenant")

            await asyncio.to_thread(in_threads, 8, work)
            for name in range(8):
                await manager.report_usage(str(name), tokens=60)
            await until(lambda: {call[1] for call in lifecycle.calls if call[0] == "suspend"}
                        >= {str(name) for name in range(8)})
            self.assertEqual(lifecycle.loops, {asyncio.get_running_loop()})


if __name__ == "__main__":
    unittest.main()
