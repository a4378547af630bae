"""`mete run` as a wrapper: exit statuses, flags, input and output, signals, the report."""

import hashlib
import json
import os
import pathlib
import pty
import re
import select
import signal
import subprocess
import sys
import time
import unittest

from agents import PROGRAM, AgentTest, eventually


class ExitStatus(AgentTest):
    def test_is_the_programs_own(self):
        for status in (0, 1, 3, 124, 125, 126, 127, 255):
            agent = self.run_agent([], f"exit {status}")
            self.assertEqual(agent.process.returncode, status)
            self.assertEqual(agent.report["exit"]["reason"], "exited")
            self.assertEqual(agent.report["exit"]["status"], status)

    def test_of_a_signal_is_128_and_its_number(self):
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV):
            agent = self.run_agent([], f"kill -{int(number)} $$")
            self.assertEqual(agent.process.returncode, 128 + number)
            self.assertEqual(agent.report["exit"]["reason"], "signal")

    def test_of_a_program_that_cannot_start_is_that_of_env(self):
        script = self.folder / "not-executable"
        script.write_text("#!/bin/sh\n")
        for word, status in (("no-such-program", 127), ("/no/such/path", 127),
                             (str(script), 126), ("/", 126)):
            agent = self.run_agent([], [word])
            self.assertEqual(agent.process.returncode, status, word)
            self.assertEqual(agent.report["exit"]["reason"], "not_started")
            self.assertEqual(agent.err.count("\n"), 1)
            self.assertIn(word, agent.err)


BAD_FLAGS = [
    # arguments before `-- true`, what the one line must name
    (["--memory", "2Gib"], ["--memory", "2Gib"]),
    (["--memory", ""], ["--memory"]),
    (["--memory", "-1"], ["--memory", "-1"]),
    (["--memory", "0"], ["--memory", "1Mi"]),
    (["--memory", "1023Ki"], ["--memory", "1023Ki", "1Mi"]),
    (["--memory", "9999E"], ["--memory", "9999E"]),
    (["--memory", "1_000"], ["--memory", "1_000"]),
    (["--memory", "64Mi\n"], ["--memory"]),
    (["--cpu", "0"], ["--cpu", "10m"]),
    (["--cpu", "9m"], ["--cpu", "9m", "10m"]),
    (["--cpu", "NaN"], ["--cpu", "NaN"]),
    (["--cpu", "half"], ["--cpu", "half"]),
    (["--cpu", "-500m"], ["--cpu", "-500m"]),
    (["--pids", "0"], ["--pids", "0", "from 1"]),
    (["--pids", "1.5"], ["--pids", "1.5"]),
    (["--pids", "many"], ["--pids", "many"]),
    (["--tokens-per-hour", "lots"], ["--tokens-per-hour", "lots"]),
    (["--tokens-per-hour", "-1"], ["--tokens-per-hour", "-1"]),
    (["--tokens-per-day", "99999999999999999999"], ["--tokens-per-day"]),
    (["--requests-per-minute", "1e"], ["--requests-per-minute", "1e"]),
    (["--cost-per-day", "$5"], ["--cost-per-day", "$5"]),
    (["--cpu-seconds-per-hour", "1h"], ["--cpu-seconds-per-hour", "1h"]),
    (["--max-suspend", "2x"], ["--max-suspend", "2x"]),
    (["--max-suspend", "-2s"], ["--max-suspend", "-2s"]),
    (["--grace", "soon"], ["--grace", "soon"]),
    (["--on-memory", "panic"], ["--on-memory", "panic", "terminate", "suspend", "warn"]),
    (["--on-tokens", "slow"], ["--on-tokens", "slow", "throttle", "suspend"]),
    (["--on-tokens", "throttle:soft"], ["--on-tokens", "throttle:soft"]),
    (["--on-cpu", "freeze"], ["--on-cpu", "freeze", "suspend", "throttle", "terminate", "warn"]),
    (["--on-tokens", "suspend:sometimes"], ["--on-tokens", "suspend:sometimes", "hard"]),
    (["--on-tokens", "warn:hard"], ["--on-tokens", "warn:hard"]),
    (["--agent", "a/b"], ["--agent", "a/b"]),
    (["--agent", ""], ["--agent"]),
    (["--agent", "x" * 129], ["--agent", "128"]),
    (["--report", "/no/such/folder/file"], ["--report", "/no/such/folder/file"]),
    (["--memroy", "1Gi"], ["--memroy", "--memory"]),
    (["--id", "x"], ["--id", "did you mean --agent?"]),
    (["--memory", "64MB"], ["64MB", "did you mean 64M or 64Mi?"]),
    (["--memory", "-5Mi"], ["--memory: less than", "at least 1Mi", "-5Mi"]),
    (["--cpu", "1m"], ["--cpu: less than", "at least 10m", "1m"]),
    (["--memory", "7Ei"], ["--memory: more than", "at most 2Ei", "7Ei"]),
    (["--cpu", "9999999"], ["--cpu: more than", "at most 1000000", "9999999"]),
    (["--quiet=yes"], ["--quiet", "yes"]),
    (["--memory", "1Gi", "--memory", "2Gi"], ["--memory", "twice"]),
    (["--cpu"], ["--cpu", "CORES"]),
    (["-x"], ["-x"]),
]


