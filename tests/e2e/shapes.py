"""Machines of another shape than this one, made of it: for one process and what it starts.

Each shape is a function that runs in a child, between fork and exec, and changes only that child:
its user, its own copy of the mounts, the system calls it may make.
"""

import ctypes
import os
import struct

NOBODY = 65534

CLONE_NEWNS = 0x00020000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
MNT_DETACH = 2
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result, what):
    if result != 0:
        raise OSError(ctypes.get_errno(), what)


def _mount(source, target, kind, flags, data=None):
    encode = lambda text: text.encode() if text is not None else None
    _check(_libc.mount(encode(source), encode(target), encode(kind), flags, encode(data)),
           f"mount {target}")


def own_mounts():
    _check(_libc.unshare(CLONE_NEWNS), "unshare")
    _mount("none", "/", None, MS_REC | MS_PRIVATE)


def cgroup_mounts():
    """(mount point, type, options of the file system), innermost last."""
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        for line in file:
            left, right = line.split(" - ", 1)
            kind, _, options = right.split(maxsplit=2)
            if kind in ("cgroup", "cgroup2"):
                found.append((left.split()[4], kind, options.strip().split(",")))
    return found


def nobody():
    """A user without privileges, to whom nothing was delegated."""
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def without_control_groups():
    own_mounts()
    for point, _, _ in reversed(cgroup_mounts()):
        _check(_libc.umount2(point.encode(), MNT_DETACH), point)


def v1_only():
    """No unified hierarchy; what v1 hierarchies there are stay."""
    own_mounts()
    for point, kind, _ in reversed(cgroup_mounts()):
        if kind == "cgroup2":
            _check(_libc.umount2(point.encode(), MNT_DETACH), point)


def read_only():
    """As in a container: everything is to be seen, nothing can be made."""
    own_mounts()
    for point, _, _ in cgroup_mounts():
        _mount(None, point, None, MS_REMOUNT | MS_BIND | MS_RDONLY)


def without_memory():
    """No hierarchy with a memory controller."""
    own_mounts()
    for point, kind, options in reversed(cgroup_mounts()):
        if kind == "cgroup" and "memory" in options:
            _check(_libc.umount2(point.encode(), MNT_DETACH), point)


def without_clone3():
    """clone3 answers ENOSYS, as under an older container runtime's filter of system calls."""
    clone3, enosys = 435, 38
    # BPF: load the number; if it is clone3, return ENOSYS, else allow.
    program = b"".join(struct.pack("HBBI", *step) for step in (
        (0x20, 0, 0, 0), (0x15, 0, 1, clone3), (0x06, 0, 0, 0x00050000 | enosys),
        (0x06, 0, 0, 0x7FFF0000)))
    buffer = ctypes.create_string_buffer(program)

    class Filter(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.c_void_p)]

    filter_ = Filter(4, ctypes.cast(buffer, ctypes.c_void_p))
    _check(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    _check(_libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(filter_)), "seccomp")
