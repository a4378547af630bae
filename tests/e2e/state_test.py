"""Accounts that are kept in a state folder: commands beside each other, and beside an owner."""

import concurrent.futures
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import agents
from agents import PROGRAM, call, eventually

SECONDS = 60  # longer than anything here may take; no test asserts how long it took


class StateTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="mete-state-")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name + "/d"
        self.socket = self.folder + "/control.sock"
        self.environment = {name: value for name, value in os.environ.items()
                            if name not in ("METE_SOCKET", "METE_AGENT", "METE_STATE_DIR")}
        self.environment["XDG_RUNTIME_DIR"] = folder.name

    def run_mete(self, *arguments, state=True, **environment):
        if state:
            arguments = (*arguments, "--state-dir", self.folder)
        return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True,
                              timeout=SECONDS, stdin=subprocess.DEVNULL,
                              env=self.environment | environment)

    def mete(self, *arguments, **options):
        """What a command that succeeds prints."""
        ran = self.run_mete(*arguments, **options)
        self.assertEqual((ran.returncode, ran.stderr), (0, ""), arguments)
        return ran.stdout

    def json(self, *arguments, **options):
        return json.loads(self.mete(*arguments, "--json", **options))

    def refused(self, status, start, *arguments, **options):
        ran = self.run_mete(*arguments, **options)
        self.assertEqual((ran.returncode, ran.stdout), (status, ""), (arguments, ran.stderr))
        self.assertTrue(ran.stderr.startswith(f"mete: {start}"), ran.stderr)
        self.assertEqual(ran.stderr.count("\n"), 1, ran.stderr)

    def totals(self, id="a1"):
        """The tokens of a lifetime: exact, and asked of the owner or of the folder."""
        return self.json("quota", "get", id)["usage"]["tokens_consumed"]

    @contextlib.contextmanager
    def owner(self, *more):
        """`mete events --follow` has the folder, and serves it."""
        self.mete("quota", "create", "agent", "a1", "--tokens-per-hour", "unlimited", "--exist-ok")
        process = subprocess.Popen([PROGRAM, "events", "--follow", "--json", "--state-dir",
                                    self.folder, *more], stdout=subprocess.PIPE, text=True,
                                   env=self.environment)
        try:
            self.assertTrue(eventually(self.is_served, SECONDS), "nobody serves the folder")
            yield process
        finally:
            process.kill()
            process.wait()
            process.stdout.close()

    def is_served(self):
        try:
            return call(self.socket, "GET", "/v1/status")[0] == 200
        except OSError:
            return False