class Flags(AgentTest):
    def test_each_bad_one_is_125_and_one_line(self):
        for words, named in BAD_FLAGS:
            with self.subTest(words=words):
                done = self.mete("run", *words, "--", "sh", "-c", "echo ran")
                self.assertEqual(done.returncode, 125, done.stderr)
                self.assertEqual(done.stdout, "")
                self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
                self.assertTrue(done.stderr.startswith("mete: "), done.stderr)
                for text in named:
                    self.assertIn(text, done.stderr)

    def test_a_missing_command_is_125(self):
        for words in ([], ["--"], ["--cpu", "1"]):
            done = self.mete("run", *words)
            self.assertEqual(done.returncode, 125)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
            self.assertIn("`mete help run` lists the options", done.stderr)

    def test_those_of_the_program_are_its_own(self):
        done = self.mete("run", "--quiet", "echo", "--cpu", "0", "--help")
        self.assertEqual((done.returncode, done.stdout), (0, "--cpu 0 --help\n"))

    def test_a_name_in_use_is_refused(self):
        first = self.start([], "sleep 100")
        first.up()
        done = self.mete("run", "--agent", first.id, "--", "true")
        self.assertEqual(done.returncode, 125)
        self.assertEqual(done.stderr, f"mete: E2076: --agent: an agent of that name runs already: "
                         f"{first.id}; `mete quota get {first.id}` shows it, "
                         f"`mete terminate {first.id}` ends it\n")
        self.assertEqual(first.state(), "running", "the refusal must not touch the first one")

    def test_help_names_them_all(self):
        text = self.mete("run", "--help").stdout
        for flag in ("cpu", "memory", "pids", "cpu-seconds-per-hour", "tokens-per-hour",
                     "tokens-per-day", "requests-per-minute", "cost-per-day", "agent", "on-memory",
                     "on-tokens", "max-suspend", "grace", "best-effort", "json", "report", "quiet"):
            self.assertIn(f"--{flag}", text)


class InputAndOutput(AgentTest):
    def test_pass_through_unchanged(self):
        data = os.urandom(3 << 20)
        done = subprocess.run([PROGRAM, "run", "--quiet", "--", "cat"], input=data,
                              capture_output=True, env=self.environment, timeout=30)
        self.assertEqual(hashlib.sha256(done.stdout).digest(), hashlib.sha256(data).digest())
        self.assertEqual(done.stderr, b"")
        done = subprocess.run([PROGRAM, "run", "--quiet", "--", "sh", "-c", "cat >&2"], input=data,
                              capture_output=True, env=self.environment, timeout=30)
        self.assertEqual(done.stderr, data)

    def test_end_with_the_program(self):
        # A child that outlives the program would hold the pipe open, and so would a guardian.
        done = subprocess.run(f"{PROGRAM} run --quiet -- sh -c 'sleep 1000 & echo out' | cat",
                              shell=True, capture_output=True, env=self.environment, timeout=20)
        self.assertEqual(done.stdout, b"out\n")

    def test_descriptors_of_the_caller_reach_the_program(self):
        reader, writer = os.pipe()
        done = subprocess.run([PROGRAM, "run", "--quiet", "--", "sh", "-c", f"echo hi >&{writer}"],
                              pass_fds=[writer], env=self.environment, timeout=20)
        os.close(writer)
        self.assertEqual(done.returncode, 0)
        self.assertEqual(os.read(reader, 10), b"hi\n")
        self.assertEqual(os.read(reader, 10), b"", "nobody else holds the other end")
        os.close(reader)

    def test_closed_ones_are_no_trouble(self):
        done = subprocess.run(f"{PROGRAM} run --quiet -- sh -c 'exit 4' <&- >&- 2>&-", shell=True,
                              env=self.environment, timeout=20)
        self.assertEqual(done.returncode, 4)

    def test_a_reader_that_leaves_does_not_end_the_agent(self):
        agent = self.start(["--tokens-per-hour", "1"],
                           "mete report --tokens 5 >/dev/null; sleep 0.2; exit 6")
        agent.process.stderr.close()
        agent.process.stderr = None
        self.assertEqual(agent.wait(), 6)


