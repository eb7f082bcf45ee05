"""``claw replay``: a notebook on its recorded answers, each tool's result beside the recorded one."""

from __future__ import annotations

import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from claw_kernel.cli import UsageError
from claw_kernel.cli.arguments import Parser
from claw_kernel.cli.notebook_options import (
    EXIT_CODES,
    add_options,
    add_replay_options,
    check_reports,
    heed_signals,
    notebook_path,
    number,
    output_path,
    report_code,
    say,
    settings_of,
    write_reports,
)

if TYPE_CHECKING:
    from claw_kernel.headless.execution import Watch
    from claw_kernel.headless.replay import Replay
    from claw_kernel.headless.report import Report

_EPILOG = f"""\
The notebook runs in a fresh kernel: code cells as they stand, requests on the recorded answers. No model is called, no key is
needed. Tools run for real, in a temporary copy of the workspace, under today's settings, the policy file and the options; what was
approved when it was recorded counts for nothing. On a terminal you are asked what the policy asks; elsewhere that is refused.

{EXIT_CODES}

examples:
  claw replay analysis.ipynb --allow Python --allow 'Bash(pytest:*)'
  claw replay analysis.ipynb --policy ci.toml --report junit replay.xml
  claw replay analysis.ipynb --policy ci.toml --update        # the new results become the recorded ones"""


def run(arguments: list[str]) -> int:
    """Raises UsageError and ClawError."""
    parser = Parser("replay", "Run a notebook on its recorded answers and compare what the tools give.", _EPILOG)
    add_options(parser)
    add_replay_options(parser)
    parser.add_argument("--output", metavar="FILE", help="save the notebook as it ran here")
    parser.add_argument("--update", action="store_true", help="make the new results the recorded ones, in the notebook")
    parser.add_argument("--output-format", choices=("text", "json", "stream-json"), default="text")
    options = parser.read(arguments)
    heed_signals()
    from claw_kernel.cli.notebook_watch import open_watch

    watch = open_watch(options.output_format if options.output_format != "text" else "quiet")
    return replay(options, watch)


def replay(options: Namespace, watch: Watch) -> int:
    """Also of ``claw run --replay``. Raises UsageError and ClawError."""
    from claw_kernel.headless.document import save_notebook

    check_reports(options.report)
    path = notebook_path(options)
    output = output_path(Path(options.output), path) if options.output else None
    it = prepare(options, path, watch)
    report = it.execute()
    assert it.executed is not None
    if output is not None:
        save_notebook(it.executed, output)
        report = replace(report, saved=str(output))
    write_reports(report, options.report)
    _show(report, options.output_format)
    if getattr(options, "update", False):
        _update(it, report)
    return report_code(report)


def prepare(options: Namespace, path: Path, watch: Watch) -> Replay:
    """Raises UsageError and SettingsError."""
    from claw_kernel.cli.terminal_answers import terminal_answers
    from claw_kernel.headless.document import kernel_of, open_notebook
    from claw_kernel.headless.execution import Budget
    from claw_kernel.headless.replay import Replay

    turns = number(options.max_turns, "--max-turns", is_whole=True)
    seconds = number(options.timeout, "--timeout", is_whole=True)
    return Replay(
        path,
        settings_of(options, path),
        watch,
        options.kernel or kernel_of(open_notebook(path)),
        is_in_place=options.in_place,
        is_accepting_edits=options.accept_edited,
        is_signature_required=options.require_signed,
        cell_seconds=int(seconds) if seconds else None,
        budget=Budget(number(options.max_cost, "--max-cost"), int(turns) if turns else None),
        answers=terminal_answers(),
    )


def _show(report: Report, output_format: str) -> None:
    from claw_kernel.headless.report import json_document, text_lines, write_json

    if output_format == "json":
        sys.stdout.write(write_json(report))
    elif output_format == "stream-json":
        from claw_kernel.cli.notebook_watch import write_event

        write_event("run_finished", exit_code=report_code(report), report=json_document(report))
    else:
        print("\n".join(text_lines(report)), flush=True)


def _update(it: Replay, report: Report) -> None:
    """Raises UsageError where what was found cannot be taken over."""
    from claw_kernel.headless.update import update_notebook

    if report.end.name != "done" or report.outcome in ("refused", "missing"):
        raise UsageError("the notebook was not updated: only a replay that reached every call can be accepted.")
    cells = [cell.cell for cell in report.cells if cell.outcome == "drifted"]
    count = update_notebook(it, cells)
    also = f", and {len(cells)} code cell{'' if len(cells) == 1 else 's'} the new outputs" if cells else ""
    say(f"{it.path.name}: {count} turn{'' if count == 1 else 's'} now hold the new results{also}.")
