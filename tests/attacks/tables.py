"""The attack classes, read from ``classes/*.toml``, and the table of them that ``docs/attacks.md`` shows.

A case is an attack and its benign twin: what looks alike and is what it seems. No attack may fare better than *ask*, no twin
worse than *allow*. ``make tables`` writes the table.

Kinds: ``lines`` (Bash), ``reads`` (Bash without any rule, where what only reads in the workspace needs none), ``repeats`` (a piece of a line, repeated), ``calls`` (of any tool), ``hosts`` (of sandboxed commands),
``refused_rules`` (rules that cannot be written), ``runs`` (executed in the sandbox: the attack must not print ESCAPED, the
twin must print FINE), ``tests`` (that live elsewhere, because they need a running session).
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
DOCUMENT = ROOT / "docs" / "attacks.md"
KINDS = ("lines", "reads", "repeats", "calls", "hosts", "refused_rules", "runs", "tests")


@dataclass(frozen=True)
class Case:
    """``twin`` is None where there is nothing benign to compare with. ``options``: the rest of the entry."""

    id: str
    kind: str
    attack: Any
    twin: Any
    options: dict[str, Any]


@dataclass(frozen=True)
class AttackClass:
    letter: str
    title: str
    rules: dict[str, list[str]]
    firm: list[str]
    cases: list[Case]


def read_classes() -> list[AttackClass]:
    return [_read(path) for path in sorted((Path(__file__).parent / "classes").glob("*.toml"))]


def _read(path: Path) -> AttackClass:
    table = tomllib.loads(path.read_text("utf-8"))
    rules = {"allow": table.get("rules", []), "ask": table.get("ask", []), "deny": table.get("deny", [])}
    return AttackClass(path.name[0], table["title"], rules, table.get("firm", []), list(_cases(table)))


def _cases(table: dict[str, Any]) -> Iterator[Case]:
    for kind in KINDS:
        for entry in table.get(kind, ()):
            if kind in ("lines", "reads"):
                name, attack, twin = entry
                yield Case(name, kind, attack, twin, {})
            else:
                rest = {key: value for key, value in entry.items() if key not in ("id", "attack", "twin")}
                yield Case(entry["id"], kind, entry["attack"], entry.get("twin"), rest)


def table_markdown() -> str:
    rows = [
        "| Class | What it tries | Cases | Attacks | Benign twins | Run in the sandbox |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    totals = [0, 0, 0]
    for known in read_classes():
        counts = [
            len(known.cases) + len(known.firm),
            sum(case.twin is not None for case in known.cases),
            sum(case.kind == "runs" for case in known.cases),
        ]
        totals = [total + count for total, count in zip(totals, counts, strict=True)]
        ids = sorted({case.id for case in known.cases}, key=lambda name: int(name[1:]))
        rows.append(f"| {known.letter} | {known.title} | {', '.join(ids)} | {counts[0]} | {counts[1]} | {counts[2]} |")
    rows.append(f"| | all | | {totals[0]} | {totals[1]} | {totals[2]} |")
    return "\n".join(rows)


def document() -> str:
    return f"""\
# Attack classes

Written by `make tables` from `tests/attacks/classes/`; a test compares. Each case is an attack and its
benign twin: no attack fares better than *ask*, no twin worse than *allow*. Those of the last column also run in the sandbox,
where the machine can confine processes: there the attack must be contained although nobody was asked (what it made must be gone
when it ends, where no system call refuses a name that is not there yet).

{table_markdown()}

`tests/attacks/test_everyday.py` holds the other side: everyday lines that are not asked, that are, and what rules for them cover.

What is not here: attacks on parts that this version does not have (hooks, sub-agents, skills, an MCP client).

Known and not stopped: a new protected place stands until its command has ended, and one that somebody else makes meanwhile is taken
back with it; a rule that denies reading hides nothing from a program that finds the file by itself (`sandbox.hidden` does); a granted
host is sent whatever the command could read; behind a proxy of the machine a granted name leads where that proxy looks it up.
"""


if __name__ == "__main__":
    DOCUMENT.write_text(document(), "utf-8")
