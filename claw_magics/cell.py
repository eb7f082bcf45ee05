"""One ``%%claw`` cell from its text to a reader of its turn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from claw_kernel.limits import STOPPED_AT
from claw_kernel.messages import TextBlock, TurnRecord, answer_text
from claw_kernel.tools.structured_output import read_schema
from claw_magics import frontend
from claw_magics.approvals import Approvals, CellFacts, Way, detect_ways
from claw_magics.drawn import DrawnTurn
from claw_magics.errors import CellError, ClawUsageError, TurnFailed, TurnInterrupted, TurnStopped
from claw_magics.history import branch_notices
from claw_magics.options import USAGE, CellOptions, cell_help, is_help, parse_options
from claw_magics.prompt import expand_prompt, read_policy
from claw_magics.pump import can_pump, comms_open
from claw_magics.reader import Reader
from claw_magics.recovery import journal_of, lost_notices
from claw_magics.rerun import show_recorded
from claw_magics.screen import CellScreen, ConsoleScreen, Screen
from claw_magics.stdin import KernelPrompt, Prompt, TerminalPrompt
from claw_magics.view import TurnView

if TYPE_CHECKING:
    from claw_kernel.agent import Agent, Turn
    from claw_magics.host import Host


def show_help(host: Host, line: str) -> bool:
    """Show the options where the first line asks for them."""
    if is_asked := is_help(line):
        host.show(cell_help())
    return is_asked


def check_cell(line: str, body: str) -> CellOptions:
    """The cell's options. Raises ClawUsageError where there is nothing to send."""
    options = parse_options(line)
    if not body.strip():
        raise ClawUsageError(f"There is no request in this cell. Write {USAGE}.")
    return options


async def run_cell(host: Host, options: CellOptions, body: str) -> TurnRecord:
    """Run the cell's turn while the kernel's loop goes on. Raises ClawError."""
    if (recorded := show_recorded(host, options, body)) is not None:
        return recorded
    with _mode(host.agent, options.mode):
        turn, reader, ways = _begin(host, options, body, is_blocking=False)
        if "widget" not in ways:
            record = await reader.read()
        else:
            async with comms_open(host.kernel):
                record = await reader.read()
    _bind(host, options, turn, record)
    return record


def run_cell_blocking(host: Host, options: CellOptions, body: str) -> TurnRecord:
    """Run the cell's turn where the cell cannot await. Raises ClawError."""
    if (recorded := show_recorded(host, options, body)) is not None:
        return recorded
    with _mode(host.agent, options.mode):
        turn, reader, _ = _begin(host, options, body, is_blocking=True)
        record = reader.read_blocking()
    _bind(host, options, turn, record)
    return record


def end_cell(host: Host, record: TurnRecord) -> None:
    """Raise the CellError that fits the turn's end; return where the turn did what was asked."""
    if (error := _end_of(record)) is not None:
        error.is_shown_above = host.frontend.has_extension
        raise error


def _end_of(record: TurnRecord) -> CellError | None:
    match record.stop_reason:
        case "error":
            return TurnFailed(record.error.message if record.error else "The turn ended with an error.")
        case reason if reason in STOPPED_AT:
            return TurnStopped(f"The turn met its limit ({reason}) before its end.")
        case "loop":
            return TurnStopped("The turn was stopped: the model went round in circles.")
        case "interrupted":
            return TurnInterrupted("The turn was interrupted.")
        case _:
            return None


def _begin(host: Host, options: CellOptions, body: str, *, is_blocking: bool) -> tuple[Turn, Reader, tuple[Way, ...]]:
    agent, ip = host.agent, host.ip
    agent.take_keys()
    host.recall(agent.settings.env)
    host.reconcile()
    facts = CellFacts(
        has_extension=host.frontend.has_extension,
        has_cells=frontend.has_cells(ip),
        allows_stdin=frontend.allows_stdin(ip),
        can_pump=can_pump(host.kernel),
        is_blocking=is_blocking,
    )
    ways = detect_ways(agent.settings.approvals, facts)
    prompt = body.strip("\n")
    core = agent.gate.core
    expanded = expand_prompt(prompt, ip.user_ns, agent.settings.cwd, read_policy(core), core.redact)
    turn = agent.start(
        prompt,
        content=(*expanded.content, *(TextBlock(note) for note in host.take_notes())),
        cell_id=frontend.cell_id_of(host.kernel),
        ways=ways,
        model=options.model,
        max_turns=options.max_turns,
        max_cost_usd=options.max_cost_usd,
        notices=(*expanded.notices(), *host.take_warnings(), *branch_notices(host), *lost_notices(host)),
        schema=read_schema(options.schema, agent.settings.cwd) if options.schema else None,
        observe=journal_of(host),
    )
    host.last_turn_id = turn.turn_id
    host.current_turn = turn
    drawn = host.drawn.add(DrawnTurn(turn.turn_id, turn.record.session_id, frontend.cell_id_of(host.kernel), turn=turn))
    post: Callable[[Callable[[], Any]], Any] = (
        (lambda function: function()) if is_blocking else asyncio.get_running_loop().call_soon_threadsafe
    )
    approvals = Approvals(ip, agent.gate, ways, _prompt(host, ways), post, drawn.note_answer)
    view = TurnView(turn.record, host.kernel_id, agent.gate.core.redact, limit=host.output_limit)
    if not host.frontend.has_extension:
        view.replaced = lambda: host.session.replaced_by(turn.record)
    return turn, Reader(turn, view, _screen(host, drawn), approvals, host.namespace), ways


def _bind(host: Host, options: CellOptions, turn: Turn, record: TurnRecord) -> None:
    """``--into``: only what the turn really gave; a turn that failed leaves the variable as it was."""
    if options.into is None or record.stop_reason != "end_turn":
        return
    host.ip.user_ns[options.into] = turn.result if options.schema else answer_text(record)


def _prompt(host: Host, ways: tuple[Way, ...]) -> Prompt | None:
    if "stdin" not in ways:
        return None
    return TerminalPrompt() if host.kernel is None else KernelPrompt(host.kernel)


def _screen(host: Host, drawn: DrawnTurn) -> Screen:
    is_console = host.kernel is None or (not frontend.has_cells(host.ip) and frontend.allows_stdin(host.ip))
    if is_console:
        return ConsoleScreen(host.ip, drawn.take, has_kernel=host.kernel is not None)
    return CellScreen(host.ip, drawn.turn_id, drawn.take, has_extension=host.frontend.has_extension)


@contextmanager
def _mode(agent: Agent, mode: str | None) -> Iterator[None]:
    """``--mode`` holds for one cell."""
    before = agent.permission_mode
    if mode is None or mode == before:
        yield
        return
    agent.set_permission_mode(mode, "%%claw --mode")
    try:
        yield
    finally:
        agent.end_mode(mode, before, "%%claw --mode")
