"""A cell that has a recorded turn runs again: is it sent, or shown from its record?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claw_kernel.messages import ToolCall, TurnRecord, answer_text
from claw_kernel.tools.structured_output import NAME, StructuredOutput, read_schema
from claw_magics import frontend
from claw_magics.branches import finished_bundle
from claw_magics.errors import ClawUsageError
from claw_magics.frontend import NOTEBOOK_VARIABLE
from claw_magics.options import CellOptions
from claw_magics.screen import publish

if TYPE_CHECKING:
    from claw_magics.host import Host

_WHY = {
    "auto": "several cells were run at once",
    "recorded": "the setting rerun is recorded",
    "option": "--recorded",
    "headless": "the notebook is run by a program",
}


def show_recorded(host: Host, options: CellOptions, body: str) -> TurnRecord | None:
    """Show the cell's recorded turn where it is not to be sent again; None where it is. Raises ClawUsageError where only the
    record is wanted and there is none."""
    if host.agent.settings.replay is not None:
        return None  # the words come from a record already, and the tools are to run
    host.recall(host.agent.settings.env)
    cell_id = frontend.cell_id_of(host.kernel)
    is_program = not cell_id and bool(host.agent.settings.env.get(NOTEBOOK_VARIABLE))
    record = host.session.recorded(body.strip("\n"), cell_id, host.last_turn_id if is_program else None)
    if record is not None and not _fits(options, record):
        record = None
    why = _reason(host, options, cell_id, is_program=is_program, is_known=record is not None)
    if why == "option" and record is None:
        raise ClawUsageError(
            "This cell has no recorded turn that answers this request after what stands before it. "
            "Leave --recorded out to send it."
        )
    if record is None or not why:
        if is_program:
            host.session.use(host.last_turn_id)  # its cells begin with the first, so this one goes on from the last
        return None
    if options.into is not None:
        host.ip.user_ns[options.into] = _value(host, options, record)
    _show(host, record, _WHY[why])
    host.last_turn_id = record.turn_id
    return record


def _reason(host: Host, options: CellOptions, cell_id: str, *, is_program: bool, is_known: bool) -> str:
    """Why the record is shown, empty where the request is sent."""
    setting = host.agent.settings.rerun
    if options.rerun is not None:
        return "option" if options.rerun == "recorded" else ""
    if setting != "auto":
        return "recorded" if setting == "recorded" else ""
    if is_program:
        return "headless"
    # The page is waited for only where its answer matters.
    return "auto" if is_known and host.outlines.take_run(host.connection, cell_id) else ""


def _fits(options: CellOptions, record: TurnRecord) -> bool:
    """The cell asks for no other model, and the record holds the value that a schema asks for."""
    is_model = options.model is None or options.model == record.model
    return is_model and (options.schema is None or _result_call(record) is not None)


def _value(host: Host, options: CellOptions, record: TurnRecord) -> Any:
    """What ``--into`` gets. Raises ClawUsageError where the recorded result does not fit today's schema."""
    call = _result_call(record)
    if options.schema is None or call is None:
        return answer_text(record)
    from claw_kernel._core import ToolInputError

    output = StructuredOutput(read_schema(options.schema, host.agent.settings.cwd))
    try:
        output.intend(call.input)
        return output.value(call.input)
    except ToolInputError:
        raise ClawUsageError(f"The recorded result does not fit {options.schema} any more: add --live.") from None


def _result_call(record: TurnRecord) -> ToolCall | None:
    calls = [block for step in record.steps for block in step.content if isinstance(block, ToolCall)]
    return next((call for call in reversed(calls) if call.name == NAME), None)


def _show(host: Host, record: TurnRecord, why: str) -> None:
    began = record.started_at[:16].replace("T", " ")
    line = f"From the record of {began} UTC, not sent again ({why}). Nothing it did is done again; --live sends it."
    publish(host.ip, {"text/markdown": f"*{line}*", "text/plain": line})
    publish(host.ip, finished_bundle(host, record), display_id=f"claw-{record.turn_id}")
