"""Lists the CPythons of this machine that an extension can be built for, one per line.

    scripts/find_pythons.py [EXECUTABLE]...

Looks at the executables that are named, or else at python3 and python3.N of the PATH, of /usr and
of pyenv. Each line: version;executable;tag;folder of Python.h;suffix of extensions. The first is
the python3 of the PATH. One of each version and place; a tag is what an extension is built for.
"""

import glob
import os
import pathlib
import re
import shutil
import subprocess
import sys

LEAST = (3, 11)
PROBE = """
import os, platform, sys, sysconfig
include = sysconfig.get_path("include")
usable = (platform.python_implementation() == "CPython" and os.path.exists(include + "/Python.h")
          and sys.version_info.releaselevel == "final" and not sysconfig.get_config_var("Py_DEBUG")
          and not sysconfig.get_config_var("Py_GIL_DISABLED"))
if usable and sys.version_info >= (%d, %d):
    print(";".join((platform.python_version(), sys.executable, sys.implementation.cache_tag,
                    include, sysconfig.get_config_var("EXT_SUFFIX"), sys.base_prefix)))
""" % LEAST


def candidates():
    folders = [folder for folder in os.get_exec_path() if "shims" not in folder]
    folders += ["/usr/bin", "/usr/local/bin"]
    pyenv = os.environ.get("PYENV_ROOT") or str(pathlib.Path.home() / ".pyenv")
    folders += sorted(glob.glob(os.path.join(pyenv, "versions", "*", "bin")))
    yield shutil.which("python3")
    for folder in folders:
        for path in sorted(glob.glob(os.path.join(folder, "python3*"))):
            if re.fullmatch(r"python3(\.\d+)?", os.path.basename(path)):
                yield path


def probe(executable):
    """The line of an interpreter, split; None if it is not one to build for."""
    try:
        done = subprocess.run([executable, "-I", "-c", PROBE], capture_output=True, text=True,
                              timeout=20, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip().split(";") if done.returncode == 0 and done.stdout.strip() else None


def find(executables):
    seen, found = set(), []
    for executable in executables:
        real = os.path.realpath(executable) if executable else None
        if real is None or real in seen:
            continue
        seen.add(real)
        row = probe(executable)
        if row and (row[0], row[5]) not in seen:
            seen.add((row[0], row[5]))
            found.append(row[:5])
    return found


def main():
    for row in find(sys.argv[1:] or candidates()):
        print(";".join(row))


if __name__ == "__main__":
    main()
