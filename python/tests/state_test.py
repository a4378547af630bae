"""A manager whose accounts are kept in a folder, and the program beside it."""

import asyncio
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import unittest

import mete
import mete.sync
import support

PROGRAM = pathlib.Path(os.environ["METE_BUILD"], "mete")
needs_program = unittest.skipUnless(PROGRAM.exists(), "the program is not built (METE_TOOLS)")


class StateTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="mete-python-")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name + "/state"

    def open(self, **config):
        return mete.sync.ResourceManager(
            {"state_dir": self.folder, "default_limits": {"tokens_per_hour": None}, **config})

    def mete(self, *arguments):
        ran = subprocess.run([PROGRAM, *arguments, "--state-dir", self.folder], text=True,
                             capture_output=True, timeout=support.SECONDS,
                             stdin=subprocess.DEVNULL)
        self.assertEqual((ran.returncode, ran.stderr), (0, ""), arguments)
        return ran.stdout


class Kept(StateTest):
    def test_over_a_restart(self):
        for durability in ("sync", "bounded", "none"):
            with self.subTest(durability):
                manager = self.open(durability=durability)
                name = "agent-" + durability
                manager.create_quota(name, {"tokens_per_hour": 1000})
                receipt = manager.report_usage(name, tokens=300, cost="0.25")
                self.assertTrue(receipt.durable)
                self.assertFalse(receipt.replayed)
                manager.suspend(name)
                manager.cleanup()
                manager = self.open(durability=durability)
                quota = manager.get_quota(name)
                self.assertTrue(quota.suspended)
                self.assertEqual(quota.usage.tokens_consumed, 300)
                self.assertEqual(str(manager.get_usage(name).cost), "0.25")
                manager.cleanup()

    def test_with_an_event_loop(self):
        async def first():
            async with support.running({"state_dir": pathlib.Path(self.folder)}) as manager:
                await manager.create_quota("a")
                await manager.report_usage("a", tokens=5)

        async def second():
            async with support.running({"state_dir": self.folder}) as manager:
                return (await manager.get_usage("a")).tokens_consumed

        asyncio.run(first())
        self.assertEqual(asyncio.run(second()), 5)

    def test_without_cleanup(self):
        for end in ("", "del manager", "raise SystemExit(0)"):
            with self.subTest(end):
                ran = support.run_program(f"""
import mete.sync
manager = mete.sync.ResourceManager({{"state_dir": {self.folder!r}}})
manager.create_quota("a", exist_ok=True)
manager.report_usage("a", tokens=7)
{end}
""")
                self.assertEqual((ran.returncode, ran.stderr), (0, ""))
        manager = self.open()
        self.assertEqual(manager.get_usage("a").tokens_consumed, 21)
        manager.cleanup()

    def test_what_was_answered_in_sync_survives_a_kill(self):
        ran = support.run_program(f"""
import mete.sync, os, signal
manager = mete.sync.ResourceManager({{"state_dir": {self.folder!r}, "durability": "sync"}})
manager.create_quota("a")
for _ in range(50):
    manager.report_usage("a", tokens=2)
os.kill(os.getpid(), signal.SIGKILL)
""")
        self.assertEqual(ran.returncode, -signal.SIGKILL, ran.stderr)
        manager = self.open()
        self.assertEqual(manager.get_usage("a").tokens_consumed, 100)
        manager.cleanup()

    def test_keys_count_once(self):
        manager = self.open()
        manager.create_quota("a")
        self.assertFalse(manager.report_usage("a", tokens=5, idempotency_key="k").replayed)
        self.assertTrue(manager.report_usage("a", tokens=5, idempotency_key="k").replayed)
        manager.cleanup()
        manager = self.open()
        self.assertTrue(manager.report_usage("a", tokens=5, idempotency_key="k").replayed)
        with self.assertRaisesRegex(mete.ResourceError, "E2071"):
            manager.report_usage("a", tokens=6, idempotency_key="k")
        for bad in ("", "k" * 256, 7, b"k", "\ud800"):
            with self.assertRaisesRegex(mete.ResourceError, "E2071.*key"):
                manager.report_usage("a", tokens=1, idempotency_key=bad)
        manager.report_usage("a", tokens=1, idempotency_key=None)
        self.assertEqual(manager.get_usage("a").tokens_consumed, 6)
        manager.cleanup()

    def test_keys_need_no_folder(self):
        manager = mete.sync.ResourceManager()
        manager.create_quota("a")
        self.assertFalse(manager.report_usage("a", tokens=5, idempotency_key="k").replayed)
        self.assertTrue(manager.report_usage("a", tokens=5, idempotency_key="k").replayed)
        self.assertEqual(manager.get_usage("a").tokens_consumed, 5)


