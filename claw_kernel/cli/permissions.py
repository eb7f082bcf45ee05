"""``claw permissions``: what the policy would say of a call, for a person (explain) and for a program (check --json)."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from claw_kernel.cli import DONE, UsageError, nearest
from claw_kernel.cli.arguments import Parser

if TYPE_CHECKING:
    from claw_kernel._core import Core, Prepared
    from claw_kernel.settings import Settings

_ARGUMENT = {"Bash": "command", "PowerShell": "command", "Python": "code", "REPL": "code", "WebSearch": "query"}
"""The argument that a bare text stands for; of the other tools it is ``file_path`` or ``pattern``."""
ELSEWHERE = ("Python", "Inspect", "AskUserQuestion", "SendUserMessage", "EnterPlanMode", "ExitPlanMode")
"""Tools that only a notebook's session has: here their calls are judged."""
_CONVERSATION = (*ELSEWHERE[2:], "Config", "StructuredOutput", "TodoWrite", "ToolSearch")
"""Tools that touch nothing outside the conversation."""
_CHECK = """\
Each line of stdin is a JSON object: {"tool": "Bash", "input": {"command": "ls"}} and, as needed, "cwd" and
"policy": {"mode": "default", "allow": [], "ask": [], "deny": []} (without it: your settings for that cwd).
Each line of stdout answers one: {"decision", "reason", "rule", "source", "suggested_rules", "effects"}, or
{"decision": "invalid", "reason"} for a call that no tool takes, or {"error"} for a line that cannot be read."""


def run(arguments: list[str]) -> int:
    """Raises UsageError and ClawError."""
    match arguments:
        case ["explain", *rest]:
            return _explain(rest)
        case ["check", *rest]:
            return _check(rest)
        case [] | ["-h" | "--help"]:
            print(
                "usage: claw permissions explain TEXT …\n       claw permissions check --json\n\n"
                "What the permission policy would say of a tool call; nothing is run.\n"
                '"claw permissions explain --help" and "claw permissions check --help" say more.'
            )
            return DONE
        case [name, *_]:
            raise UsageError(
                f"unknown command 'permissions {name}'{nearest(name, ['explain', 'check'])} See claw permissions --help."
            )
        case _:
            raise AssertionError(arguments)


def _explain(arguments: list[str]) -> int:
    parser = Parser("permissions explain", "Say what would happen to a call, why, and which rule would change it.")
    parser.add_argument(
        "text", metavar="TEXT", nargs="?", help="a command line; with --tool a path, a pattern, a host or code"
    )
    parser.add_argument(
        "--tool",
        default="Bash",
        metavar="NAME",
        help="Bash (default), Read, WebFetch …; Network: a sandboxed command's hosts",
    )
    parser.add_argument("--input", metavar="JSON", help="the whole call instead of TEXT, as the model sends it")
    parser.add_argument("--permission-mode", metavar="MODE")
    for behavior in ("allow", "ask", "deny"):
        parser.add_argument(f"--{behavior}", metavar="RULE", action="append", default=[])
    parser.add_argument("--cwd", metavar="DIRECTORY", help="the workspace (default: the current directory)")
    options = parser.read(arguments)
    from claw_kernel._core import canonical_tool_name
    from claw_kernel.settings import Rule, load_settings

    rules = tuple(Rule(b, r, f"--{b}") for b in ("allow", "ask", "deny") for r in getattr(options, b))
    settings = load_settings(options.cwd).with_options(
        "--permission-mode", permission_mode=options.permission_mode, rules=rules
    )
    if (options.text is None) == (options.input is None):
        raise UsageError("give either TEXT or --input. See claw permissions explain --help.")
    core = open_core(settings)
    try:
        if options.tool == "Network":
            print(_explain_network(core, options.text or ""))
        else:
            tool = canonical_tool_name(options.tool)
            if options.text is not None and tool == "Edit":
                tool = "Write"  # the same rules speak of both, and what an Edit would change is not known here
            given = _input_of(tool, options.text) if options.text is not None else _read_input(options.input)
            print(explain(core, tool, given, settings))
        for notice in settings.notices:
            print(f"  note: {notice}")
    finally:
        core.close()
    return DONE


