"""Boots one kernel without hardware support, and follows what the guest says until it is off."""

import pathlib
import re
import subprocess
import time

# The guest's time is its instructions, at 2^3 ns each, and jumps over idleness: what a case sees
# does not depend on how busy this machine is, and sleeping costs nothing. That asks for one
# processor, which spares the guest a fault of the emulator as well: where a processor of QEMU 7.2
# changes code that another runs, as a kernel does when the first CPU quota is set and the last one
# lifted, the other may meet a breakpoint that is no longer there ("Oops: int3").
PROCESSORS = 1
TIME = "shift=3,sleep=off"
MEMORY_MIB = 512
# For a guest that hangs, not for a slow one: beside much other work (a load of 20 on two cores)
# cgroup_host_test, actions_test and doctor_test were seen to take 1107 s.
SILENT_SECONDS = 240
TOTAL_SECONDS = 2400
TAIL_LINES = 60


def command(kernel, initramfs, console, results):
    return ["qemu-system-x86_64", "-machine", "q35", "-cpu", "max", "-accel", "tcg,thread=single",
            "-icount", TIME, "-rtc", "clock=vm", "-smp", str(PROCESSORS), "-m", str(MEMORY_MIB),
            "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-kernel", str(kernel), "-initrd", str(initramfs),
            "-append", "console=ttyS0 quiet panic=-1 oops=panic",
            "-serial", f"file:{console}", "-serial", f"file:{results}"]


def boot(kernel, initramfs, folder):
    """Runs the guest; returns what it wrote, and why it was ended before it was done, or ""."""
    folder.mkdir(parents=True, exist_ok=True)
    console, results, log = folder / "console", folder / "results", folder / "qemu"
    for file in (console, results):
        file.write_bytes(b"")
    with open(log, "wb") as output:
        machine = subprocess.Popen(command(kernel, initramfs, console, results),
                                   stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        why = follow(machine, results)
    finally:
        machine.kill()
        machine.wait()
    text = text_of(results)
    if not why and "@done" not in text.splitlines():
        why = "the guest went down before it was done"
    if why:
        why += "".join(f"\n--- {file.name}\n{tail(text_of(file))}"
                       for file in (log, console, results))
    return text, why


def follow(machine, results):
    started = changed = time.monotonic()
    size = 0
    while machine.poll() is None:
        time.sleep(0.1)
        now = time.monotonic()
        if results.stat().st_size != size:
            size, changed = results.stat().st_size, now
        if now - changed > SILENT_SECONDS:
            return f"nothing was heard of the guest for {SILENT_SECONDS} s"
        if now - started > TOTAL_SECONDS:
            return f"the guest was not done after {TOTAL_SECONDS} s"
    return ""


def text_of(path):
    text = pathlib.Path(path).read_text(errors="replace")
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text.replace("\r", ""))


def tail(text):
    return "\n".join(text.rstrip().splitlines()[-TAIL_LINES:])
