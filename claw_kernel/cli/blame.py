"""``claw blame``: who wrote each cell of a notebook."""

from __future__ import annotations

import json
from dataclasses import asdict

from claw_kernel.cli import DONE
from claw_kernel.cli.arguments import Parser
from claw_kernel.question import printable


def run(arguments: list[str]) -> int:
    """Raises UsageError and SessionError."""
    from claw_kernel.messages import TurnRecord
    from claw_kernel.session import Session
    from claw_kernel.session.notebook import read_notebook
    from claw_kernel.session.notebook_file import NotebookFile
    from claw_kernel.session.provenance import blame

    parser = Parser(
        "blame",
        "Say for each cell who wrote it, the agent, a person or both, with turn, model and who approved it.",
        "It stands on the records of the session alone. The agent writes cells by recorded calls only, so a cell that none of them\n"
        "wrote is a person's; unknown is what the records cannot tell, and why. Records can be edited: claw session verify.",
    )
    parser.add_argument("notebook", metavar="NOTEBOOK")
    parser.add_argument(
        "--from", dest="others", metavar="NOTEBOOK", action="append", default=[],
        help="another notebook whose session may have edited this one; repeatable",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object for each cell")
    options = parser.read(arguments)

    def records_of(path: str) -> tuple[TurnRecord, ...]:
        session = Session()
        session.merge(*read_notebook(path))
        return (*session.turns, *session.others)

    document = NotebookFile(options.notebook).document
    others = [record for path in options.others for record in records_of(path)]
    found = blame(document, records_of(options.notebook), options.notebook, others)
    for origin in found:
        if options.json:
            print(json.dumps(asdict(origin), ensure_ascii=False))
            continue
        parts = [origin.how, origin.turn_id, origin.model, origin.approver and f"approved by {origin.approver}"]
        print(printable(f"{origin.cell:>3}  {origin.kind:<8}  {origin.author:<7}  {' · '.join(filter(None, parts))}"))
        print(printable(f"     {origin.title}"))
    return DONE
