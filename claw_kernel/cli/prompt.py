"""``claw prompt``: one turn of the engine without a notebook."""

from __future__ import annotations

import gc
import signal
import sys
from argparse import Namespace
from types import FrameType
from typing import TYPE_CHECKING, Self, assert_never

from claw_kernel.cli import DONE, FAILED, INTERRUPTED, LIMITED, TERMINATED, USAGE, UsageError
from claw_kernel.cli.arguments import Parser
from claw_kernel.limits import STOPPED_AT

if TYPE_CHECKING:
    from claw_kernel.agent import Agent
    from claw_kernel.cli.output import Output
    from claw_kernel.messages import TurnRecord
    from claw_kernel.settings import Behavior, Settings

_EPILOG = """\
exit codes:
  0    done
  1    the provider or the turn failed
  2    a mistake on the command line or in the settings
  3    stopped by --max-turns, --max-cost or the model's output limit
  130  interrupted (SIGINT); 143 terminated (SIGTERM)

stdout holds the answer or the events only; everything else goes to stderr. Where stdin and stderr are a terminal, what
the policy asks is asked there; elsewhere it is denied at once: allow it with --allow RULE or --permission-mode.

examples:
  claw prompt "what does this repository do?" --permission-mode plan
  claw prompt "fix the failing test" --permission-mode acceptEdits --allow 'Bash(pytest:*)' --max-cost 0.50
  claw prompt "which files hold data?" --schema files.schema.json
  git diff | claw prompt --output-format json"""


def run(arguments: list[str]) -> int:
    """Raises UsageError and ClawError."""
    gc.disable()  # hardly anything that a start makes is garbage, and looking for it is a tenth of the start
    try:
        options = _parser().read(arguments)
        text = _prompt_text(options.text)
        with _Signals() as signals:
            from claw_kernel.agent import Agent

            agent = Agent(_settings(options))
            try:
                return _run_turn(agent, text, options, signals)
            finally:
                agent.close()
    finally:
        gc.enable()


def _parser() -> Parser:
    parser = Parser("prompt", "Run one prompt without a notebook and print the answer.", _EPILOG)
    parser.add_argument("text", nargs="*", metavar="TEXT", help="the prompt; - or nothing: it is read from stdin")
    parser.add_argument(
        "--model", metavar="PROVIDER/MODEL", help="for instance anthropic/claude-sonnet-5, ollama/qwen3"
    )
    parser.add_argument("--effort", metavar="EFFORT", help="how much it thinks: none, low, medium, high or max")
    parser.add_argument("--base-url", metavar="URL", help="address of another server")
    parser.add_argument("--api", metavar="API", help="its wire format: anthropic, openai-chat or openai-responses")
    parser.add_argument(
        "--permission-mode", metavar="MODE", help="default, acceptEdits, plan, dontAsk, bypassPermissions"
    )
    parser.add_argument("--plan", action="store_true", help="the same as --permission-mode plan")
    for behavior in ("allow", "ask", "deny"):
        parser.add_argument(
            f"--{behavior}", metavar="RULE", action="append", default=[], help="a rule; may be repeated"
        )
    parser.add_argument("--max-turns", metavar="N", help="at most so many model requests")
    parser.add_argument("--max-cost", metavar="USD", help="no further request once so many US dollars are spent")
    parser.add_argument("--cwd", metavar="DIRECTORY", help="the workspace (default: the current directory)")
    parser.add_argument("--schema", metavar="FILE", help="a JSON schema; the result is a value that fits it, as JSON")
    parser.add_argument(
        "--output-format",
        choices=("text", "json", "stream-json"),
        default="text",
        help="text: the answer; json: one object; stream-json: one event per line, the record last",
    )
    return parser


def _prompt_text(words: list[str]) -> str:
    """Raises UsageError where there is no prompt."""
    if words and words != ["-"]:
        text = " ".join(words)
    elif not words and sys.stdin.isatty():
        raise UsageError('no prompt given; write: claw prompt "…", or pipe it in.')
    else:
        text = sys.stdin.buffer.read().decode("utf-8", "replace")
    if not text.strip():
        raise UsageError('the prompt is empty; write: claw prompt "…".')
    return text


