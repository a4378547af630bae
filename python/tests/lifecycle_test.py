"""Actions: carried out on the loop that awaited initialize(), never waited for by a report."""

import asyncio
import gc
import logging
import threading
import unittest
import warnings

import mete
import mete.sync
from support import Lifecycle, kinds, native_threads, run_program, running, until, wait_until

HARD = {"enforcement": {"tokens": "hard"}}
LIMIT = mete.ResourceLimits(tokens_per_hour=10)
NOT_INSIDE = "a callback of the manager cannot clean it up"
HOSTILE = ValueError("boom\n\u202eevil\x1b[2J" + "x" * 5000)


class Actions(unittest.IsolatedAsyncioTestCase):
    async def test_suspend_is_called_once_on_the_initializing_loop(self):
        lifecycle = Lifecycle()
        async with running(HARD, lifecycle) as manager:
            await manager.create_quota("a", LIMIT)
            receipts = [await manager.report_usage("a", tokens=11) for _ in range(20)]
            self.assertEqual(lifecycle.calls, [])  # no report waited for it
            self.assertEqual(sum(receipt.action_pending for receipt in receipts), 1)
            await until(lambda: lifecycle.calls)
            await asyncio.sleep(0.05)
            self.assertEqual(lifecycle.calls, [("suspend", "a", True)])
            self.assertEqual(lifecycle.loops, {asyncio.get_running_loop()})

    async def test_terminate_is_told_why(self):
        lifecycle = Lifecycle()
        async with running({"token_budget_action": "terminate", **HARD}, lifecycle) as manager:
            await manager.create_quota("t", {"tokens_per_hour": 10}, scope="tenant")
            await manager.create_quota("a", parent="tenant/t")
            receipt = await manager.report_usage("a", tokens=11)
            self.assertTrue(receipt.terminated)
            await until(lambda: lifecycle.calls)
            self.assertEqual(lifecycle.calls,
                             [("terminate", "a", "tokens_per_hour of tenant/t")])

    async def test_resume_when_the_limit_is_raised(self):
        lifecycle = Lifecycle()
        async with running(HARD, lifecycle) as manager:
            await manager.create_quota("a", LIMIT)
            await manager.report_usage("a", tokens=11)
            await until(lambda: lifecycle.calls)
            await manager.update_quota("a", {"tokens_per_hour": 100})
            await until(lambda: len(lifecycle.calls) == 2)
            self.assertEqual(lifecycle.calls[1], ("resume", "a"))

    async def test_resume_is_optional_and_functions_may_be_plain(self):
        class Plain:
            def __init__(self):
                self.calls = []

            def suspend(self, agent_id, checkpoint):
                self.calls.append(("suspend", agent_id, checkpoint))

            def terminate(self, agent_id, reason):
                self.calls.append(("terminate", agent_id, reason))

        lifecycle = Plain()
        async with running(HARD, lifecycle) as manager:
            await manager.create_quota("a", LIMIT)
            await manager.report_usage("a", tokens=11)
            await until(lambda: lifecycle.calls)
            await manager.reset_quota("a")
            await manager.terminate("a")
            self.assertEqual(lifecycle.calls,
                             [("suspend", "a", True), ("terminate", "a", "operator")])

    async def test_one_that_fails_is_an_event_and_is_tried_again(self):
        lifecycle = Lifecycle(failures=1)
        async with running(HARD, lifecycle) as manager:
            events = manager.events()
            await manager.create_quota("a", LIMIT)
            await manager.report_usage("a", tokens=11)
            await until(lambda: len(lifecycle.calls) == 2, "the second try")
            self.assertEqual(lifecycle.calls, [("suspend", "a", True)] * 2)
            failed = [event for event in events.take() if event.kind.value == "action_failed"]
            self.assertEqual(len(failed), 1)
            self.assertIn("OSError: the runtime is away", failed[0].detail)

    async def test_without_a_lifecycle_manager_the_state_is_kept(self):
        async with running(HARD) as manager:
            await manager.create_quota("a", LIMIT)
            self.assertTrue((await manager.report_usage("a", tokens=11)).suspended)
            self.assertTrue((await manager.get_quota("a")).suspended)

    async def test_an_agent_created_under_a_suspended_tenant_is_suspended(self):
        lifecycle = Lifecycle()
        async with running(HARD, lifecycle) as manager:
            await manager.create_quota("t", {"tokens_per_hour": 10}, scope="tenant")
            for name in ("a", "b"):
                await manager.create_quota(name, parent="tenant/t")
            await manager.report_usage("a", tokens=11)
            await manager.create_quota("late", parent="tenant/t")
            await until(lambda: len(lifecycle.calls) == 3)
            self.assertEqual({call[1] for call in lifecycle.calls}, {"a", "b", "late"})


