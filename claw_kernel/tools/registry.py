"""The list of tools of one session, and how a call of any of them is prepared and run."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

from claw_kernel._core import (
    CancelToken,
    Core,
    Prepared,
    ToolInputError,
    ToolOutput,
    canonical_tool_name,
    fit_arguments,
)
from claw_kernel.late_dataclass import dataclass
from claw_kernel.messages import (
    Answer,
    AnswerName,
    ImageBlock,
    Limit,
    Message,
    TextBlock,
    ToolCall,
    ToolResult,
    ToolSpec,
)
from claw_kernel.tools.catalog import Catalog
from claw_kernel.tools.workers import Workers

OnOutput = Callable[[str, dict[str, Any] | None], None]
"""``(text, bundle)``: more output of a running call, from any thread."""


@dataclass(frozen=True)
class Intent:
    """What a Python tool says of one call before it runs: the effects and preview of ``claw_kernel/_core.pyi``, one line for
    the person, and whether it changes nothing (then it may run beside others)."""

    title: str
    effects: tuple[Mapping[str, Any], ...]
    preview: Mapping[str, Any]
    is_read_only: bool


class OfferedTool(Protocol):
    """What every tool of Python has. ``spec`` belongs to the class, so that the table of tools (``claw tools list``) finds it
    in the modules of this package without making one; its schema is derived from the type of the arguments."""

    spec: ToolSpec

    def intend(self, arguments: dict[str, Any]) -> Intent:
        """Validate ``arguments`` and say what they would do. Raises ToolInputError with a sentence for the model."""
        ...


class PythonTool(OfferedTool, Protocol):
    """A tool that needs the Python process."""

    async def run(self, arguments: dict[str, Any], on_output: OnOutput) -> ToolOutput:
        """Do it. Cancelled when the turn is; raises nothing for the tool's own failure."""
        ...


@runtime_checkable
class AskingTool(OfferedTool, Protocol):
    """A tool whose call is itself a question to the person, asked by the ways of an approval. Its ``Intent`` has the preview
    that is shown; ``answers`` are the answers it takes, of which ``deny`` is one."""

    answers: tuple[AnswerName, ...]

    def conclude(self, arguments: dict[str, Any], answer: Answer) -> ToolOutput:
        """What the answer means. It is ``deny`` by ``policy`` where nobody could be asked."""
        ...


@dataclass(frozen=True)
class PreparedCall:
    """A call that was validated and judged, ready to run: by the core, or by a tool of Python, which works or asks."""

    call: ToolCall
    prepared: Prepared
    title: str
    preview: dict[str, Any]
    is_read_only: bool
    tool: PythonTool | None = None
    asking: AskingTool | None = None


class DeferredTool:
    """A tool of Python that is deferred, and its module with it: it is made when it is found, called or listed."""

    def __init__(self, name: str, make: Callable[[], PythonTool | AskingTool]) -> None:
        """``make`` imports the module; the tool it gives has this name and is deferred."""
        self.name = name
        self._make = make
        self._tool: PythonTool | AskingTool | None = None
        self._lock = threading.Lock()

    @property
    def spec(self) -> ToolSpec:
        return self.made().spec

    def made(self) -> PythonTool | AskingTool:
        """The one there is of it in its session; any thread."""
        with self._lock:
            if self._tool is None:
                self._tool = self._make()
            return self._tool


def made(tool: PythonTool | AskingTool | DeferredTool) -> PythonTool | AskingTool:
    return tool.made() if isinstance(tool, DeferredTool) else tool


