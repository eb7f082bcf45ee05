"""The options that ``claw run`` and ``claw replay`` share, and what follows from them: settings, workspace, exit codes."""

from __future__ import annotations

import signal
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from claw_kernel.cli import (
    DENIED,
    DONE,
    DRIFTED,
    FAILED,
    INTERRUPTED,
    LIMITED,
    NOTEBOOK_FAILED,
    TERMINATED,
    UsageError,
)
from claw_kernel.cli.arguments import Parser

if TYPE_CHECKING:
    from claw_kernel.headless.execution import RunEnd
    from claw_kernel.headless.report import Report
    from claw_kernel.settings import Settings

EXIT_CODES = """\
exit codes:
  0    done (of a replay: everything the same)
  1    a model's provider failed, or a turn did
  2    a mistake on the command line, in the settings, the policy or the notebook file
  3    stopped by a limit
  4    a call was denied: the policy did not allow it and nobody could be asked
  5    drifted: a result is not the recorded one, or a recorded call was not reached
  6    the notebook failed: a cell raised an error or took too long, or the kernel died
  130  interrupted (SIGINT); 143 terminated (SIGTERM, SIGHUP): what is finished is saved
Where several are true, the run's own end (6, 1, 3) comes before 4, and 4 before 5."""


def add_options(parser: Parser) -> None:
    """Those about the notebook, its workspace and what may be done in it."""
    parser.add_argument("notebook", metavar="NOTEBOOK", help="an .ipynb file")
    parser.add_argument("--workspace", metavar="DIRECTORY", help="where it runs (default: the notebook's folder)")
    parser.add_argument("--policy", metavar="FILE", help="what it may do: a TOML file in the words of the settings")
    parser.add_argument(
        "--permission-mode", metavar="MODE", help="default, acceptEdits, plan, dontAsk, bypassPermissions"
    )
    for behavior in ("allow", "ask", "deny"):
        parser.add_argument(
            f"--{behavior}", metavar="RULE", action="append", default=[], help="a rule; may be repeated"
        )
    parser.add_argument("--max-cost", metavar="USD", help="for the whole notebook")
    parser.add_argument("--max-turns", metavar="N", help="model requests in the whole notebook")
    parser.add_argument("--kernel", metavar="NAME", help="the kernel (default: the one the notebook names)")
    parser.add_argument("--timeout", metavar="SECONDS", help="for each cell (default: no limit)")


def add_replay_options(parser: Parser) -> None:
    parser.add_argument("--in-place", action="store_true", help="run in the workspace itself, not in a copy of it")
    parser.add_argument("--accept-edited", action="store_true", help="run also calls that were edited in the record")
    parser.add_argument("--require-signed", action="store_true", help="every turn must be signed by a key you know")
    parser.add_argument(
        "--normalise", metavar="REGEX", action="append", default=[], help="look past what matches; may be repeated"
    )
    parser.add_argument(
        "--report",
        nargs=2,
        metavar=("FORMAT", "FILE"),
        action="append",
        default=[],
        help="write what was found as json or junit; may be repeated",
    )


def heed_signals() -> None:
    """SIGTERM and SIGHUP before the kernel begins: the command ends as with SIGINT, and nothing temporary stays."""

    def end(number: int, frame: object) -> None:  # noqa: ARG001
        say("terminated.")
        raise SystemExit(TERMINATED)

    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows lacks the second
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, end)


def notebook_path(options: Namespace) -> Path:
    """Raises UsageError."""
    path = Path(options.notebook)
    if not path.is_file():
        raise UsageError(f"there is no notebook {options.notebook!r}.")
    return path.resolve()


def output_path(output: Path, notebook: Path) -> Path:
    """``output``, where the notebook that ran may be put, said before anything runs: never in the place of ``notebook`` itself, of a
    file that is no notebook, or of another notebook's session. Raises UsageError."""
    from claw_kernel.errors import SessionError
    from claw_kernel.headless.document import holds_another_session, open_notebook

    said = f"--output {output}"
    if output.suffix != ".ipynb":
        raise UsageError(f"{said}: the output is a notebook; give a name that ends in .ipynb.")
    if not output.resolve().parent.is_dir():
        raise UsageError(f"{said}: there is no such directory.")
    if not output.exists():
        return output
    if not output.is_file():
        raise UsageError(f"{said} is not a file.")
    if output.samefile(notebook):
        raise UsageError(f"{said} is the notebook itself; name another file.")
    if output.stat().st_size:
        try:
            is_another = holds_another_session(open_notebook(output), open_notebook(notebook))
        except SessionError as error:
            raise UsageError(
                f"{said} is there and was kept: {error.message} Remove it, or name another file."
            ) from None
        if is_another:
            raise UsageError(
                f"{said} holds the session of another notebook, and was kept. Remove it, or name another file."
            )
    return output


