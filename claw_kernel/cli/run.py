"""``claw run``: a notebook from its first cell to its last, code and requests in order, without anybody in front of it."""

from __future__ import annotations

import json
import os
import tempfile
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claw_kernel.cli import DENIED, DONE, UsageError
from claw_kernel.cli.arguments import Parser
from claw_kernel.cli.notebook_options import (
    EXIT_CODES,
    add_options,
    add_replay_options,
    end_code,
    heed_signals,
    notebook_path,
    number,
    output_path,
    say,
    settings_of,
)

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from claw_kernel.headless.execution import Budget, RunEnd
    from claw_kernel.messages import TurnRecord

_EPILOG = f"""\
--live asks the model, in the workspace itself. --replay takes the answers from the notebook's record (claw replay: a copy of the
workspace, no key, each result compared). A notebook without records is run live; with records one of the two must be said.

The output is a valid notebook with all records, saved whenever a cell has ended. When a run was stopped (a signal, a limit, an
error), running it again with the same --output goes on: code cells run again, since the kernel is a new one; turns that are finished
stay and are not sent again, as far as the cells before them are what they were. --fresh begins anew. A file that is no notebook, the
notebook itself, and another notebook's session are never written over.

{EXIT_CODES}

examples:
  claw run report.ipynb --policy ci.toml --max-cost 0.50 --max-turns 30 --output out.ipynb
  claw run report.ipynb --replay --policy ci.toml --report junit replay.xml
  claw run report.ipynb --live --output-format stream-json --set-parameter year=2026"""


def run(arguments: list[str]) -> int:
    """Raises UsageError and ClawError."""
    options = _parser().read(arguments)
    heed_signals()
    from claw_kernel.cli.notebook_watch import open_watch

    if options.live and options.replay:
        raise UsageError("--live and --replay exclude each other.")
    path = notebook_path(options)
    has_records = _has_records(path)
    if options.replay or (has_records and not options.live):
        if not options.replay:
            raise UsageError(f"{path.name} holds recorded turns: say --replay or --live.")
        if options.model or options.set_parameter:
            raise UsageError("--model and --set-parameter need --live.")
        from claw_kernel.cli import replay

        return replay.replay(options, open_watch(options.output_format))
    if options.report:
        raise UsageError("--report compares with a record and needs --replay.")
    return _run_live(options, path)


def _parser() -> Parser:
    parser = Parser("run", "Run a notebook, code and requests in order, without anybody in front of it.", _EPILOG)
    add_options(parser)
    parser.add_argument("--live", action="store_true", help="ask the model, also where answers are recorded")
    parser.add_argument(
        "--replay", action="store_true", help="take the answers from the record and compare the results"
    )
    parser.add_argument("--model", metavar="PROVIDER/MODEL", help="where the notebook names none")
    parser.add_argument("--output", metavar="FILE", help="where the notebook goes (default: NAME.out.ipynb beside it)")
    parser.add_argument("--fresh", action="store_true", help="begin anew, also where the output holds finished turns")
    parser.add_argument(
        "--set-parameter",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="a variable, set behind the cell tagged parameters, or first; VALUE is JSON or a text",
    )
    parser.add_argument(
        "--output-format",
        choices=("text", "json", "stream-json"),
        default="text",
        help="text: the conversation; json: one object at the end; stream-json: one event per line",
    )
    add_replay_options(parser)
    return parser


def _has_records(path: Path) -> bool:
    from claw_kernel.session import read_notebook

    return bool(read_notebook(path)[0])


