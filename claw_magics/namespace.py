"""The live namespace: runs the agent's code where the user's variables are, and describes them.

The engine calls from its own event loop; everything here hops to the thread that owns the namespace, which is free to
do so only while a cell reads a turn (it awaits, so other tasks run). Whoever reads a turn therefore calls
:meth:`LiveNamespace.bind` for as long as it reads.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import re
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeAlias

from claw_kernel.tools.namespace import CodeResult, Variable
from claw_magics.capture import IN_AGENT_CODE, Capture, Output, current_capture
from claw_magics.patches import capturing

RunOnMain: TypeAlias = Callable[[Callable[[], Awaitable[Any]]], "concurrent.futures.Future[Any]"]
"""Runs an async callable on the event loop of the thread that owns the namespace. Cancelling the future cancels it."""

_CLAW_CALL = re.compile(r"\bget_ipython\(\)\.(?:run_(?:line|cell)_magic\(\s*['\"]claw['\"]|claw_host\b|claw_run\b)")
"""What ``%claw`` and ``%%claw`` become in transformed code."""
_BIND_SECONDS = 1.0
_UNREACHABLE = "The notebook's variables cannot be reached now, because no cell is waiting for this turn."


class _Run:
    """One piece of code under way, and the one place that may interrupt it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._task: asyncio.Task[Any] | None = None
        self._is_active = False
        self._is_stopped = False

    def interrupt(self) -> None:
        """Stop code that computes or sleeps, from any thread; code that awaits is stopped by its task. A run not begun yet will
        not begin."""
        with self._lock:
            self._is_stopped = True
            if not self._is_active:
                return
            if threading.current_thread() is not threading.main_thread():
                # The handler ignores it where the code awaits.
                if hasattr(signal, "pthread_kill"):
                    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                else:
                    signal.raise_signal(signal.SIGINT)

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """While the block runs, SIGINT raises KeyboardInterrupt in the code, not in the kernel's loop.

        Raises CancelledError where it was interrupted before it began.
        """
        with contextlib.suppress(RuntimeError):
            self._task = asyncio.current_task()
        is_main = threading.current_thread() is threading.main_thread()
        previous: Any = signal.getsignal(signal.SIGINT) if is_main else None

        def on_sigint(signum: int, frame: Any) -> None:
            if self._is_active and self._is_own_code():
                raise KeyboardInterrupt
            if not self._is_stopped and callable(previous):
                previous(signum, frame)

        if is_main:
            signal.signal(signal.SIGINT, on_sigint)
        try:
            with self._lock:
                if self._is_stopped:
                    raise asyncio.CancelledError
                self._is_active = True
            yield
        finally:
            self._is_active = False  # a plain store comes first: from here on the handler raises nothing
            with self._lock:  # whoever is just interrupting has sent the signal when this is free
                pass
            if is_main and signal.getsignal(signal.SIGINT) is on_sigint:
                signal.signal(signal.SIGINT, previous)

    def _is_own_code(self) -> bool:
        # A KeyboardInterrupt in another task, or between tasks, would end the kernel's event loop.
        if self._task is None:
            return True
        try:
            return asyncio.current_task() is self._task
        except RuntimeError:
            return False