class Operator(unittest.IsolatedAsyncioTestCase):
    async def test_suspend_and_resume(self):
        lifecycle = Lifecycle()
        async with running({}, lifecycle) as manager:
            await manager.create_quota("a")
            await manager.suspend("a")
            self.assertEqual(lifecycle.calls, [("suspend", "a", True)])
            quota = await manager.get_quota("a")
            self.assertEqual(quota.causes, [mete.Cause("agent/a", None, mete.QuotaAction.SUSPEND)])
            await manager.resume("a")
            self.assertEqual(lifecycle.calls[1:], [("resume", "a")])
            self.assertFalse((await manager.get_quota("a")).suspended)

    async def test_a_failure_is_e2074_or_e2075(self):
        lifecycle = Lifecycle(failures=2)
        async with running({}, lifecycle) as manager:
            for name in ("a", "b"):
                await manager.create_quota(name)
            for call, name, code in ((manager.suspend, "a", "E2074"),
                                     (manager.terminate, "b", "E2075")):
                with self.assertRaises(mete.ResourceError) as raised:
                    await call(name)
                self.assertEqual(raised.exception.code, code)
                self.assertIn("the runtime is away", str(raised.exception))

    async def test_resume_names_the_causes_that_remain(self):
        async with running(HARD, Lifecycle()) as manager:
            await manager.create_quota("a", LIMIT)
            await manager.report_usage("a", tokens=11)
            with self.assertRaises(mete.ResourceError) as raised:
                await manager.resume("a")
            self.assertEqual(raised.exception.code, "E2072")
            self.assertIn("tokens_per_hour", str(raised.exception))
            await manager.resume("a", override=True)
            self.assertFalse((await manager.get_quota("a")).suspended)

    async def test_from_another_loop(self):
        lifecycle = Lifecycle()
        async with running({}, lifecycle) as manager:
            await manager.create_quota("a")
            await asyncio.to_thread(lambda: asyncio.run(manager.suspend("a")))
            self.assertEqual(lifecycle.calls, [("suspend", "a", True)])
            self.assertEqual(lifecycle.loops, {asyncio.get_running_loop()})

    async def test_what_a_callback_raises_is_one_printable_line(self):
        class Hostile(Lifecycle):
            async def suspend(self, agent_id, checkpoint):
                raise HOSTILE

        async with running({}, Hostile()) as manager:
            events = manager.events()
            await manager.create_quota("a")
            with self.assertLogs("mete", logging.WARNING) as logged:
                with self.assertRaises(mete.ResourceError) as raised:
                    await manager.suspend("a")
                await until(lambda: any("action failed" in line for line in logged.output))
            failed = [event for event in events.take() if event.kind.value == "action_failed"]
            for text in (str(raised.exception), failed[0].detail, *logged.output):
                self.assertTrue(text.isprintable(), ascii(text))
                self.assertLess(len(text), 300)
            self.assertIn("ValueError: boom\\n\\u202eevil\\x1b[2J", failed[0].detail)

    async def test_before_initialize_and_on_a_closed_loop_nothing_is_called_yet(self):
        for closed in (False, True):
            lifecycle = Lifecycle()
            manager = mete.ResourceManager({}, lifecycle)
            if closed:
                await asyncio.to_thread(lambda: asyncio.run(manager.initialize()))
            await manager.create_quota("a")
            await asyncio.wait_for(manager.suspend("a"), 60)
            self.assertTrue((await manager.get_quota("a")).suspended)
            self.assertEqual(lifecycle.calls, [])
            await manager.initialize()
            await until(lambda: lifecycle.calls)
            self.assertEqual(lifecycle.calls, [("suspend", "a", True)])
            await manager.cleanup()


