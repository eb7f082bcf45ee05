"""The agent of one session: what a front end holds. Methods may be called from any thread unless said otherwise."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claw_kernel._core import Core, RuleError
from claw_kernel.agent.call_ids import with_own_ids
from claw_kernel.agent.compaction import Compactor
from claw_kernel.agent.context import DEFAULT_WINDOW, CompactionState, ContextUse, Window, context_use
from claw_kernel.agent.controls import Controls
from claw_kernel.agent.engine import engine_loop
from claw_kernel.agent.loop import TurnLoop, run_turn
from claw_kernel.agent.outside import outside_tools
from claw_kernel.agent.prompt import system_prompt
from claw_kernel.agent.session_tools import session_tools
from claw_kernel.agent.spending import Spending
from claw_kernel.agent.turn import Turn
from claw_kernel.errors import AuthError, ClawError, SettingsError
from claw_kernel.gate import Gate
from claw_kernel.ids import new_id
from claw_kernel.instructions import find_instructions
from claw_kernel.limits import Before, Limits, Spent
from claw_kernel.messages import (
    Event,
    ImageBlock,
    Message,
    TextBlock,
    ToolCall,
    TurnFinished,
    TurnRecord,
    TurnStarted,
    Usage,
)
from claw_kernel.providers import PlayedProvider, Provider, ProviderSettings, default_model, open_provider
from claw_kernel.providers.known import KNOWN
from claw_kernel.session import Session
from claw_kernel.session.memory import memory_text
from claw_kernel.session.request_hash import RequestHasher, places_of
from claw_kernel.session.session import now
from claw_kernel.session.turn_messages import append_message
from claw_kernel.settings import (
    Settings,
    with_present_keys,
)
from claw_kernel.token_estimate import text_tokens, tools_tokens
from claw_kernel.tools import AskingTool, DeferredTool, PythonTool, ToolSet
from claw_kernel.tools.namespace import Namespace
from claw_kernel.tools.planning import ENTERED

if TYPE_CHECKING:
    from claw_kernel.tools.structured_output import StructuredOutput

SURROUNDINGS_SECONDS = 1.0
"""How long the end of a turn waits for the thread that owns the namespace."""


class Agent(Controls):
    """Runs turns on the engine's event loop (one background thread per process, started on first use).

    ``session``: the conversation (records, transcript). ``gate``: asks and remembers; ``gate.core`` is the Rust core.
    ``settings``: as loaded, with what ``configure`` changed. One turn runs at a time; a second one waits for it.
    """

    def __init__(
        self, settings: Settings, *, session: Session | None = None, namespace: Namespace | None = None
    ) -> None:
        """Raises SettingsError for a rule that cannot be read or a workspace that is no directory."""
        self.settings = settings
        self.session = session or Session()
        try:
            core = Core(
                settings.cwd,
                state_dir=settings.state_dir,
                session_id=self.session.session_id,
                programs=str(Path(sys.executable).parent) if sys.executable else "",
                sandbox=json.dumps(settings.sandbox_options()),
            )
            core.set_policy(settings.policy())
        except RuleError as error:
            raise SettingsError(str(error), "Mend or remove the rule.") from None
        except OSError as error:
            raise SettingsError(f"{settings.cwd} cannot be used as workspace: {error}.", "Start elsewhere.") from None
        for secret in settings.secrets():
            core.add_secret(secret)
        core.set_checkpoint_limits(settings.checkpoint_limits())
        self.gate = Gate(core)
        self._namespace = namespace
        self.tools = ToolSet(core, self._python_tools(namespace))
        self._has_namespace = namespace is not None
        self._read_instructions()
        self._places = {"workspace": settings.cwd, "home": settings.env.get("HOME", "")}
        self._hasher = RequestHasher(core.redact, places_of(**self._places))
        self._model = settings.model
        self.compaction = CompactionState()
        self._providers: dict[str, tuple[Provider, str]] = {}
        self._turn_lock: asyncio.Lock | None = None
        self._running: set[asyncio.Task[None]] = set()

    def take_keys(self) -> None:
        """Keys of model providers that were put into, or taken out of, this process's environment since the settings were read:
        a person sets one in a cell, after the first request said that there is none. After a refused key the stored ones are
        read again too."""
        env = with_present_keys(self.settings.env)
        last = self.session.records[-1] if self.session.records else None
        if env != self.settings.env:
            self.settings = replace(self.settings, env=env)
            for secret in self.settings.secrets():
                self.gate.core.add_secret(secret)
            self._providers.clear()
        elif last is not None and last.error is not None and last.error.kind == AuthError.kind:
            self._providers.clear()

    def compact(self, instructions: str = "") -> None:
        """Have the conversation summarised before the next request; ``instructions`` say what the notes should keep."""
        self.compaction.is_asked, self.compaction.instructions = True, instructions

    def context_use(self) -> ContextUse:
        """How full the model's window is now, by what the provider counted last, else by estimate. Asks nobody."""
        from claw_kernel.providers.catalogue import context_window

        settings, model = self.settings, self._model or ""
        known = settings.context_window or self.compaction.learned.get(model)
        known = known or (context_window(model, settings.models, settings.aliases) if model else None)
        return context_use(
            self.session.records,
            model,
            Window.of(known or DEFAULT_WINDOW, settings.max_tokens, settings.compact_percent),
            is_assumed=known is None,
            system=self._system,
            instructions=self.instructions.text,
            tools=self.tools.specs,
        )

    def spent(self) -> Before:
        """By the turns so far, on the path or not: what was paid stays paid."""
        session = Spent.by(self.session.turns)
        return Before(session, session + Spent.by(self.session.others))

    def set_notebook(self, path: str | None) -> None:
        """The notebook file the session lives in: it is open in an editor, so file tools leave it alone."""
        self.gate.core.set_notebook(path)

    # --- turns ---

    def start(
        self,
        prompt: str,
        *,
        content: tuple[TextBlock | ImageBlock, ...] | None = None,
        cell_id: str = "",
        ways: Iterable[str] = (),
        model: str | None = None,
        max_turns: int | None = None,
        max_cost_usd: float | None = None,
        notices: Iterable[str] = (),
        schema: Mapping[str, Any] | None = None,
        observe: Callable[[Event], None] | None = None,
    ) -> Turn:
        """Begin a turn and return at once. ``content``: what is sent (default: the prompt as text). ``ways``: who can answer
        an approval now: any of ``extension``, ``widget``, ``stdin``; empty: nobody can, and what the policy would ask is denied.
        ``max_turns`` limits model requests. ``schema``: the turn's result is to be a value that fits this JSON schema
        (``Turn.result``). ``observe`` sees each event (``Turn.observe``). Raises SettingsError for a schema that is none, and nothing for a provider's fault: that ends the
        turn with an error."""
        settings = self.settings
        observer, missing = _telemetry(settings, self.gate.core.redact)
        output = _structured_output(schema) if schema is not None else None
        sent = content or (TextBlock(prompt),)
        if self.is_planning:
            # With the prompt and not in the system text, so that what providers have cached of it stays good.
            sent = (*sent, TextBlock(f"[{ENTERED}]"))
        if output is not None:
            sent = (*sent, TextBlock(f"[{output.request}]"))
        record = TurnRecord(
            turn_id=new_id("t"),
            session_id=self.session.session_id,
            prompt=prompt,
            content=sent,
            model=model or self._model or "",
            started_at=now(),
            cell_id=cell_id,
            notices=(*settings.notices, *notices, *missing),
        )
        limits = settings.limits(max_turns=max_turns, max_cost_usd=max_cost_usd)
        turn = Turn(record, output)
        for one in filter(None, (observer, observe)):
            turn.observe(one)
        loop = engine_loop()

        def begin() -> None:
            task = loop.create_task(self._run(turn, frozenset(ways), limits))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

        loop.call_soon_threadsafe(begin)
        return turn

    def close(self) -> None:
        """Cancel what runs, close providers and the core. The agent is not used afterwards."""

        async def stop() -> None:
            for task in list(self._running):
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)
            for provider, _ in self._providers.values():
                await provider.aclose()
            self._providers.clear()

        if self._running or self._providers:
            asyncio.run_coroutine_threadsafe(stop(), engine_loop()).result(timeout=5)
        self.tools.close()
        self.gate.core.close()

    # --- the engine's side ---

    async def _run(self, turn: Turn, ways: frozenset[str], limits: Limits) -> None:
        if self._turn_lock is None:
            self._turn_lock = asyncio.Lock()
        async with self._turn_lock:
            record = turn.record
            try:
                record = await self._run_alone(turn, ways, limits)
            finally:
                if record.stop_reason is None:
                    record = replace(turn.record, stop_reason="interrupted")
                self.session.add(record)
                turn.emit(TurnFinished(record))

    async def _run_alone(self, turn: Turn, ways: frozenset[str], limits: Limits) -> TurnRecord:
        turn.update(self.session.begin(turn.record))
        if self._instructed != (self.session.session_id, self.session.memory):
            self._read_instructions()
        self.session.note_facts(self._system, self.gate.core.policy(), self.instructions.sent)
        self.gate.core.begin_turn(turn.record.session_id, turn.record.turn_id)
        try:
            replayed = self.settings.replay
            name = f"recorded/{replayed}" if replayed else turn.record.model or await self._find_model()
            provider, model = self._open(name)
            if isinstance(provider, PlayedProvider):
                provider.begin_turn(turn.record.prompt, turn.record.turn_id)
        except ClawError as error:
            turn.emit(TurnStarted(turn.record))
            return replace(turn.record, stop_reason="error", error=error.to_turn_error())
        environment = {**self._places, **turn.record.environment}
        if self.instructions.files:
            environment["instructions"] = self.instructions.digest
        turn.update(replace(turn.record, model=f"{provider.name}/{model}", environment=environment))
        turn.emit(TurnStarted(turn.record))
        self.tools.get_ready()
        earlier = self.session.records
        messages = with_own_ids(self.session.transcript(turn.record.model))
        append_message(messages, Message("user", turn.record.content))
        called = [block.name for message in messages for block in message.content if isinstance(block, ToolCall)]
        self.tools.load([*called, *(["ExitPlanMode"] if self.is_planning else [])])
        self.tools.offer(turn.output)
        compactor = Compactor(
            earlier,
            turn.record.model,
            window_tokens=self.settings.context_window,
            window=lambda: self._find_window(turn.record.model),
            max_tokens=limits.max_tokens,
            compact_percent=self.settings.compact_percent,
            fixed_tokens=text_tokens(self._system) + tools_tokens(self.tools.specs),
            is_local=provider.name == "local" or (provider.name in KNOWN and KNOWN[provider.name].is_local),
            state=self.compaction,
        )
        compactor.begin(messages)
        before = self.spent()
        preload = partial(self._price, turn.record.model, Usage()) if self._has_prices(provider.name) else None
        spending = Spending(turn, turn.record.model, limits=limits, before=before, price=self._price, preload=preload)
        loop = TurnLoop(
            turn,
            provider=provider,
            model=model,
            system=self._system,
            messages=messages,
            tools=self.tools,
            gate=self.gate,
            ways=ways,
            limits=limits,
            before=before,
            spending=spending,
            hasher=self._hasher,
            compactor=compactor,
            instructions=self.instructions,
        )
        record = await run_turn(loop)
        cost = await spending.close()
        return replace(record, cost_usd=cost, environment={**record.environment, **await self._surroundings(record)})

    async def _surroundings(self, record: TurnRecord) -> dict[str, Any]:
        """What the turn leaves in the namespace; nothing where it was interrupted, because the cell may be gone."""
        if self._namespace is None or record.stop_reason == "interrupted":
            return {}
        try:
            async with asyncio.timeout(SURROUNDINGS_SECONDS):
                return await self._namespace.surroundings()
        except (RuntimeError, TimeoutError):
            return {}

    def _read_instructions(self) -> None:
        """Once for each conversation, so that a provider's cache of the system text holds; and when what is remembered changes."""
        settings = self.settings
        self.instructions = find_instructions(settings.cwd, settings.home)
        self._instructed = (self.session.session_id, self.session.memory)
        told = filter(None, [self.instructions.text, memory_text(self.session.memory)])
        self._system = system_prompt(settings.cwd, has_namespace=self._has_namespace, instructions="\n\n".join(told))

    async def _find_window(self, model: str) -> int | None:
        """The context window of ``provider/model``, None where nobody knows."""
        from claw_kernel.providers.catalogue import find_context_window

        return await find_context_window(model, self._provider_settings())

    async def _find_model(self) -> str:
        self._model = await default_model(self._provider_settings())
        return self._model

    def _open(self, name: str) -> tuple[Provider, str]:
        if name not in self._providers:
            given = self._provider_settings()
            provider, model = open_provider(name, given)
            if self.settings.fallback_models and not isinstance(provider, PlayedProvider):
                from claw_kernel.providers.fallback import FallbackProvider

                names, open_model = self.settings.fallback_models, partial(open_provider, settings=given)
                provider = FallbackProvider(provider, f"{provider.name}/{model}", names, open_model)
            self._providers[name] = provider, model
        return self._providers[name]

    def _provider_settings(self) -> ProviderSettings:
        return self.settings.for_providers(self.gate.core.add_secret)

    def _python_tools(self, namespace: Namespace | None) -> list[PythonTool | AskingTool | DeferredTool]:
        """In the order the model sees them."""
        from claw_kernel.tools.ask_user_question import AskUserQuestion
        from claw_kernel.tools.todo_write import TodoWrite

        tools: list[PythonTool | AskingTool | DeferredTool] = []
        if namespace is not None:
            from claw_kernel.tools.inspect import Inspect
            from claw_kernel.tools.python import Python

            tools += [Python(namespace), Inspect(namespace)]
        tools += [TodoWrite(), AskUserQuestion()]
        return [*tools, *session_tools(self, self), *outside_tools(self.gate.core, self.settings)]

    def _has_prices(self, provider: str) -> bool:
        """Whether the table of prices will be looked into."""
        return bool(self.settings.fallback_models) or (provider in KNOWN and not KNOWN[provider].is_local)

    def _price(self, model: str, usage: Usage) -> float | None:
        from claw_kernel.providers.prices import cost_usd

        provider, _, name = model.partition("/")
        return cost_usd(provider, name, usage, self.settings.prices)


def _telemetry(settings: Settings, redact: Callable[[str], str]) -> tuple[Callable[[Event], None] | None, list[str]]:
    """What observes a turn, if anything does, and what the person should know of it."""
    if not settings.telemetry:
        return None, []
    from claw_kernel.telemetry import MISSING, observe_turn

    try:
        return observe_turn(redact, has_content=settings.telemetry_content), []
    except ImportError:
        return None, [MISSING]


def _structured_output(schema: Mapping[str, Any]) -> StructuredOutput:
    """Raises SettingsError."""
    from claw_kernel.tools.structured_output import StructuredOutput

    return StructuredOutput(schema)
