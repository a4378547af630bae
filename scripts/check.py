"""Checks the rules of scripts/house.toml: arrows, sizes, words, headers, tests, documents.

    scripts/check.py [ROOT]     prints every violation as path:line: what, and exits 1
"""

import ast
import os
import pathlib
import re
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor

import cxx

CODE = (".cc", ".h", ".py", ".sh", ".cmake", ".toml")
TEXT = (*CODE, ".md", ".json", ".txt", ".yml", ".svg", "")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
TEST_PLACES = ("tests/", "bench/", "fuzz/", "examples/")
TEST_FILE = re.compile(r"_(test|contract|reference)\.(cc|h|py|inc)$|/test_\w+\.h$|^tests/")


class Tree:
    """The files of the project that are not ignored, each read once."""

    def __init__(self, root):
        self.root = pathlib.Path(root)
        listed = subprocess.run(["git", "-C", root, "ls-files", "-co", "--exclude-standard"],
                                capture_output=True, text=True)
        if listed.returncode == 0 and listed.stdout:
            paths = listed.stdout.splitlines()
        else:  # an unpacked archive
            paths = [str(path.relative_to(root)) for path in self.root.rglob("*")
                     if not {".git", "build", "__pycache__"} & set(path.relative_to(root).parts)]
        self.paths = sorted(path for path in paths if (self.root / path).is_file())
        with open(self.root / "scripts" / "house.toml", "rb") as file:
            self.house = tomllib.load(file)
        self._texts = {}

    def text(self, path):
        if path not in self._texts:
            self._texts[path] = (self.root / path).read_text(errors="replace")
        return self._texts[path]

    def sources(self, *suffixes, under=("src/", "include/")):
        return [path for path in self.paths if path.endswith(suffixes) and path.startswith(under)]

    def folder_of(self, path):
        """The folder of src/ whose arrows a source obeys; None where everything may be composed."""
        parts = path.split("/")
        if path.startswith("include/"):
            return self.house["public"].get(path.removeprefix("include/"))
        if parts[0] != "src" or len(parts) < 3 or TEST_FILE.search(path):
            return None
        return parts[1]


def check_arrows(tree):
    arrows, public = tree.house["arrows"], tree.house["public"]
    for path in tree.sources(".h", under="include/mete/"):
        if path.removeprefix("include/") not in public:
            yield f"{path}:1: say in scripts/house.toml which folder implements this header"
    for path in tree.sources(".cc", ".h"):
        folder = tree.folder_of(path)
        if path.startswith("src/") and path.count("/") > 1 and path.split("/")[1] not in arrows:
            yield f"{path}:1: this folder has no arrows in scripts/house.toml"
        for include in cxx.includes(tree.text(path)):
            where = f"{path}:{include.line}"
            if include.system or f"{path} {include.path}" in tree.house["exceptions"]:
                continue
            if path.startswith("include/") and not include.path.startswith("mete/"):
                yield f"{where}: a public header includes only std and mete/: \"{include.path}\""
                continue
            if "/" not in include.path and not include.path.endswith(".inc"):
                yield f"{where}: include by folder and name: \"{include.path}\""
                continue
            target = public.get(include.path, include.path.split("/")[0])
            if folder in arrows and target != folder and target not in arrows[folder]:
                yield (f"{where}: {folder} may not include \"{include.path}\"; it may include: "
                       f"{', '.join(arrows[folder]) or 'nothing'}")


def check_third_party(tree):
    third_party, prefixes = tree.house["third_party"], tuple(tree.house["system"]["prefixes"])
    for path in tree.sources(".cc", ".h", under=("src/", "include/", *TEST_PLACES)):
        place = path.split("/")[1] if path.startswith("src/") else path.split("/")[0]
        places = {place, "tests"} if TEST_FILE.search(path) else {place}
        for include in cxx.includes(tree.text(path)):
            if not include.system:
                continue
            where = f"{path}:{include.line}"
            owners = [folders for start, folders in third_party.items()
                      if include.path.startswith(start)]
            if owners:
                if not places & set(owners[0]):
                    yield (f"{where}: <{include.path}> is for {', '.join(owners[0])} only")
            elif "/" in include.path and not include.path.startswith(prefixes):
                yield f"{where}: name the folder of <{include.path}> in scripts/house.toml"


def check_pure(tree):
    for path in tree.sources(".cc", ".h"):
        banned = tree.house["pure"].get(tree.folder_of(path))
        for include in cxx.includes(tree.text(path)) if banned is not None else ():
            if include.system and (include.path in banned or include.path.endswith(".h")):
                yield f"{path}:{include.line}: {tree.folder_of(path)} does without <{include.path}>"