class Ends(unittest.IsolatedAsyncioTestCase):
    async def check_refused_inside(self, clean_up):
        """`clean_up` is what a callback awaits; a later cleanup works."""
        errors = []

        class Cleaning(Lifecycle):
            async def suspend(self, agent_id, checkpoint):
                try:
                    await clean_up(manager)
                except RuntimeError as error:
                    errors.append(str(error))

        manager = mete.ResourceManager({}, Cleaning())
        await manager.initialize()
        await manager.create_quota("a")
        await asyncio.wait_for(manager.suspend("a"), 60)
        self.assertEqual(errors, [NOT_INSIDE])
        self.assertEqual([quota.target_id for quota in await manager.list_quotas()], ["a"])
        await asyncio.wait_for(manager.cleanup(), 60)
        self.assertEqual(await manager.list_quotas(), [])

    async def test_a_callback_cannot_clean_up_its_manager(self):
        async def in_a_task(manager):
            await asyncio.create_task(manager.cleanup())

        async def in_a_thread(manager):
            await asyncio.to_thread(lambda: asyncio.run(manager.cleanup()))

        await self.check_refused_inside(lambda manager: manager.cleanup())
        await self.check_refused_inside(in_a_task)
        await self.check_refused_inside(in_a_thread)

    async def test_a_callback_may_have_its_manager_cleaned_up_after_it(self):
        tasks = []

        class Last(Lifecycle):
            async def terminate(self, agent_id, reason):
                tasks.append(asyncio.create_task(manager.cleanup()))

        manager = mete.ResourceManager({}, Last())
        await manager.initialize()
        await manager.create_quota("a")
        await manager.terminate("a")
        await asyncio.wait_for(tasks[0], 60)
        self.assertEqual(await manager.list_quotas(), [])

    async def test_a_callback_may_clean_up_another_manager(self):
        class Other(Lifecycle):
            async def suspend(self, agent_id, checkpoint):
                await other.cleanup()

        async with running() as other:
            await other.create_quota("b")
            async with running({}, Other()) as manager:
                await manager.create_quota("a")
                await manager.suspend("a")
                self.assertEqual(await other.list_quotas(), [])

    async def test_a_callback_that_does_not_catch_the_refusal_has_failed(self):
        class Cleaning(Lifecycle):
            async def suspend(self, agent_id, checkpoint):
                await manager.cleanup()

        async with running({}, Cleaning()) as manager:
            await manager.create_quota("a")
            with self.assertRaises(mete.ResourceError) as raised:
                await asyncio.wait_for(manager.suspend("a"), 60)
            self.assertEqual(raised.exception.code, "E2074")
            self.assertIn(NOT_INSIDE, str(raised.exception))

    async def test_who_waits_for_what_cleanup_cancels_is_told(self):
        class Hanging(Lifecycle):
            async def suspend(self, agent_id, checkpoint):
                await asyncio.Event().wait()

            async def terminate(self, agent_id, reason):
                await asyncio.Event().wait()

        for verb, code in (("suspend", "E2074"), ("terminate", "E2075")):
            async with running({}, Hanging()) as manager:
                await manager.create_quota("a")
                waiting = asyncio.create_task(getattr(manager, verb)("a"))
                await until(lambda: manager._tasks)
                await manager.cleanup()
                with self.assertRaises(mete.ResourceError) as raised:
                    await asyncio.wait_for(waiting, 60)
                self.assertEqual(raised.exception.code, code)
                self.assertIn("cancelled", str(raised.exception))

    async def test_cleanup_cancels_an_action_that_hangs(self):
        class Hanging(Lifecycle):
            cancelled = False

            async def suspend(self, agent_id, checkpoint):
                self.calls.append("suspend")
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    self.cancelled = True
                    raise

        lifecycle = Hanging()
        async with running(HARD, lifecycle) as manager:
            await manager.create_quota("a", LIMIT)
            await manager.report_usage("a", tokens=11)
            await until(lambda: lifecycle.calls)
        self.assertTrue(lifecycle.cancelled)
        self.assertEqual(await manager.list_quotas(), [])

    async def test_a_call_that_was_cancelled_before_it_began_is_made_again(self):
        lifecycle = Lifecycle()
        async with running(HARD, lifecycle) as manager:
            await manager.create_quota("a", LIMIT)
            await manager.report_usage("a", tokens=11)
            manager._pump()
            next(iter(manager._tasks)).cancel()
            await until(lambda: lifecycle.calls)

    async def test_cleanup_and_initialize_may_be_repeated(self):
        lifecycle = Lifecycle()
        manager = mete.ResourceManager(HARD, lifecycle)
        await manager.cleanup()
        for round_ in range(3):
            await manager.initialize()
            await manager.initialize()
            await manager.create_quota("a", LIMIT)
            await manager.report_usage("a", tokens=11)
            await until(lambda: len(lifecycle.calls) == round_ + 1)
            await manager.cleanup()
            await manager.cleanup()
        await asyncio.sleep(0.02)
        self.assertEqual(len(lifecycle.calls), 3)

    async def test_initialize_starts_one_thread_however_often(self):
        before = native_threads()
        async with running() as manager:
            await manager.initialize()
            await manager.initialize()
            self.assertEqual(native_threads() - before, 1)
        self.assertEqual(native_threads(), before)


