"""The guest's whole file system: an archive that the kernel unpacks into memory (cpio, "newc")."""

import pathlib
import re
import stat
import subprocess

TRAILER = "TRAILER!!!"


class Archive:
    """Files, folders and links; a folder is made for whatever lies in it."""

    def __init__(self):
        self.parts = []
        self.names = set()

    def _entry(self, name, mode, data):
        encoded = name.encode() + b"\0"
        # Number, mode, owner, group, links, time, size, 4 device numbers, length of the name, sum.
        numbers = (len(self.names), mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
        head = b"070701" + b"".join(b"%08x" % number for number in numbers) + encoded
        self.parts += [head, b"\0" * (-len(head) % 4), data, b"\0" * (-len(data) % 4)]
        self.names.add(name)

    def _above(self, name):
        for folder in reversed(pathlib.PurePosixPath(name).parents):
            self.folder(str(folder))

    def folder(self, name):
        if name != "." and name not in self.names:
            self._above(name)
            self._entry(name, stat.S_IFDIR | 0o755, b"")

    def file(self, name, data, mode=0o644):
        if name not in self.names:
            self._above(name)
            self._entry(name, stat.S_IFREG | mode, data)

    def link(self, name, target):
        self._above(name)
        self._entry(name, stat.S_IFLNK | 0o777, target.encode())

    def program(self, source, name):
        """A program of this machine, with the shared libraries that it needs, where it looks."""
        self.file(name, pathlib.Path(source).read_bytes(), 0o755)
        for library in libraries(source):
            self.file(library.lstrip("/"), pathlib.Path(library).read_bytes(), 0o755)

    def write(self, path):
        self._entry(TRAILER, 0, b"")
        with open(path, "wb") as file:
            file.writelines(self.parts)


def libraries(program):
    """The absolute paths that ldd(1) names; none for a static program."""
    done = subprocess.run(["ldd", program], capture_output=True, text=True)
    if "not found" in done.stdout:
        raise OSError(f"{program}: a shared library is missing: {done.stdout}")
    return re.findall(r"(/\S+) \(0x", done.stdout)
