"""The two sockets of `mete run`, under programs that use them and programs that abuse them."""

import os
import signal
import socket
import stat
import unittest

from agents import REPORT, AgentTest, call, eventually


class Reports(AgentTest):
    def test_of_many_processes_count_exactly(self):
        agent = self.run_agent(["--tokens-per-hour", "1M"], self.python(REPORT + """
import os
for _ in range(20):
    if os.fork() == 0:
        for i in range(50):
            status, receipt = call("POST", "/v1/self/usage", {"tokens": i + 1})
            assert status == 200 and receipt["recorded"] == {"tokens": i + 1}, receipt
        os._exit(0)
print(sum(os.wait()[1] for _ in range(20)))
"""), seconds=60)
        self.assertEqual(agent.out, "0\n", agent.err)
        self.assertEqual(agent.report["tokens"], 20 * 50 * 51 // 2)

    def test_of_many_commands_count_exactly(self):
        agent = self.run_agent([], "for i in 1 2 3 4 5 6 7 8 9 10; do "
                                   "mete report --tokens 7 --requests 1 >/dev/null & done; wait")
        self.assertEqual((agent.report["tokens"], agent.report["requests"]), (70, 10))

    def test_with_the_same_key_count_once(self):
        agent = self.run_agent([], self.python(REPORT + """
def report(tokens):
    status, answer = call("POST", "/v1/self/usage", {"tokens": tokens}, "k")
    print(status, answer.get("replayed", answer.get("code")), flush=True)
report(5)
report(5)
report(6)
if os.fork() == 0:  # another process, the same key
    report(5)
    os._exit(0)
os.wait()
"""))
        self.assertEqual(agent.out, "200 False\n200 True\n422 E2071\n200 True\n")
        self.assertEqual(agent.report["tokens"], 5)

    def test_are_recorded_whole_or_not_at_all(self):
        agent = self.start([], "sleep 1000")
        agent.up()
        for body in ({"tokens": 5, "requests": -1}, {"tokens": 5, "x": 1}, {"tokens": 1.5},
                     {"tokens": 2 ** 63}, [], {}, "tokens"):
            status, problem = call(agent.agent_socket, "POST", "/v1/self/usage", body)
            self.assertEqual((status, problem["code"]), (400, "E2071"), body)
        self.assertEqual(agent.quota()["usage"]["tokens_consumed"], 0)
        top = 2 ** 63 - 1
        self.assertEqual(call(agent.agent_socket, "POST", "/v1/self/usage", {"tokens": top})[0],
                         200)
        self.assertEqual(call(agent.agent_socket, "POST", "/v1/self/usage", {"tokens": 1})[0], 400)
        self.assertEqual(agent.quota()["usage"]["tokens_consumed"], top)

    def test_of_what_mete_measures_are_not_charged(self):
        agent = self.run_agent(["--cpu-seconds-per-hour", "100"],
                               "mete report --cpu-seconds 5000 --memory 9Gi --tokens 1")
        self.assertEqual(agent.process.returncode, 0)
        self.assertIn("not counted: cpu_seconds", agent.out)
        self.assertLess(agent.report["cpu_seconds"], 5)
        self.assertLess(agent.report["memory_peak_bytes"], 1 << 30)
        self.assertEqual(agent.report["violations"], [])

    def test_are_answered_and_acted_upon(self):
        agent = self.start(["--tokens-per-hour", "10", "--on-tokens", "suspend:hard"], "sleep 1000")
        agent.up()
        # From outside the group, so that the answer can be read although the agent is frozen. Which
        # comes first is seen in the unit tests of the API.
        status, receipt = call(agent.agent_socket, "POST", "/v1/self/usage", {"tokens": 11})
        self.assertEqual(status, 200)
        self.assertTrue(receipt["suspended"] and receipt["action_pending"])
        agent.suspended()
        status, receipt = call(agent.agent_socket, "POST", "/v1/self/usage", {"tokens": 1})
        self.assertEqual((status, receipt["action_pending"]), (200, False), "counted all the same")


class Holds(AgentTest):
    def test_are_released_when_their_owner_dies(self):
        agent = self.start(["--tokens-per-hour", "100"], self.python(REPORT + """
import os, signal, sys, time
child = os.fork()
if child == 0:
    status, hold = call("POST", "/v1/self/holds", {"tokens": 90})
    assert status == 201, hold
    os.kill(os.getpid(), signal.SIGKILL)
os.waitpid(child, 0)
for _ in range(1000):
    status, hold = call("POST", "/v1/self/holds", {"tokens": 90})
    if status == 201: break
    time.sleep(0.01)
print(status, flush=True)
status, refused = call("POST", "/v1/self/holds", {"tokens": 11})
print(status, refused["code"], flush=True)
status, receipt = call("POST", "/v1/holds/" + hold["hold_id"] + "/settle", {"tokens": 40})
print(status, receipt["recorded"]["tokens"], flush=True)
"""))
        self.assertEqual(agent.wait(), 0, agent.err)
        self.assertEqual(agent.out, "201\n429 E2072\n200 40\n")
        self.assertEqual(agent.report["tokens"], 40)


    def test_of_requests_are_told_when_to_come_back(self):
        agent = self.run_agent(["--requests-per-minute", "2"], self.python(REPORT + """
for _ in range(3):
    status, answer = call("POST", "/v1/self/holds", {"requests": 1})
    print(status, answer.get("code"), 0 < answer.get("retry_after_seconds", 0) <= 30)
print(call("POST", "/v1/self/usage", {"requests": 9})[0], "a report is never refused")
"""))
        self.assertEqual(agent.out, "201 None False\n201 None False\n429 E2077 True\n"
                                    "200 a report is never refused\n")
        self.assertEqual(agent.process.returncode, 0)


class Abuse(AgentTest):
    def test_a_thousand_connections_hurt_nobody(self):
        agent = self.start([], self.python(REPORT + """
import resource
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
held = []
for i in range(1000):
    s = socket.socket(socket.AF_UNIX)
    s.setblocking(False)
    try: s.connect(os.environ["METE_SOCKET"])
    except BlockingIOError: pass
    held.append(s)
    if i % 2:
        try: s.send(b"POST /v1/self/usage HTTP/1.1\\r\\nContent-Length: 100\\r\\n\\r\\n{")
        except OSError: pass
print("held", flush=True)
print(call("POST", "/v1/self/usage", {"tokens": 3})[0], flush=True)
"""))
        self.assertEqual(agent.process.stdout.readline(), b"held\n")
        self.assertEqual(agent.state(), "running", "the control socket answers meanwhile")
        self.assertEqual(agent.wait(60), 0, agent.err)
        self.assertEqual(agent.out, "200\n")
        self.assertEqual(agent.report["tokens"], 3)

    def test_garbage_hurts_nobody(self):
        agent = self.start([], "sleep 1000")
        agent.up()
        for path in (agent.agent_socket, agent.control_socket):
            for data in (b"\0" * 100, os.urandom(5000), b"GET / HTTP/1.1\r\n" * 50,
                         b"POST /v1/self/usage HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n" +
                         b"x" * 200_000,
                         b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n"):
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.settimeout(10)
                    connection.connect(path)
                    try:
                        connection.sendall(data)
                        connection.shutdown(socket.SHUT_WR)
                        while connection.recv(65536):
                            pass
                    except OSError:
                        pass  # closed on us: fine
        self.assertEqual(agent.state(), "running")
        self.assertEqual(call(agent.agent_socket, "POST", "/v1/self/usage", {"tokens": 1})[0], 200)


class Control(AgentTest):
    def test_is_for_this_user_alone(self):
        agent = self.start([], "sleep 1000")
        agent.up()
        for path in (agent.agent_socket, agent.control_socket):
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(os.stat(self.runtime / "mete").st_mode), 0o700)

    def test_refuses_the_agent_also_when_its_caller_is_gone(self):
        agent = self.run_agent([], self.python("""
import os, socket
path = os.environ["METE_SOCKET"].removesuffix(".agent") + ".sock"
request = b"GET /v1/quotas HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n"
def ask(connection):
    connection.sendall(request)
    data = b""
    while part := connection.recv(65536): data += part
    return b"403" in data.split(b"\\r\\n")[0] and b"E2078" in data
connection = socket.socket(socket.AF_UNIX)
connection.connect(path)
print(ask(connection))
# A child connects and dies; the connection lives on in the parent.
mine, childs = socket.socketpair(socket.AF_UNIX)
if os.fork() == 0:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    socket.send_fds(childs, [b"x"], [connection.fileno()])
    os._exit(0)
_, fds, _, _ = socket.recv_fds(mine, 1, 1)
os.wait()
print(ask(socket.socket(fileno=fds[0])))
"""))
        self.assertEqual(agent.out, "True\nTrue\n", agent.err)

    def test_reads_changes_and_ends(self):
        agent = self.start(["--memory", "64Mi"], "sleep 1000")
        agent.up()
        quota = f"/v1/quotas/agent/{agent.id}"
        status, listed = call(agent.control_socket, "GET", "/v1/quotas")
        self.assertEqual((status, [each["target_id"] for each in listed["quotas"]]),
                         (200, [agent.id]))
        status, changed = call(agent.control_socket, "PATCH", quota,
                               {"limits": {"memory": "128Mi", "tokens_per_hour": 50}})
        self.assertEqual((status, changed["limits"]),
                         (200, {"memory": "128Mi", "tokens_per_hour": "50"}))
        memory = agent.group_path("memory")
        if memory:  # version 1; the kernel holds what was asked
            self.assertEqual((memory / "memory.limit_in_bytes").read_text(), f"{128 << 20}\n")
        for body in ({"limits": {"memory": "1Ki"}}, {"limits": {"memory": "x"}},
                     {"limits": {"nothing": 1}}, {}):
            status, problem = call(agent.control_socket, "PATCH", quota, body)
            self.assertEqual((status, problem["code"]), (400, "E2073"), body)
        self.assertEqual(call(agent.control_socket, "GET", "/v1/quotas/agent/other")[0], 404)
        self.assertEqual(call(agent.control_socket, "POST", quota + "/terminate")[0], 202)
        self.assertEqual(agent.wait(), 128 + signal.SIGTERM)

    def test_tells_who_sets_a_limit_below_what_is_used(self):
        agent = self.start(["--tokens-per-hour", "1000"], "mete report --tokens 900; sleep 1000")
        agent.up()
        self.assertTrue(eventually(lambda: agent.quota()["usage"]["tokens_consumed"] == 900))
        done = self.mete("quota", "set", agent.id, "--tokens-per-hour", "500")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("over its limit now: tokens_per_hour: 900 of 500 used; not held back for it "
                      "so far\n", done.stdout)
        self.assertEqual(agent.state(), "running", "the first violating charge warns")

    def test_commands_say_what_was_wrong(self):
        agent = self.start([], "sleep 1000")
        agent.up()
        tiny = self.mete("quota", "set", agent.id, "--memory", "1")
        self.assertEqual((tiny.returncode, tiny.stderr),
                         (2, "mete: E2071: --memory: less than the kernel can hold, allowed: at "
                             "least 1Mi, given: 1\n"))
        near = self.mete("quota", "get", agent.id + "x")
        self.assertEqual(near.returncode, 1)
        self.assertIn(f"did you mean {agent.id}?", near.stderr)

    def test_of_another_users_folder_is_not_trusted(self):
        agent = self.start([], "sleep 1000")
        agent.up()
        folder = self.runtime / "mete"
        folder.chmod(0o777)
        for words in (["get", agent.id], ["list"], ["set", agent.id, "--cpu", "1"]):
            done = self.mete("quota", *words)
            self.assertEqual(done.returncode, 1, done.stdout)
            self.assertIn("belongs to this user", done.stderr)
        folder.chmod(0o700)
        self.assertEqual(self.mete("quota", "get", agent.id).returncode, 0)

    def test_lists_every_running_agent(self):
        agents = [self.start([], "sleep 1000") for _ in range(3)]
        for agent in agents:
            agent.up()
        text = self.mete("quota", "list").stdout
        for agent in agents:
            self.assertIn(agent.id, text)
        agents[0].process.kill()
        agents[0].process.communicate()
        self.assertTrue(eventually(
            lambda: agents[0].id not in self.mete("quota", "list").stdout, 5))


if __name__ == "__main__":
    unittest.main()