class Loops(unittest.TestCase):
    def test_a_closed_loop_is_forgotten_and_another_takes_over(self):
        lifecycle = Lifecycle()
        manager = mete.ResourceManager(HARD, lifecycle)
        asyncio.run(manager.initialize())  # and its loop is closed
        asyncio.run(manager.create_quota("a", LIMIT))
        asyncio.run(manager.report_usage("a", tokens=11))

        async def main():
            await manager.initialize()
            await until(lambda: lifecycle.calls)
            await manager.cleanup()

        asyncio.run(main())
        self.assertEqual(lifecycle.calls, [("suspend", "a", True)])

    def test_a_call_that_a_closed_loop_never_made_is_made_by_the_next(self):
        lifecycle = Lifecycle()
        manager = mete.ResourceManager(HARD, lifecycle)
        rung = threading.Event()

        async def first():
            await manager.initialize()
            ring = manager._bells.ring
            manager.native_start(None, lambda: (ring(), rung.set()))
            await manager.create_quota("a", LIMIT)
            await manager.report_usage("a", tokens=11)
            rung.wait(60)  # blocks the loop: what was rung for is scheduled, and never called

        loop = asyncio.new_event_loop()
        loop.run_until_complete(first())
        loop.close()

        async def second():
            await manager.initialize()
            await until(lambda: lifecycle.calls, "the suspension")
            await manager.update_quota("a", {"tokens_per_hour": 100})
            await until(lambda: len(lifecycle.calls) == 2, "the resumption")
            await manager.cleanup()

        asyncio.run(second())
        self.assertEqual([call[0] for call in lifecycle.calls], ["suspend", "resume"])

    def test_a_call_that_a_closed_loop_did_not_begin_is_made_by_the_next(self):
        lifecycle = Lifecycle()
        manager = mete.ResourceManager(HARD, lifecycle)

        async def first():
            await manager.initialize()
            await manager.create_quota("a", LIMIT)
            await manager.report_usage("a", tokens=11)
            manager._pump()
            asyncio.get_running_loop().stop()

        async def second():
            await manager.initialize()
            await until(lambda: lifecycle.calls, "the suspension")
            await manager.cleanup()

        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            loop = asyncio.new_event_loop()
            task = loop.create_task(first())
            loop.run_forever()
            loop.close()
            self.assertTrue(task.done())
            self.assertEqual((len(manager._tasks), lifecycle.calls), (1, []))
            asyncio.run(second())
            gc.collect()
        self.assertEqual((warned, lifecycle.calls), ([], [("suspend", "a", True)]))

    def test_the_interpreter_ends_without_cleanup(self):
        for end in ("", "sys.exit(0)", "del manager; gc.collect()"):
            done = run_program(
                "import asyncio, gc, logging, sys, mete, mete.sync\n"
                "logging.disable()\n"
                "class Lifecycle:\n"
                "    def suspend(self, agent_id, checkpoint): pass\n"
                "    def terminate(self, agent_id, reason): pass\n"
                "async def main():\n"
                "    global manager\n"
                "    manager = mete.ResourceManager({'enforcement': {'tokens': 'hard'}}, "
                "Lifecycle())\n"
                "    await manager.initialize()\n"
                "    for name in range(100):\n"
                "        await manager.create_quota(str(name), {'tokens_per_hour': 1})\n"
                "        await manager.report_usage(str(name), tokens=2)\n"
                "asyncio.run(main())\n"
                "other = mete.sync.ResourceManager({}, Lifecycle())\n"
                "other.initialize()\n"
                "hold = other.create_quota('a') and other.reserve('a', tokens=5)\n"
                f"{end}\n")
            self.assertEqual((done.returncode, done.stderr), (0, ""), end)