def _read_input(text: str) -> dict[str, Any]:
    try:
        given = json.loads(text)
    except ValueError as error:
        raise UsageError(f"--input is not JSON: {error}.") from None
    if not isinstance(given, dict):
        raise UsageError('--input is a JSON object, for instance {"command": "ls"}.')
    return given


def _explain_network(core: Core, host: str) -> str:
    objection = core.network_objection(host)
    return f"{host}\n  {'allowed: a Network rule grants it to sandboxed commands.' if objection is None else f'denied: {objection}'}"


def explain(core: Core, tool: str, given: dict[str, Any], settings: Settings) -> str:
    """A few lines for a person. Raises UsageError where no tool takes the call."""
    from claw_kernel._core import ToolInputError

    try:
        prepared = prepare(core, tool, given, settings)
    except ToolInputError as error:
        raise UsageError(str(error)) from None
    verdict = {"allow": "allowed", "ask": "asked for", "deny": "denied"}[prepared.decision]
    lines = [f"{prepared.title}", f"  {verdict}: {prepared.reason}"]
    if prepared.rule:
        lines.append(f"  by the rule {prepared.rule} ({prepared.rule_source})")
    for effect in json.loads(prepared.effects):
        kind = effect["effect"].replace("_path", "s")
        lines.append(f"  {kind}: {' '.join(str(value) for key, value in effect.items() if key != 'effect')}")
    if prepared.decision == "ask":
        if prepared.suggested_rules:
            lines.append(f"  to allow it always: {' '.join(repr(rule) for rule in prepared.suggested_rules)}")
        else:
            lines.append("  no rule is offered for it: it is asked each time")
    return "\n".join(lines)


def _check(arguments: list[str]) -> int:
    parser = Parser("permissions check", "Judge one call per line; nothing is run.", _CHECK)
    parser.add_argument("--json", action="store_true", required=True, help="the only form there is")
    parser.read(arguments)
    for_each_line(judge)
    return DONE


def judge(request: dict[str, Any]) -> dict[str, Any]:
    """The answer to one line. Raises ClawError, RuleError, OSError, KeyError, TypeError for a line that makes no sense."""
    from claw_kernel._core import ToolInputError

    settings = settings_of(request)
    core = open_core(settings)
    try:
        prepared = prepare(core, request["tool"], request["input"], settings)
    except ToolInputError as error:
        return {"decision": "invalid", "reason": str(error)}
    finally:
        core.close()
    return decision_of(prepared)


def decision_of(prepared: Prepared) -> dict[str, Any]:
    """A verdict as JSON."""
    return {
        "decision": prepared.decision,
        "reason": prepared.reason,
        "rule": prepared.rule,
        "source": prepared.rule_source,
        "suggested_rules": prepared.suggested_rules,
        "effects": json.loads(prepared.effects),
    }


def prepare(core: Core, tool: str, arguments: dict[str, Any], settings: Settings) -> Prepared:
    """Also for tools of Python, which state their effects themselves. Raises ToolInputError."""
    from claw_kernel._core import canonical_tool_name

    name = canonical_tool_name(tool)
    if name in ("WebFetch", "WebSearch", "REPL", "LSP"):
        from claw_kernel.agent.outside import outside_tools
        from claw_kernel.tools.registry import made

        (found,) = (item for item in outside_tools(core, settings) if item.spec.name == name)
        effects: Any = made(found).intend(arguments).effects
    else:
        effects = _effects_of(name, arguments)
    prepared = core.prepare(tool, json.dumps(arguments), None if effects is None else json.dumps(effects))
    if name in ("Write", "Edit", "NotebookEdit", "PowerShell"):
        # Where nothing can come of a call as things are (a file that was not read before), a session asks nobody and lets the
        # call say so. Here it is the rules that are asked.
        prepared = core.prepare(tool, json.dumps(arguments), prepared.effects)
    return prepared


