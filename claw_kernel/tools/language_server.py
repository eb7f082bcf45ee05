"""A language server on pipes: JSON-RPC as the Language Server Protocol 3.17 frames it, its documents, what it asks of us.

Small on purpose: the client libraries there are start the process themselves, which here only the core does.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import queue
import threading
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from claw_kernel._core import Process
from claw_kernel.late_dataclass import dataclass

START_SECONDS = 30.0
REQUEST_SECONDS = 30.0
PUBLISH_SECONDS = 10.0
"""How long diagnostics are waited for that a server sends by itself."""
SETTLE_SECONDS = 0.3
MAX_MESSAGE_BYTES = 32 * 1024 * 1024
MAX_DOCUMENTS = 100
_MAX_HEAD_BYTES = 4096
_ERRORS_KEPT_CHARS = 2_000
_RETRIED = {-32801, -32802}  # ContentModified, ServerCancelled: ask again
_METHOD_NOT_FOUND = -32601
_CAPABILITIES: dict[str, Any] = {
    "general": {"positionEncodings": ["utf-16", "utf-8", "utf-32"]},
    "window": {"workDoneProgress": True},
    "workspace": {"configuration": True, "workspaceFolders": True, "symbol": {}},
    "textDocument": {
        "synchronization": {"didSave": True},
        "definition": {"linkSupport": True},
        "references": {},
        "hover": {"contentFormat": ["markdown", "plaintext"]},
        "documentSymbol": {"hierarchicalDocumentSymbolSupport": True},
        "publishDiagnostics": {"versionSupport": True},
        "diagnostic": {},
    },
}


class ServerGoneError(Exception):
    """The server has ended or speaks nonsense; ``str(error)`` says how, with the last it wrote to its error stream."""


class ServerError(Exception):
    """The server answered with an error, or not in time."""


@dataclass()
class _Document:
    version: int
    text: str


class LanguageServer:
    """Used on one event loop. Two threads read its streams and one writes, so that a stuck server holds nobody."""

    def __init__(self, process: Process, root: Path, options: Mapping[str, Any]) -> None:
        self._process = process
        self._root = root
        self._options = options
        self._loop = asyncio.get_running_loop()
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._documents: OrderedDict[str, _Document] = OrderedDict()
        self._published: dict[str, tuple[int | None, list[dict[str, Any]]]] = {}
        self._news = asyncio.Event()
        self._busy: set[str | int] = set()
        self._errors = ""
        self._gone = ""
        self.capabilities: dict[str, Any] = {}
        for work in (self._read, self._read_errors, self._write):
            threading.Thread(target=work, name="claw-lsp", daemon=True).start()

    @property
    def is_gone(self) -> bool:
        return bool(self._gone)

    @property
    def is_busy(self) -> bool:
        """It says that it is still at work, on an index for instance."""
        return bool(self._busy)

    @property
    def encoding(self) -> str:
        """In what units it counts columns."""
        return str(self.capabilities.get("positionEncoding") or "utf-16")

    async def initialize(self) -> None:
        """Raises ServerGoneError and ServerError."""
        folder = {"uri": self._root.as_uri(), "name": self._root.name}
        answer = await self.request(
            "initialize",
            {
                # No process id of ours: from within its sandbox the server could not see it, and would end itself.
                "processId": None,
                "clientInfo": {"name": "claw-jupyter"},
                "rootUri": folder["uri"],
                "workspaceFolders": [folder],
                "capabilities": _CAPABILITIES,
                "initializationOptions": dict(self._options) or None,
            },
            START_SECONDS,
        )
        self.capabilities = answer.get("capabilities") or {} if isinstance(answer, dict) else {}
        self._notify("initialized", {})
        if self._options:
            self._notify("workspace/didChangeConfiguration", {"settings": dict(self._options)})

    def close(self) -> None:
        self._end("it was closed")

    # --- documents ---

    def sync(self, path: Path, text: str, language: str) -> str:
        """Make the server see ``text`` as the content of ``path``; its URI."""
        uri = path.as_uri()
        document = self._documents.get(uri)
        if document is None:
            self._documents[uri] = _Document(1, text)
            item = {"uri": uri, "languageId": language, "version": 1, "text": text}
            self._notify("textDocument/didOpen", {"textDocument": item})
            while len(self._documents) > MAX_DOCUMENTS:
                oldest, _ = self._documents.popitem(last=False)
                self._published.pop(oldest, None)
                self._notify("textDocument/didClose", {"textDocument": {"uri": oldest}})
        elif document.text != text:
            document.version += 1
            document.text = text
            self._published.pop(uri, None)
            identifier = {"uri": uri, "version": document.version}
            self._notify("textDocument/didChange", {"textDocument": identifier, "contentChanges": [{"text": text}]})
            self._notify("textDocument/didSave", {"textDocument": {"uri": uri}})
        self._documents.move_to_end(uri)
        return uri

    def open_paths(self) -> list[str]:
        """URIs of the documents the server was told of."""
        return list(self._documents)

    async def diagnostics(self, uri: str) -> list[dict[str, Any]] | None:
        """What the server finds wrong with a synced document; None where it said nothing in time."""
        if self.capabilities.get("diagnosticProvider"):
            report = await self.request("textDocument/diagnostic", {"textDocument": {"uri": uri}})
            return list((report or {}).get("items") or [])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PUBLISH_SECONDS):
                while not self._has_news_of(uri):
                    self._news.clear()
                    await self._news.wait()
                    if self._gone:
                        raise ServerGoneError(self._gone)
                await asyncio.sleep(SETTLE_SECONDS)  # several servers send a first, incomplete list
        found = self._published.get(uri)
        return found[1] if found else None

    def _has_news_of(self, uri: str) -> bool:
        found = self._published.get(uri)
        return found is not None and found[0] in {None, self._documents[uri].version}

    # --- requests ---

    async def request(self, method: str, params: Any, timeout_seconds: float = REQUEST_SECONDS) -> Any:
        """The result. Raises ServerError and ServerGoneError."""
        try:
            async with asyncio.timeout(timeout_seconds):
                while True:
                    try:
                        return await self._ask(method, params)
                    except _RetryError:
                        await asyncio.sleep(SETTLE_SECONDS)
        except TimeoutError:
            raise ServerError(f"it did not answer {method} within {timeout_seconds:.0f} s") from None

    async def wait_until_idle(self, timeout_seconds: float) -> None:
        """Until it no longer says that it is at work, at most so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                while self._busy and not self._gone:
                    self._news.clear()
                    await self._news.wait()

    async def _ask(self, method: str, params: Any) -> Any:
        if self._gone:
            raise ServerGoneError(self._gone)
        number = next(self._ids)
        future = self._waiting[number] = self._loop.create_future()
        self._send({"id": number, "method": method, "params": params})
        try:
            return await future
        except asyncio.CancelledError:
            self._notify("$/cancelRequest", {"id": number})
            raise
        finally:
            self._waiting.pop(number, None)

    def _notify(self, method: str, params: Any) -> None:
        self._send({"method": method, "params": params})

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}, ensure_ascii=False).encode()
        self._outgoing.put(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))

    # --- what comes in, on the event loop ---

    def _receive(self, message: dict[str, Any]) -> None:
        method = message.get("method")
        if method is None:
            future = self._waiting.get(message.get("id", -1))
            if future is not None and not future.done():
                error = message.get("error")
                if error is None:
                    future.set_result(message.get("result"))
                elif error.get("code") in _RETRIED:
                    future.set_exception(_RetryError())
                else:
                    future.set_exception(ServerError(f"it answered: {str(error.get('message'))[:500]}"))
        elif "id" in message:
            self._answer(message["id"], method, message.get("params") or {})
        elif method == "textDocument/publishDiagnostics":
            params = message["params"]
            self._published[params["uri"]] = (params.get("version"), params.get("diagnostics") or [])
            self._news.set()
        elif method == "$/progress":
            kind, token = message["params"]["value"].get("kind"), message["params"]["token"]
            if kind == "begin":
                self._busy.add(token)
            elif kind == "end":
                self._busy.discard(token)
                self._news.set()

    def _answer(self, number: Any, method: str, params: dict[str, Any]) -> None:
        """What the server asks of its client."""
        result: Any = None
        match method:
            case "workspace/configuration":
                result = [self._configuration(item.get("section")) for item in params.get("items", [])]
            case "workspace/workspaceFolders":
                result = [{"uri": self._root.as_uri(), "name": self._root.name}]
            case "workspace/applyEdit":
                result = {"applied": False, "failureReason": "This client only reads."}
            case "window/showDocument":
                result = {"success": False}
            case (
                "client/registerCapability"
                | "client/unregisterCapability"
                | "window/workDoneProgress/create"
                | "window/showMessageRequest"
            ):
                pass
            case _ if method.endswith("/refresh"):
                pass
            case _:
                error = {"code": _METHOD_NOT_FOUND, "message": f"{method} is not supported"}
                self._send({"id": number, "error": error})
                return
        self._send({"id": number, "result": result})

    def _configuration(self, section: str | None) -> Any:
        found: Any = self._options
        for part in (section or "").split("."):
            if part:
                found = found.get(part) if isinstance(found, Mapping) else None
        return found

    def _end(self, why: str) -> None:
        if self._gone:
            return
        tail = self._errors.strip()
        self._gone = f"{why}{f'; it last said: {tail}' if tail else ''}"
        self._outgoing.put(None)
        self._process.kill()
        self._news.set()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(ServerGoneError(self._gone))

    # --- the threads ---

    def _call(self, function: Any, *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the event loop is gone
            self._loop.call_soon_threadsafe(function, *arguments)

    def _read(self) -> None:
        buffer = bytearray()
        try:
            while part := self._process.read_output(1 << 18):
                buffer += part
                while (body := _take_message(buffer)) is not None:
                    message = json.loads(body)
                    if not isinstance(message, dict):
                        raise ValueError("a message that is no object")  # noqa: TRY004 - it is the server's fault
                    self._call(self._receive_safely, message)
            self._call(self._end, _how_it_ended(self._process.wait(1.0)))
        except (ValueError, OSError) as error:
            self._call(self._end, f"it does not speak the protocol ({error})")

    def _receive_safely(self, message: dict[str, Any]) -> None:
        try:
            self._receive(message)
        except (KeyError, TypeError, AttributeError) as error:
            self._end(f"it does not speak the protocol ({type(error).__name__} in {str(message)[:200]})")

    def _read_errors(self) -> None:
        with contextlib.suppress(OSError):
            while part := self._process.read_error(1 << 16):
                self._errors = (self._errors + part.decode("utf-8", "replace"))[-_ERRORS_KEPT_CHARS:]

    def _write(self) -> None:
        with contextlib.suppress(OSError):  # the reading thread sees the end
            while (frame := self._outgoing.get()) is not None:
                self._process.write(frame)


class _RetryError(Exception):
    pass


def _take_message(buffer: bytearray) -> bytes | None:
    """The next whole message, taken out of ``buffer``. Raises ValueError for what is none."""
    head_end = buffer.find(b"\r\n\r\n", 0, _MAX_HEAD_BYTES)
    if head_end < 0:
        if len(buffer) > _MAX_HEAD_BYTES:
            raise ValueError("no header")
        return None
    for line in bytes(buffer[:head_end]).split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            size = int(value)
            break
    else:
        raise ValueError("a header without Content-Length")
    if not 0 <= size <= MAX_MESSAGE_BYTES:
        raise ValueError("a message of an impossible size")
    start = head_end + 4
    if len(buffer) < start + size:
        return None
    body = bytes(buffer[start : start + size])
    del buffer[: start + size]
    return body


def _how_it_ended(code: int | None) -> str:
    if code is None:
        return "it closed its output"
    return f"it was ended by signal {-code}" if code < 0 else f"it ended with exit code {code}"