class ToolSet:
    """The tools of one session."""

    def __init__(self, core: Core, python_tools: Sequence[PythonTool | AskingTool | DeferredTool] = ()) -> None:
        self._core = core
        offered = [tool if isinstance(tool, DeferredTool) else tool.spec for tool in python_tools]
        self._python = {spec.name: tool for spec, tool in zip(offered, python_tools, strict=True)}
        # A tool that a rule denies whole is not shown to the model at all.
        every = (*rust_specs(only_available=True), *offered)
        self._all = tuple(one for one in every if not core.denies_tool(one.name))
        self._catalog = Catalog(self._all)
        if self._catalog.deferred:
            from claw_kernel.tools.tool_search import ToolSearch

            search = self._python["ToolSearch"] = ToolSearch(self._catalog)
            self._catalog.add(search.spec)
        self._offered: PythonTool | None = None
        self._sent: tuple[ToolSpec, ...] = ()
        self._workers = Workers()
        self._is_ready = False

    @property
    def all_specs(self) -> tuple[ToolSpec, ...]:
        """All tools there are, ToolSearch apart; makes those that were not needed yet."""
        return tuple(one if isinstance(one, ToolSpec) else one.spec for one in self._all)

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """What is sent with the next request: the same object until a schema is added at its end."""
        if self._offered is None:
            return self._catalog.specs
        if self._sent[:-1] != self._catalog.specs:
            self._sent = (*self._catalog.specs, self._offered.spec)
        return self._sent

    def offer(self, tool: PythonTool | None) -> None:
        """A tool for one turn, sent behind all others; None: no more."""
        if self._offered is not None:
            del self._python[self._offered.spec.name]
        self._offered, self._sent = tool, ()
        if tool is not None:
            self._python[tool.spec.name] = tool

    def load(self, names: Iterable[str]) -> None:
        """Send the schemas of these tools from the next request on."""
        self._catalog.load(names)

    def get_ready(self) -> None:
        """Begin, and do not wait, to find out what sandbox this machine gives: milliseconds that the first call would take, and
        the model's first words take longer."""
        if not self._is_ready:
            self._is_ready = True
            self._workers.begin(self._core.sandbox_report)

    def prepare(self, call: ToolCall) -> PreparedCall:
        """Validate and judge. A deferred tool may be called unseen; its schema is sent then. Raises ToolInputError."""
        loaded = self._catalog.load([canonical_tool_name(call.name)])
        if not loaded:
            return self._prepare(call)
        try:
            return self._prepare(call)
        except ToolInputError as error:
            schema = json.dumps(loaded[0].input_schema, ensure_ascii=False, separators=(",", ":"))
            raise ToolInputError(f"{error} Its arguments as a JSON schema: {schema}") from None

    def _prepare(self, call: ToolCall) -> PreparedCall:
        if call.malformed:
            raise ToolInputError(
                "The arguments of this call are not a complete JSON object, so nothing was run. Call the tool again."
            )
        call = replace(call, name=canonical_tool_name(call.name))
        arguments = json.dumps(call.input, ensure_ascii=False)
        try:
            arguments.encode()
        except UnicodeEncodeError:
            raise ToolInputError(
                "The arguments of this call hold half of a character, which no file or program takes, so nothing was run. "
                "Call the tool again."
            ) from None
        found = self._python.get(call.name)
        if found is None:
            is_offered = any(one.name == call.name for one in self._all)
            # One that is denied, or whose program is missing, has a better answer than that there is none.
            if not is_offered and all(spec.name != call.name for spec in rust_specs()):
                raise ToolInputError(self._unknown(call.name))
            prepared = self._core.prepare(call.name, arguments)
            preview = json.loads(prepared.preview)
            return PreparedCall(call, prepared, prepared.title, preview, prepared.is_read_only)
        tool = made(found)
        try:
            intent = tool.intend(call.input)
        except ToolInputError:
            fitted = fit_arguments(call.name, json.dumps(tool.spec.input_schema), arguments)
            if json.loads(fitted) == call.input:
                raise
            call, arguments = replace(call, input=json.loads(fitted)), fitted
            intent = tool.intend(call.input)
        if undeclared := {effect["effect"] for effect in intent.effects} - set(tool.spec.effects):
            raise ToolInputError(f"{call.name} was not run: it does not declare the effect {', '.join(undeclared)}.")
        prepared = self._core.prepare(call.name, arguments, json.dumps(intent.effects), json.dumps(intent.preview))
        ready = PreparedCall(call, prepared, intent.title, dict(intent.preview), intent.is_read_only)
        return replace(ready, asking=tool) if isinstance(tool, AskingTool) else replace(ready, tool=tool)

    def _unknown(self, name: str) -> str:
        from difflib import get_close_matches

        names = [*(spec.name for spec in self._catalog.specs), *self._catalog.waiting()]
        near = get_close_matches(name, names, 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        return f"There is no tool {name!r} here.{hint} There are {', '.join(names)}."

    @staticmethod
    def with_own_names(message: Message) -> Message:
        """``message`` with each tool under its own name, whatever the model called it: so it is recorded and shown."""
        content = tuple(
            replace(block, name=canonical_tool_name(block.name)) if isinstance(block, ToolCall) else block
            for block in message.content
        )
        return message if content == message.content else replace(message, content=content)

    async def run(self, ready: PreparedCall, cancel: CancelToken, on_output: OnOutput) -> ToolOutput:
        """Run a call that was allowed. A cancelled Rust tool is waited for: its processes are dead when this returns."""
        if ready.tool is not None:
            if ready.is_read_only:
                return await ready.tool.run(ready.call.input, on_output)
            return await self._run_checkpointed(ready, ready.tool, on_output)
        return await self._workers.run(
            lambda: self._core.run(ready.prepared, cancel, lambda text: on_output(text, None), ready.call.id),
            cancel.cancel,
        )

    async def _run_checkpointed(self, ready: PreparedCall, tool: PythonTool, on_output: OnOutput) -> ToolOutput:
        """Also where the call fails or is cancelled, what it has written by then can be undone."""
        await self._workers.run(lambda: self._core.begin_checkpoint(ready.prepared, ready.call.id))
        try:
            return await tool.run(ready.call.input, on_output)
        finally:
            await self._workers.run(lambda: self._core.end_checkpoint(ready.prepared))

    def finish(self, ready: PreparedCall, output: ToolOutput, answer: str, duration_seconds: float) -> ToolResult:
        """Cap, redact and audit, then the result as the transcript holds it."""
        done = self._core.finish(ready.prepared, output, answer)
        details = json.loads(done.details)
        details = {"title": ready.title, **details, "duration_seconds": round(duration_seconds, 3)}
        if done.status != "ok":
            details["status"] = done.status
        return ToolResult(ready.call.id, read_content(done.content), done.is_error, details)

    def close(self) -> None:
        self._workers.close()


def rust_specs(*, only_available: bool = False) -> tuple[ToolSpec, ...]:
    """The tools of the core, in its order; ``only_available``: without those whose program is not on this machine."""
    return tuple(
        ToolSpec(
            spec["name"],
            spec["description"],
            spec["input_schema"],
            tuple(spec["effects"]),
            tuple(Limit(**limit) for limit in spec["limits"]),
            spec["is_deferred"],
        )
        for spec in json.loads(Core.specs())
        if spec["is_available"] or not only_available
    )


def text_output(text: str, *, is_error: bool = False, **details: Any) -> ToolOutput:
    """A tool's output of one text; ``details`` are for the screen and the record."""
    content = json.dumps([{"type": "text", "text": text}])
    return ToolOutput(content, "error" if is_error else "ok", json.dumps(details))


def read_content(content: str) -> tuple[TextBlock | ImageBlock, ...]:
    """The content blocks of a ToolOutput."""
    blocks: list[TextBlock | ImageBlock] = []
    for item in json.loads(content):
        if item["type"] == "image":
            blocks.append(ImageBlock(item["media_type"], item["data"]))
        else:
            blocks.append(TextBlock(item["text"]))
    return tuple(blocks)


def error_result(call: ToolCall, text: str, **details: Any) -> ToolResult:
    """A result that says why a call was not run."""
    return ToolResult(call.id, (TextBlock(text),), is_error=True, details={"title": call.name, **details})


def with_details(result: ToolResult, **details: Any) -> ToolResult:
    return replace(result, details={**result.details, **details})