class Commands(StateTest):
    def test_create_report_and_read(self):
        made = self.json("quota", "create", "agent", "a1", "--tokens-per-hour", "1000")
        self.assertEqual(made["limits"], {"cpu": "2", "memory": "2Gi", "tokens_per_hour": "1000"})
        self.assertEqual(made["state"], "idle")
        receipt = self.json("report", "--agent", "a1", "--tokens", "300", "--cost", "0.25")
        self.assertEqual(receipt["recorded"], {"tokens": 300, "cost": 0.25})
        self.assertTrue(receipt["durable"])
        quota = self.json("quota", "get", "a1")
        self.assertEqual(quota["usage"]["tokens_consumed"], 300)
        self.assertEqual(quota["reset_at"], made["reset_at"], "the window goes on")
        self.assertIn("recorded: tokens 20\n", self.mete("report", "--agent", "a1", "--tokens",
                                                         "20"))
        self.assertIn("agent a1: idle", self.mete("quota", "get", "a1"))
        self.assertIn("tokens_per_hour  1000     320   680", self.mete("quota", "get", "agent/a1"))

    def test_tree_of_accounts(self):
        self.mete("quota", "create", "tenant", "acme", "--tokens-per-day", "1M")
        self.mete("quota", "create", "session", "s1", "--tenant", "acme")
        self.mete("quota", "create", "agent", "a1", "--session", "s1", "--cpu", "unlimited")
        self.mete("report", "--agent", "a1", "--tokens", "7")
        for account in ("a1", "session/s1", "tenant/acme"):
            self.assertEqual(self.totals(account), 7, account)
        listed = self.json("quota", "list")["quotas"]
        self.assertEqual([(quota["scope"], quota["target_id"], quota["parent"])
                          for quota in listed],
                         [("tenant", "acme", None), ("session", "s1", "tenant/acme"),
                          ("agent", "a1", "session/s1")])
        self.assertIn("agent/a1     session/s1", self.mete("quota", "list"))
        self.refused(1, "E2080", "quota", "rm", "tenant/acme")
        self.assertEqual(self.mete("quota", "rm", "a1"), "a1: removed\n")
        self.assertEqual(self.totals("tenant/acme"), 7, "what it used stays counted")
        self.assertEqual(self.json("quota", "rm", "tenant/acme", "--cascade")["target_id"], "acme")
        self.assertEqual(self.json("quota", "list"), {"quotas": []})
        self.assertIn("no quotas", self.mete("quota", "list"))

    def test_limits_above_and_lifetime_are_shown(self):
        self.mete("quota", "create", "tenant", "acme", "--tokens-per-day", "1k")
        self.mete("quota", "create", "agent", "a1", "--tenant", "acme")
        self.mete("report", "--agent", "a1", "--tokens", "7", "--cpu-seconds", "2.5")
        shown = self.mete("quota", "reset", "a1")
        self.assertRegex(shown, r"\ncpu +2 cores +0 s +7200 s ")
        self.assertRegex(shown, r"\ntokens_per_day of tenant/acme +1k +7 +993 ")
        self.assertIn("\nlifetime: CPU 2.5 s, memory 0 B (peak 0 B), tokens 7,", shown)
        quota = self.json("quota", "get", "a1")
        self.assertEqual(quota["usage"]["tokens_consumed"], 0)
        self.assertEqual(quota["lifetime"]["tokens_consumed"], 7)
        self.assertEqual([(above["account"], above["limit"], above["used"])
                          for above in quota["above"]], [("tenant/acme", "tokens_per_day", 7)])

    def test_policies_are_those_of_run_unless_given(self):
        made = self.json("quota", "create", "agent", "a1")
        self.assertEqual({name: policy["action"] for name, policy in made["policy"].items()},
                         {"cpu": "suspend", "memory": "terminate", "gpu_memory": "suspend",
                          "tokens": "suspend", "requests": "throttle", "cost": "suspend"})
        self.assertEqual(made["policy"]["tokens"]["mode"], "soft_then_hard")
        shown = self.mete("quota", "create", "agent", "a2", "--on-cpu", "throttle", "--on-memory",
                          "suspend", "--on-tokens", "terminate:hard")
        self.assertIn("\nat a limit: cpu throttle, memory suspend, gpu_memory suspend, "
                      "tokens terminate, requests throttle, cost suspend\n", shown)
        tenant = self.json("quota", "create", "tenant", "acme", "--on-tokens", "warn")
        self.assertEqual([tenant["policy"][name]["action"] for name in ("memory", "tokens")],
                         ["suspend", "warn"])
        self.refused(2, "E2071: --on-memory", "quota", "create", "agent", "b", "--on-memory", "no")
        # Also without what `mete run` brings: reports are held to them.
        self.mete("report", "--agent", "a2", "--tokens", "100001")
        self.assertEqual(self.json("quota", "get", "a2")["state"], "terminated")

    def test_limits_and_states_are_kept(self):
        self.mete("quota", "create", "agent", "a1", "--tokens-per-hour", "100")
        self.assertEqual(self.json("quota", "set", "a1", "--tokens-per-hour", "200", "--memory",
                                   "unlimited")["limits"], {"cpu": "2", "tokens_per_hour": "200"})
        self.assertEqual(self.mete("suspend", "a1"), "a1: suspended\n")
        self.assertEqual(self.json("quota", "get", "a1")["causes"], ["operator"])
        self.assertEqual(self.mete("resume", "a1"), "a1: idle\n")
        for tokens in (190, 20, 20):
            self.mete("report", "--agent", "a1", "--tokens", str(tokens))
        self.assertEqual(self.json("quota", "get", "a1")["causes"], ["tokens_per_hour"])
        self.refused(1, "E2072", "resume", "a1")
        self.assertEqual(self.mete("quota", "set", "a1", "--tokens-per-hour", "300").split("\n")[0],
                         "agent a1: idle")
        self.assertEqual(self.json("quota", "reset", "a1")["usage"]["tokens_consumed"], 0)
        self.assertEqual(self.mete("clear-throttle", "a1"), "a1: idle\n")
        self.assertEqual(self.mete("terminate", "a1"), "a1: terminated\n")
        self.assertEqual(self.json("quota", "get", "a1")["state"], "terminated")

    def test_keys_count_once_also_over_a_restart(self):
        self.mete("quota", "create", "agent", "a1")
        for replayed in (False, True, True):
            receipt = self.json("report", "--agent", "a1", "--tokens", "5", "--key", "batch-7")
            self.assertEqual(receipt["replayed"], replayed)
        self.refused(1, "E2071", "report", "--agent", "a1", "--tokens", "6", "--key", "batch-7")
        with self.owner():
            self.assertTrue(self.json("report", "--agent", "a1", "--tokens", "5", "--key",
                                      "batch-7")["replayed"])
        self.assertEqual(self.totals(), 5)

    def test_events_are_numbered_and_kept(self):
        self.mete("quota", "create", "agent", "a1", "--tokens-per-hour", "100")
        self.mete("quota", "create", "agent", "b", "--tokens-per-hour", "100")
        self.mete("report", "--agent", "a1", "--tokens", "85")
        events = self.json("events")["events"]
        self.assertEqual([(event["sequence"], event["kind"], event["target"]) for event in events],
                         [(1, "created", "agent/a1"), (2, "created", "agent/b"),
                          (3, "threshold", "agent/a1")])
        self.assertEqual([event["sequence"] for event in
                          self.json("events", "--after", "1", "--agent", "a1")["events"]], [3])
        self.assertEqual(self.json("events", "--after", "3"), {"events": []})
        self.assertEqual(self.json("events", "--after", "3", "--agent", "a1"), {"events": []})
        text = self.mete("events", "--after", "2")
        self.assertRegex(text, r"^3 \S+Z agent/a1 threshold: tokens_per_hour: 85 used, 100 "
                               r"\(80 %\)\n$")
        self.mete("quota", "rm", "b")
        self.assertEqual([event["kind"] for event in
                          self.json("events", "--agent", "b")["events"]], ["created", "removed"])

    def test_the_environment_names_the_folder(self):
        here = {"METE_STATE_DIR": self.folder, "state": False}
        self.mete("quota", "create", "agent", "a1", **here)
        self.mete("report", "--agent", "a1", "--tokens", "4", **here)
        self.assertEqual(self.json("quota", "get", "a1", **here)["usage"]["tokens_consumed"], 4)
        self.assertEqual(len(self.json("events", **here)["events"]), 1)
        self.refused(1, "E2070", "quota", "get", "other", **here)

    def test_bad_input_is_named(self):
        self.refused(1, "E2070: no such state folder", "quota", "get", "a1")
        self.refused(1, "E2070: no such state folder", "quota", "list")
        self.refused(1, "E2070: no such state folder", "events")
        self.assertFalse(os.path.exists(self.folder), "only create makes one")
        self.mete("quota", "create", "agent", "a1")
        self.refused(1, "E2076", "quota", "create", "agent", "a1")
        self.mete("quota", "create", "agent", "a1", "--exist-ok", "--cpu", "1")
        self.assertEqual(self.json("quota", "get", "a1")["limits"]["cpu"], "2", "unchanged")
        for arguments in (["quota", "create", "team", "a"], ["quota", "create", "agent"],
                          ["quota", "create", "agent", "a", "b"],
                          ["quota", "create", "agent", "b", "--cpu", "x"],
                          ["quota", "create", "agent", "b", "--session", "s", "--tenant", "t"],
                          ["quota", "create", "agent", "b", "--session", "a/b"],
                          ["quota", "get"], ["quota", "get", "team/a"], ["quota", "rm"],
                          ["quota", "get", ""], ["quota", "set", "a1"],
                          ["report", "--tokens", "1"], ["report", "--agent", "a1"],
                          ["report", "--agent", "a/b", "--tokens", "1"],
                          ["report", "--agent", "a1", "--tokens", "-1"],
                          ["events", "--after", "x"], ["events", "--agent", "/"],
                          ["suspend", "team/a"]):
            self.refused(2, "E2071", *arguments)
        for arguments in (["quota", "get", "b"], ["quota", "rm", "b"], ["suspend", "b"],
                          ["quota", "reset", "session/a1"], ["quota", "set", "b", "--cpu", "1"],
                          ["report", "--agent", "b", "--tokens", "1"]):
            ran = self.run_mete(*arguments)
            self.assertEqual(ran.returncode, 1, arguments)
            self.assertIn("E2070", ran.stderr)
        for scope in ("session", "tenant"):
            self.refused(1, f"E2071: --{scope}: no such {scope}, `mete quota create {scope} ID`",
                         "quota", "create", "agent", "b", f"--{scope}", "nobody")
        self.refused(1, "E2070", "events", "--agent", "nobody")
        self.refused(1, "E2070", "events", "--agent", "nobody", "--follow")
        for arguments in (["quota", "create", "agent", "a1"], ["events"], ["quota", "rm", "a1"],
                          ["report", "--agent", "a1", "--tokens", "1"]):
            self.refused(2, "E2071", *arguments, state=False)
        self.assertEqual(self.totals(), 0)

    def test_an_id_is_what_run_takes(self):
        self.mete("quota", "create", "agent", "A.z_0:-" + "9" * 121)
        rule = "1 to 128 of A-Z, a-z, 0-9, '.', '_', ':' and '-', given "
        for scope in ("agent", "session", "tenant"):
            for id in ("", "9" * 129, "a/b", "a b", "ä", b"\xff"):
                self.refused(2, f"E2071: the id must be {rule}", "quota", "create", scope, id)
        self.refused(125, f"E2071: --agent: must be {rule}", "run", "--agent", "a b", "--", "true")
        # Of a library there may be others, which can be seen and removed.
        with self.owner():
            status, made = call(self.socket, "POST", "/v1/quotas",
                                {"scope": "tenant", "target_id": "you@here"})
            self.assertEqual(status, 201, made)
        self.assertEqual(self.json("quota", "get", "tenant", "you@here")["target_id"], "you@here")
        self.mete("quota", "rm", "tenant", "you@here")

    def test_verify_and_dump(self):
        self.mete("quota", "create", "agent", "a1")
        self.mete("report", "--agent", "a1", "--tokens", "4", "--key", "k")
        whole = self.json("state", "verify")
        self.assertEqual((whole["whole"], whole["accounts"], whole["keys"], whole["events"]),
                         (True, 1, 1, 1))
        self.assertIn(": whole: 1 accounts, 0 holds, 1 keys, 1 events; last written 20",
                      self.mete("state", "verify"))
        with self.owner() as owner:
            dumped = self.json("state", "dump")
            self.assertEqual(dumped["status"]["pid"], owner.pid)
            self.assertEqual(dumped["quotas"][0]["usage"]["tokens_consumed"], 4)
            self.assertEqual([event["kind"] for event in dumped["events"]], ["created"])
            self.refused(1, "E2080", "state", "verify")
        database = pathlib.Path(self.folder, "ledger.db")
        database.write_bytes(database.read_bytes()[:-4096])
        ran = self.run_mete("state", "verify")
        self.assertEqual(ran.returncode, 1, ran)
        self.assertIn("E2079", ran.stderr)
        self.assertIn("backup", ran.stderr)

    def test_only_create_and_run_make_a_ledger(self):
        os.mkdir(self.folder)
        foreign = pathlib.Path(self.folder, "lock")
        foreign.write_text("owner: somebody else, who knows no mete\n")
        for arguments in (["quota", "list"], ["quota", "get", "a1"], ["quota", "rm", "a1"],
                          ["quota", "set", "a1", "--cpu", "1"], ["quota", "reset", "a1"],
                          ["events"], ["events", "--follow"], ["state", "dump"],
                          ["state", "verify"], ["report", "--agent", "a1", "--tokens", "1"],
                          ["suspend", "a1"], ["resume", "a1"], ["terminate", "a1"],
                          ["clear-throttle", "a1"]):
            self.refused(1, "E2070: no ledger in the state folder, `mete quota create` makes one, "
                         f'given: "{self.folder}"', *arguments)
        self.refused(1, "E2079: the state folder cannot be used: its lock is not a file of mete",
                     "quota", "create", "agent", "a1")
        self.assertEqual(os.listdir(self.folder), ["lock"])
        self.assertIn("somebody else", foreign.read_text())
        foreign.unlink()
        self.mete("quota", "create", "agent", "a1")
        self.assertEqual(self.totals(), 0)

    def test_a_lost_ledger_is_told_with_its_backup(self):
        self.mete("quota", "create", "agent", "a1")
        for name in ("ledger.db", "ledger.db-wal", "ledger.mark"):
            os.unlink(f"{self.folder}/{name}")
        left = sorted(os.listdir(self.folder))
        for arguments in (["quota", "list"], ["quota", "create", "agent", "a2"],
                          ["state", "verify"]):
            ran = self.run_mete(*arguments)
            self.assertEqual((ran.returncode, ran.stdout), (1, ""), ran.stderr)
            self.assertIn("E2079: the state is damaged: the database is empty, or missing, though",
                          ran.stderr)
            self.assertIn(f"; the latest backup is {self.folder}/ledger.backup of 2", ran.stderr)
        self.assertEqual(sorted(os.listdir(self.folder)), left)

    def test_a_folder_that_is_none(self):
        pathlib.Path(self.folder).write_text("a file")
        self.refused(1, "E2079", "quota", "create", "agent", "a1")