class Owned(StateTest):
    def test_by_one_process(self):
        manager = self.open()
        with self.assertRaises(mete.ResourceError) as refused:
            self.open()
        self.assertEqual(refused.exception.code, "E2080")
        self.assertIn(str(os.getpid()), refused.exception.message)
        self.assertIn("--state-dir", refused.exception.message)
        manager.cleanup()
        self.open().cleanup()

    def test_until_cleanup_and_again_from_initialize_on(self):
        manager = self.open()
        manager.initialize()
        manager.create_quota("a", {"tokens_per_hour": 100})
        hold = manager.reserve("a", tokens=5)
        manager.cleanup()
        manager.cleanup()
        for call in (lambda: manager.report_usage("a", tokens=1), lambda: manager.get_quota("a"),
                     lambda: manager.list_quotas(), lambda: manager.events()):
            with self.assertRaisesRegex(RuntimeError, "cleaned up"):
                call()
        manager.initialize()
        self.assertEqual(manager.get_quota("a").window("tokens_per_hour").held, 5)
        hold.settle(tokens=3)
        self.assertEqual(manager.get_usage("a").tokens_consumed, 3)
        manager.cleanup()

    def test_not_by_a_forked_child(self):
        manager = self.open()
        manager.create_quota("a")
        ready, told = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                manager.report_usage("a", tokens=1)
                os._exit(1)
            except RuntimeError:
                os.read(ready, 1)
                os._exit(0)
        try:
            manager.cleanup()
            again = self.open()  # the lock is not the child's
            again.report_usage("a", tokens=1)
            self.assertEqual(again.get_usage("a").tokens_consumed, 1)
            again.cleanup()
        finally:
            os.write(told, b"x")
            self.assertEqual(os.waitpid(child, 0)[1], 0)
            os.close(ready)
            os.close(told)

    def test_while_other_threads_report(self):
        for durability in ("sync", "bounded"):
            manager = self.open(durability=durability)
            manager.create_quota("a", exist_ok=True)
            before = manager.get_usage("a").tokens_consumed
            counts = []

            def report():
                count = 0
                try:
                    while True:
                        manager.report_usage("a", tokens=1)
                        count += 1
                except RuntimeError:
                    counts.append(count)

            threads = [threading.Thread(target=report) for _ in range(4)]
            for thread in threads:
                thread.start()
            support.wait_until(lambda: manager.get_usage("a").tokens_consumed > before + 50)
            manager.cleanup()
            for thread in threads:
                thread.join()
            manager = self.open()
            self.assertEqual(manager.get_usage("a").tokens_consumed, before + sum(counts))
            manager.cleanup()

    def test_configuration_is_checked(self):
        for config in ({"state_dir": ""}, {"state_dir": 7}, {"state_dir": "a\0b"},
                       {"state_dir": self.folder, "durability": "often"},
                       {"state_dir": self.folder, "durability": None}, {"durability": "sync"},
                       {"state_folder": self.folder}):
            with self.assertRaisesRegex(mete.ResourceError, "E2071"):
                mete.sync.ResourceManager(config)
        with self.assertRaisesRegex(mete.ResourceError, "E2079"):
            mete.sync.ResourceManager({"state_dir": "/proc/nowhere"})
        mete.sync.ResourceManager({"state_dir": None})