def _settings(options: Namespace) -> Settings:
    """Raises SettingsError, which names the option, and UsageError."""
    import os

    from claw_kernel.settings import Rule, load_settings

    if options.cwd is not None and not os.path.isdir(options.cwd):  # noqa: PTH112 - pathlib costs start-up
        raise UsageError(f"--cwd {options.cwd} is not a directory.")
    settings = load_settings(options.cwd)
    for name, field in (
        ("model", "model"),
        ("base_url", "base_url"),
        ("api", "api"),
        ("effort", "effort"),
        ("permission_mode", "permission_mode"),
        ("max_turns", "max_turns"),
        ("max_cost", "max_cost_usd"),
    ):
        settings = settings.with_options("--" + name.replace("_", "-"), **{field: getattr(options, name)})
    if options.plan:
        settings = settings.with_options("--plan", permission_mode="plan")
    behaviors: tuple[Behavior, ...] = ("allow", "ask", "deny")
    rules = tuple(
        Rule(behavior, rule, f"--{behavior}") for behavior in behaviors for rule in getattr(options, behavior)
    )
    return settings.with_options("command line", rules=rules)


def _run_turn(agent: Agent, text: str, options: Namespace, signals: _Signals) -> int:
    """Raises SettingsError for a schema that is none."""
    from claw_kernel.cli.output import open_output
    from claw_kernel.cli.terminal import Terminal
    from claw_kernel.tools.structured_output import read_schema

    terminal = Terminal(agent.gate) if sys.stdin.isatty() and sys.stderr.isatty() else None
    schema = read_schema(options.schema, ".") if options.schema else None
    turn = agent.start(text, ways=("stdin",) if terminal else (), schema=schema)
    output = open_output(options.output_format, agent.gate.core.redact, turn)
    try:
        for batch in turn.batches_blocking():
            if batch and not gc.isenabled():
                gc.freeze()  # what is there now stays
                gc.enable()
            if signals.received is not None:
                turn.cancel()
            if batch:
                output.write(batch)
            if terminal is not None:
                terminal.take(batch)
    except BrokenPipeError:
        turn.cancel()  # nobody reads the answer any more
        raise
    return _exit_code(turn.record, output, signals)


def _exit_code(record: TurnRecord, output: Output, signals: _Signals) -> int:
    """The code for how the turn ended, and one line on stderr where that was not an answer."""
    reason = record.stop_reason
    match reason:
        case "end_turn":
            return DONE
        case "max_tokens":
            output.say("stopped: the model's answer reached its output limit.")
            return LIMITED
        case "max_turns":
            output.say(f"stopped after {len(record.steps)} model requests (--max-turns).")
            return LIMITED
        case "max_cost":
            output.say("stopped: the cost limit is reached (--max-cost).")
            return LIMITED
        case (
            "max_seconds"
            | "max_turn_tokens"
            | "max_session_cost"
            | "max_session_seconds"
            | "max_session_tokens"
            | "max_session_turns"
            | "max_notebook_cost"
            | "max_notebook_seconds"
            | "max_notebook_tokens"
            | "max_notebook_turns"
        ):
            output.say(f"stopped: {STOPPED_AT[reason]} was reached.")
            return LIMITED
        case "loop":
            output.say("stopped: the model went round in circles, also after it was told so.")
            return LIMITED
        case "interrupted":
            output.say("interrupted.")
            return TERMINATED if signals.received == signal.SIGTERM else INTERRUPTED
        case "refusal":
            output.say("the model refused to answer.")
            return FAILED
        case "error" | "incomplete" | None:
            error = record.error
            output.say(f"{error.message} {error.remedy}".strip() if error else "the turn ended without an answer.")
            return USAGE if error is not None and error.kind == "settings" else FAILED
        case _:
            assert_never(reason)


class _Signals:
    """While open, SIGINT and SIGTERM are only noted, for the turn to be cancelled; the second one of its kind acts as usual."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def __enter__(self) -> Self:
        for number in self._before:
            signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.received = number
        signal.signal(number, self._before[signal.Signals(number)])