class Beside(StateTest):
    def test_commands_speak_to_the_owner(self):
        with self.owner("--after", "0") as owner:
            self.assertEqual(call(self.socket, "GET", "/v1/status")[1]["pid"], owner.pid)
            self.mete("report", "--agent", "a1", "--tokens", "5")
            self.mete("suspend", "a1")
            kinds = [json.loads(owner.stdout.readline())["kind"] for _ in range(2)]
            self.assertEqual(kinds, ["created", "suspended"], "what others did, as it comes")
            owner.send_signal(signal.SIGTERM)
            self.assertEqual(owner.wait(SECONDS), 0)
        self.assertFalse(os.path.exists(self.socket))
        self.assertEqual(self.totals(), 5)

    def test_a_follower_goes_on_when_the_owner_is_killed(self):
        with self.owner() as first:
            second = subprocess.Popen([PROGRAM, "events", "--follow", "--json", "--after", "0",
                                       "--state-dir", self.folder], stdout=subprocess.PIPE,
                                      text=True, env=self.environment)
            self.addCleanup(second.stdout.close)
            self.addCleanup(second.wait)
            self.addCleanup(second.kill)
            self.assertEqual(json.loads(second.stdout.readline())["kind"], "created")
            first.kill()
            first.wait()
            self.mete("suspend", "a1")
            event = json.loads(second.stdout.readline())
            self.assertEqual((event["sequence"], event["kind"]), (2, "suspended"))

    def test_commands_take_turns_without_an_owner(self):
        self.mete("quota", "create", "agent", "a1", "--tokens-per-hour", "unlimited")
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            ran = list(pool.map(lambda i: self.run_mete("report", "--agent", "a1", "--tokens", "3"),
                                range(80)))
        self.assertEqual([one.stderr for one in ran if one.returncode != 0], [])
        self.assertEqual(self.totals(), 240)

    def test_two_thousand_reports_add_up(self):
        with self.owner():
            def over_http(client):
                for i in range(180):
                    status, _ = call(self.socket, "POST", "/v1/quotas/agent/a1/usage",
                                     {"tokens": 3}, f"{client}-{i}")
                    self.assertEqual(status, 200)

            def by_command(client):
                for _ in range(20):
                    self.mete("report", "--agent", "a1", "--tokens", "5")

            with concurrent.futures.ThreadPoolExecutor(20) as pool:
                done = [pool.submit(over_http, i) for i in range(10)]
                done += [pool.submit(by_command, i) for i in range(10)]
                for one in done:
                    one.result()
            self.assertEqual(self.totals(), 1800 * 3 + 200 * 5)
        self.assertEqual(self.totals(), 1800 * 3 + 200 * 5, "and are on disk")

    def test_a_kill_of_the_owner_loses_and_doubles_nothing(self):
        for round in range(3):
            with self.owner() as owner:
                before = self.totals()
                acknowledged = []
                unknown = []

                def report(client):
                    for i in range(10_000):
                        key = f"{round}-{client}-{i}"
                        try:
                            status, _ = call(self.socket, "POST", "/v1/quotas/agent/a1/usage",
                                             {"tokens": 1}, key)
                        except (OSError, agents.http.client.HTTPException):
                            unknown.append(key)
                            return
                        if status == 200:
                            acknowledged.append(key)

                clients = [threading.Thread(target=report, args=(i,)) for i in range(8)]
                for client in clients:
                    client.start()
                self.assertTrue(eventually(lambda: len(acknowledged) > 100, SECONDS))
                owner.kill()
                for client in clients:
                    client.join()
                owner.wait()
                after = self.totals()  # opens the folder: what was acknowledged is there
                self.assertGreaterEqual(after - before, len(acknowledged))
                self.assertLessEqual(after - before, len(acknowledged) + len(unknown))
                # Whoever got no answer asks again, with the key.
                for key in unknown:
                    self.mete("report", "--agent", "a1", "--tokens", "1", "--key", key)
                self.assertEqual(self.totals() - before, len(acknowledged) + len(unknown))

    def test_an_owner_that_is_gone_leaves_nothing_in_the_way(self):
        with self.owner() as owner:
            owner.kill()
            owner.wait()
            self.assertTrue(os.path.exists(self.socket), "its socket is left over")
            self.mete("report", "--agent", "a1", "--tokens", "2")
            self.assertEqual(self.totals(), 2)

    def test_a_deep_folder(self):
        deep = "/".join([self.folder, *["d" * 60] * 3])
        self.folder, self.socket = deep, deep + "/control.sock"
        os.makedirs(deep, 0o700)
        self.mete("quota", "create", "agent", "a1")
        follower = subprocess.Popen([PROGRAM, "events", "--follow", "--state-dir", deep],
                                    stdout=subprocess.DEVNULL, env=self.environment)
        self.addCleanup(follower.wait)
        self.addCleanup(follower.kill)
        self.assertTrue(eventually(lambda: os.path.exists(self.socket), SECONDS))
        self.mete("report", "--agent", "a1", "--tokens", "2")
        self.assertEqual(self.totals(), 2)


if __name__ == "__main__":
    unittest.main()
