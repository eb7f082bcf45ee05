"""The report of a replay for machines, as their readers want it."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

from claw_kernel.headless.comparison import CallComparison, CellComparison, TurnComparison
from claw_kernel.headless.execution import RunEnd
from claw_kernel.headless.report import Report, text_lines, write_json, write_junit

ODD = 'a <b> & "c" \x1b[31m\x00\x0b\ud800 ]]> é'


def report() -> Report:
    calls = (
        CallComparison(1, 1, "c_1", "Bash", "$ ls", "same"),
        CallComparison(1, 2, "c_2", "Read", ODD, "drifted", ODD, f"-{ODD}\n+x"),
        CallComparison(2, 1, "c_3", "Write", "Write a", "refused", "no rule"),
    )
    turns = (
        TurnComparison(1, "t_1", ODD, 1, calls),
        TurnComparison(2, "t_2", "Second", None, (), problem="its cell was not run"),
    )
    cells = (CellComparison(0, "x = 1", "same"), CellComparison(2, ODD, "drifted", "stdout differs", ODD))
    return Report("n.ipynb", turns, cells, RunEnd("limit", "the limit is reached", 3), ("times",))


def test_junit_has_what_its_schema_requires_and_counts_right():
    """As in the schema of Jenkins' xUnit plugin (junit-10.xsd), the strictest of the usual readers."""
    root = ET.fromstring(write_junit(report()).encode())
    assert root.tag == "testsuites"
    assert set(root.attrib) <= {"name", "time", "tests", "failures", "errors"}
    for suite in root:
        assert suite.tag == "testsuite"
        assert {"name", "tests", "failures", "errors"} <= set(suite.attrib)
        assert [case.tag for case in suite] == ["testcase"] * int(suite.get("tests"))
        for case in suite:
            assert set(case.attrib) == {"name", "classname"}
            assert all(child.tag == "failure" and set(child.attrib) == {"type", "message"} for child in case)
        assert sum(len(case) for case in suite) == int(suite.get("failures"))
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("8", "5", "0")
    kinds = [failure.get("type") for failure in root.iter("failure")]
    assert kinds == ["drifted", "refused", "missing", "drifted", "limit"]


def test_the_other_forms_hold_the_same():
    document = json.loads(write_json(report()))
    assert (document["outcome"], document["is_same"], document["counts"]["drifted"]) == ("refused", False, 1)
    assert document["cell_counts"] == {"same": 1, "drifted": 1, "missing": 0, "refused": 0}
    lines = text_lines(report())
    assert not any(char in "".join(lines) for char in "\x1b\x00\x0b")
    # In the notebook's order: the second turn has no cell, the drifted cell stands behind the first turn.
    places = [
        next(n for n, line in enumerate(lines) if line.startswith(start)) for start in ("turn 2", "turn 1", "cell 3")
    ]
    assert places == sorted(places)
    assert "2 turns, 3 tool calls: 1 same, 1 drifted, 1 refused; 2 code cells: 1 same, 1 drifted" in lines
