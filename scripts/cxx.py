"""Reads C++ just well enough to measure it: comments, includes, function bodies."""

import re
from typing import NamedTuple

# Comments, raw strings, strings, characters. A quote after a digit or letter separates digits.
_TOKEN = re.compile(
    r"""//(?:[^\n\\]|\\.)*|/\*.*?\*/"""
    r"""|R"(?P<d>[^()\\\s]{0,16})\(.*?\)(?P=d)\""""
    r"""|"(?:[^"\\\n]|\\.)*"|(?<![0-9a-zA-Z_])'(?:[^'\\\n]|\\.)*'""",
    re.DOTALL)
_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)[>"]', re.MULTILINE)
_DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n\\]|\\.|\\\n)*", re.MULTILINE)


class Include(NamedTuple):
    line: int
    system: bool  # <...>
    path: str


class Function(NamedTuple):
    line: int
    length: int
    head: str


def _blank(text):
    return re.sub(r"[^\n]", " ", text)


def without_comments(text):
    """The text with comments blanked; lines and columns stay."""
    return _TOKEN.sub(lambda m: _blank(m[0]) if m[0].startswith(("//", "/*")) else m[0], text)


def bare(text):
    """The text with comments, string and character literals and directives blanked."""
    return _DIRECTIVE.sub(lambda m: _blank(m[0]), _TOKEN.sub(lambda m: _blank(m[0]), text))


def includes(text):
    text = without_comments(text)
    return [Include(text.count("\n", 0, m.start()) + 1, m[1] == "<", m[2])
            for m in _INCLUDE.finditer(text)]


def _without_template(head):
    """Drops leading `template <...>` and `requires` clauses' angle brackets."""
    while (match := re.match(r"\s*template\s*<", head)):
        depth, at = 1, match.end()
        while at < len(head) and depth:
            depth += {"<": 1, ">": -1}.get(head[at], 0)
            at += 1
        head = head[at:]
    return head.strip()


def _kind(head, outer):
    head = _without_template(head)
    if outer == "scope" and re.match(r"(inline\s+)?namespace\b|extern\s*$", head):
        return "scope"
    if re.match(r"(typedef\s+)?(class|struct|union)\b", head) and not re.search(r"\)\s*$", head):
        return "scope"
    if outer == "scope" and "(" in head and not head.endswith("="):
        return "function"
    return "other"


def functions(text):
    """Every function with a body; its length counts from its first line to its closing brace."""
    text = bare(text)
    found, stack, start = [], [], 0
    for match in re.finditer(r"[{};]", text):
        at, sign = match.start(), match[0]
        if sign == "{":
            head = text[start:at]
            kind = _kind(head, stack[-1][0] if stack else "scope")
            stack.append((kind, start + len(head) - len(head.lstrip()), head.strip()))
        elif sign == "}" and stack:
            kind, begin, head = stack.pop()
            if kind == "function":
                first = text.count("\n", 0, begin) + 1
                last = text.count("\n", 0, at) + 1
                found.append(Function(first, last - first + 1, " ".join(head.split())[:80]))
        start = at + 1
    return found
