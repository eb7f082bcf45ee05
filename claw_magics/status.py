"""``%claw status``, ``cost``, ``tools`` and ``version``: what is in force, what it took so far, what there is."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from claw_magics.report import CommandOutput, Report, take_nothing

if TYPE_CHECKING:
    from claw_kernel.messages import ToolSpec, TurnRecord
    from claw_magics.host import Host


def show_status(host: Host, rest: str) -> CommandOutput:
    take_nothing("status", rest)
    agent, session, settings = host.agent, host.session, host.agent.settings
    records, front = session.records, host.frontend
    model = agent.model
    page = " with the extension" if front.has_extension else ""
    where = f", {front.path}" if front.path else ""
    rows = [
        ("Model", model or "none yet: the first turn looks for one"),
        ("Provider", _provider_text(model, settings.base_url)),
        ("Permissions", f"mode {agent.permission_mode}, {_count(len(agent.rules()), 'rule')}"),
        ("Session", f"{_count(len(records), 'turn')}, begun {time_text(session.created_at)}, {session.session_id}"),
        ("Tools", f"{len(agent.tools.all_specs)} (%claw tools lists them)"),
        ("Front end", " ".join(part for part in (front.ui, front.version) if part) + page + where),
        ("Approvals", _approvals_text(host)),
        ("Working directory", settings.cwd),
        ("Tokens", _tokens_text(records)),
        ("Cost", _total_cost_text(records)),
    ]
    report = Report()
    rows += [(f"Job {job['id']}", f"{job['status']}: {job['command']}") for job in json.loads(agent.gate.core.jobs())]
    report.table(("", ""), rows)
    for notice in settings.notices:
        report.line(notice)
    return report.output()


def _provider_text(model: str | None, base_url: str | None) -> str:
    name = (model or "").partition("/")[0]
    from claw_kernel.providers.known import KNOWN
    from claw_kernel.settings import without_login

    if base_url:
        return f"{name or 'local'} at {without_login(base_url)}"
    known = KNOWN.get(name)
    if name == "scripted":
        return "scripted: plays a written list of replies"
    return f"{name} at {known.base_url}" if known is not None else "none"


def _approvals_text(host: Host) -> str:
    from claw_magics import frontend
    from claw_magics.approvals import CellFacts, detect_ways
    from claw_magics.pump import can_pump

    facts = CellFacts(
        has_extension=host.frontend.has_extension,
        has_cells=frontend.has_cells(host.ip),
        allows_stdin=frontend.allows_stdin(host.ip),
        can_pump=can_pump(host.kernel),
    )
    setting = host.agent.settings.approvals
    ways = detect_ways(setting, facts)
    found = ", ".join(ways) if ways else "nobody can be asked here: what the policy would ask is denied"
    return f"{found} (approvals: {setting})"


def show_cost(host: Host, rest: str) -> CommandOutput:
    take_nothing("cost", rest)
    records = host.session.records
    report = Report()
    if not records:
        report.line("No turn yet.")
        return report.output()
    rows = [
        (
            str(number),
            record.model or "none",
            f"{record.usage.input_tokens:,}",
            f"{record.usage.cache_read_tokens:,}",
            f"{record.usage.cache_write_tokens:,}",
            f"{record.usage.output_tokens:,}",
            ("at least " if record.usage.is_least else "") + cost_text(spent(record)),
        )
        for number, record in enumerate(records, start=1)
    ]
    report.table(("Turn", "Model", "Input", "Cache read", "Cache write", "Output", "Cost"), rows)
    report.line(f"Total: {_tokens_text(records)}; cost {_total_cost_text(records)}.")
    return report.output()


def cost_text(cost_usd: float | None) -> str:
    """``$0.0123``, or ``unknown``: a price that is not known is not a price of nothing."""
    if cost_usd is None:
        return "unknown"
    return f"${cost_usd:.2f}" if cost_usd >= 1 or not cost_usd else f"${cost_usd:.4f}"


def spent(record: TurnRecord) -> float | None:
    """US dollars; None where the price is unknown. A turn that no model answered cost nothing."""
    return record.cost_usd if record.steps else 0.0


def time_text(at: str) -> str:
    """``2026-11-21 12:43 UTC`` of a time in ISO 8601."""
    return f"{at[:16].replace('T', ' ')} UTC"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _total_cost_text(records: Sequence[TurnRecord]) -> str:
    known = [cost for record in records if (cost := spent(record)) is not None]
    if not records or len(known) == len(records):
        least = "at least " if any(record.usage.is_least for record in records) else ""
        return least + cost_text(sum(known))
    if not known:
        return "unknown"
    count = len(records) - len(known)
    turns = "1 turn" if count == 1 else f"{count} turns"
    return f"unknown, at least {cost_text(sum(known))} ({turns} of unknown price)"


def _tokens_text(records: Sequence[TurnRecord]) -> str:
    from claw_kernel.messages import Usage

    usage = sum((record.usage for record in records), Usage())
    read = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens
    least = "at least " if usage.is_least else ""
    return f"{least}{read:,} in ({usage.cache_read_tokens:,} from cache), {usage.output_tokens:,} out"


def show_todos(host: Host, rest: str) -> CommandOutput:
    """The newest list of the conversation."""
    from claw_kernel.tools.todo_write import todos_of
    from claw_magics.exchange import todo_lines

    take_nothing("todos", rest)
    turn = host.current_turn
    records = (*host.session.records, *([turn.record] if turn is not None else []))
    todos = next((found for record in reversed(records) if (found := todos_of(record)) is not None), None)
    report = Report()
    for line in todo_lines(todos or ()):
        report.line(line)
    if not todos:
        report.line("There is no list of steps in this conversation.")
    return report.output()


def list_tools(host: Host, rest: str) -> CommandOutput:
    take_nothing("tools", rest)
    report = Report()
    tools = host.agent.tools
    sent = {spec.name for spec in tools.specs}
    rows = []
    for spec in tools.all_specs:
        touches, example = _touches(spec)
        rows.append((spec.name, touches, example, "with each request" if spec.name in sent else "once found or called"))
    report.table(("Tool", "Touches", "A rule for it", "Sent"), rows)
    return report.output()


def _touches(spec: ToolSpec) -> tuple[str, str]:
    """What its effects are to a person, and the rule to write."""
    from claw_kernel.tools.table import EFFECTS

    touches = ", ".join(EFFECTS[effect] for effect in spec.effects) or "nothing outside the conversation"
    if "run" in spec.effects and "namespace" not in spec.effects:
        return touches, f"{spec.name}(git status:*)"
    if "write_path" in spec.effects:
        return touches, "Edit(src/**)"
    if "read_path" in spec.effects:
        return touches, "Read(data/**)"
    return touches, f"{spec.name}(domain:example.org)" if spec.name == "WebFetch" else spec.name


def show_versions(host: Host, rest: str) -> CommandOutput:
    take_nothing("version", rest)
    import platform

    import IPython

    from claw_kernel import __version__, _core

    kernel = sys.modules.get("ipykernel") if host.kernel is not None else None
    report = Report()
    report.table(
        ("Part", "Version"),
        [
            ("claw-jupyter", __version__),
            ("core", _core.__version__),
            ("Python", platform.python_version()),
            ("IPython", IPython.__version__),
            ("ipykernel", kernel.__version__ if kernel is not None else "none"),
        ],
    )
    return report.output()
