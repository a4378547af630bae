"""Prints the cases of a unittest file as Class.test_name, one per line; for CMake.

    scripts/list_cases.py [--text] FILE

--text: reads the text only, since the file imports what is not built yet. Cases that a class
inherits are not seen then.
"""

import ast
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


def cases_in_text(text):
    for item in ast.parse(text).body:
        for method in item.body if isinstance(item, ast.ClassDef) else ():
            if isinstance(method, (ast.FunctionDef, ast.AsyncFunctionDef)) \
                    and method.name.startswith("test"):
                yield f"{item.name}.{method.name}"


def main():
    path = pathlib.Path(sys.argv[-1])
    if "--text" in sys.argv[1:]:
        names = list(cases_in_text(path.read_text()))
        if not names:
            sys.exit(f"{path}: no test cases")
        print("\n".join(names))
        return
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
