"""A notebook run cell by cell in a kernel of its own, through nbclient: watched, within a budget, interruptible, saved as it goes."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import queue
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from claw_kernel.errors import ClawError
from claw_kernel.late_dataclass import dataclass
from claw_kernel.messages import TurnRecord
from claw_kernel.session import read_record
from claw_kernel.session.notebook import drawn_records
from claw_kernel.session.pieces import is_prompt, is_record
from claw_kernel.session.record import MIME_TYPE, scrub

if TYPE_CHECKING:
    from nbclient import NotebookClient
    from nbformat import NotebookNode

EndName: TypeAlias = Literal["done", "limit", "provider", "notebook", "interrupted", "terminated"]
"""How a run ended: all cells ran · a limit was reached · a turn failed · a cell raised or the kernel died · by a signal."""
CLAW_KERNEL = "claw"
PATIENCE_SECONDS = 7.0
"""How long an interrupted cell may take to end and to record what was done, before its kernel is stopped. Less than the 10 seconds
that Docker, and GitHub Actions with two signals more, wait before they kill."""
_LOOK_SECONDS = 0.1
_REPLY_SECONDS = 4.0


@dataclass(frozen=True)
class RunEnd:
    """``message``: one line for the person, empty where all went well. ``cell``: the index of the cell it ended at."""

    name: EndName
    message: str = ""
    cell: int | None = None


@dataclass()
class Budget:
    """For the whole notebook: US dollars and model requests; None: no limit. ``spent_usd`` None: a price is unknown."""

    max_cost_usd: float | None = None
    max_turns: int | None = None
    spent_usd: float | None = 0.0
    turns: int = 0

    def take(self, record: TurnRecord) -> None:
        """Count a turn that has ended."""
        self.turns += len(record.steps)
        known = self.spent_usd is not None and record.cost_usd is not None
        self.spent_usd = (self.spent_usd or 0.0) + (record.cost_usd or 0.0) if known else None

    def rest(self) -> dict[str, float]:
        """What is left, as settings of the kernel."""
        found: dict[str, float] = {}
        if self.max_turns is not None:
            found["max_turns"] = self.max_turns - self.turns
        if self.max_cost_usd is not None and self.spent_usd is not None:
            found["max_cost_usd"] = round(self.max_cost_usd - self.spent_usd, 6)
        return found

    def exhausted(self) -> str:
        """Which limit has been reached, in words; empty: none."""
        if self.max_turns is not None and self.turns >= self.max_turns:
            return f"the limit of {self.max_turns} model requests is reached"
        if self.max_cost_usd is not None and self.spent_usd is not None and self.spent_usd >= self.max_cost_usd > 0:
            return f"the limit of ${self.max_cost_usd:g} is reached"
        return ""


class Watch(Protocol):
    """Is told what happens while a notebook runs."""

    def cell_started(self, index: int, cell: NotebookNode) -> None: ...

    def turn_drawn(self, index: int, document: Mapping[str, Any]) -> None:
        """The record of a turn, running (``live``) or finished, as docs/record.md has it."""
        ...

    def cell_finished(self, index: int, cell: NotebookNode, problem: str) -> None: ...


class Answers(Protocol):
    """A person who can be asked while the notebook runs."""

    def ask(self, requests: list[dict[str, Any]]) -> dict[str, Any] | None:
        """What waits for an answer now (docs/protocol.md, ``pending``); a ``resolve`` request, once there is one. Never blocks."""
        ...


@dataclass()
class NotebookRun:
    """``environment``: the kernel's, whole. ``finished``: cells that are left as they are. ``is_stopping_at_turns``: a turn that
    did not end as asked ends the run. ``save`` is called whenever a cell has ended. ``redact`` takes secrets out of what code shows, which no gate
    has seen."""

    notebook: NotebookNode
    workspace: Path
    environment: Mapping[str, str]
    watch: Watch
    kernel_name: str
    cell_seconds: int | None = None
    budget: Budget = field(default_factory=Budget)
    finished: Collection[int] = ()
    is_stopping_at_turns: bool = True
    save: Callable[[], None] = lambda: None
    answers: Answers | None = None
    handles_signals: bool = True
    redact: Callable[[str], str] = str
    _signals: _Signals | None = None
    _pending: list[dict[str, Any]] = field(default_factory=list)

    def interrupt(self) -> None:
        """End the cell under way, and the run with it. Any thread."""
        if self._signals is not None:
            self._signals.raise_from_outside()

    def execute(self) -> RunEnd:
        """Run all cells. Raises nothing for what a cell or turn does."""
        return asyncio.run(self._execute())

    async def _execute(self) -> RunEnd:
        with tempfile.TemporaryDirectory(prefix="claw-kernel-", ignore_cleanup_errors=True) as sockets:
            client = _client(self, sockets)
            try:
                return await self._execute_in(client)
            finally:
                atexit.unregister(client._cleanup_kernel)  # stays behind where the kernel never began

    async def _execute_in(self, client: NotebookClient) -> RunEnd:
        from nbclient.exceptions import DeadKernelError

        signals = self._signals = _Signals(client)
        self.watch_signals()
        try:
            async with client.async_setup_kernel(env=dict(self.environment), cwd=str(self.workspace)):
                signals.is_ready = True
                return await self._run_cells(client, signals)
        except Exception as error:
            from jupyter_client.kernelspec import NoSuchKernel

            if signals.received:
                return signals.end()
            if isinstance(error, NoSuchKernel):
                return RunEnd("notebook", f"there is no kernel {self.kernel_name!r} here; name one with --kernel")
            if not isinstance(error, DeadKernelError | RuntimeError):
                raise
            return RunEnd("notebook", f"the kernel died: {_first_line(str(error))}")

    def watch_signals(self) -> None:
        """Again once the kernel starts, where nbclient puts its own answer to them in the place of ours."""
        if self.handles_signals and self._signals is not None:
            self._signals.install()

    async def _run_cells(self, client: NotebookClient, signals: _Signals) -> RunEnd:
        from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

        for index, cell in enumerate(self.notebook.cells):
            if cell.cell_type != "code" or not cell.source.strip() or index in self.finished:
                continue
            if signals.received:
                return signals.end(index)
            if is_prompt(cell.source, is_claw_kernel=self.kernel_name == CLAW_KERNEL) and (
                limit := self.budget.exhausted()
            ):
                return RunEnd("limit", limit, index)
            await self._pass_on_budget(client)
            if self.answers is not None and is_prompt(cell.source, is_claw_kernel=self.kernel_name == CLAW_KERNEL):
                await _tell(client, {"op": "hello", "ui": "terminal", "header": None, "records": []})
            self.watch.cell_started(index, cell)
            problem, is_dead = "", False
            try:
                async with self._answering(client):
                    await client.async_execute_cell(cell, index, execution_count=client.code_cells_executed + 1)
            except CellExecutionError as error:
                problem = f"{error.ename}: {_first_line(error.evalue)}"
            except CellTimeoutError:
                cell.execution_count = None  # it was begun and did not end
                problem = f"the cell took longer than {self.cell_seconds} s"
                client.shutdown_kernel = "immediate"  # it would not listen
            except DeadKernelError:
                cell.execution_count = None
                problem, is_dead = "the kernel died", True
            record = last_record(cell)
            if record is not None:
                self.budget.take(record)
            problem = self.redact(problem)
            for output in cell.outputs:
                if not is_record(output):
                    output.update(scrub(output, self.redact))
            self.watch.cell_finished(index, cell, problem)
            self.save()
            if signals.received:
                return signals.end(index)
            if is_dead or (problem and record is None):
                return RunEnd("notebook", f"cell {index + 1}: {problem}", index)
            if record is not None and self.is_stopping_at_turns and (end := end_of_turn(record, index)) is not None:
                return end
        client.set_widgets_metadata()
        if widgets := self.notebook.metadata.get("widgets"):
            self.notebook.metadata["widgets"] = scrub(widgets, self.redact)
        return RunEnd("done")

    @contextlib.asynccontextmanager
    async def _answering(self, client: NotebookClient) -> AsyncIterator[None]:
        """While a cell runs, the person at hand is asked what it waits for."""
        if self.answers is None:
            yield
            return

        async def look(answers: Answers) -> None:
            while True:
                await asyncio.sleep(_LOOK_SECONDS)
                if (answer := answers.ask(self._pending)) is not None:
                    await _tell(client, answer)

        task = asyncio.ensure_future(look(self.answers))
        try:
            yield
        finally:
            task.cancel()
            self._pending = []
            self.answers.ask([])

    def turn_drawn(self, index: int, document: Mapping[str, Any]) -> None:
        """The client's side."""
        self._pending = list((document.get("live") or {}).get("pending", ()))
        self.watch.turn_drawn(index, document)

    async def _pass_on_budget(self, client: NotebookClient) -> None:
        """The kernel holds a turn to what is left."""
        rest = self.budget.rest()
        if not rest or not self.budget.turns:
            return
        kept = {name: max(1 if name == "max_turns" else 0, value) for name, value in rest.items()}
        code = (
            "getattr(get_ipython(), 'claw_host', None) is None or "
            f"get_ipython().claw_host.agent.configure('claw run', **{kept!r})"
        )
        assert client.kc is not None
        asked: Any = client.kc.execute(code, silent=True, store_history=False)
        await client.async_wait_for_reply(await asked if asyncio.iscoroutine(asked) else asked)