def check_sizes(tree):
    sizes = tree.house["sizes"]
    for path in tree.paths:
        if not (path.endswith(CODE) or path.startswith("scripts/")
                or os.path.basename(path) in ("CMakeLists.txt", "Makefile")):
            continue
        lines = tree.text(path).split("\n")
        limit = sizes["test_file"] if TEST_FILE.search(path) else sizes["file"]
        if len(lines) - 1 > limit:
            yield f"{path}:{limit + 1}: {len(lines) - 1} lines; at most {limit}"
        for number, line in enumerate(lines, 1):
            if len(line) > sizes["line"]:
                yield f"{path}:{number}: {len(line)} columns; at most {sizes['line']}"
        for line, length in function_lengths(path, tree.text(path)):
            if length > sizes["function"]:
                yield f"{path}:{line}: a function of {length} lines; at most {sizes['function']}"
    readme = tree.text("README.md").count("\n") if "README.md" in tree.paths else 0
    if readme > sizes["readme"]:
        yield f"README.md:{sizes['readme'] + 1}: {readme} lines; at most {sizes['readme']}"
    headers = len(tree.sources(".h", under="include/mete/"))
    if headers > sizes["public_headers"]:
        yield f"include/mete:1: {headers} public headers; at most {sizes['public_headers']}"


def function_lengths(path, text):
    if path.endswith((".cc", ".h")):
        return [(function.line, function.length) for function in cxx.functions(text)]
    if path.endswith(".py"):
        return [(node.lineno, node.end_lineno - node.lineno + 1)
                for node in ast.walk(ast.parse(text))
                if isinstance(node, FUNCTIONS)]
    return []


def check_words(tree):
    words = [(re.compile(pattern), why) for pattern, why in tree.house["words"].items()]
    for path in tree.paths:
        if path in tree.house["exempt"]["words"] or not path.endswith(TEXT) or path == "LICENSE":
            continue
        for number, line in enumerate(tree.text(path).split("\n"), 1):
            for pattern, why in words:
                if (match := pattern.search(line)):
                    yield f"{path}:{number}: \"{match[0]}\": {why}"


def check_names(tree):
    banned = re.compile("|".join(tree.house["names"]["banned"]))
    seeds = tree.house["names"]["seeds"]
    for path in tree.paths:
        stem = os.path.basename(path).split(".")[0]
        if not path.endswith((".cc", ".h", ".py")) or path in tree.house["exempt"]["words"]:
            continue
        if path.startswith("src/") and not re.fullmatch(r"[a-z0-9_]+\.(cc|h)", path.split("/")[-1]):
            yield f"{path}:1: file names are snake_case"
        if any(banned.fullmatch(part) for part in stem.split("_")):
            yield f"{path}:1: a drawer, not a name: \"{stem}\""
        if path.endswith(".py"):
            continue
        for number, line in enumerate(cxx.bare(tree.text(path)).split("\n"), 1):
            for match in banned.finditer(line):
                if match[0] not in seeds and match[0][0].isupper():
                    yield f"{path}:{number}: a drawer, not a name: \"{match[0]}\""


def check_headers(tree):
    """Every header compiles alone: it is the first include of a source, or is compiled here."""
    headers = [path for path in tree.sources(".h")]
    proven = set()
    for path in tree.sources(".cc", under=("src/", *TEST_PLACES)):
        first = next((i for i in cxx.includes(tree.text(path)) if not i.system), None)
        everything = cxx.includes(tree.text(path))
        if first and everything[0] == first:
            proven |= {f"src/{first.path}", f"include/{first.path}"}
    for path in headers:
        if not re.search(r"^#pragma once$", tree.text(path), re.MULTILINE):
            yield f"{path}:1: no #pragma once"
    for path in tree.sources(".cc", under="src/"):
        names = [path[:-3] + ".h"]
        public = f"mete/{os.path.basename(path)[:-3]}.h"
        if tree.house["public"].get(public) == tree.folder_of(path):
            names.insert(0, f"include/{public}")
        own = next((name.split("/", 1)[1] for name in names if name in tree.paths), None)
        listed = [include.path for include in cxx.includes(tree.text(path))]
        if own in listed and listed[0] != own:
            yield f"{path}:1: its own header comes first: \"{own}\""
    rest = [path for path in headers if path not in proven]
    with ThreadPoolExecutor(2) as pool:
        for path, complaint in zip(rest, pool.map(lambda path: compile_alone(tree, path), rest)):
            if complaint:
                yield f"{path}:1: does not compile alone: {complaint}"


def compile_alone(tree, path):
    done = subprocess.run(
        [os.environ.get("CXX", "c++"), "-std=c++23", "-fsyntax-only", "-x", "c++", "-I",
         str(tree.root / "include"), "-I", str(tree.root / "src"), "-"],
        input=f'#include "{path.split("/", 1)[1]}"\n', capture_output=True, text=True)
    if done.returncode == 0:
        return ""
    return next((line for line in done.stderr.splitlines() if "error" in line), "compiler failed")