@needs_program
class Beside(StateTest):
    def test_the_program_adds_up_with_its_owner(self):
        manager = self.open()
        manager.initialize()
        self.mete("quota", "create", "agent", "a1", "--tokens-per-hour", "unlimited")

        def here():
            for _ in range(2000):
                manager.report_usage("a1", tokens=1)

        def there(name):
            for i in range(10):  # each key twice
                self.mete("report", "--agent", "a1", "--tokens", "7", "--key", f"{name}-{i // 2}")

        threads = [threading.Thread(target=here) for _ in range(2)]
        threads += [threading.Thread(target=there, args=(name,)) for name in "xy"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(manager.get_usage("a1").tokens_consumed, 4000 + 2 * 5 * 7)
        shown = json.loads(self.mete("quota", "get", "a1", "--json"))
        self.assertEqual(shown["usage"]["tokens_consumed"], 4070)
        manager.cleanup()
        shown = json.loads(self.mete("quota", "get", "a1", "--json"))
        self.assertEqual(shown["usage"]["tokens_consumed"], 4070, "without an owner")

    def test_each_of_three_may_be_killed(self):
        """A Python process that owns the folder, the program beside it, and `mete run`."""
        name = f"python-{os.getpid()}-{id(self)}"
        owner_source = """
import sys, mete.sync
manager = mete.sync.ResourceManager({"state_dir": sys.argv[1], "durability": "sync"})
manager.initialize()
for i in range(100000):
    manager.report_usage(sys.argv[2], tokens=10, idempotency_key=f"owner-{i}")
    print(i + 1, flush=True)
"""
        self.mete("quota", "create", "agent", name, "--tokens-per-hour", "1000000")
        owner = subprocess.Popen(
            [sys.executable, "-c", owner_source, self.folder, name], text=True,
            stdout=subprocess.PIPE)
        self.addCleanup(owner.stdout.close)
        self.assertEqual(owner.stdout.readline(), "1\n")
        agent = subprocess.Popen(
            [PROGRAM, "run", "--quiet", "--agent", name, "--state-dir", self.folder,
             "--durability", "sync", "--", "sh", "-c",
             f"i=0; while [ $i -lt 30 ]; do {PROGRAM} report --tokens 3 >/dev/null || exit 9;"
             " i=$((i+1)); done"], stdin=subprocess.DEVNULL)
        report = ("report", "--agent", name, "--tokens", "7")
        for i in range(10):
            if i == 5:
                owner.kill()
            self.mete(*report, "--key", f"beside-{i}")
        heard = int(("1\n" + owner.stdout.read()).split()[-1])
        owner.wait(support.SECONDS)
        self.assertEqual(agent.wait(support.SECONDS), 0)
        total = json.loads(self.mete("quota", "get", name, "--json"))["usage"]["tokens_consumed"]
        extra = total - (10 * heard + 10 * 7 + 30 * 3)
        self.assertIn(extra, (0, 10), "but for what the owner had not said yet")

        agent = subprocess.Popen([PROGRAM, "run", "--quiet", "--agent", name, "--state-dir",
                                  self.folder, "--durability", "sync", "--", "sleep", "1000"],
                                 stdin=subprocess.DEVNULL)
        support.wait_until(lambda: os.path.exists(self.folder + "/control.sock"), "the owner")
        self.mete(*report, "--key", "beside-0")
        self.mete(*report, "--key", "again")
        agent.kill()
        agent.wait(support.SECONDS)
        after = json.loads(self.mete("quota", "get", name, "--json"))["usage"]["tokens_consumed"]
        self.assertEqual(after, total + 7)

    def test_an_operator_reaches_its_agents(self):
        calls = []

        class Lifecycle:
            def suspend(self, agent_id, checkpoint):
                calls.append(("suspend", agent_id))

            def resume(self, agent_id):
                calls.append(("resume", agent_id))

            def terminate(self, agent_id, reason):
                calls.append(("terminate", agent_id))

        manager = mete.sync.ResourceManager({"state_dir": self.folder}, Lifecycle())
        manager.initialize()
        manager.create_quota("a1")
        self.mete("suspend", "a1")
        support.wait_until(lambda: calls == [("suspend", "a1")], "the call")
        self.assertTrue(manager.get_quota("a1").suspended)
        self.mete("resume", "a1")
        support.wait_until(lambda: calls[1:] == [("resume", "a1")], "the call")
        manager.cleanup()

    def test_it_names_the_owner_that_it_cannot_be(self):
        follower = subprocess.Popen([PROGRAM, "events", "--follow", "--state-dir", self.folder],
                                    stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        follower.wait(support.SECONDS)  # there is no folder
        self.mete("quota", "create", "agent", "a1")
        follower = subprocess.Popen([PROGRAM, "events", "--follow", "--state-dir", self.folder],
                                    stdout=subprocess.DEVNULL)
        try:
            support.wait_until(lambda: os.path.exists(self.folder + "/control.sock"))
            with self.assertRaisesRegex(mete.ResourceError, f"E2080.*{follower.pid}"):
                self.open()
        finally:
            follower.kill()
            follower.wait()
        self.open().cleanup()


if __name__ == "__main__":
    unittest.main()