def _effects_of(tool: str, arguments: dict[str, Any]) -> list[dict[str, str]] | None:
    """What a tool of Python would declare; None for those the core runs itself."""
    if tool == "Python":
        from claw_kernel.tools.escapes import find_escapes
        from claw_kernel.tools.python import python_effects

        return list(python_effects(find_escapes(str(arguments.get("code", "")))))
    if tool == "Inspect":
        return [{"effect": "inspect", "name": str(name)} for name in arguments.get("names") or ["*"]]
    if tool.startswith("mcp__"):
        return [{"effect": "mcp", "tool": tool}]
    return [] if tool in _CONVERSATION else None


def settings_of(request: dict[str, Any]) -> Settings:
    """With a request's ``cwd`` and ``policy``."""
    from dataclasses import replace

    from claw_kernel.settings import Rule, load_settings

    settings = load_settings(request.get("cwd"))
    if (policy := request.get("policy")) is not None:
        # A slip here would leave a denial out.
        if unknown := sorted(set(policy) - {"mode", "allow", "ask", "deny"}):
            raise ValueError(f'a policy has "mode", "allow", "ask" and "deny", and no "{unknown[0]}"')
        for behavior in ("allow", "ask", "deny"):
            given = policy.get(behavior, [])
            if not isinstance(given, list) or not all(isinstance(rule, str) for rule in given):
                raise ValueError(f'"{behavior}" of a policy is a list of rules, each a text')
        rules = tuple(Rule(b, rule, "policy") for b in ("allow", "ask", "deny") for rule in policy.get(b, ()))
        settings = replace(settings, rules=rules).with_options("policy", permission_mode=policy.get("mode", "default"))
    return settings


def open_core(settings: Settings) -> Core:
    """Raises SettingsError for a rule that cannot be read or a workspace that is no directory."""
    from claw_kernel._core import Core, RuleError
    from claw_kernel.errors import SettingsError

    try:
        sandbox = json.dumps(settings.sandbox_options())
        core = Core(settings.cwd, state_dir=settings.state_dir, session_id="command-line", sandbox=sandbox)
        core.set_policy(settings.policy())
    except RuleError as error:
        raise SettingsError(str(error), "Mend or remove the rule.") from None
    except OSError as error:
        raise SettingsError(f"{settings.cwd} cannot be used as workspace: {error}.") from None
    for secret in settings.secrets():
        core.add_secret(secret)
    return core


def for_each_line(answer: Any) -> None:
    """``answer`` each JSON object of stdin with one on stdout; a line that makes no sense is answered with ``error``."""
    from claw_kernel._core import RuleError
    from claw_kernel.errors import ClawError

    for line in sys.stdin:
        if not line.strip():
            continue
        reply: dict[str, Any]
        try:
            request = json.loads(line)
            if not isinstance(request, dict) or not isinstance(request.get("input"), dict):
                raise TypeError('a line is an object with "tool" and "input"')
            reply = answer(request)
        except (ClawError, RuleError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            said = f"the field {error} is missing" if isinstance(error, KeyError) else str(error)
            reply = {"error": said}
        print(json.dumps(reply, ensure_ascii=False), flush=True)


def _input_of(tool: str, text: str) -> dict[str, Any]:
    match tool:
        case "Bash" | "PowerShell" | "Python" | "REPL" | "WebSearch":
            return {_ARGUMENT[tool]: text}
        case "Glob" | "Grep":
            return {"pattern": text}
        case "WebFetch":
            return {"url": text if "://" in text else f"https://{text}"}
        case _ if tool in ("Git", "LSP", "Sleep", "NotebookEdit", "BashOutput", "KillShell") or tool.startswith(
            "mcp__"
        ):
            raise UsageError(f"give the call of {tool} as JSON with --input.")
        case "Write":
            return {"file_path": text, "content": ""}
        case _:
            return {"file_path": text}
