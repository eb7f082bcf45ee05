"""``claw tools``: list the tools, and run calls from a program, each through the whole gate."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from claw_kernel.cli import DONE, UsageError, nearest
from claw_kernel.cli.arguments import Parser
from claw_kernel.cli.permissions import ELSEWHERE, decision_of, for_each_line, open_core, prepare, settings_of

if TYPE_CHECKING:
    from claw_kernel._core import Core
    from claw_kernel.settings import Settings
    from claw_kernel.tools import DeferredTool, PythonTool, ToolSet

_RUN = """\
Each line of stdin is a JSON object as for "claw permissions check --json": {"tool", "input"} and, as needed, "cwd",
"policy", and "answer": "allow_once" for a call that the policy would ask for. Calls with the same cwd and policy share
one session, so that an Edit may follow its Read. With "schema", a JSON schema, there is StructuredOutput, as in a turn whose
caller gives one. What asks a person or needs a notebook (AskUserQuestion, Python, plan mode …) is judged here and not run.
Each line of stdout answers one: the decision's fields, "ran", and, where it ran, "status", "content" and "details"; "why_not"
where it was allowed and could not run here."""


def run(arguments: list[str]) -> int:
    """Raises UsageError and ClawError."""
    match arguments:
        case ["run", *rest]:
            parser = Parser("tools run", "Run one tool call per line, through policy, workspace and audit.", _RUN)
            parser.add_argument("--json", action="store_true", required=True, help="the only form there is")
            parser.read(rest)
            session = _Session()
            try:
                for_each_line(session.run)
            finally:
                session.close()
            return DONE
        case ["list", *rest]:
            parser = Parser("tools list", "Every tool: names, schema, effects, limits, and its size in a request.")
            parser.add_argument("--markdown", action="store_true", help="as the table of docs/tools.md (default: JSON)")
            return _list(is_markdown=parser.read(rest).markdown)
        case [] | ["-h" | "--help"]:
            print(
                "usage: claw tools list [--markdown]\n       claw tools run --json\n\n"
                "The tools, for people and for programs that use or test them."
            )
            return DONE
        case [name, *_]:
            raise UsageError(f"unknown command 'tools {name}'{nearest(name, ['run', 'list'])} See claw tools --help.")
        case _:
            raise AssertionError(arguments)


def _list(*, is_markdown: bool) -> int:
    from claw_kernel.tools.table import all_specs, describe, tools_markdown

    if is_markdown:
        print(tools_markdown(), end="")
    else:
        print(json.dumps([describe(spec) for spec in all_specs()], indent=2, ensure_ascii=False))
    return DONE


class _Configured:
    """The settings of one session of calls."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def describe(self) -> list[tuple[str, str, str]]:
        from claw_kernel.settings import describe_settings

        return describe_settings(self._settings)

    def limit(self, setting: str) -> float | None:
        value: float | None = getattr(self._settings, setting)
        return value

    def lower(self, setting: str, value: float) -> None:
        self._settings = self._settings.with_options("Config", **{setting: value})


class _Session:
    """Calls with the same folder and policy share a core and its tools."""

    def __init__(self) -> None:
        self._cores: dict[str, tuple[Core, Settings, ToolSet]] = {}
        self._loop = asyncio.new_event_loop()

    def run(self, request: dict[str, Any]) -> dict[str, Any]:
        from claw_kernel._core import CancelToken, ToolInputError, ToolOutput, canonical_tool_name
        from claw_kernel.messages import ToolCall

        core, settings, tools = self._tools_of(request)
        name, given = request["tool"], request["input"]
        own_name = canonical_tool_name(name)
        try:
            if own_name == "StructuredOutput" and request.get("schema") is None:
                raise ToolInputError('StructuredOutput is there only where the line gives a JSON schema, as "schema".')
            if own_name in ELSEWHERE or name.startswith("mcp__"):
                ready, prepared = None, prepare(core, name, given, settings)
            else:
                ready = tools.prepare(ToolCall("c", name, given))
                prepared = ready.prepared
        except ToolInputError as error:
            return {"decision": "invalid", "reason": str(error), "ran": False}
        answer = request.get("answer", "")
        reply = decision_of(prepared)
        is_allowed = prepared.decision == "allow" or (prepared.decision == "ask" and answer == "allow_once")
        if not is_allowed or ready is None:
            refused = ToolOutput(json.dumps([{"type": "text", "text": f"Denied: {prepared.reason}"}]), "error")
            core.finish(prepared, refused, "command-line:deny")
            why_not = {"why_not": f"{own_name} runs only in a notebook's session."} if is_allowed else {}
            return {**reply, "ran": False, **why_not}
        ran = self._loop.run_until_complete(tools.run(ready, CancelToken(), lambda _text, _bundle: None))
        output = core.finish(prepared, ran, f"command-line:{answer}" if answer else "")
        details = json.loads(output.details)
        return {
            **reply,
            "ran": True,
            "status": output.status,
            "content": json.loads(output.content),
            "details": details,
        }

    def _tools_of(self, request: dict[str, Any]) -> tuple[Core, Settings, ToolSet]:
        from claw_kernel.agent.outside import outside_tools
        from claw_kernel.tools import DeferredTool, ToolSet
        from claw_kernel.tools.config import Config
        from claw_kernel.tools.structured_output import StructuredOutput
        from claw_kernel.tools.todo_write import TodoWrite

        schema = request.get("schema")
        key = json.dumps([request.get("cwd"), request.get("policy"), schema])
        if key not in self._cores:
            settings = settings_of(request)
            own: list[PythonTool | DeferredTool] = [
                TodoWrite(),
                DeferredTool("Config", lambda: Config(_Configured(settings))),
            ]
            if schema is not None:
                own.append(StructuredOutput(schema))
            core = open_core(settings)
            self._cores[key] = core, settings, ToolSet(core, (*own, *outside_tools(core, settings)))
        return self._cores[key]

    def close(self) -> None:
        for core, _, tools in self._cores.values():
            tools.close()
            core.close()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()
