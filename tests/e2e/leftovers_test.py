"""What killed owners leave in the runtime folder, and runs in one that is full or read-only."""

import ctypes
import os
import pathlib
import signal
import struct
import unittest

import shapes
from agents import AgentTest, call, eventually, groups_named, processes_with

SHARED = pathlib.Path("/run/mete-agents")
NOBODY = "65534:65534"
MKDIRAT, UNLINKAT, REMOVE_DIR = 258, 263, 0x200
EBUSY, ENOSPC = 16, 28


class Killed(AgentTest):
    def kill(self, agent, with_guardian):
        """The owner, and its guardian first."""
        if with_guardian:
            for pid in processes_with(self.mark):
                status = pathlib.Path(f"/proc/{pid}/status").read_text()
                is_guardian = pathlib.Path(f"/proc/{pid}/comm").read_text() == "mete-guardian\n"
                if is_guardian and f"PPid:\t{agent.process.pid}\n" in status:
                    os.kill(pid, signal.SIGKILL)
        agent.process.kill()
        agent.process.wait()  # its program may live on, with the other end of the pipes

    def files(self):
        return sorted(os.listdir(self.runtime / "mete"))

    def left_by(self, agent):
        return [name for name in self.files() if name.startswith(agent.id)]

    def test_gc_removes_what_is_left_and_nothing_of_the_living(self):
        dead = self.start([], "sleep 1000")
        live = self.start([], "sleep 1000")
        dead.up()
        live.up()
        self.kill(dead, with_guardian=True)
        self.assertEqual(self.left_by(dead),
                         [dead.id + kind for kind in (".agent", ".record", ".sock")])
        living = self.left_by(live)
        done = self.mete("gc")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(f"{dead.id}: ended (", done.stdout)
        self.assertIn(f"{live.id}: left alone (its owner, process {live.process.pid}, lives)\n",
                      done.stdout)
        self.assertEqual(self.files(), living)
        self.assertEqual(call(live.control_socket, "GET", "/v1/quotas")[0], 200)
        self.assertEqual(live.state(), "running")

    def test_gc_forgets_sockets_without_a_record(self):
        dead = self.start([], "sleep 1000")
        live = self.start([], "sleep 1000")
        dead.up()
        live.up()
        self.kill(dead, with_guardian=True)
        os.unlink(self.runtime / "mete" / f"{dead.id}.record")  # somebody tidied up
        living = self.left_by(live)
        done = self.mete("gc")
        self.assertEqual(done.returncode, 0, done.stderr)
        # By the label of its group; what has no label is nobody's.
        self.assertIn(f"{dead.id}: ", done.stdout)
        again = self.mete("gc")
        self.assertEqual(again.returncode, 0, again.stderr)
        self.assertEqual(self.files(), living, done.stdout + again.stdout)
        self.assertEqual(live.state(), "running")

    def test_the_socket_of_another_user_goes_too(self):
        if os.geteuid() != 0:
            self.skipTest("only root may start an agent as another user")
        for with_guardian in (False, True):
            agent = self.start(["--user", NOBODY], "sleep 1000", cwd="/")
            agent.up()
            live = self.start(["--user", NOBODY], "sleep 1000", cwd="/")
            live.up()
            socket = SHARED / f"{agent.id}.agent"
            self.assertTrue(socket.exists())
            self.kill(agent, with_guardian)
            if with_guardian:
                self.assertTrue(socket.exists())
                self.assertEqual(self.mete("gc").returncode, 0)
            self.assertTrue(eventually(lambda: not socket.exists(), 5))
            self.assertTrue((SHARED / f"{live.id}.agent").exists())
            live.process.terminate()
            self.mete("terminate", live.id)
            live.wait()


