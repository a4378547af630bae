"""docs/cli.md shows the help of every command as the program prints it.

    METE_PROGRAM=build/mete METE_SOURCE=. tests/cli_doc_test.py --write    brings it up to date
"""

import os
import pathlib
import re
import subprocess
import sys
import unittest

DOC = pathlib.Path(os.environ["METE_SOURCE"]) / "docs" / "cli.md"
BLOCK = re.compile(r"^```\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def help_of(*words):
    return subprocess.run([os.environ["METE_PROGRAM"], "help", *words], capture_output=True,
                          text=True, check=True).stdout


def all_help_texts():
    overview = help_of()
    names = re.findall(r"^  ([a-z-]+(?: [a-z]+)?)  ", overview, re.MULTILINE)
    return [overview] + [help_of(*name.split()) for name in names]


def write():
    texts = iter(all_help_texts())
    DOC.write_text(BLOCK.sub(lambda _: f"```\n{next(texts)}```", DOC.read_text()))


class CliDoc(unittest.TestCase):
    maxDiff = None

    def test_every_help_text_stands_in_the_document(self):
        texts = all_help_texts()
        self.assertGreater(len(texts), 5)
        self.assertEqual(BLOCK.findall(DOC.read_text()), texts)


if __name__ == "__main__":
    write() if "--write" in sys.argv else unittest.main()