def _run_live(options: Namespace, path: Path) -> int:
    from claw_kernel.cli.notebook_watch import open_watch
    from claw_kernel.cli.terminal_answers import terminal_answers
    from claw_kernel.headless.document import (
        empty,
        kernel_of,
        open_notebook,
        save_notebook,
        set_parameters,
        store_turns,
    )
    from claw_kernel.headless.execution import Budget, NotebookRun, redactor
    from claw_kernel.headless.replay import kernel_environment, policy_document
    from claw_kernel.session.notebook import notebook_header
    from claw_kernel.settings import tightened_by

    notebook = open_notebook(path)
    settings = settings_of(options, path).with_options("--model", model=options.model)
    if permissions := (notebook_header(notebook) or {}).get("permissions"):
        settings = tightened_by(settings, permissions, "the notebook's header")
    turns = number(options.max_turns, "--max-turns", is_whole=True)
    seconds = number(options.timeout, "--timeout", is_whole=True)
    budget = Budget(number(options.max_cost, "--max-cost"), int(turns) if turns else None)
    output = output_path(Path(options.output) if options.output else path.with_name(f"{path.stem}.out.ipynb"), path)
    set_parameters(notebook, [_parameter(text) for text in options.set_parameter])
    finished = {} if options.fresh else _finished(notebook, output)
    empty(notebook)
    for index, cell in finished.items():
        notebook.cells[index] = cell
    if finished:
        say(
            f"going on with {output}: {len(finished)} finished turn{'s stay' if len(finished) > 1 else ' stays'} (--fresh: anew)."
        )

    def save() -> None:
        store_turns(notebook)
        save_notebook(notebook, output)

    with tempfile.TemporaryDirectory(prefix="claw-run-") as scratch:
        policy = Path(scratch) / "policy.json"
        policy.write_text(json.dumps(policy_document(settings, settings.cwd)), "utf-8")
        environment = kernel_environment(os.environ, policy)
        environment |= {"CLAW_MAX_COST": str(budget.max_cost_usd)} if budget.max_cost_usd else {}
        environment |= {"CLAW_MAX_TURNS": str(budget.max_turns)} if budget.max_turns else {}
        environment["CLAW_RERUN"] = "live"
        # The kernel recalls what the finished turns said from there; its tools leave that file alone.
        environment["JPY_SESSION_NAME"] = str(output.resolve())
        save()
        it = NotebookRun(
            notebook,
            Path(settings.cwd),
            environment,
            open_watch(options.output_format),
            options.kernel or kernel_of(notebook),
            int(seconds) if seconds else None,
            budget,
            finished=set(finished),
            save=save,
            answers=terminal_answers(),
            redact=redactor(settings.secrets()),
        )
        end = it.execute()
    save()
    return _conclude(options, notebook, end, budget, output)


def _finished(notebook: NotebookNode, output: Path) -> dict[int, NotebookNode]:
    """Cells of an earlier run that stopped on the way, whose turns are done, as far as no code cell or request before them is
    another one now; none where that run had reached its end."""
    from claw_kernel.errors import SessionError
    from claw_kernel.headless.document import kernel_of, open_notebook
    from claw_kernel.headless.execution import CLAW_KERNEL, has_run_to_its_end, last_record
    from claw_kernel.session.pieces import is_prompt

    try:
        earlier = open_notebook(output)
    except SessionError:
        return {}
    if has_run_to_its_end(earlier):
        return {}
    found: dict[int, NotebookNode] = {}
    is_claw_kernel = kernel_of(notebook) == CLAW_KERNEL
    for index, (cell, before) in enumerate(zip(notebook.cells, earlier.cells, strict=False)):
        if cell.cell_type != "code":
            continue
        if cell.source != before.source:
            break
        if is_prompt(cell.source, is_claw_kernel=is_claw_kernel):
            record = last_record(before)
            if record is None or record.stop_reason != "end_turn":
                break
            found[index] = before
    return found


def _parameter(text: str) -> tuple[str, Any]:
    """Raises UsageError."""
    name, mark, value = text.partition("=")
    if not mark or not name.isidentifier():
        raise UsageError(f"--set-parameter takes NAME=VALUE, not {text!r}.")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _conclude(options: Namespace, notebook: NotebookNode, end: RunEnd, budget: Budget, output: Path) -> int:
    """The exit code, and what is left to be said."""
    from claw_kernel.headless.execution import last_record

    records = [record for cell in notebook.cells if (record := last_record(cell)) is not None]
    denied = [line for record in records for line in _denied(record)]
    code = end_code(end) or (DENIED if denied else DONE)
    summary: dict[str, Any] = {
        "exit_code": code,
        "end": {"name": end.name, "message": end.message, "cell": end.cell},
        "output": str(output),
        "turns": len(records),
        "steps": sum(len(record.steps) for record in records),
        "cost_usd": budget.spent_usd if budget.turns else 0.0,
        "denied": denied,
    }
    if options.output_format == "json":
        print(json.dumps(summary, ensure_ascii=False), flush=True)
    elif options.output_format == "stream-json":
        from claw_kernel.cli.notebook_watch import write_event

        write_event("run_finished", **summary)
    else:
        from claw_kernel.cli.conversation import Conversation

        print(f"Saved: {output}\n{Conversation().summary(records)}", flush=True)
    for line in denied:
        say(f"denied: {line}")
    if end.name != "done":
        say(f"{end.message.rstrip('.')}; what is finished is in {output}, and running it again goes on.")
    return code


def _denied(record: TurnRecord) -> list[str]:
    """Calls that the policy did not allow, a line each."""
    titles = {
        result.call_id: str(result.details.get("title") or result.call_id)
        for step in record.steps
        for result in step.results
    }
    return [
        f"{titles.get(approval.call_id, approval.call_id)}: {approval.message or approval.reason}"
        for approval in record.approvals
        if approval.decision == "deny" or (approval.answer == "deny" and approval.answered_by == "policy")
    ]
