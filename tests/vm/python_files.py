"""This machine's Python for the guest: the interpreter, and its library compiled once."""

import pathlib
import py_compile
import sys
import sysconfig

# What no test of a machine uses: half of the size.
LEFT_OUT = {"ensurepip", "idlelib", "lib2to3", "pydoc_data", "site-packages",
            "dist-packages", "test", "tests", "tkinter", "turtledemo", "__pycache__", "distutils"}
MODULES_LEFT_OUT = ("_codecs_", "_test", "_tkinter", "_curses", "_xxtest", "_ctypes_test")


def add_to(archive, cache):
    """Puts /usr/bin/python3 and its library into the archive; keeps compiled files in `cache`."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    archive.program(pathlib.Path(sys.executable).resolve(), f"usr/bin/{name}")
    archive.link("usr/bin/python3", name)
    source = pathlib.Path(sysconfig.get_path("stdlib"))
    for path in sorted(source.rglob("*")):
        inside = path.relative_to(source)
        if any(part in LEFT_OUT or part.startswith("config-") for part in inside.parts):
            continue
        if path.suffix == ".py":
            compiled = (cache / sys.version.split()[0] / inside).with_suffix(".pyc")
            if not compiled.exists():
                py_compile.compile(str(path), cfile=str(compiled), dfile=f"/usr/lib/{inside}",
                                   doraise=True,
                                   invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
            archive.file(f"usr/lib/{name}/{inside.with_suffix('.pyc')}", compiled.read_bytes())
        elif path.suffix == ".so" and not path.name.startswith(MODULES_LEFT_OUT):
            archive.program(path, f"usr/lib/{name}/{inside}")
