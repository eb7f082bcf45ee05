"""The recorded provider: plays a session's records, and says so. ``recorded/<path of a notebook>`` (relative to the working
directory), or every model at once where the setting ``replay`` names a notebook.

For each turn it takes the first record with the same prompt that was not played yet, else the last one with it, and gives the
content of its steps, one for each request; what was compacted then is compacted again, and nothing else. It needs no key and no network, keeps no clock, and never fails because a request differs
from the recorded one: it says which part does. What a record says has no rights: the calls it holds are judged like those of any model,
and those of a step that was edited since (:mod:`claw_kernel.session.integrity`) are refused, unless edits are accepted.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from claw_kernel.errors import ModelNotFoundError, RecordEndError, SessionError
from claw_kernel.messages import (
    AssistantBlock,
    Compaction,
    Message,
    MessageFinished,
    ModelRequest,
    ProviderEvent,
    ProviderNotice,
    Step,
    TextBlock,
    TextDelta,
    ThinkingBlock,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
    TurnRecord,
)
from claw_kernel.session.compaction import sent_records
from claw_kernel.session.integrity import check_records, places_of_record
from claw_kernel.session.normaliser import Normaliser
from claw_kernel.session.record import scrub
from claw_kernel.session.request_hash import RequestHasher, differing_message, differing_parts, places_of
from claw_kernel.session.turn_messages import append_message, turn_messages

DIFFERS = "the request differs from the recorded one:"
_PIECE = re.compile(r".{1,120}(?:\s+|$)|\S{1,120}|\s+", re.DOTALL)
"""A line's worth of text: as much as a network read usually brings."""


class RecordedProvider:
    """Plays ``records``, the turns of one session in order. ``shown``: what they are called in notices. ``workspace``: where
    it is played; paths of calls in the folder that the record names are given there. One instance serves one session."""

    name = "recorded"

    def __init__(
        self,
        records: Sequence[TurnRecord],
        shown: str,
        *,
        workspace: str = "",
        home: str = "",
        is_accepting_edits: bool = False,
    ) -> None:
        self._records, self._shown, self._workspace = tuple(records), shown, workspace
        self._played: dict[str, str] = {}
        """Recorded turns to the ids they have now."""
        self._record: TurnRecord | None = None
        self._step = 0
        self._hasher = RequestHasher(str, places_of(workspace, home))
        self._normaliser = Normaliser(places_of(workspace, home))
        self._told: set[str] = set()
        self._refused: Mapping[str, str] = {} if is_accepting_edits else edited_calls(records)

    async def aclose(self) -> None:
        """Nothing is held."""

    def begin_turn(self, prompt: str, turn_id: str) -> None:
        """Choose the record whose steps the next requests are given."""
        wanted = prompt.strip()
        fitting = [record for record in self._records if record.prompt.strip() == wanted]
        fresh = [record for record in fitting if record.turn_id not in self._played]
        self._record = next(iter(fresh or fitting[-1:]), None)
        self._step = 0
        if self._record is not None:
            self._played[self._record.turn_id] = turn_id

    def compaction(self) -> Compaction | None:
        """What took effect before the request that comes next, in the ids of the turns as they are played. It costs nothing now:
        its usage is counted as the recorded model's."""
        record = self._record
        if record is None or self._step >= len(record.steps) or (found := record.steps[self._step].compaction) is None:
            return None
        moved = self._mover(record)
        turn_id = self._played.get(found.turn_id, found.turn_id)
        return replace(found, turn_id=turn_id, summary=moved(found.summary), model="")

    def refusal(self, call: ToolCall) -> str:
        """Why the call is not to be run whatever the policy says; empty for most."""
        return self._refused.get(call.id, "")

    async def stream(self, request: ModelRequest) -> AsyncIterator[ProviderEvent]:
        """See ``Provider.stream``. Raises RecordEndError where the record has no further answer."""
        if self._record is None:
            self._begin_by_itself(request)
        record = self._record
        if record is None:
            raise RecordEndError(
                f"{self._shown} holds no turn with this request.", "Run it live, or with a prompt that was recorded."
            )
        if self._step >= len(record.steps):
            why = f" ({record.stop_reason})" if record.stop_reason not in (None, "end_turn") else ""
            raise RecordEndError(
                f"The recorded turn ends here{why} after {_count(len(record.steps), 'answer')}.",
                "Run it live to go on.",
            )
        step = record.steps[self._step]
        if self._step == 0:
            yield ProviderNotice(
                f"recorded model: answers are played from {self._shown}, no model is called; tools run for real"
            )
        if not step.content and not step.results:  # it was compacted, and then the request failed
            raise RecordEndError("The recorded turn ends here without an answer.", "Run it live to go on.")
        self._step += 1
        for difference in self._differences(request, step):
            yield ProviderNotice(difference)
        for event in _events(self._in_place(step, record)):
            yield event
        yield MessageFinished(
            Message("assistant", self._in_place(step, record)),
            step.usage,
            step.stop,
            request.model,
            step.incomplete,
        )

    def _begin_by_itself(self, request: ModelRequest) -> None:
        """Where nobody said which turn begins: the latest words of the person in the request."""
        for message in reversed(request.messages):
            texts = [block.text for block in message.content if isinstance(block, TextBlock)]
            if message.role == "user" and texts:
                return self.begin_turn(texts[0], "")
        return None

    def _differences(self, request: ModelRequest, step: Step) -> list[str]:
        """What of the request is not as it was recorded, each said once; of messages the first, once a turn."""
        sent, record = self._hasher.parts(request), self._record
        if step.request_parts is None or record is None:
            return []
        found = []
        for part in differing_parts(step.request_parts, sent):
            if part != "messages" and part not in self._told:
                self._told.add(part)
                found.append(f"{DIFFERS} {part}")
            elif part == "messages" and record.turn_id not in self._told:
                normalise = Normaliser({**self._normaliser.places, **places_of_record(record)})
                number = differing_message(self._recorded_messages(record), request.messages, normalise.of_json)
                if number is not None:
                    self._told.add(record.turn_id)
                    found.append(f"{DIFFERS} message {number}")
        return found

    def _recorded_messages(self, record: TurnRecord) -> list[Message]:
        """As they stood in the request for the step that is being played."""
        messages: list[Message] = []
        before = self._records[: self._records.index(record)]
        current = replace(record, steps=record.steps[: self._step - 1])
        for turn in sent_records((*before, current), record.steps[self._step - 1].compaction):
            for message in turn_messages(turn, ""):
                append_message(messages, message)
        if self._step == 1:
            messages.pop()  # the note that a turn without steps was not answered
        return messages

    def _in_place(self, step: Step, record: TurnRecord) -> tuple[AssistantBlock, ...]:
        """The step's content with the paths of its calls in this workspace."""
        moved = self._mover(record)
        return tuple(
            replace(block, input=scrub(block.input, moved)) if isinstance(block, ToolCall) else block
            for block in step.content
        )

    def _mover(self, record: TurnRecord) -> Callable[[str], str]:
        """Text with paths in the record's workspace, to the same in this one."""
        there = str(record.environment.get("workspace") or "")
        if len(there) < 2 or not self._workspace or there == self._workspace:
            return lambda text: text
        pattern = re.compile(re.escape(there) + r"(?![\w.-])")
        return lambda text: pattern.sub(lambda _: self._workspace, text) if there in text else text


