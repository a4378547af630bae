"""scripts/check.py: each violation, planted in a clean little tree, is found; the tree is clean."""

import pathlib
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import check  # noqa: E402  (found through the line above)
import cxx  # noqa: E402

OWN = "#include \"base/check.h\"\n"
RULES = (ROOT / "scripts" / "house.toml").read_text().split("[tested_elsewhere]")[0]
CLEAN = {
    "scripts/house.toml": RULES + """[tested_elsewhere]
"src/base/plain.cc" = "src/base/check_test.cc"
[exempt]
words = ["scripts/house.toml"]
""",
    "include/mete/error.h": "#pragma once\nenum class E {\n  kNotFound = 2070,\n};\n",
    "src/base/check.h": "#pragma once\n#include \"mete/error.h\"\nint Check();\n",
    "src/base/check.cc": "#include \"base/check.h\"\nint Check() { return 1; }\n",
    "src/base/check_test.cc": "#include \"mete/error.h\"\n#include <gtest/gtest.h>\n"
                              "// Suite.Case\n",
    "src/budget/node_test.cc": "#include \"budget/node.h\"\n",
    "src/base/plain.cc": "int g_plain = 1;\n",
    "src/budget/node.h": "#pragma once\n#include <atomic>\n#include \"base/check.h\"\n",
    "src/wire/codec.cc": "#include <simdjson.h>\n#include <unistd.h>\nint Codec() { return 1; }\n",
    "src/wire/codec_test.cc": "#include \"cli/run.h\"\n",
    "src/cli/run.h": "#pragma once\n#include \"base/check.h\"\n",
    "README.md": "mete\n",
    "docs/errors.md": "| code | meaning |\n| --- | --- |\n| E2070 | not found |\n",
    "docs/guarantees.md": "| promise | proof |\n| --- | --- |\n"
                          "| it checks | `src/base/check_test.cc Suite.Case` |\n",
}


def violations(changes):
    """What the checks say of the clean tree with these files changed; None removes one."""
    with tempfile.TemporaryDirectory() as folder:
        for path, text in {**CLEAN, **changes}.items():
            if text is not None:
                file = pathlib.Path(folder, path)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
        return check.violations(folder)


