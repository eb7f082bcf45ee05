"""Reading Chat Completions streams, whoever sends them: what servers make of the format is borne here for all alike."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Literal

from claw_kernel.ids import new_id
from claw_kernel.messages import (
    AssistantBlock,
    Citation,
    Message,
    MessageFinished,
    ModelStop,
    ProviderEvent,
    ProviderNotice,
    TextBlock,
    TextDelta,
    ThinkingBlock,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from claw_kernel.providers import _faults
from claw_kernel.providers._faults import Server
from claw_kernel.providers._wire import counted_usage, dump, final_usage, read_citation, read_count, read_tool_call

_STOPS: dict[str, ModelStop] = {
    "stop": "end_turn",
    "end_turn": "end_turn",
    "eos": "end_turn",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "length": "max_tokens",
    "max_tokens": "max_tokens",
    "model_context_window_exceeded": "context_overflow",
    "content_filter": "refusal",
    "sensitive": "refusal",
    "refusal": "refusal",
}
_REASONING_FIELDS = ("reasoning_content", "reasoning", "reasoning_text")
"""Where servers put the reasoning; some send two of them with the same text, so the first that comes is kept to."""
_THOUGHT_BEGINS, _THOUGHT_ENDS = "<think>", "</think>"
"""Around reasoning in the text itself, from servers that were not told to take it out (llama.cpp, vLLM, Ollama)."""


class _OpenCall:
    __slots__ = ("arguments", "call_id", "index", "name", "sent_id", "signature")

    def __init__(self, index: Any, sent_id: str, call_id: str) -> None:
        self.index = index
        self.sent_id = sent_id
        self.call_id = call_id
        self.name = ""
        self.signature = ""
        self.arguments: list[str] = []

    def read(self) -> ToolCall:
        call = read_tool_call(self.call_id, self.name, "".join(self.arguments))
        return replace(call, signature=self.signature) if self.signature else call


class ChatDecoder:
    """A ``Decoder`` (``_wire.py``)."""

    def __init__(self, server: Server, model: str) -> None:
        self.is_whole = False
        self.is_ended = False
        self._server = server
        self._asked = model
        self._model = model
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._calls: list[_OpenCall] = []
        self._refusals: list[str] = []
        self._details: list[Any] = []
        self._citations: dict[Citation, None] = {}
        self._stop = ""
        self.usage: Usage | None = None
        self._reasoning_field = ""
        self._place: Literal["start", "thought", "between", "text"] = "start"
        self._held = ""

    @property
    def has_completed_block(self) -> bool:
        # There is no end mark: text is complete when a call begins, a call when the next one does.
        return bool(self._calls) and (len(self._calls) > 1 or bool(self._texts))

    def end(self) -> None:
        self.is_ended = True
        # Some servers send no finish_reason; an end mark after content says as much.
        self.is_whole = True

    def unfold(self, answer: dict[str, Any]) -> list[tuple[bytes, dict[str, Any]]]:
        choices = answer.get("choices")
        is_answer = isinstance(choices, list) and choices and isinstance(choices[0], dict) and "message" in choices[0]
        return [(b"", answer)] if is_answer else []

    def feed(self, frames: list[tuple[bytes, dict[str, Any]]]) -> list[ProviderEvent]:
        events: list[ProviderEvent] = []
        texts: list[str] = []
        for name, frame in frames:
            if not isinstance(frame, dict):
                continue
            if frame.get("error") or name == b"error":
                self._flush(texts, events)  # what came before it in the same read counts
                raise _faults.read_error_object(self._server, self._asked, frame)
            choices = frame.get("choices")
            if choices:
                choice = choices[0]
                delta = choice.get("delta") or choice.get("message")
                if delta:
                    content = delta.get("content")
                    is_plain = len(delta) == 1 or (len(delta) == 2 and "role" in delta)
                    if is_plain and content and type(content) is str:  # what 99 of 100 frames are
                        texts.append(content)
                    else:
                        self._read_delta(delta, content, texts, events)
                if choice.get("finish_reason"):
                    self._stop = choice["finish_reason"]
                    self.is_whole = True
                    if self._stop in {"content_filter", "sensitive"}:
                        events.append(ProviderNotice(f"{self._server.name}'s content filter stopped the answer"))
                if choice.get("usage"):
                    self.usage = _read_usage(choice["usage"])
            if frame.get("usage"):
                self.usage = _read_usage(frame["usage"])
            if frame.get("model"):
                self._model = frame["model"]
            if frame.get("citations"):  # Perplexity, xAI: addresses only, the same list again and again
                self._cite(frame["citations"])
        self._flush(texts, events)
        return events

    def _cite(self, values: Any) -> None:
        for value in values if isinstance(values, list) else ():
            citation = read_citation(value)
            if citation is not None:
                self._citations[citation] = None

    def _take_detail(self, detail: Any) -> None:
        """Keep what OpenRouter wants back unchanged; the pieces of one text are joined."""
        last = self._details[-1] if self._details else None
        joined = next((name for name in ("text", "summary") if isinstance(detail.get(name), str)), "")
        if (
            joined
            and last is not None
            and (last.get("type"), last.get("index")) == (detail.get("type"), detail.get("index"))
            and isinstance(last.get(joined), str)
        ):
            text = last[joined] + detail[joined]
            last.update({name: value for name, value in detail.items() if value is not None})
            last[joined] = text
        else:
            self._details.append(dict(detail))

    def _flush(self, texts: list[str], events: list[ProviderEvent]) -> None:
        if texts:
            text = "".join(texts)
            texts.clear()
            if self._place != "text":
                text = self._take_thought(text, events)
            if text:
                self._texts.append(text)
                events.append(TextDelta(text))

    def _take_thought(self, text: str, events: list[ProviderEvent]) -> str:
        """What of ``text`` is answer. An answer that begins with a thought between tags, which may come in pieces, gives it
        as reasoning; tags further on are text like any other."""
        text, self._held = self._held + text, ""
        if self._place == "start":
            begun = text.lstrip()
            if len(begun) < len(_THOUGHT_BEGINS) and _THOUGHT_BEGINS.startswith(begun):
                self._held = text
                return ""
            if not begun.startswith(_THOUGHT_BEGINS):
                self._place = "text"
                return text
            self._place = "thought"
            text = begun.removeprefix(_THOUGHT_BEGINS)
        if self._place == "thought":
            text = self._read_thought(text, events)
        text = text.lstrip()
        if text:
            self._place = "text"
        return text

    def _read_thought(self, text: str, events: list[ProviderEvent]) -> str:
        """What follows the thought."""
        thought, end, rest = text.partition(_THOUGHT_ENDS)
        if end:
            self._place = "between"
        else:
            kept = next(n for n in range(len(_THOUGHT_ENDS) - 1, -1, -1) if thought.endswith(_THOUGHT_ENDS[:n]))
            thought, self._held = thought[: len(thought) - kept], thought[len(thought) - kept :]
        if thought:
            self._thoughts.append(thought)
            events.append(ThinkingDelta(thought))
        return rest

    def _read_delta(self, delta: dict[str, Any], content: Any, texts: list[str], events: list[ProviderEvent]) -> None:
        for field in (self._reasoning_field,) if self._reasoning_field else _REASONING_FIELDS:
            thought = delta.get(field)
            if thought and isinstance(thought, str):
                self._reasoning_field = field
                self._think(thought, texts, events)
                break
        for detail in delta.get("reasoning_details") or ():
            if isinstance(detail, dict):
                self._take_detail(detail)
        if delta.get("annotations"):
            self._cite(delta["annotations"])
        if isinstance(content, list):  # parts, as in requests; Mistral's models that reason send theirs so
            for part in content:
                if isinstance(part, dict) and part.get("type") == "thinking":
                    self._think(_part_text(part.get("thinking")), texts, events)
            content = "".join(part.get("text") or "" for part in content if isinstance(part, dict))
        if content and isinstance(content, str):
            texts.append(content)
        refusal = delta.get("refusal")
        if refusal and isinstance(refusal, str):
            self._refusals.append(refusal)
            texts.append(refusal)
        for fragment in delta.get("tool_calls") or ():
            if isinstance(fragment, dict):
                self._flush(texts, events)
                self._read_call(fragment, events)
        if delta.get("function_call"):  # the form before tools
            self._flush(texts, events)
            self._read_call({"index": 0, "function": delta["function_call"]}, events)

    def _think(self, thought: str, texts: list[str], events: list[ProviderEvent]) -> None:
        if not thought:
            return
        self._flush(texts, events)
        self._thoughts.append(thought)
        last = events[-1] if events else None
        if isinstance(last, ThinkingDelta):
            events[-1] = ThinkingDelta(last.text + thought)
        else:
            events.append(ThinkingDelta(thought))

    def _read_call(self, fragment: dict[str, Any], events: list[ProviderEvent]) -> None:
        function = fragment.get("function") or {}
        name = function.get("name") or ""
        call = self._find_call(fragment, name)
        is_new = not call.name
        if name and is_new:
            call.name = name
        elif name and name != call.name and not call.arguments:  # a name sent in pieces
            call.name += name
        signature = ((fragment.get("extra_content") or {}).get("google") or {}).get("thought_signature")
        if isinstance(signature, str):
            call.signature = signature
        arguments = function.get("arguments")
        if isinstance(arguments, dict | list):
            arguments = json.dumps(arguments, ensure_ascii=False)
        arguments = arguments if isinstance(arguments, str) else ""
        if arguments:
            call.arguments.append(arguments)
        last = events[-1] if events else None
        if isinstance(last, ToolCallDelta) and last.call_id == call.call_id:
            events[-1] = ToolCallDelta(call.call_id, last.name, last.arguments + arguments)
        elif is_new or arguments:
            events.append(ToolCallDelta(call.call_id, call.name if is_new else "", arguments))

    def _find_call(self, fragment: dict[str, Any], name: str) -> _OpenCall:
        """The call a fragment belongs to. Its index may be missing or always 0, its id only on the first fragment, on
        every one, or empty; so a new id, a new index, or a name after complete arguments begins a new call."""
        index, sent_id = fragment.get("index"), str(fragment.get("id") or "")
        calls = self._calls
        if sent_id:
            for call in calls:
                if call.sent_id == sent_id and (index is None or call.index is None or call.index == index):
                    return call
        same_index = [call for call in calls if call.index == index] if index is not None else calls[-1:]
        if same_index:
            call = same_index[-1]
            begins_anew = name and call.name and _is_complete("".join(call.arguments))
            is_other = bool(sent_id and call.sent_id and sent_id != call.sent_id)
            if not is_other and not (begins_anew and not (sent_id and sent_id == call.sent_id)):
                call.sent_id = call.sent_id or sent_id
                return call
        taken = {call.call_id for call in calls}
        call_id = sent_id if sent_id and sent_id not in taken else new_id("call", characters=24)
        call = _OpenCall(index, sent_id, call_id)
        calls.append(call)
        return call

    def finish(self, incomplete: str = "") -> MessageFinished:
        if self._held:
            (self._thoughts if self._place == "thought" else self._texts).append(self._held)
            self._held = ""
        calls = self._calls
        if incomplete and calls:
            calls = calls[:-1]  # the one that was being written
        content: list[AssistantBlock] = []
        if (self._thoughts or self._details) and not incomplete:
            details = dump(self._details).decode() if self._details else ""
            content.append(ThinkingBlock("".join(self._thoughts), details))
        if self._texts:
            content.append(TextBlock("".join(self._texts), tuple(self._citations)))
        found = [call.read() for call in calls if call.name]
        stop: ModelStop = _STOPS.get(self._stop, "other" if self._stop or incomplete else "end_turn")
        if found and stop in {"end_turn", "other"}:
            stop = "tool_use"
        if self._refusals:
            stop = "refusal"
        message = Message("assistant", (*content, *found))
        return MessageFinished(message, final_usage(self.usage, incomplete), stop, self._model, incomplete)


def _read_usage(usage: Any) -> Usage | None:
    if not isinstance(usage, dict):
        return None
    details = usage.get("prompt_tokens_details")
    # ``prompt_tokens`` counts all of it. DeepSeek names its hits in a field of its own.
    details = details if isinstance(details, dict) else {}
    cached = read_count(details.get("cached_tokens")) or read_count(usage.get("prompt_cache_hit_tokens"))
    written = read_count(details.get("cache_write_tokens"))
    sent = read_count(usage.get("prompt_tokens"))
    # xAI and Gemini leave reasoning out of ``completion_tokens``, and bill it: there the total is more than the two.
    beside = read_count(usage.get("total_tokens")) - sent if sent else 0
    answered = max(read_count(usage.get("completion_tokens")), beside)
    return counted_usage(sent - cached - written, answered, cached, written)


def _part_text(value: Any) -> str:
    """The text of a part that is one, or a list of such parts."""
    if isinstance(value, list):
        return "".join(part.get("text") or "" for part in value if isinstance(part, dict))
    return value if isinstance(value, str) else ""


def _is_complete(arguments: str) -> bool:
    try:
        json.loads(arguments)
    except (ValueError, RecursionError):
        return False
    return True
