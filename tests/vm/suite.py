"""Boots Debian's kernels as guests with control groups v2 and runs the programs below in each.

    suite.py --build BUILD --folder FOLDER [--only GUEST] [--programs NAME,..]

FOLDER keeps what was fetched, and gets GUEST.xml, in the form of ctest's own account; the exit
status says whether every case passed. docs/enforcement.md has what the suite is for.
"""

import argparse
import concurrent.futures
import pathlib
import platform
import shutil
import subprocess
import sys
import time

import guest
import python_files
import systemd_files
from cases import Case, cases_in, write_account
from initramfs import Archive

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = HERE.parent.parent
KERNELS = {"6.1": "linux-image-cloud-amd64", "6.12": "linux-image-6.12-cloud-amd64"}
# A guest more: the newer of these kernels, with Debian's systemd as the first process.
SYSTEMD = "systemd"

CASES = "python3 -B /guest/run_cases.py "
CASES_OF = "/session " + CASES
# Name, seconds at most, command line. Those whose cases ask about the kernel; what is the same on
# every kernel (flags, texts) is tried where mete is built.
PROGRAMS = (
    ("cgroup_host_test", 150, "/tests/cgroup_host_test --gtest_filter=-*fake*"),
    ("kernel_test", 400, CASES_OF + "/guest/kernel_test.py"),
    ("users_test", 400, CASES_OF + "/guest/users_test.py"),
    ("enforcement_test", 400, CASES_OF + "/e2e/enforcement_test.py"),
    ("actions_test", 400, CASES_OF + "/e2e/actions_test.py"),
    ("doctor_test", 400, CASES_OF + "/e2e/doctor_test.py"),
    ("sockets_test", 400, CASES_OF + "/e2e/sockets_test.py Control Holds"),
)
SYSTEMD_PROGRAMS = (("systemd_test", 400, CASES + "/guest/systemd_test.py"),)
# Programs of this machine that the tests start, which busybox's are not quite like.
TOOLS = ("sh", "env", "prlimit", "setsid", "sleep", "timeout")


def fetched(folder):
    """What each guest is made of."""
    files = {name: [folder / meta / "vmlinuz"] for name, meta in KERNELS.items()}
    return files | {SYSTEMD: [*files["6.12"], folder / SYSTEMD / "root"]}


def fetch(folder):
    """The kernels, and systemd, that are not there yet; why not, or ""."""
    missing = sorted({file.parent.name for files in fetched(folder).values() for file in files
                      if not file.exists()})
    if not missing:
        return ""
    done = subprocess.run([SOURCE / "scripts" / "setup_vm", folder, *missing], text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    if done.returncode == 0:
        return ""
    return f"cannot be fetched from Debian's archive:\n{done.stdout}"


def assemble(systemd, build, folder, programs):
    archive = Archive()
    for name in ("dev", "proc", "run", "sys", "tmp"):
        archive.folder(name)
    for name in ("run_programs", "session"):
        archive.file(name, (HERE / name).read_bytes(), 0o755)
    for name in ("passwd", "group"):
        archive.file(f"etc/{name}", (HERE / name).read_bytes())
    archive.program(shutil.which("busybox"), "bin/busybox")
    for name in TOOLS:
        archive.program(pathlib.Path(shutil.which(name)).resolve(), f"usr/bin/{name}")
    python_files.add_to(archive, folder / "python")
    archive.program(build / "mete", "usr/bin/mete")
    for name in ("cgroup_host_test", "fork_bomb"):
        archive.program(build / "tests" / name, f"tests/{name}")
    for name in ("guest", "e2e"):
        for file in sorted((HERE.parent / name if name == "e2e" else HERE / name).glob("*.py")):
            archive.file(f"{name}/{file.name}", file.read_bytes())
    archive.file("programs", "".join(
        f"{name} {seconds} {command}\n" for name, seconds, command in programs).encode())
    if systemd:
        systemd_files.add_to(archive, folder / SYSTEMD / "root")
    else:
        archive.file("init", (HERE / "init").read_bytes(), 0o755)
    path = folder / ("initramfs-systemd" if systemd else "initramfs")
    archive.write(path)
    return path


def run(name, folder, image):
    """The cases of one guest."""
    text, why = guest.boot(fetched(folder)[name][0], image, folder / name)
    cases = cases_in(text)
    if why:
        cases.append(Case("guest", "fail", 0, why))
    return cases


def say(name, cases, seconds):
    count = {status: sum(case.status == status for case in cases)
             for status in ("run", "fail", "notrun")}
    for case in cases:
        if case.status == "fail":
            print(f"--- vm {name}: {case.name}\n{case.text}")
    print(f"vm {name}: {count['run']} passed, {count['fail']} failed, {count['notrun']} skipped, "
          f"{seconds:.0f} s", flush=True)
    return count["fail"] == 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--only", action="append", choices=(*KERNELS, SYSTEMD))
    parser.add_argument("--programs", default="")
    parser.add_argument("--cases", default="", help="CLASS[.CASE] of the one program")
    given = parser.parse_args()
    wanted = given.programs.split(",") if given.programs else None
    programs = {systemd: [(*row[:2], f"{row[2]} {given.cases}".strip())
                          for row in rows if not wanted or row[0] in wanted]
                for systemd, rows in ((False, PROGRAMS), (True, SYSTEMD_PROGRAMS))}
    names = [name for name in given.only or (*KERNELS, SYSTEMD) if programs[name == SYSTEMD]]
    folder = given.folder.resolve()
    why = skip = ""
    there, images = [], {}
    if platform.machine() != "x86_64":
        skip = f"the kernels and what is built here must both be x86-64's: {platform.machine()}"
    else:
        why = fetch(folder)
        there = [name for name in names if all(file.exists() for file in fetched(folder)[name])]
        images = {systemd: assemble(systemd, given.build.resolve(), folder, programs[systemd])
                  for systemd in {name == SYSTEMD for name in there}}

    def one(name):
        started = time.monotonic()
        if skip:
            cases = [Case("guest", "notrun", 0, skip)]
        elif name not in there:
            cases = [Case("kernel", "fail", 0, why)]
        else:
            cases = run(name, folder, images[name == SYSTEMD])
        write_account(folder / f"{name}.xml", cases)
        return say(name, cases, time.monotonic() - started)

    with concurrent.futures.ThreadPoolExecutor() as beside:
        good = all(list(beside.map(one, names)))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