class Signals(AgentTest):
    LOOP = "echo up; while :; do sleep 0.02; done"

    def started(self, before, flags=()):
        agent = self.start(flags, f"{before}; {self.LOOP}")
        self.assertEqual(agent.process.stdout.readline(), b"up\n")
        return agent

    def test_the_first_is_the_programs(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT,
                       signal.SIGUSR1, signal.SIGUSR2):
            agent = self.started(f"trap 'exit 42' {int(number)}")
            agent.process.send_signal(number)
            self.assertEqual(agent.wait(), 42, number)
            self.assertEqual(agent.report["exit"]["reason"], "exited")

    def test_without_a_handler_it_ends_the_program(self):
        agent = self.started(":")
        agent.process.send_signal(signal.SIGTERM)
        self.assertEqual(agent.wait(), 128 + signal.SIGTERM)

    def test_the_second_starts_the_end_and_the_third_is_short(self):
        agent = self.started("trap '' INT TERM", ["--grace", "100ms"])
        agent.process.send_signal(signal.SIGINT)
        time.sleep(0.1)
        self.assertIsNone(agent.process.poll())
        agent.process.send_signal(signal.SIGINT)
        self.assertEqual(agent.wait(), 128 + signal.SIGINT)
        self.assertEqual(agent.report["exit"]["reason"], "interrupted")
        agent = self.started("trap '' INT TERM", ["--grace", "1h"])
        for _ in range(3):
            agent.process.send_signal(signal.SIGTERM)
            time.sleep(0.05)
        self.assertEqual(agent.wait(), 128 + signal.SIGTERM)

    def test_while_suspended_the_first_starts_the_end_and_the_second_kills(self):
        agent = self.started("trap '' TERM", ["--grace", "1h"])
        agent.up()
        self.assertEqual(self.mete("suspend", agent.id).returncode, 0)
        agent.process.send_signal(signal.SIGINT)
        self.assertTrue(eventually(lambda: agent.state() == "terminating"))
        agent.process.send_signal(signal.SIGINT)
        self.assertEqual(agent.wait(), 128 + signal.SIGINT)

    def test_ignored_by_the_caller_they_stay_ignored(self):
        agent = self.start([], self.LOOP,
                           preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
        self.assertEqual(agent.process.stdout.readline(), b"up\n")
        for _ in range(3):
            agent.process.send_signal(signal.SIGHUP)
        agent.process.send_signal(signal.SIGTERM)
        self.assertEqual(agent.wait(), 128 + signal.SIGTERM)

    def test_a_stop_of_the_job_stops_the_whole_agent(self):
        agent = self.start([], f"cd {self.folder}; (trap '' TSTP; while :; do echo x >>f; "
                               f"sleep 0.02; done) & {self.LOOP}")
        self.assertEqual(agent.process.stdout.readline(), b"up\n")
        file = self.folder / "f"
        self.assertTrue(eventually(file.exists))
        agent.process.send_signal(signal.SIGTSTP)
        self.assertTrue(eventually(lambda: "T" in pathlib.Path(
            f"/proc/{agent.process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]))
        before = file.stat().st_size
        time.sleep(0.3)
        self.assertEqual(file.stat().st_size, before, "what ignores the terminal is stopped too")
        agent.process.send_signal(signal.SIGCONT)
        self.assertTrue(eventually(lambda: file.stat().st_size > before))
        agent.process.send_signal(signal.SIGTERM)
        agent.wait()


class Terminal(AgentTest):
    def start_on_terminal(self, flags, command):
        """`mete run` as the foreground job of a terminal of its own."""
        pid, master = pty.fork()
        if pid == 0:
            os.execve(PROGRAM, [PROGRAM, "run", *flags, "--", "sh", "-c", command],
                      self.environment)
        return pid, master

    def read_until(self, master, pattern, seconds=10):
        text = ""
        end = time.monotonic() + seconds
        while not re.search(pattern, text) and time.monotonic() < end:
            if not select.select([master], [], [], 0.1)[0]:
                continue
            try:
                text += os.read(master, 65536).decode(errors="replace")
            except OSError:  # the other side is closed
                break
        self.assertRegex(text, pattern)
        return text

    def test_interrupt_reaches_the_program_once(self):
        source = ("import signal, time\n"
                  "seen = []\n"
                  "signal.signal(signal.SIGINT, lambda *_: seen.append(1))\n"
                  "print('up', flush=True)\n"
                  "end = time.monotonic() + 0.5\n"
                  "while time.monotonic() < end: time.sleep(0.05)\n"
                  "print('seen', len(seen), flush=True)\n")
        (self.folder / "p.py").write_text(source)
        pid, master = self.start_on_terminal(["--quiet"], f"exec python3 {self.folder}/p.py")
        self.read_until(master, "up")
        os.write(master, b"\x03")
        self.read_until(master, "seen 1")
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0)
        os.close(master)

    def test_a_live_line_shows_use_and_how_to_go_on(self):
        pid, master = self.start_on_terminal(
            ["--agent", "live", "--tokens-per-hour", "10", "--max-suspend", "600ms"],
            "mete report --tokens 7 >/dev/null; sleep 0.6; mete report --tokens 7 >/dev/null; "
            "mete report --tokens 7 >/dev/null; sleep 60")
        text = self.read_until(master, "violations.*terminated")
        self.assertRegex(text, r"\r\x1b\[Klive  0:00  cpu \d+\.\d s \(\d\.\d\d cores\)  mem ")
        self.assertIn("mete quota set live --tokens-per-hour 42", text)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 124)
        os.close(master)


class Report(AgentTest):
    def test_text_goes_to_standard_error(self):
        done = self.mete("run", "--agent", "text", "--tokens-per-hour", "100", "--",
                         "sh", "-c", "mete report --tokens 5 >/dev/null; echo out; exit 2")
        self.assertEqual((done.returncode, done.stdout), (2, "out\n"))
        lines = done.stderr.splitlines()
        self.assertEqual(lines[0], "mete: ledger: in memory, gone with this run")
        self.assertRegex(done.stderr, r"(?m)^  agent +text$")
        self.assertRegex(done.stderr, r"(?m)^  result +exited with 2; exit status 2$")
        self.assertRegex(done.stderr, r"(?m)^  tokens +5$")
        self.assertRegex(done.stderr, r"(?m)^  limits +tokens_per_hour 100: used 5, reported")
        self.assertRegex(done.stderr, r"(?m)^  violations +none$")

    def test_json_goes_where_it_is_asked_to(self):
        done = self.mete("run", "--json", "--", "true")
        self.assertEqual(json.loads(done.stderr)["exit"]["status"], 0)
        file = self.folder / "report"
        done = self.mete("run", "--json", "--report", str(file), "--quiet", "--", "true")
        self.assertEqual(done.stderr, "")
        self.assertEqual(json.loads(file.read_text())["ledger"], "memory")
        done = self.mete("run", "--report", str(file), "--", "true")
        self.assertEqual(done.stderr, "")
        self.assertTrue(file.read_text().startswith("mete: ledger: "))

    def test_that_does_not_fit_in_its_file_goes_to_standard_error(self):
        done = self.mete("run", "--report", "/dev/full", "--", "sh", "-c", "exit 3")
        self.assertEqual(done.returncode, 125)
        first, report = done.stderr.split("\n", 1)
        self.assertEqual(first, 'mete: E2099: --report: "/dev/full" cannot be written, '
                         "the report follows here: No space left on device")
        self.assertRegex(report, r"(?m)^  result +exited with 3; exit status 3$")

    def test_quiet_says_nothing(self):
        done = self.mete("run", "--quiet", "--tokens-per-hour", "1", "--on-tokens", "warn", "--",
                         "sh", "-c", "mete report --tokens 5 >/dev/null")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def test_figures_agree_with_independent_ones(self):
        # 60 MiB held, half a second of CPU in the program and as much in a child, 3 x 11 tokens.
        agent = self.run_agent(
            ["--memory", "1Gi", "--tokens-per-hour", "1000"],
            self.python("import os, resource, subprocess, sys, time\n"
                        "held = bytearray(os.urandom(1)) * (60 << 20)\n"
                        "burn = 'import time\\nwhile time.process_time() < 0.5: pass'\n"
                        "subprocess.run([sys.executable, '-c', burn])\n"
                        "while time.process_time() < 0.5: pass\n"
                        "for _ in range(3): subprocess.run(['mete', 'report', '--tokens', '11'],"
                        " stdout=subprocess.DEVNULL)\n"
                        "own = resource.getrusage(resource.RUSAGE_SELF)\n"
                        "children = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
                        "print(own.ru_utime + own.ru_stime + children.ru_utime"
                        " + children.ru_stime, own.ru_maxrss)\n"))
        self.assertEqual(agent.process.returncode, 0, agent.err)
        cpu, peak_kib = agent.out.split()
        report = agent.report
        self.assertAlmostEqual(report["cpu_seconds"], float(cpu), delta=0.05 * float(cpu) + 0.02)
        self.assertGreater(report["memory_peak_bytes"], 60 << 20)
        # Pages shared with programs outside count in the one and not in the other.
        self.assertLess(report["memory_peak_bytes"], (int(peak_kib) << 10) + (30 << 20))
        self.assertEqual(report["tokens"], 33)
        self.assertGreaterEqual(report["wall_seconds"], 1.0)
        self.assertEqual(report["agent"], agent.id)
        self.assertEqual(report["violations"], [])
        grades = {limit["limit"]: limit["grade"] for limit in report["limits"]}
        self.assertEqual(grades, {"memory": "kernel", "tokens_per_hour": "reported",
                                  "pids": "kernel"})


if __name__ == "__main__":
    unittest.main()