def answering(*calls):
    """For one process and what it starts: these system calls answer with an error. Each is (number,
    errno, None or (which argument, its value))."""
    program = [(0x20, 0, 0, 0)]
    for number, error, argument in calls:
        refuse = (0x06, 0, 0, 0x00050000 | error)
        if argument is None:
            program += [(0x15, 0, 1, number), refuse]
        else:
            which, value = argument
            program += [(0x15, 0, 3, number), (0x20, 0, 0, 16 + 8 * which), (0x15, 0, 1, value),
                        refuse, (0x20, 0, 0, 0)]
    program.append((0x06, 0, 0, 0x7FFF0000))
    text = b"".join(struct.pack("HBBI", *step) for step in program)

    def apply():
        class Filter(ctypes.Structure):
            _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.c_void_p)]
        libc = ctypes.CDLL(None, use_errno=True)
        buffer = ctypes.create_string_buffer(text)
        filter_ = Filter(len(program), ctypes.cast(buffer, ctypes.c_void_p))
        if libc.prctl(shapes.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 or libc.prctl(
                shapes.PR_SET_SECCOMP, shapes.SECCOMP_MODE_FILTER, ctypes.byref(filter_)) != 0:
            raise OSError(ctypes.get_errno(), "seccomp")
    return apply


class Faults(AgentTest):
    def folder_of(self, options, flags=0):
        """The runtime folder on a file system of its own: for one process and what it starts."""
        libc = ctypes.CDLL(None, use_errno=True)

        def apply():
            shapes.own_mounts()
            for when in {0, flags}:
                again = shapes.MS_REMOUNT if when else 0
                if libc.mount(b"none", str(self.runtime).encode(), b"tmpfs", when | again,
                              options.encode()) != 0:
                    raise OSError(ctypes.get_errno(), "mount")
                if not when and flags:
                    os.mkdir(self.runtime / "mete", 0o700)
        return apply

    def setUp(self):
        super().setUp()
        if os.geteuid() != 0:
            self.skipTest("only root can give a process mounts of its own")

    def refused(self, shape, *words):
        """Nothing is started that could not be found again; one line says why."""
        agent = self.run_agent(["--quiet"], f"touch {self.folder}/started", preexec_fn=shape)
        self.assertEqual(agent.process.returncode, 125, agent.err)
        self.assertEqual(agent.err.count("\n"), 1, agent.err)
        for word in words:
            self.assertIn(word, agent.err)
        self.assertFalse((self.folder / "started").exists())
        self.assertEqual(groups_named(agent.id), [])

    def test_a_full_disk_is_told_and_nothing_is_started(self):
        # One page, where a record has two.
        self.refused(self.folder_of("size=4k"), "the record of an agent cannot be made",
                     "No space left on device")
        # No file any more: for the folder, the record, one socket, the other.
        for files, what in ((1, "the folder for sockets"), (2, "the record of an agent"),
                            (3, ".agent"), (4, ".sock")):
            self.refused(self.folder_of(f"nr_inodes={files}"), what, "No space left on device")

    def test_a_disk_that_fills_up_hinders_no_action(self):
        agent = self.run_agent(
            ["--tokens-per-hour", "1", "--on-tokens", "suspend:hard", "--max-suspend", "50ms"],
            f"dd if=/dev/zero of={self.runtime}/fill bs=4k 2>{self.folder}/dd; "
            "mete report --tokens 5; sleep 1000", preexec_fn=self.folder_of("size=32k"))
        self.assertIn("No space left", (self.folder / "dd").read_text())
        self.assertEqual(agent.process.returncode, 124, agent.err)
        self.assertIn("suspended: tokens_per_hour", agent.err)
        self.assertNotIn("not recorded", agent.err)

    def test_a_read_only_folder_is_told_and_nothing_is_started(self):
        self.refused(self.folder_of("size=1m", shapes.MS_RDONLY), str(self.runtime / "mete"),
                     "Read-only file system")

    def test_no_room_for_a_group_is_told(self):
        self.refused(answering((MKDIRAT, ENOSPC, None)), "no group can be made at ",
                     "No space left on device")

    def test_a_group_that_cannot_be_removed_is_told_and_found_again(self):
        agent = self.run_agent(["--quiet"], "true", preexec_fn=answering(
            (UNLINKAT, EBUSY, (2, REMOVE_DIR))))
        self.assertEqual(agent.process.returncode, 125, agent.err)
        self.assertIn("group cannot be removed: ", agent.err)
        self.assertNotEqual(groups_named(agent.id), [])
        # The guardian, which gets the same answers, tries it again and again.
        self.assertTrue(eventually(
            lambda: self.mete("gc").returncode == 0 and not groups_named(agent.id)))


if __name__ == "__main__":
    unittest.main()