def redactor(secrets: Iterable[str]) -> Callable[[str], str]:
    """Takes ``secrets`` out of a text, in every usual spelling. Halves of surrogate pairs, which no file can hold, become ``?``."""
    from claw_kernel._core import Secrets

    redact = Secrets(list(secrets)).redact

    def clean(text: str) -> str:
        return redact(text.encode("utf-8", "replace").decode())

    return clean


def last_record(cell: Mapping[str, Any]) -> TurnRecord | None:
    """The record of the turn the cell shows; None where it shows none that can be read."""
    for document in reversed(drawn_records(cell)):
        with contextlib.suppress(ClawError):
            return read_record(document)
    return None


def has_run_to_its_end(notebook: NotebookNode) -> bool:
    """Whether a run of the notebook came to the end of its last cell of code."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    if not cells or any(cell.execution_count is None for cell in cells):
        return False
    last = cells[-1]
    if (record := last_record(last)) is not None:
        return end_of_turn(record, 0) is None
    is_expected = "raises-exception" in last.metadata.get("tags", ())
    return is_expected or all(output.output_type != "error" for output in last.outputs)


def end_of_turn(record: TurnRecord, index: int) -> RunEnd | None:
    """How a turn ends a run; None: it does not."""
    where = f"cell {index + 1}"
    match record.stop_reason:
        case "end_turn":
            return None
        case "max_turns" | "max_cost" | "max_tokens":
            words = {"max_turns": "model requests", "max_cost": "cost", "max_tokens": "the answer's length"}
            return RunEnd("limit", f"{where}: the turn met its limit of {words[record.stop_reason]}", index)
        case "refusal":
            return RunEnd("provider", f"{where}: the model refused to answer", index)
        case "interrupted":
            return RunEnd("interrupted", f"{where}: the turn was interrupted", index)
        case _:
            said = f"{record.error.message} {record.error.remedy}".strip() if record.error else "without an answer"
            name: EndName = "notebook" if record.error is not None and record.error.kind == "settings" else "provider"
            return RunEnd(name, f"{where}: {said}", index)


def _client(run: NotebookRun, sockets: str) -> NotebookClient:
    from nbclient import NotebookClient

    class Client(NotebookClient):
        def create_kernel_manager(self) -> Any:
            manager = super().create_kernel_manager()
            if os.name == "posix":
                # Sockets in a folder of this user's: no port that others can try, and it works without any network.
                manager.transport, manager.ip = "ipc", f"{sockets}/k"
            return manager

        async def async_start_new_kernel(self, **kwargs: Any) -> None:
            run.watch_signals()
            await super().async_start_new_kernel(**kwargs)

        def process_message(self, msg: dict[str, Any], cell: NotebookNode, cell_index: int) -> Any:
            if msg["msg_type"] in ("display_data", "update_display_data"):
                document = msg["content"]["data"].get(MIME_TYPE)
                if isinstance(document, dict):
                    run.turn_drawn(cell_index, document)
            return super().process_message(msg, cell, cell_index)

    return Client(
        run.notebook,
        timeout=run.cell_seconds,
        kernel_name=run.kernel_name,
        extra_arguments=["--IPKernelApp.log_level=40"],  # errors only: what it warns of does not concern a run
        resources={"metadata": {"path": str(run.workspace)}},
    )


class _Signals:
    """SIGINT, SIGTERM and SIGHUP end the cell under way, which then records what was done; a kernel that does not obey is stopped."""

    def __init__(self, client: NotebookClient) -> None:
        self._client = client
        self.received: int = 0
        self.is_ready = False
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    def install(self) -> None:
        loop = asyncio.get_running_loop()
        numbers = [signal.SIGINT, signal.SIGTERM]
        hangup = getattr(signal, "SIGHUP", None)  # not on Windows
        if hangup is not None and signal.getsignal(hangup) != signal.SIG_IGN:  # as nohup has it
            numbers.append(hangup)
        for number in numbers:
            with contextlib.suppress(RuntimeError, NotImplementedError, ValueError):  # no main thread, or no POSIX
                loop.add_signal_handler(number, self._take, number)

    def raise_from_outside(self) -> None:
        with contextlib.suppress(RuntimeError):  # the run is over
            self._loop.call_soon_threadsafe(self._take, signal.SIGINT)

    def end(self, cell: int | None = None) -> RunEnd:
        is_interrupted = self.received == signal.SIGINT
        return RunEnd("interrupted" if is_interrupted else "terminated", "stopped by a signal", cell)

    def _take(self, number: int) -> None:
        is_first, self.received = not self.received, number
        task = asyncio.get_running_loop().create_task(self._stop(is_patient=is_first))
        self._tasks.add(task)

    async def _stop(self, *, is_patient: bool) -> None:
        manager: Any = self._client.km
        if manager is None or not manager.has_kernel:
            return  # none yet, or none any more
        if is_patient and self.is_ready:  # a kernel that only begins has nothing to record
            await _awaited(manager.interrupt_kernel())
            await asyncio.sleep(PATIENCE_SECONDS)
        if self._client.km is not None and manager.has_kernel:
            await _awaited(self._client.km.shutdown_kernel(now=True))


async def _tell(client: NotebookClient, content: Mapping[str, Any]) -> None:
    """A request of docs/protocol.md on the control channel; its reply is waited for, so that what follows finds it done."""
    kc: Any = client.kc
    message = kc.session.msg("claw_request", {"version": 1, **content})
    kc.control_channel.send(message)
    with contextlib.suppress(queue.Empty):
        while (await _awaited(kc.control_channel.get_msg(timeout=_REPLY_SECONDS)))["parent_header"].get(
            "msg_id"
        ) != message["header"]["msg_id"]:
            pass


async def _awaited(value: Any) -> Any:
    return await value if asyncio.iscoroutine(value) or isinstance(value, asyncio.Future) else value


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[0][:300]
