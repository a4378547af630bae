"""What a guest said, as cases: from GoogleTest's lines, which guest/run_cases.py writes as well."""

import dataclasses
import re
import xml.etree.ElementTree

BRACKET = re.compile(r"^\[ +(RUN|OK|FAILED|SKIPPED) +\] ([^ ,]+)(?: \((\d+) ms\))?$")
STATUS = {"OK": "run", "FAILED": "fail", "SKIPPED": "notrun"}


@dataclasses.dataclass
class Case:
    name: str
    status: str  # as ctest says it: run, fail, notrun (skipped)
    seconds: float
    text: str


def cases_in(text):
    """The cases of all programs. What began and did not end has failed, and so has a program that
    ended badly without a failed case, or ran none."""
    cases, program, open_case, lines, before = [], "", "", [], 0

    def add(name, status, seconds=0.0):
        cases.append(Case(name, status, seconds, "\n".join(lines)))
        lines.clear()

    def close(why):
        nonlocal open_case
        if open_case:
            lines.append(why)
            add(open_case, "fail")
            open_case = ""

    for line in text.splitlines():
        bracket = BRACKET.match(line)
        if line.startswith("@begin "):
            program, before = line.split()[1], len(cases)
            lines.clear()
        elif line.startswith("@end "):
            status = line.split()[2]
            close(f"{program} ended with {status} before this case did")
            mine = cases[before:]
            if (status != "0" and not any(case.status == "fail" for case in mine)) or not mine:
                lines.append(f"{program} ended with {status} after {len(mine)} cases")
                add(program, "fail")
            program = ""
        elif bracket and bracket[1] == "RUN":
            close("another case began before this one ended")
            open_case = f"{program}.{bracket[2]}"
            lines.clear()
        elif bracket and open_case == f"{program}.{bracket[2]}":
            open_case = ""
            add(f"{program}.{bracket[2]}", STATUS[bracket[1]], int(bracket[3] or 0) / 1000)
        else:
            lines.append(line)
    close("the guest was over before this case was")
    if program:
        add(program, "fail")
    return cases


def write_account(path, cases):
    """The form of ctest's own account, which scripts/run_tests.py reads."""
    root = xml.etree.ElementTree.Element("testsuite", tests=str(len(cases)))
    for case in cases:
        element = xml.etree.ElementTree.SubElement(
            root, "testcase", name=case.name, time=f"{case.seconds:.3f}", status=case.status)
        if case.status == "notrun":
            xml.etree.ElementTree.SubElement(element, "skipped", message="SKIPPED in the guest")
        # XML has no form for most control characters.
        xml.etree.ElementTree.SubElement(element, "system-out").text = re.sub(
            r"[^\t\n\x20-\ud7ff\ue000-\ufffd]", "?", case.text)
    path.parent.mkdir(parents=True, exist_ok=True)
    xml.etree.ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