def edited_calls(records: Sequence[TurnRecord]) -> dict[str, str]:
    """Calls whose step is not what it was when it was recorded, each with one sentence for the model and the person."""
    edits = {(edit.turn_id, edit.step) for edit in check_records(records).edits}
    return {
        block.id: "This recorded call was edited after it was recorded, so it is not run."
        for record in records
        for number, step in enumerate(record.steps)
        if (record.turn_id, number) in edits
        for block in step.content
        if isinstance(block, ToolCall)
    }


def open_recorded(
    name: str, cwd: str, *, home: str = "", is_accepting_edits: bool = False
) -> tuple[RecordedProvider, str]:
    """The provider for the notebook at ``name`` and its short name. Raises ModelNotFoundError, SessionError."""
    from claw_kernel.session import Session, read_notebook

    path = Path(cwd, name).expanduser()
    if not path.is_file():
        raise ModelNotFoundError(f"There is no recorded session {str(path)!r}.", "Give the path of a notebook.")
    documents, header = read_notebook(path)
    session = Session()
    warnings = session.merge(documents, header)
    if not session.records:
        raise SessionError(
            f"{path.name} holds no recorded turns.", warnings[0] if warnings else "Run it live first, and save it."
        )
    provider = RecordedProvider(
        session.records, path.name, workspace=cwd, home=home, is_accepting_edits=is_accepting_edits
    )
    return provider, path.name


def _events(content: Sequence[AssistantBlock]) -> list[ProviderEvent]:
    events: list[ProviderEvent] = []
    for block in content:
        if isinstance(block, TextBlock):
            events += [TextDelta(piece) for piece in _PIECE.findall(block.text) or [block.text]]
        elif isinstance(block, ThinkingBlock):
            events += [ThinkingDelta(block.text)] if block.text else []
        else:
            events.append(ToolCallDelta(block.id, block.name, block.malformed or json.dumps(block.input)))
    return events


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
