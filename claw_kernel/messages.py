"""The values that cross layers: content blocks, messages, events and the record of a turn.

Everything here is a frozen dataclass, every union is closed and tagged by ``type``, and a reader of a union ends with
``assert_never``. Of ours this module imports only their decorator. Times are ISO 8601 strings in UTC, durations are seconds, costs
are US dollars, token counts are the provider's own.

The content blocks follow the Anthropic Messages API (https://docs.anthropic.com/en/api/messages); providers translate
to and from their wire format at their own edge.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any, Literal, TypeAlias

from claw_kernel.late_dataclass import dataclass

FORMAT = 2
"""Version of the stored record (see docs/record.md). Raised when a reader of the old format would misread the new."""

# --- content blocks ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Citation:
    """What the provider says a text rests on. ``quote``: the words of the source, where they were given."""

    url: str = ""
    title: str = ""
    quote: str = ""


@dataclass(frozen=True)
class StoredText:
    """How a long text stands in a record (``claw_kernel/session/packing.py``). ``characters``: of all of it; ``omitted``: those that are
    not in the record, and then ``sha256`` (hexadecimal) is of all of it in UTF-8. ``packed``: what is in the record, as base64 of
    zlib's form; empty: it is in the block's ``text``."""

    characters: int
    omitted: int = 0
    sha256: str = ""
    packed: str = ""


@dataclass(frozen=True)
class TextBlock:
    """Plain or Markdown text. ``citations`` are for the person and the record; they are not sent back. ``stored``: in results that
    were read from a record; where it has ``packed``, ``text`` is a glimpse."""

    text: str
    citations: tuple[Citation, ...] = ()
    stored: StoredText | None = None
    type: Literal["text"] = "text"


@dataclass(frozen=True)
class ThinkingBlock:
    """The model's reasoning. ``signature`` must go back to the same model unchanged; ``redacted`` holds opaque data
    that stands in for reasoning the provider does not show (then ``text`` is empty)."""

    text: str
    signature: str = ""
    redacted: str = ""
    type: Literal["thinking"] = "thinking"


@dataclass(frozen=True)
class ImageBlock:
    """An image. ``media_type`` such as ``image/png``; ``data`` is base64 without line breaks."""

    media_type: str
    data: str
    type: Literal["image"] = "image"


@dataclass(frozen=True)
class ToolCall:
    """The model asks for a tool.

    ``input`` is the parsed JSON object. Where the model's arguments were not a JSON object, ``input`` is empty and
    ``malformed`` holds the text as it came: such a call is answered with an error and never run. ``signature``: what a
    model wants back with its call (Gemini's thought signature); like reasoning it means something to that model only.
    """

    id: str
    name: str
    input: dict[str, Any]
    malformed: str = ""
    signature: str = ""
    type: Literal["tool_call"] = "tool_call"


@dataclass(frozen=True)
class ToolResult:
    """The answer to one tool call; every call in a transcript has exactly one.

    ``content`` is what the model sees. ``details`` is for the person's screen and the record only, never sent:
    ``title``, ``diff``, ``exit_code``, ``signal``, ``duration_seconds``, ``spill_path``, ``status``, ``outputs``
    (a list of Jupyter MIME bundles).
    """

    call_id: str
    content: tuple[TextBlock | ImageBlock, ...]
    is_error: bool = False
    details: dict[str, Any] = field(default_factory=dict)
    type: Literal["tool_result"] = "tool_result"


ContentBlock: TypeAlias = TextBlock | ThinkingBlock | ImageBlock | ToolCall | ToolResult
UserBlock: TypeAlias = TextBlock | ImageBlock | ToolResult
AssistantBlock: TypeAlias = TextBlock | ThinkingBlock | ToolCall


@dataclass(frozen=True)
class Message:
    """One message of a transcript. Tool results travel in a ``user`` message, before any text in it."""

    role: Literal["user", "assistant"]
    content: tuple[ContentBlock, ...]


# --- a request to a model ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Limit:
    """A bound that a tool keeps: ``Limit("of a page", MAX_PAGE_BYTES, "bytes")``, made of the very constant that enforces it.
    ``unit`` is ``bytes``, ``seconds``, or empty where ``what`` says what is counted."""

    what: str
    amount: float
    unit: Literal["bytes", "seconds", ""] = ""


@dataclass(frozen=True)
class ToolSpec:
    """A tool. The model sees ``name``, ``description`` and ``input_schema`` (a JSON Schema object, derived from the type of
    the tool's arguments); people see ``effects``, the kinds of effect (``claw_kernel/_core.pyi``) its calls may have, and
    ``limits``. A call with an effect that is not declared here is refused. ``is_deferred``: where there are many tools, it is
    sent only once the model has found or called it. Other names: ``rust_core/src/catalogue.rs``."""

    name: str
    description: str
    input_schema: dict[str, Any]
    effects: tuple[str, ...] = ()
    limits: tuple[Limit, ...] = ()
    is_deferred: bool = False


Effort: TypeAlias = Literal["none", "low", "medium", "high", "max"]
"""How much a model thinks before it answers."""


@dataclass(frozen=True)
class ModelRequest:
    """One request. ``model`` is the provider's own name for the model (without the ``provider/`` prefix).

    ``tools`` and ``system`` stay the same objects for a whole session where nothing changed, and ``messages`` only
    grows at its end, so that a provider may keep what it serialised before. ``effort``: None as the provider has it.
    """

    model: str
    system: str
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    max_tokens: int = 16_384
    effort: Effort | None = None


@dataclass(frozen=True)
class Usage:
    """Tokens of one response as the provider counts them. ``input_tokens`` excludes both cache counters. ``is_least``: it has counted
    more than it said, or may have: an answer broke off, or came without a count."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    is_least: bool = False

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cache_read_tokens + other.cache_read_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.is_least or other.is_least,
        )


ModelStop: TypeAlias = Literal[
    "end_turn", "tool_use", "max_tokens", "refusal", "stop_sequence", "context_overflow", "other"
]
"""Why the model stopped. Providers that say ``stop`` although they asked for tools are reported as ``tool_use``.
``context_overflow``: its window was full before the answer was."""

# --- what a provider streams ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TextDelta:
    """More answer text. A provider joins all deltas of one network read into one."""

    text: str
    type: Literal["text_delta"] = "text_delta"


@dataclass(frozen=True)
class ThinkingDelta:
    """More reasoning text."""

    text: str
    type: Literal["thinking_delta"] = "thinking_delta"


@dataclass(frozen=True)
class ToolCallDelta:
    """A tool call is being written; ``arguments`` is a JSON fragment, for display only. The first delta of a call has
    its ``name``; ``call_id`` says which call."""

    call_id: str
    name: str
    arguments: str
    type: Literal["tool_call_delta"] = "tool_call_delta"


@dataclass(frozen=True)
class ProviderNotice:
    """Something the person should know: a fallback, "this model is scripted". ``is_passing``: only while they wait (a retry);
    it is not recorded."""

    text: str
    is_passing: bool = False
    type: Literal["provider_notice"] = "provider_notice"


@dataclass(frozen=True)
class StreamRestarted:
    """The stream broke and the request is sent again: forget the deltas of this step."""

    reason: str
    type: Literal["stream_restarted"] = "stream_restarted"


@dataclass(frozen=True)
class UsageCounted:
    """What the provider has counted so far of the answer that is coming; the last count of an answer stands for all before.
    ``is_lost``: that answer broke off and is forgotten; so much was paid for it. ``model`` (``provider/model``): who answered,
    where it was not the one that was asked."""

    usage: Usage
    is_lost: bool = False
    model: str = ""
    type: Literal["usage_counted"] = "usage_counted"


@dataclass(frozen=True)
class MessageFinished:
    """The last event of a provider's stream: the whole assistant message. ``model`` is the name that answered.

    ``incomplete`` says why the message is only a part (the stream was lost after a completed block), or is empty.
    ``answered_by`` is the ``provider/model`` that answered where it was not the one that was asked.
    """

    message: Message
    usage: Usage
    stop: ModelStop
    model: str = ""
    incomplete: str = ""
    answered_by: str = ""
    type: Literal["message_finished"] = "message_finished"


ProviderEvent: TypeAlias = (
    TextDelta | ThinkingDelta | ToolCallDelta | ProviderNotice | StreamRestarted | UsageCounted | MessageFinished
)

# --- approval ---------------------------------------------------------------------------------------------------------

DecisionName: TypeAlias = Literal["allow", "ask", "deny"]
AnswerName: TypeAlias = Literal["allow_once", "allow_always", "deny", "approve", "accept_edits", "answered"]
"""``deny`` is the no to everything asked. ``approve`` and ``accept_edits`` (approve, and let edits in the workspace pass from
then on) answer a plan, ``answered`` answers questions, the others an approval."""
AnsweredBy: TypeAlias = Literal["extension", "widget", "stdin", "policy", "interrupt"]


@dataclass(frozen=True)
class ApprovalRequest:
    """What a person is asked. ``preview`` is the JSON object described in ``claw_kernel/_core.pyi``.

    ``suggested_rules`` are the exact rules that "allow always" would add to the session; empty where a lasting
    grant is not offered. ``answers`` are the ones that are taken.
    """

    request_id: str
    call_id: str
    tool: str
    title: str
    reason: str
    preview: dict[str, Any]
    suggested_rules: tuple[str, ...] = ()
    answers: tuple[AnswerName, ...] = ("allow_once", "allow_always", "deny")


@dataclass(frozen=True)
class Answer:
    """A person's reply (or the policy's, where nobody can answer). ``message`` is passed on to the model. ``selections``: for
    each question what was chosen, labels or the person's own words."""

    name: AnswerName
    by: AnsweredBy
    message: str = ""
    selections: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Approval:
    """What is recorded of one decided call: the policy's decision and, where it asked, who answered what."""

    call_id: str
    decision: DecisionName
    reason: str
    rule: str = ""
    answer: AnswerName | None = None
    answered_by: AnsweredBy | None = None
    message: str = ""


# --- the record of a turn ---------------------------------------------------------------------------------------------

StopReason: TypeAlias = Literal[
    "end_turn",
    "max_tokens",
    "max_turns",
    "max_cost",
    "max_seconds",
    "max_turn_tokens",
    "max_session_cost",
    "max_session_seconds",
    "max_session_tokens",
    "max_session_turns",
    "max_notebook_cost",
    "max_notebook_seconds",
    "max_notebook_tokens",
    "max_notebook_turns",
    "loop",
    "refusal",
    "interrupted",
    "error",
    "incomplete",
]
"""Why a turn ended. ``loop``: the model went round in circles. ``incomplete``: the kernel died or the record was cut before the turn's end."""


@dataclass(frozen=True)
class TurnError:
    """One line for the person: what went wrong and what to do. ``kind`` is a name of ``claw_kernel.errors``."""

    kind: str
    message: str
    remedy: str = ""


@dataclass(frozen=True)
class Compaction:
    """From here on less of the transcript is sent; the record keeps all of it.

    All before, and the first ``steps`` steps of turn ``turn_id``, is stood for by ``summary`` (empty: by itself). Outputs of the
    calls in ``cleared`` are sent as one line each. ``usage`` and ``model`` (``provider/model``) are of the request that wrote
    the summary; ``tokens_before`` is what the last request counted, ``tokens_after`` an estimate.
    """

    turn_id: str = ""
    steps: int = 0
    summary: str = ""
    cleared: tuple[str, ...] = ()
    reason: str = ""
    tokens_before: int = 0
    tokens_after: int = 0
    model: str = ""
    usage: Usage = Usage()


@dataclass(frozen=True)
class RequestParts:
    """Digests of what a request was made of; ``messages`` is the end of a chain (``claw_kernel.session.request_hash``)."""

    system: str = ""
    tools: str = ""
    messages: str = ""


@dataclass(frozen=True)
class Step:
    """One model request and the tool calls it asked for. ``results`` are in call order.

    ``model`` (``provider/model``) is the one that answered where that was not the turn's own (a fallback). ``request_hash`` is
    ``sha256:`` and the hexadecimal digest of the request in canonical form, ``request_parts`` what it was made of.
    ``compaction`` took effect before the request. ``incomplete``: as in ``MessageFinished``.
    """

    content: tuple[AssistantBlock, ...]
    results: tuple[ToolResult, ...] = ()
    usage: Usage = Usage()
    stop: ModelStop = "end_turn"
    model: str = ""
    request_hash: str = ""
    request_parts: RequestParts | None = None
    duration_seconds: float = 0.0
    compaction: Compaction | None = None
    incomplete: str = ""


@dataclass(frozen=True)
class LostAnswer:
    """An answer that broke off and of which nothing is kept, and what was paid for it. ``model`` as in ``Step``."""

    usage: Usage
    model: str = ""


@dataclass(frozen=True)
class TurnRecord:
    """What is stored for one turn, and nothing else is stored. JSON form: docs/record.md.

    ``prompt`` is the text the person typed; ``content`` is what was sent for it (after ``{variable}`` and ``@file``).
    ``model`` is ``provider/model``. ``usage`` is of all steps, summaries and ``lost`` answers; ``cost_usd`` is None where the price is
    unknown, and as much of a least as ``usage`` is. ``parent_id`` is the turn this one goes on
    from: a session is a tree of turns, and its transcript is one path in it; empty: nothing came before. ``environment`` says
    what the turn ran on, as JSON.
    """

    turn_id: str
    session_id: str
    prompt: str
    content: tuple[TextBlock | ImageBlock, ...]
    model: str
    started_at: str
    steps: tuple[Step, ...] = ()
    approvals: tuple[Approval, ...] = ()
    notices: tuple[str, ...] = ()
    stop_reason: StopReason | None = None
    error: TurnError | None = None
    usage: Usage = Usage()
    lost: tuple[LostAnswer, ...] = ()
    cost_usd: float | None = None
    duration_seconds: float = 0.0
    cell_id: str = ""
    parent_id: str = ""
    environment: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT


def answer_text(record: TurnRecord) -> str:
    """The text of the last step: what the model said in the end."""
    if not record.steps:
        return ""
    return "".join(block.text for block in record.steps[-1].content if isinstance(block, TextBlock)).strip("\n")


# --- the events of a turn ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TurnStarted:
    """``record`` has the prompt and no steps yet."""

    record: TurnRecord
    type: Literal["turn_started"] = "turn_started"


@dataclass(frozen=True)
class StepStarted:
    """A request is being sent; ``index`` counts from 0."""

    index: int
    type: Literal["step_started"] = "step_started"


@dataclass(frozen=True)
class ContextCompacted:
    """From the next request on less is sent."""

    compaction: Compaction
    type: Literal["context_compacted"] = "context_compacted"


@dataclass(frozen=True)
class UsageChanged:
    """Of the whole turn so far, the answer under way included, as the provider has counted it. ``cost_usd``: None while the price is
    not known."""

    usage: Usage
    cost_usd: float | None = None
    type: Literal["usage_changed"] = "usage_changed"


@dataclass(frozen=True)
class StepFinished:
    """The step is complete: the model has spoken and every call has its result."""

    index: int
    step: Step
    type: Literal["step_finished"] = "step_finished"


@dataclass(frozen=True)
class ToolStarted:
    """A call runs now. ``title`` is one line (``$ git status``, ``Read data.csv``); ``preview`` as in ApprovalRequest."""

    call_id: str
    tool: str
    title: str
    preview: dict[str, Any]
    type: Literal["tool_started"] = "tool_started"


@dataclass(frozen=True)
class ToolOutput:
    """More output of a running call. ``bundle`` is a Jupyter MIME bundle (a figure); most tools send ``text`` only."""

    call_id: str
    text: str = ""
    bundle: dict[str, Any] | None = None
    type: Literal["tool_output"] = "tool_output"


@dataclass(frozen=True)
class ToolFinished:
    """A call has its result (also when it was denied, failed or was cancelled)."""

    result: ToolResult
    type: Literal["tool_finished"] = "tool_finished"


@dataclass(frozen=True)
class ApprovalRequested:
    request: ApprovalRequest
    type: Literal["approval_requested"] = "approval_requested"


@dataclass(frozen=True)
class ApprovalResolved:
    """The first answer won, or the request lapsed because the turn was interrupted."""

    request_id: str
    answer: Answer
    type: Literal["approval_resolved"] = "approval_resolved"


@dataclass(frozen=True)
class TurnFinished:
    """Always the last event of a turn."""

    record: TurnRecord
    type: Literal["turn_finished"] = "turn_finished"


Event: TypeAlias = (
    TurnStarted
    | StepStarted
    | ContextCompacted
    | TextDelta
    | ThinkingDelta
    | ToolCallDelta
    | ProviderNotice
    | StreamRestarted
    | UsageChanged
    | MessageFinished
    | ApprovalRequested
    | ApprovalResolved
    | ToolStarted
    | ToolOutput
    | ToolFinished
    | StepFinished
    | TurnFinished
)