class CheckTest(unittest.TestCase):
    def assert_found(self, changes, *expected):
        found = violations(changes)
        self.assertEqual(len(found), len(expected), found)
        for words in expected:
            self.assertTrue(any(words in line for line in found), (words, found))

    def test_the_clean_tree_is_clean(self):
        self.assertEqual(violations({}), [])

    def test_arrows(self):
        self.assert_found({"src/base/check.cc": OWN + "#include \"cli/run.h\"\n"},
                          "src/base/check.cc:2: base may not include \"cli/run.h\"")
        self.assert_found({"src/base/check.h": "#pragma once\n#include \"mete/quota.h\"\n",
                           "include/mete/quota.h": "#pragma once\n"},
                          "base may not include \"mete/quota.h\"")
        self.assert_found({"src/cli/run.h": "#pragma once\n#include \"../base/check.h\"\n",
                           "src/wire/codec_test.cc": "\n"},
                          "cli may not include")
        self.assert_found({"src/novel/a.h": "#pragma once\n"}, "no arrows")

    def test_arrows_see_through_comments_but_not_through_strings(self):
        text = OWN + "// #include \"cli/run.h\"\n/*\n#include \"cli/run.h\"\n*/\n"
        self.assert_found({"src/base/check.cc": text})
        text += "const char* g = \"//\";\n#include \"cli/run.h\"\n"
        self.assert_found({"src/base/check.cc": text}, "src/base/check.cc:7")

    def test_public_headers(self):
        self.assert_found({"include/mete/error.h": "#pragma once\n#include \"base/check.h\"\n"
                                                   "enum class E {\n  kNotFound = 2070,\n};\n"},
                          "only std and mete/")
        self.assert_found({"include/mete/novel.h": "#pragma once\n"}, "which folder implements")

    def test_third_party(self):
        self.assert_found({"src/base/plain.cc": "#include <fmt/core.h>\n"}, "<fmt/core.h> is for")
        self.assert_found({"src/base/plain.cc": "#include <gtest/gtest.h>\n"}, "is for tests only")
        self.assert_found({"src/base/plain.cc": "#include <novel/x.hpp>\n"}, "name the folder")
        self.assert_found({"src/wire/codec.cc": "#include <boost/beast.hpp>\n"})

    def test_pure_folders(self):
        self.assert_found({"src/budget/node.h": "#pragma once\n#include <thread>\n"},
                          "does without <thread>")
        self.assert_found({"src/budget/node.h": "#pragma once\n#include <unistd.h>\n"},
                          "does without <unistd.h>")
        self.assert_found({"include/mete/budget.h": "#pragma once\n#include <chrono>\n"},
                          "budget does without <chrono>")

    def test_sizes(self):
        long = "int Long() {\n" + "  ++g;\n" * 68 + "}\n"
        self.assert_found({"src/base/plain.cc": "int g;\n" + long})
        self.assert_found({"src/base/plain.cc": "int g;\n" + long.replace("}", "  ++g;\n}")},
                          "src/base/plain.cc:2: a function of 71 lines")
        self.assert_found({"src/base/plain.cc": "//\n" * 600})
        self.assert_found({"src/base/plain.cc": "//\n" * 601}, "601 lines; at most 600")
        self.assert_found({"src/base/check_test.cc": "// Suite.Case\n" * 800})
        self.assert_found({"src/base/check_test.cc": "// Suite.Case\n" * 801}, "at most 800")
        self.assert_found({"src/base/plain.cc": "//" + "é" * 98})
        self.assert_found({"src/base/plain.cc": "//" + "é" * 99}, "101 columns")
        self.assert_found({"README.md": "a\n" * 151}, "README.md:151")
        self.assert_found({"scripts/a.py": "def f():\n" + "    g()\n" * 70}, "of 71 lines")
        novel = {f"include/mete/h{i}.h": "#pragma once\n" for i in range(24)}
        self.assertIn("25 public headers", "\n".join(violations(novel)))

    def test_words(self):
        for words in ("// TODO: x", "// XXX", "it works for now", "a placeholder", "Phase 2",
                      "step 3 of it", "not yet implemented", "see /work/main/x", "/root/x"):
            self.assert_found({"src/base/plain.cc": f"// {words}\n"}, "src/base/plain.cc:1: \"")
            self.assert_found({"docs/more.md": f"{words}\n"}, "docs/more.md:1: \"")
        for words in ("XXXXXX", "keep their phase", "in one step", "framework/x", "$HOME/work/x"):
            self.assert_found({"src/base/plain.cc": f"// {words}\n"})

    def test_names(self):
        self.assert_found({"src/base/string_utils.h": "#pragma once\n"}, "\"string_utils\"")
        self.assert_found({"src/base/common.h": "#pragma once\n"}, "\"common\"")
        self.assert_found({"src/base/CamelCase.h": "#pragma once\n"}, "snake_case")
        self.assert_found({"src/base/plain.cc": "class PathHelper;\n"}, "\"PathHelper\"")
        self.assert_found({"src/base/plain.cc": "class PoolManager;\n"}, "\"PoolManager\"")
        self.assert_found({"src/base/plain.cc": "class ResourceManager;  // a Helper\n"})

    def test_headers(self):
        self.assert_found({"src/cli/run.h": "int Run();\n"}, "no #pragma once")
        self.assert_found({"src/cli/run.h": "#pragma once\nstd::string Run();\n",
                           "src/wire/codec_test.cc": "#include <string>\n#include \"cli/run.h\"\n"},
                          "does not compile alone")
        self.assert_found({"src/base/check.cc": "#include \"mete/error.h\"\n" + OWN},
                          "its own header comes first")

    def test_tested(self):
        self.assert_found({"src/base/check_test.cc": None, "docs/guarantees.md": None},
                          "no check_test.cc beside it", "said to be tested by")
        self.assert_found({"src/base/plain_test.cc": ""}, "take it off the list")
        self.assert_found({"src/base/plain.cc": None}, "is gone")

    def test_root(self):
        self.assert_found({"notes.txt": ""}, "notes.txt:1: does not belong")

    def test_error_codes(self):
        self.assert_found({"docs/errors.md": "| E2070 |\n| E2070 |\n"}, "E2070 stands 2 times")
        self.assert_found({"docs/errors.md": "| E2070 |\n| E2071 |\n"}, "E2071 stands 1 times")
        self.assert_found({"docs/errors.md": "\n"}, "E2070 stands 0 times")

    def test_guarantees(self):
        self.assert_found({"docs/guarantees.md": "| it | nothing |\n"}, "without a proof")
        self.assert_found({"docs/guarantees.md": "| it | `src/a.cc` |\n"}, "does not exist")
        self.assert_found({"docs/guarantees.md": "| it | `src/base/check_test.cc Suite.Other` |\n"},
                          "has no Suite.Other")

    def test_coverage_of_seeds(self):
        head = "| asked | shown by |\n| --- | --- |\n"
        doc = "docs/seed-coverage.md"
        tests = {"src/base/check_test.cc": OWN + "TEST(Suite, Case) {}\nTEST_F(Suite, More) {}\n",
                 "docs/guarantees.md": None, "src/base/CMakeLists.txt": "mete_test(base_test)\n",
                 "bench/bars.toml": "[[row]]\nname = \"speed\"\n"}
        good = "| it | `Suite.Case`, `.More`, `Suite`, `base_test`, row `speed` |\n| b | open |\n"
        self.assertEqual(violations({**tests, doc: head + good}), [])
        self.assert_found({**tests, doc: head + "| it | `Suite.Case`, `.Other` |\n"},
                          "seed-coverage.md:3: there is no test or benchmark Suite.Other")
        self.assert_found({**tests, doc: head + "| it | `slow` |\n"}, "benchmark slow")
        self.assert_found({**tests, doc: head + "| it | trust us |\n"}, "no test or benchmark")


class FunctionsTest(unittest.TestCase):
    def test_measures_functions_and_nothing_else(self):
        text = """
namespace a {
struct S : B<(1)> {
  S() : x_{1}, y_(2) {
  }
  int x_{0};
  enum class E { kOne };
};
template <class T, class = std::enable_if_t<true>>
int F(T t) {
  if (t) {
    return '{';
  }
  auto s = R"x(}}})x";  // }
  return 1'000;
}
constexpr int kTable[] = {1, 2};
}  // namespace a
"""
        found = [(f.line, f.length) for f in cxx.functions(text) if f.length > 1]
        self.assertEqual(found, [(4, 2), (9, 8)])


if __name__ == "__main__":
    unittest.main()
