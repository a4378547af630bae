"""Prints the cases of a unittest file as Class.test_name, one per line; for CMake."""

import importlib.util
import pathlib
import sys
import unittest


def cases_of(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from cases_of(item)
        else:
            yield item


def main():
    path = pathlib.Path(sys.argv[1])
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    prefix = path.stem + "."
    names = [case.id() for case in cases_of(unittest.defaultTestLoader.loadTestsFromModule(module))]
    broken = [name for name in names if not name.startswith(prefix)]
    if broken or not names:
        sys.exit(f"{path}: no test cases, or some that cannot be loaded: {broken}")
    print("\n".join(name.removeprefix(prefix) for name in names))


if __name__ == "__main__":
    main()