def settings_of(options: Namespace, path: Path) -> Settings:
    """Today's settings for the workspace, with the policy file and the options on top. Raises SettingsError, UsageError."""
    import os

    from claw_kernel.settings import Behavior, Rule, load_settings

    workspace = Path(options.workspace) if options.workspace else path.parent
    if not workspace.is_dir():
        raise UsageError(f"--workspace {options.workspace} is not a directory.")
    env = dict(os.environ)
    if options.policy:
        if not Path(options.policy).is_file():
            raise UsageError(f"there is no policy {options.policy!r}.")
        env["CLAW_POLICY"] = str(Path(options.policy).resolve())
    settings = load_settings(str(workspace), env)
    settings = settings.with_options("--permission-mode", permission_mode=options.permission_mode)
    behaviors: tuple[Behavior, ...] = ("allow", "ask", "deny")
    rules = tuple(
        Rule(behavior, text, f"--{behavior}") for behavior in behaviors for text in getattr(options, behavior)
    )
    settings = settings.with_options("command line", rules=rules)
    check_rules(settings)
    if patterns := getattr(options, "normalise", []):
        from claw_kernel.session.normaliser import read_patterns

        read_patterns(patterns, "--normalise")
        settings = settings.with_options("--normalise", normalise=(*settings.normalise, *patterns))
    return settings


def check_rules(settings: Settings) -> None:
    """A rule that cannot be read is said before anything runs. Raises SettingsError."""
    import json
    import tempfile

    from claw_kernel._core import Core, RuleError
    from claw_kernel.errors import SettingsError

    with tempfile.TemporaryDirectory(prefix="claw-rules-") as state:
        try:
            core = Core(settings.cwd, state_dir=state, sandbox=json.dumps({"mode": "off"}))
            core.set_policy(settings.policy())
            core.close()
        except RuleError as error:
            raise SettingsError(str(error), "Mend or remove the rule.") from None


def number(text: str | None, option: str, *, is_whole: bool = False) -> float | None:
    """Raises UsageError."""
    if text is None:
        return None
    try:
        value = int(text) if is_whole else float(text)
    except ValueError:
        value = -1
    if not value > 0:
        raise UsageError(f"{option} takes a positive {'whole number' if is_whole else 'number'}, not {text!r}.")
    return value


def write_reports(report: Report, wanted: Sequence[tuple[str, str]]) -> None:
    """Raises UsageError where a file cannot be written."""
    from claw_kernel.headless.report import write_json, write_junit

    for kind, name in wanted:
        text = write_json(report) if kind == "json" else write_junit(report)
        try:
            Path(name).write_text(text, "utf-8")
        except OSError as error:
            raise UsageError(f"--report {kind} {name} cannot be written: {error.strerror}.") from None


def check_reports(wanted: Sequence[tuple[str, str]]) -> None:
    """Before anything runs. Raises UsageError."""
    for kind, name in wanted:
        if kind not in ("json", "junit"):
            raise UsageError(f"--report takes json or junit and a file, not {kind!r}.")
        if not Path(name).resolve().parent.is_dir():
            raise UsageError(f"--report {kind} {name}: there is no such directory.")
        if Path(name).is_dir() or Path(name).suffix == ".ipynb":
            raise UsageError(f"--report {kind} {name}: give the name of a file for the report.")


def end_code(end: RunEnd) -> int:
    match end.name:
        case "done":
            return DONE
        case "limit":
            return LIMITED
        case "provider":
            return FAILED
        case "notebook":
            return NOTEBOOK_FAILED
        case "interrupted":
            return INTERRUPTED
        case "terminated":
            return TERMINATED
        case _:
            assert_never(end.name)


def report_code(report: Report) -> int:
    """Of a replay."""
    if report.end.name != "done":
        return end_code(report.end)
    match report.outcome:
        case "same":
            return DONE
        case "refused":
            return DENIED
        case "drifted" | "missing":
            return DRIFTED
        case _:
            assert_never(report.outcome)


def say(text: str) -> None:
    """One line for the person, on stderr."""
    from claw_kernel.question import printable

    sys.stdout.flush()
    print("claw:", " ".join(printable(text).split()), file=sys.stderr, flush=True)