def check_tested(tree):
    """Every source has a test program beside it, or the list says where it is tested."""
    untested = tree.house["tested_elsewhere"]
    for path in tree.sources(".cc", under="src/"):
        if TEST_FILE.search(path) or path == "src/main.cc":
            continue
        has_test = path[:-3] + "_test.cc" in tree.paths
        if not has_test and path not in untested:
            yield f"{path}:1: no {os.path.basename(path)[:-3]}_test.cc beside it"
        if has_test and path in untested:
            yield f"scripts/house.toml:1: {path} has a test now; take it off the list"
    for path, where in untested.items():
        if path not in tree.paths:
            yield f"scripts/house.toml:1: {path} is gone; take it off the list"
        for test in re.findall(r"[\w/.]+_test\.\w+", where):
            if test not in tree.paths:
                yield f"scripts/house.toml:1: {path} is said to be tested by {test}, which is gone"


def check_root(tree):
    allowed = set(tree.house["root"]["entries"])
    for entry in sorted({path.split("/")[0] for path in tree.paths} - allowed):
        yield f"{entry}:1: does not belong in the root folder"


def check_error_codes(tree):
    """docs/errors.md has a row for each code of mete/error.h, once."""
    if "docs/errors.md" not in tree.paths or "include/mete/error.h" not in tree.paths:
        return
    codes = re.findall(r"^\s*k\w+ = (\d+),", tree.text("include/mete/error.h"), re.MULTILINE)
    rows = re.findall(r"^\| E(\d+)", tree.text("docs/errors.md"), re.MULTILINE)
    for code in sorted(set(codes) | set(rows)):
        if codes.count(code) != 1 or rows.count(code) != 1:
            yield (f"docs/errors.md:1: E{code} stands {rows.count(code)} times in the table and "
                   f"{codes.count(code)} times in mete/error.h; once each is right")


def check_guarantees(tree):
    """Each row of docs/guarantees.md names files that exist and tests that stand in them."""
    path = "docs/guarantees.md"
    for number, line in enumerate(tree.text(path).split("\n") if path in tree.paths else (), 1):
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("| ") or len(cells) < 2 or cells[0] in ("promise", "---"):
            continue
        proofs = re.findall(r"`([\w./-]+\.(?:cc|h|py|toml))(?: ([\w.]+))?`", cells[-1])
        if not proofs:
            yield f"{path}:{number}: a promise without a proof"
        for file, test in proofs:
            if file not in tree.paths:
                yield f"{path}:{number}: {file} does not exist"
            elif test and not all(re.search(rf"\b{re.escape(part)}\b", tree.text(file))
                                  for part in test.split(".")):
                yield f"{path}:{number}: {file} has no {test}"


def named_tests(tree):
    """All names that can stand for a test: Suite, Suite.Case, a test program, a benchmark's row."""
    names = set()
    for path in tree.paths:
        if path.endswith((".cc", ".h", ".inc")) and TEST_FILE.search(path):
            macro = r"^\w*TEST(?:_\w)?\((\w+),\s*(\w+)\)"
            for suite, case in re.findall(macro, tree.text(path), re.MULTILINE):
                names |= {suite, f"{suite}.{case}"}
        elif path.endswith(".py") and TEST_FILE.search(path):
            for node in ast.walk(ast.parse(tree.text(path))):
                if isinstance(node, ast.ClassDef):
                    names |= {node.name, *(f"{node.name}.{part.name}" for part in node.body
                                           if isinstance(part, FUNCTIONS))}
        elif path.endswith("CMakeLists.txt"):
            names |= set(re.findall(r"\bmete_test\((\w+)", tree.text(path)))
        elif path == "bench/bars.toml":
            names |= {row["name"] for row in tomllib.loads(tree.text(path)).get("row", ())}
    return names


COVERAGE = "docs/seed-coverage.md"


def coverage_rows(tree):
    """The rows of docs/seed-coverage.md that are not open: line, and the tests they end with."""
    lines = tree.text(COVERAGE).split("\n") if COVERAGE in tree.paths else []
    for number, line in enumerate(lines, 1):
        shown = line.strip().strip("|").split("|")[-1].strip()
        is_header = lines[number:] and lines[number].startswith("| ---")
        if not line.startswith("| ") or is_header or shown == "---" or shown.startswith("open"):
            continue
        suite, proofs = "", []
        for token in re.findall(r"`(\.?\w[\w.]*)`", shown):
            proofs.append(suite + token if token.startswith(".") else token)
            suite = proofs[-1].split(".")[0]
        yield number, proofs


def check_coverage(tree):
    """Each row of docs/seed-coverage.md ends with tests or benchmarks that exist, or says open."""
    names = named_tests(tree) if COVERAGE in tree.paths else set()
    for number, proofs in coverage_rows(tree):
        where = f"{COVERAGE}:{number}"
        for name in proofs:
            if name not in names:
                yield f"{where}: there is no test or benchmark {name}"
        if not proofs:
            yield f"{where}: no test or benchmark shows this; if nothing does, say open"


CHECKS = (check_arrows, check_third_party, check_pure, check_sizes, check_words, check_names,
          check_headers, check_tested, check_root, check_error_codes, check_guarantees,
          check_coverage)


def violations(root):
    tree = Tree(root)
    return [line for check in CHECKS for line in check(tree)]


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else str(pathlib.Path(__file__).resolve().parent.parent)
    found = violations(root)
    print("\n".join(found) if found else f"{len(CHECKS)} checks, no violation")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