class LiveNamespace:
    """Implements ``claw_kernel.tools.namespace.Namespace`` on an IPython shell."""

    def __init__(self, ip: Any) -> None:
        self._ip = ip
        self._run_on_main: RunOnMain | None = None
        self._lock: asyncio.Lock | None = None
        self._lock_loop: asyncio.AbstractEventLoop | None = None

    def bind(self, run_on_main: RunOnMain | None) -> None:
        """Say how to reach the namespace's thread; None: no cell reads a turn now."""
        self._run_on_main = run_on_main

    async def run_code(self, code: str, on_output: Callable[[Output], None]) -> CodeResult:
        capture = Capture(on_output, asyncio.get_running_loop())
        run = _Run()
        try:
            result: CodeResult = await self._hop(run, lambda: self._execute(code, capture, run))
            capture.flush()
            return result
        finally:
            capture.close()

    async def list_variables(self) -> tuple[Variable, ...]:
        async def look() -> tuple[Variable, ...]:
            from claw_magics.inspection import list_variables

            return list_variables(self._ip.user_ns, getattr(self._ip, "user_ns_hidden", {}))

        found: tuple[Variable, ...] = await self._hop(None, look)
        return found

    async def surroundings(self) -> dict[str, Any]:
        async def look() -> dict[str, Any]:
            from claw_magics.fingerprint import surroundings

            return surroundings(self._ip.user_ns, getattr(self._ip, "user_ns_hidden", {}))

        found: dict[str, Any] = await self._hop(None, look)
        return found

    async def describe(self, name: str, *, with_repr: bool = False) -> Variable:
        run = _Run() if with_repr else None

        async def look() -> Variable:
            from claw_magics.inspection import describe

            if run is None:
                return describe(name, self._ip.user_ns)
            async with self._one_at_a_time():
                # What a stranger's repr prints belongs to nobody.
                try:
                    with capturing(self._ip, Capture()), run.active():
                        return describe(name, self._ip.user_ns, with_repr=True)
                except KeyboardInterrupt:  # out of a task it would end the kernel's loop
                    raise RuntimeError(f"The repr of {name} was interrupted.") from None

        found: Variable = await self._hop(run, look)
        return found

    async def _hop(self, run: _Run | None, function: Callable[[], Awaitable[Any]]) -> Any:
        if current_capture() is not None:
            raise RuntimeError(IN_AGENT_CODE)  # waiting for the lock that the caller itself holds would never end
        future = (await self._reader())(function)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if run is not None:
                run.interrupt()
            if future.cancelled() and not _is_being_cancelled():
                # The cell that was reading is gone, not this call's owner.
                raise RuntimeError(_UNREACHABLE) from None
            raise

    async def _reader(self) -> RunOnMain:
        """How to reach the namespace's thread. Raises RuntimeError where no cell reads a turn."""
        # The turn runs before its cell has come round to read it: a quick model may call a tool in between.
        deadline = time.monotonic() + _BIND_SECONDS
        while (run_on_main := self._run_on_main) is None:
            if time.monotonic() > deadline:
                raise RuntimeError(_UNREACHABLE)
            await asyncio.sleep(0.005)
        return run_on_main

    def _one_at_a_time(self) -> asyncio.Lock:
        loop = asyncio.get_running_loop()
        if self._lock is None or self._lock_loop is not loop:
            self._lock, self._lock_loop = asyncio.Lock(), loop
        return self._lock

    async def _execute(self, code: str, capture: Capture, run: _Run) -> CodeResult:
        ip = self._ip
        async with self._one_at_a_time():
            transformed, preprocessing_error = _transform(ip, code)
            if _CLAW_CALL.search(transformed):
                raise RuntimeError(IN_AGENT_CODE)
            capture.is_quiet = _is_suppressed(transformed)
            kept = _ShellState(ip)
            result: Any = None
            error: BaseException | None = None
            try:
                with capturing(ip, capture), run.active():
                    try:
                        result = await ip.run_cell_async(
                            code,
                            store_history=False,
                            transformed_cell=transformed,
                            preprocessing_exc_tuple=preprocessing_error,
                        )
                    finally:
                        # run_cell_async fires the events before a cell; the kernel fires those after it, for its own cell.
                        ip.events.trigger("post_execute")
                        if result is not None:
                            ip.events.trigger("post_run_cell", result)
                        _flush_figures()
            except KeyboardInterrupt as interrupt:  # hit IPython's own lines, before or after the code's
                error = interrupt
            finally:
                kept.restore()
            if result is not None and error is None:
                error = result.error_before_exec or result.error_in_exec
            is_interrupted = isinstance(error, KeyboardInterrupt | asyncio.CancelledError)
            return CodeResult(capture.outputs(), is_error=error is not None, is_interrupted=is_interrupted)


class _ShellState:
    """What a run leaves behind in the shell and the cell around it must not notice."""

    def __init__(self, ip: Any) -> None:
        self._ip = ip
        self._exec_result = getattr(ip.displayhook, "exec_result", None)
        self._names = {
            name: getattr(ip, name)
            for name in ("execution_count", "last_execution_succeeded", "last_execution_result", "_last_traceback")
            if hasattr(ip, name)
        }

    def restore(self) -> None:
        self._ip.displayhook.exec_result = self._exec_result
        for name, value in self._names.items():
            with contextlib.suppress(Exception):
                setattr(self._ip, name, value)


def _transform(ip: Any, code: str) -> tuple[str, Any]:
    try:
        return ip.transform_cell(code), None
    except Exception:  # IPython shows it as the cell's error
        return code, sys.exc_info()


def _is_suppressed(transformed: str) -> bool:
    """A ``;`` ends the code (comments and blank lines aside), as IPython means it."""
    import io
    import tokenize

    skipped = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.ENDMARKER, tokenize.DEDENT, tokenize.INDENT)
    last = None
    if ";" not in transformed:
        return False
    try:
        for token in tokenize.generate_tokens(io.StringIO(transformed).readline):
            if token.type not in skipped:
                last = token
    except (tokenize.TokenError, SyntaxError):
        return False
    return last is not None and last.string == ";"


def _flush_figures() -> None:
    """Figures the inline backend would show at the end of the cell; a no-op where matplotlib is not in use."""
    backend = sys.modules.get("matplotlib_inline.backend_inline")
    if backend is not None and "matplotlib.pyplot" in sys.modules:
        backend.flush_figures()


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
