"""Claw in one kernel: its session, its agent, the front ends that said hello, the turns it drew."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claw_kernel.ids import new_id
from claw_magics.drawn import DrawnTurns
from claw_magics.errors import CellError, ClawSettingsError, ClawUsageError, TurnInterrupted
from claw_magics.frontend import (
    NOTEBOOK_VARIABLE,
    Frontend,
    allows_stdin,
    connection_of,
    guess_frontend,
    has_cells,
    is_vscode,
)

if TYPE_CHECKING:
    from claw_kernel.agent import Agent, Turn
    from claw_kernel.gate import Gate
    from claw_kernel.session import Session
    from claw_kernel.session.journal import Lost
    from claw_magics.completion import Completion
    from claw_magics.control import Control
    from claw_magics.namespace import LiveNamespace
    from claw_magics.outline import Outlines
    from claw_magics.report import CommandOutput

HELLO_SECONDS = 1.0
"""How long after Claw began the first turn waits for the extension, which needs some milliseconds to say hello."""
FRONTENDS_KEPT = 16


class Host:
    """One per kernel process. What the control thread calls is thread-safe; the rest belongs to the main thread."""

    def __init__(self, ip: Any) -> None:
        self.ip = ip
        self.kernel_id = new_id("k")
        self.is_claw_kernel = False
        self.current_turn: Turn | None = None
        self._agent: Agent | None = None
        self._session: Session | None = None
        self._tightened_by: dict[str, Any] = {}
        self._namespace: LiveNamespace | None = None
        self._control: Control | None = None
        self._outlines: Outlines | None = None
        self.last_turn_id = ""
        """The newest turn that this kernel ran or showed from its record."""
        self.lost: list[Lost] | None = None
        """Turns that a killed kernel left of this notebook; None: not looked for yet."""
        self.told_order: tuple[str, ...] = ()
        """The order of cells that a person was told of last."""
        self._comm: Any = None
        self._lock = threading.RLock()
        self._frontends: OrderedDict[str, Frontend] = OrderedDict()
        self.drawn = DrawnTurns()
        self._runs: dict[str, list[dict[str, str]]] = {}
        self._warnings: list[str] = []
        self._notes: list[str] = []
        self._began_at = time.monotonic()
        self._on_greeted: Callable[[], object] | None = None
        self._is_busy = False
        self._has_recalled = False
        self._has_reconciled = False
        self._recorded_environment: dict[str, Any] = {}
        self._expected: str | None = None

    # --- its parts ---

    @property
    def kernel(self) -> Any:
        """The Jupyter kernel, or None in IPython without one."""
        return getattr(self.ip, "kernel", None)

    @property
    def namespace(self) -> LiveNamespace:
        if self._namespace is None:
            from claw_magics.namespace import LiveNamespace

            self._namespace = LiveNamespace(self.ip)
        return self._namespace

    @property
    def session(self) -> Session:
        """The conversation; there before the agent, because a front end may bring a notebook's records first."""
        with self._lock:
            if self._session is None:
                from claw_kernel.session import Session

                self._session = Session()
            return self._session

    @property
    def outlines(self) -> Outlines:
        """What the open pages say of the notebook."""
        with self._lock:
            if self._outlines is None:
                from claw_magics.outline import Outlines

                self._outlines = Outlines(self.session)
            return self._outlines

    @property
    def connection(self) -> str:
        """The page whose cell runs now."""
        return connection_of(self.kernel)

    @property
    def agent(self) -> Agent:
        """Made on first use. Raises SettingsError."""
        with self._lock:
            if self._agent is None:
                from claw_kernel.agent import Agent
                from claw_kernel.settings import load_settings

                self._agent = Agent(load_settings(), session=self.session, namespace=self.namespace)
                self._tighten()
            return self._agent

    def _tighten(self) -> None:
        """What the notebook's header says of permissions, once; a header that cannot be read is a warning."""
        from claw_kernel.errors import SettingsError

        if self._agent is None or not (permissions := self.session.permissions) or permissions == self._tightened_by:
            return
        self._tightened_by = permissions
        try:
            self._agent.tighten(permissions, "the notebook's header")
        except SettingsError as error:
            self._warnings.append(str(error))

    @property
    def gate(self) -> Gate | None:
        """None while there is no agent, and so nothing to ask."""
        return self._agent.gate if self._agent is not None else None

    @property
    def frontend(self) -> Frontend:
        """The front end whose cell runs now."""
        with self._lock:
            known = self._frontends.get(connection_of(self.kernel))
        return known or guess_frontend(self.ip)

    def connect(self) -> None:
        """Make Claw known to front ends: the control request, and the comm by which the extension learns of us."""
        from claw_magics.control import VERSION, Control

        self._control = Control(self)
        self._control.install(self.kernel)
        try:
            from comm import create_comm

            self._comm = create_comm(target_name="claw", data={"version": VERSION, "kernel_id": self.kernel_id})
        except Exception:  # a kernel without comms: there is no extension to greet then
            self._comm = None

    def close(self) -> None:
        """Take back what ``connect`` did and stop what runs; the host is not used afterwards."""
        if self._control is not None:
            self._control.uninstall(self.kernel)
        if self._comm is not None:
            self._comm.close()
        if self._agent is not None:
            self._agent.close()
            self._agent = None

    # --- the control thread's side ---

    def greet(self, connection: str, frontend: Frontend, header: Mapping[str, Any] | None, records: list[Any]) -> None:
        """A page with the extension has opened (or reloaded) the notebook and brings the records it holds."""
        warnings = self.session.merge(records, header)
        with self._lock:
            self._tighten()
            self._warnings.extend(warning for warning in warnings if warning not in self._warnings)
            self._frontends[connection] = frontend
            self._frontends.move_to_end(connection)
            while len(self._frontends) > FRONTENDS_KEPT:
                self._frontends.popitem(last=False)
        if (on_greeted := self._on_greeted) is not None:
            on_greeted()

    def is_terminal(self, connection: str) -> bool:
        """Whether the connection is that of a notebook run from a terminal, whose person answers there."""
        with self._lock:
            known = self._frontends.get(connection)
        return known is not None and known.ui == "terminal"

    def take_runs(self, connection: str) -> list[dict[str, str]]:
        """What ``ask_page`` was given for this page, once."""
        with self._lock:
            return self._runs.pop(connection, [])

    # --- cells ---

    @contextmanager
    def expected_cell(self, code: str) -> Iterator[None]:
        """Inside the block the kernel runs ``code``, typed into a cell of the Claw kernel."""
        self._expected = code
        try:
            yield
        finally:
            self._expected = None

    def is_expected_cell(self, text: str) -> bool:
        """Whether ``text``, about to be transformed, is that cell. IPython may transform it twice; code that the agent runs
        meanwhile is transformed too, and is code even where it equals the prompt."""
        expected = self._expected
        return expected is not None and not self._is_busy and text.rstrip("\r\n") == expected.rstrip("\r\n")

    async def run_cell(self, line: str, body: str) -> None:
        """Run one ``%%claw`` cell in a cell that awaits. Raises CellError."""
        with self._at_work():
            from claw_magics import cell

            if cell.show_help(self, line):
                return
            options = cell.check_cell(line, body)
            await self._wait_for_hello()
            record = await cell.run_cell(self, options, body)
            self._mark_cells()
            cell.end_cell(self, record)

    def run_cell_blocking(self, line: str, body: str) -> None:
        """The same where the cell cannot await: nested in another cell magic, or in IPython without a kernel."""
        with self._at_work():
            from claw_magics import cell

            if cell.show_help(self, line):
                return
            options = cell.check_cell(line, body)
            record = cell.run_cell_blocking(self, options, body)
            self._mark_cells()
            cell.end_cell(self, record)

    def complete(self, code: str, cursor_pos: int) -> Completion:
        """Completions of a prompt, for the Claw kernel. ``cursor_pos`` counts characters."""
        from claw_magics.completion import complete

        return complete(self, code, cursor_pos)

    def inspect_command(self, line: str) -> str:
        """Help of the command that ``line`` begins with, for the Claw kernel; empty where it is none."""
        from claw_magics.commands import inspect_command

        return inspect_command(line)

    def run_command(self, line: str) -> None:
        """One ``%claw`` command. Raises CellError where it is none, so that "Run All" stops."""
        with _one_line_errors():
            from claw_magics.commands import run_command

            output = run_command(self, line)
            if output.is_error:
                raise ClawUsageError(output.plain)
            self.show(output)
            self._mark_cells()

    def _mark_cells(self) -> None:
        if self._session is not None:
            from claw_magics.branches import mark_cells

            mark_cells(self)

    def show(self, output: CommandOutput) -> None:
        """What a command shows before it is done."""
        from claw_magics.screen import publish

        publish(self.ip, {"text/markdown": output.markdown, "text/plain": output.plain})

    def confirm(self, output: CommandOutput, question: str) -> bool | None:
        """Show ``output`` and ask; None, and nothing is shown, where nobody can be asked."""
        if not allows_stdin(self.ip):
            return None
        self.show(output)
        try:
            return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
        except (EOFError, KeyboardInterrupt):
            return False

    def tell_model(self, note: str) -> None:
        """Goes to the model with the next prompt."""
        self._notes.append(note)

    def take_notes(self) -> list[str]:
        """What ``tell_model`` was given, once."""
        found, self._notes = self._notes, []
        return found

    def recall(self, environment: Mapping[str, str]) -> None:
        """Where no extension brings the notebook's records: read them from its file, once, where the front end names it."""
        path = self._notebook_path(environment)
        self.agent.set_notebook(path if path.endswith(".ipynb") else None)
        if self._has_recalled:
            return
        self._has_recalled = True
        if self.frontend.has_extension or self.session.records or not path.endswith(".ipynb"):
            return
        from claw_kernel.errors import SessionError
        from claw_kernel.session.notebook import read_notebook

        with suppress(SessionError):  # a notebook that was never saved has nothing to recall
            records, header = read_notebook(path)
            self._warnings.extend(self.session.merge(records, header))
            self._tighten()

    def _notebook_path(self, environment: Mapping[str, str]) -> str:
        """The notebook's file, empty where none is known. The server's name for it is that of the kernel's start; after a
        renaming only the extension, which counts from the server's folder, knows better."""
        if is_vscode(self.ip):
            return self.frontend.path
        if named := environment.get(NOTEBOOK_VARIABLE, ""):
            return named
        started_as = environment.get("JPY_SESSION_NAME", "")
        live = Path(self.frontend.path).name
        return str(Path(started_as).with_name(live)) if started_as and live else started_as

    @property
    def notebook_path(self) -> str:
        """The notebook's file, empty where none is known."""
        return self._notebook_path(self.agent.settings.env)

    @property
    def output_limit(self) -> int:
        """Characters that a record keeps of one output."""
        return self.agent.settings.record_output_kilobytes * 1000

    @property
    def recorded_environment(self) -> dict[str, Any]:
        """What the last turn before this kernel ran on; the turns of this kernel say what it has now."""
        if not self._recorded_environment and not self._has_reconciled:
            from claw_kernel.session.environment import last_environment

            self._recorded_environment = last_environment(self.session.records)
        return self._recorded_environment

    def reconcile(self) -> None:
        """Before the first turn of this kernel: what of the last turn's namespace is gone is a warning, and the model is told."""
        if not self._has_reconciled and self.recorded_environment:
            from claw_magics.resume import reconcile

            self._warnings += filter(None, [reconcile(self)])
        self._has_reconciled = True

    def take_warnings(self) -> list[str]:
        """What could not be read of the notebook's records, once."""
        with self._lock:
            found, self._warnings = self._warnings, []
        return found

    def ask_page(self, runs: list[dict[str, str]]) -> None:
        """Once the running cell has ended, its page runs these cells (``cell_id``) and this code without a cell (``code``), or shows
        these turns in their cells (``turn_id``)."""
        with self._lock:
            known = self._runs.pop(self.connection, [])
            self._runs = {self.connection: [*known, *runs]}  # what no other page has fetched is not done any more

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """One cell at a time: a second one (code of a tool that calls Claw) would wait for the first for ever."""
        if self._is_busy:
            raise ClawUsageError("Claw is already at work in this kernel: wait for its cell to end, or interrupt it.")
        self._is_busy = True
        try:
            with _one_line_errors():
                yield
        finally:
            self._is_busy = False
            self.current_turn = None

    async def _wait_for_hello(self) -> None:
        """Only where the extension may be at work and the kernel has just begun: else it has answered, or never will."""
        if not has_cells(self.ip) or is_vscode(self.ip) or self.frontend.has_extension:
            return
        patience = self._began_at + HELLO_SECONDS - time.monotonic()
        if patience <= 0:
            return
        greeted = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._on_greeted = lambda: loop.call_soon_threadsafe(greeted.set)
        if self.frontend.has_extension:  # it came in between
            return
        try:
            async with asyncio.timeout(patience):
                await greeted.wait()
        except TimeoutError:
            return
        finally:
            self._on_greeted = None


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """What a person can mend becomes one line; only a bug in Claw shows a traceback."""
    try:
        yield
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise TurnInterrupted("Interrupted before the request was sent.") from None
    except CellError as error:
        # Without the context that led here: it is ours, not the person's.
        raise error from None
    except ModuleNotFoundError as error:
        if error.name != "claw_kernel._core":
            raise
        raise ClawSettingsError("The native part of Claw is missing. Install claw-jupyter anew.") from None
    except Exception as error:
        errors = sys.modules.get("claw_kernel.errors")
        if errors is not None and isinstance(error, errors.ClawError):
            raise ClawSettingsError(str(error)) from None
        raise
