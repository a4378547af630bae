"""Debian's systemd for a guest: the service manager as its first process, the commands that speak
to it, and its targets. No service of the distribution: not even a journal."""

import pathlib

HERE = pathlib.Path(__file__).resolve().parent
PROGRAMS = ("lib/systemd/systemd", "bin/systemctl", "usr/bin/systemd-run")
LIBRARIES = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu",
             "usr/lib/x86_64-linux-gnu/systemd")
UNITS = "lib/systemd/system"


def add_to(archive, packages):
    """`packages` holds systemd and all that it depends on, unpacked. Libraries that this machine's
    programs brought along stay as they are: what is built here may need newer ones."""
    for name in PROGRAMS:
        archive.file(name, (packages / name).read_bytes(), 0o755)
    for folder in LIBRARIES:
        for library in sorted((packages / folder).glob("lib*.so*")):
            archive.file(f"{folder}/{library.name}", library.read_bytes(), 0o755)
    for kind in ("*.target", "*.slice"):
        for unit in sorted((packages / UNITS).glob(kind)):
            archive.file(f"{UNITS}/{unit.name}", unit.read_bytes())
    for unit in sorted((HERE / "systemd").iterdir()):
        archive.file(f"etc/systemd/system/{unit.name}", unit.read_bytes())
    archive.link("init", "lib/systemd/systemd")