class SyncTwin(unittest.TestCase):
    def test_plain_functions_are_called_on_the_managers_thread(self):
        calls = []

        class Plain:
            def suspend(self, agent_id, checkpoint):
                calls.append(("suspend", agent_id, checkpoint, threading.get_ident()))

            def terminate(self, agent_id, reason):
                calls.append(("terminate", agent_id, reason, threading.get_ident()))

            def resume(self, agent_id):
                calls.append(("resume", agent_id, threading.get_ident()))

        manager = mete.sync.ResourceManager(HARD, Plain())
        manager.initialize()
        self.addCleanup(manager.cleanup)
        manager.create_quota("a", LIMIT)
        manager.report_usage("a", tokens=11)
        wait_until(lambda: len(calls) == 1)
        manager.update_quota("a", {"tokens_per_hour": 100})
        wait_until(lambda: len(calls) == 2)
        manager.terminate("a")
        wait_until(lambda: len(calls) == 3)
        self.assertEqual([call[:-1] for call in calls],
                         [("suspend", "a", True), ("resume", "a"), ("terminate", "a", "operator")])
        self.assertEqual(len({call[-1] for call in calls}), 1)
        self.assertNotEqual(calls[0][-1], threading.get_ident())

    def test_coroutines_are_refused_with_a_hint(self):
        manager = mete.sync.ResourceManager(HARD, Lifecycle())
        manager.initialize()
        self.addCleanup(manager.cleanup)
        events = manager.events()
        manager.create_quota("a", LIMIT)
        manager.report_usage("a", tokens=11)
        seen = []
        wait_until(lambda: seen.extend(events.take()) or "action_failed" in kinds(seen))
        detail = next(event.detail for event in seen if event.kind.value == "action_failed")
        self.assertIn("mete.ResourceManager", detail)

    def test_a_callback_may_use_the_manager_and_cannot_stop_it(self):
        seen = []

        class Curious:
            def suspend(self, agent_id, checkpoint):
                seen.append(manager.get_quota(agent_id).suspended)
                try:
                    manager.cleanup()
                except RuntimeError as error:
                    seen.append(str(error))

            def terminate(self, agent_id, reason):
                pass

        manager = mete.sync.ResourceManager(HARD, Curious())
        manager.initialize()
        manager.create_quota("a", LIMIT)
        manager.report_usage("a", tokens=11)
        wait_until(lambda: len(seen) == 2)
        self.assertTrue(seen[0])
        self.assertEqual(seen[1], NOT_INSIDE)
        self.assertTrue(manager.get_quota("a").suspended)  # nothing was removed
        manager.cleanup()
        self.assertEqual(manager.list_quotas(), [])

    def test_what_a_callback_raises_is_one_printable_line(self):
        class Hostile:
            def suspend(self, agent_id, checkpoint):
                raise HOSTILE

            def terminate(self, agent_id, reason):
                pass

        manager = mete.sync.ResourceManager(HARD, Hostile())
        manager.initialize()
        self.addCleanup(manager.cleanup)
        events = manager.events()
        manager.create_quota("a")
        seen = []
        with self.assertLogs("mete", logging.WARNING) as logged:
            manager.suspend("a")
            wait_until(lambda: any("action failed" in line for line in logged.output))
            wait_until(lambda: seen.extend(events.take()) or "action_failed" in kinds(seen))
        detail = next(event.detail for event in seen if event.kind.value == "action_failed")
        for text in (detail, *logged.output):
            self.assertTrue(text.isprintable(), ascii(text))
            self.assertLess(len(text), 300)
        self.assertIn("ValueError: boom\\n\\u202eevil\\x1b[2J", detail)

    def test_suspend_returns_before_the_callback_ran(self):
        go, called = threading.Event(), threading.Event()

        class Slow:
            def suspend(self, agent_id, checkpoint):
                go.wait(60)
                called.set()

            def terminate(self, agent_id, reason):
                pass

        manager = mete.sync.ResourceManager({}, Slow())
        manager.initialize()
        self.addCleanup(manager.cleanup)
        manager.create_quota("a")
        manager.suspend("a")
        self.assertFalse(called.is_set())
        self.assertTrue(manager.get_quota("a").suspended)
        go.set()
        self.assertTrue(called.wait(60))


class Log(unittest.IsolatedAsyncioTestCase):
    async def test_warnings_and_actions_are_logged(self):
        with self.assertLogs("mete", logging.WARNING) as logged:
            async with running({}, Lifecycle(failures=1)) as manager:
                await manager.create_quota("a", LIMIT)
                await manager.report_usage("a", tokens=11)
                await manager.report_usage("a", tokens=1)
                await until(lambda: any("action failed" in line for line in logged.output))
        lines = "\n".join(logged.output)
        self.assertIn("warned: agent/a (tokens_per_hour of agent/a): 11 of 10 used", lines)
        self.assertIn("suspended: agent/a", lines)
        self.assertIn("the runtime is away", lines)

    async def test_usage_is_reported_regularly_where_it_changed(self):
        with self.assertLogs("mete", logging.INFO) as logged:
            async with running({"usage_report_interval_seconds": 0.05}) as manager:
                await manager.create_quota("a")
                await manager.create_quota("idle")
                await manager.report_usage("a", cpu_seconds=1.5, memory_mb=8, tokens=3)
                await until(lambda: any("usage: agent/a" in line for line in logged.output))
        lines = "\n".join(logged.output)
        self.assertIn("usage: agent/a: cpu 1.50 s, memory 8.00 MiB (peak 8.00), tokens 3", lines)
        self.assertNotIn("idle", lines)


if __name__ == "__main__":
    unittest.main()
