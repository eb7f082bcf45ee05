"""``LSP``: what a language server knows of the code: definitions, references, types, symbols, problems. Reads only."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from claw_kernel._core import Core, ToolInputError, ToolOutput, visible
from claw_kernel.late_dataclass import dataclass
from claw_kernel.messages import Limit, ToolSpec
from claw_kernel.tool_settings import LanguageServerSettings
from claw_kernel.tools.arguments import Ge, MaxLen, MinLen, arguments, check_arguments, doc, schema_of
from claw_kernel.tools.code_positions import (
    MAX_LINE_CHARS,
    QuestionError,
    column_of,
    find_symbol,
    lines_of,
    path_of,
    units_of,
)
from claw_kernel.tools.code_symbols import MAX_SYMBOLS, kind_of, symbols_of_file
from claw_kernel.tools.language_server import REQUEST_SECONDS, LanguageServer, ServerError, ServerGoneError
from claw_kernel.tools.language_servers import find_servers, language_of
from claw_kernel.tools.registry import Intent, OnOutput, text_output

NAME = "LSP"
MAX_FILE_BYTES = 4 * 1024 * 1024
MAX_LOCATIONS = 100
MAX_DIAGNOSTICS = 100
MAX_HOVER_CHARS = 6_000
_METHODS = {
    "definition": ("textDocument/definition", "definitionProvider"),
    "references": ("textDocument/references", "referencesProvider"),
    "hover": ("textDocument/hover", "hoverProvider"),
}
_SEVERITIES = {1: "error", 2: "warning", 3: "information", 4: "hint"}


@arguments
class LSPArguments:
    action: Literal["definition", "references", "hover", "symbols", "diagnostics"]
    file_path: Annotated[str, MinLen(1)]
    symbol: Annotated[
        str, MaxLen(300), doc("A name as it stands in the file. With symbols: search the whole project for it.")
    ] = ""
    line: Annotated[int | None, Ge(1), doc("The line the name stands on; without it, its first place in the file.")] = (
        None
    )


@dataclass(frozen=True)
class _Target:
    """The call's file and the server that serves it."""

    path: Path
    server: LanguageServerSettings
    argv: tuple[str, ...]


class LSP:
    spec = ToolSpec(
        NAME,
        "Ask a language server about code: where a name is defined or used, its type and documentation, the symbols of a "
        "file or the project, the problems of a file. More exact than Grep where names are ambiguous.",
        schema_of(LSPArguments),
        effects=("read_path", "start"),
        limits=(
            Limit("of a file", MAX_FILE_BYTES, "bytes"),
            Limit("places", MAX_LOCATIONS),
            Limit("symbols of a file", MAX_SYMBOLS),
            Limit("problems", MAX_DIAGNOSTICS),
            Limit("characters about a name", MAX_HOVER_CHARS),
            Limit("for an answer", REQUEST_SECONDS, "seconds"),
        ),
        is_deferred=True,
    )

    def __init__(self, core: Core, servers: Sequence[LanguageServerSettings], env: Mapping[str, str]) -> None:
        self._core = core
        self._own = servers
        self._env = env
        self._root = Path(core.workspace)
        self._running: dict[tuple[str, ...], LanguageServer] = {}
        self._allowed: set[tuple[str, ...]] = set()
        """What was started: by then a person or a rule had allowed it for this session."""
        self._lock = asyncio.Lock()

    def intend(self, arguments: dict[str, Any]) -> Intent:
        asked = check_arguments(LSPArguments, arguments, NAME)
        if asked.action in _METHODS and not asked.symbol.strip():
            raise ToolInputError(f"{NAME}: {asked.action} needs symbol: the name to look up.")
        target = self._target(asked)
        title = f"{NAME} {asked.action} {asked.symbol}".rstrip() + f" in {asked.file_path}"
        reads = {"effect": "read_path", "path": asked.file_path}
        if target.argv in self._allowed:
            return Intent(title, (reads,), {"kind": "path", "path": asked.file_path}, is_read_only=True)
        import shlex

        command = shlex.join(target.argv)
        preview = {"kind": "command", "command": command, "visible": visible(command), "cwd": str(self._root)}
        starts = {"effect": "start", "argv": list(target.argv)}
        return Intent(f"{title} (starts {target.server.name})", (reads, starts), preview, is_read_only=False)

    async def run(self, arguments: dict[str, Any], on_output: OnOutput) -> ToolOutput:  # noqa: ARG002
        asked = check_arguments(LSPArguments, arguments, NAME)
        target = self._target(asked)
        async with self._lock:
            for attempt in (1, 2):
                try:
                    text = self._read_file(target.path)
                    server = await self._server(target)
                    self._sync_open_documents(server, target.path)
                    return text_output(await self._answer(server, asked, target.path, text))
                except ServerGoneError as error:
                    self._running.pop(target.argv, None)
                    if attempt == 2:
                        said = f"{target.server.name} failed twice: {error}."
                except (ServerError, OSError, QuestionError) as error:
                    said = f"{target.server.name}: {error}" if isinstance(error, ServerError) else str(error)
                    break
        return text_output(said, is_error=True)

    # --- servers ---

    def _target(self, asked: LSPArguments) -> _Target:
        """Raises ToolInputError where no server serves the file."""
        path = self._root / asked.file_path
        found = next(find_servers(path, self._own, self._env, str(self._root)), None)
        if found is None:
            raise ToolInputError(
                f"{NAME}: no language server for {path.suffix or path.name} files is installed. Use Grep and Read, or the "
                "user installs one (for Python: pip install python-lsp-server) or names it in their settings under lsp."
            )
        return _Target(path, *found)

    async def _server(self, target: _Target) -> LanguageServer:
        server = self._running.get(target.argv)
        if server is not None and not server.is_gone:
            return server
        effects = [{"effect": "start", "argv": list(target.argv)}]
        prepared = self._core.prepare(NAME, "{}", json.dumps(effects))
        process = await asyncio.to_thread(self._core.spawn, prepared, list(target.argv))
        self._allowed.add(target.argv)
        server = LanguageServer(process, self._root, target.server.options)
        try:
            await server.initialize()
        except BaseException:
            server.close()
            raise
        self._running[target.argv] = server
        return server

    def _sync_open_documents(self, server: LanguageServer, but: Path) -> None:
        """Other files may have been edited since the server was told of them."""
        for uri in server.open_paths():
            path = path_of(uri)
            if path is not None and path != but:
                try:
                    server.sync(path, self._read_file(path), language_of(path))
                except (OSError, QuestionError):
                    continue  # gone or unreadable now: the server keeps what it has

    def _read_file(self, path: Path) -> str:
        """Raises OSError, and QuestionError for what is no text file of the workspace."""
        # Resolved first and then opened without following links: what was judged is what is read.
        real = path.resolve(strict=True)
        if not real.is_relative_to(self._root.resolve()):
            raise QuestionError(f"{path} lies outside the workspace.")
        descriptor = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            opened = Path(f"/proc/self/fd/{descriptor}")
            if opened.exists() and opened.readlink() != real:
                raise QuestionError(f"{path} was moved while it was read. Ask again.")
            if not stat.S_ISREG(status.st_mode):
                raise QuestionError(f"{path} is not a file.")
            if status.st_size > MAX_FILE_BYTES:
                raise QuestionError(f"{path} is larger than {MAX_FILE_BYTES:,} bytes.")
            return file.read().decode("utf-8", "replace")

    # --- questions ---

    async def _answer(self, server: LanguageServer, asked: LSPArguments, path: Path, text: str) -> str:
        uri = server.sync(path, text, language_of(path))
        if asked.action == "diagnostics":
            found = await server.diagnostics(uri)
            if found is None:
                raise QuestionError(
                    "The language server said nothing of this file's problems in time. Ask again later."
                )
            return self._diagnostics(server, found, text, path)
        if asked.action == "symbols":
            if asked.symbol:
                _demand(server, "workspaceSymbolProvider", "searching the project for symbols")
                found = await self._ask(server, "workspace/symbol", {"query": asked.symbol})
                return self._symbols_of_project(found, asked.symbol)
            _demand(server, "documentSymbolProvider", "the symbols of a file")
            found = await self._ask(server, "textDocument/documentSymbol", {"textDocument": {"uri": uri}})
            return symbols_of_file(found)
        method, provider = _METHODS[asked.action]
        _demand(server, provider, asked.action)
        line, column = find_symbol(text, asked.symbol, asked.line)
        at = {"line": line, "character": units_of(lines_of(text)[line][:column], server.encoding)}
        params: dict[str, Any] = {"textDocument": {"uri": uri}, "position": at}
        if asked.action == "references":
            params["context"] = {"includeDeclaration": True}
        found = await self._ask(server, method, params)
        place = f"{self._shown(path)}:{line + 1}:{column + 1}"
        if asked.action == "hover":
            hover = _hover_text((found or {}).get("contents"))[:MAX_HOVER_CHARS]
            return hover or f"The server knows nothing about {asked.symbol} at {place}."
        places = self._places(server, found)
        if not places:
            return f"No {asked.action} found for {asked.symbol} at {place}." + (
                " The server is still reading the project; ask again later." if server.is_busy else ""
            )
        return places

    async def _ask(self, server: LanguageServer, method: str, params: Any) -> Any:
        found = await server.request(method, params)
        if not found and server.is_busy:
            await server.wait_until_idle(REQUEST_SECONDS)
            found = await server.request(method, params)
        return found

    # --- answers ---

    def _shown(self, path: Path) -> str:
        return str(path.relative_to(self._root)) if path.is_relative_to(self._root) else str(path)

    def _source(self, path: Path) -> list[str]:
        """The lines of a file the model may read; else none, and only the place is shown."""
        try:
            prepared = self._core.prepare("Read", json.dumps({"file_path": str(path)}))
            return lines_of(self._read_file(path)) if prepared.decision == "allow" else []
        except (ToolInputError, OSError, QuestionError):
            return []

    def _places(self, server: LanguageServer, found: Any) -> str:
        """``path:line:column: source`` of locations or links, sorted."""
        locations = [found] if isinstance(found, dict) else list(found or [])
        spots = set()
        for location in locations:
            uri = location.get("uri") or location.get("targetUri") or ""
            where = location.get("range") or location.get("targetSelectionRange") or {}
            start = where.get("start") or {}
            if (path := path_of(uri)) is not None:
                spots.add((path, int(start.get("line", 0)), int(start.get("character", 0))))
        sources: dict[Path, list[str]] = {}
        rows = []
        for path, line, units in sorted(spots)[:MAX_LOCATIONS]:
            if path not in sources:
                sources[path] = self._source(path)
            text = sources[path][line] if line < len(sources[path]) else ""
            column = column_of(text, units, server.encoding) if text else units
            source = f": {text.strip()[:MAX_LINE_CHARS]}" if text else ""
            rows.append(f"{self._shown(path)}:{line + 1}:{column + 1}{source}")
        if len(spots) > MAX_LOCATIONS:
            rows.append(f"… and {len(spots) - MAX_LOCATIONS} more")
        return "\n".join(rows)

    def _symbols_of_project(self, found: Any, query: str) -> str:
        rows = []
        for symbol in list(found or [])[:MAX_LOCATIONS]:
            location = symbol.get("location") or {}
            path = path_of(location.get("uri") or "")
            line = ((location.get("range") or {}).get("start") or {}).get("line")
            place = f"{self._shown(path)}" + (f":{line + 1}" if line is not None else "") if path else "?"
            inside = f" in {symbol['containerName']}" if symbol.get("containerName") else ""
            rows.append(f"{place}: {kind_of(symbol)} {symbol.get('name')}{inside}")
        if len(found or []) > MAX_LOCATIONS:
            rows.append(f"… and {len(found) - MAX_LOCATIONS} more")
        return "\n".join(rows) or f"No symbol of the project is like {query}."

    def _diagnostics(self, server: LanguageServer, found: list[dict[str, Any]], text: str, path: Path) -> str:
        lines = lines_of(text)
        rows = []
        for item in found:
            start = (item.get("range") or {}).get("start") or {}
            line, units = int(start.get("line", 0)), int(start.get("character", 0))
            column = column_of(lines[line] if line < len(lines) else "", units, server.encoding)
            said = " ".join(str(item.get("message")).split())[:500]
            origin = " ".join(str(item[name]) for name in ("source", "code") if item.get(name))
            severity = int(item.get("severity") or 1)
            rows.append(
                ((severity, line, column), f"{line + 1}:{column + 1} {_SEVERITIES.get(severity)}: {said} [{origin}]")
            )
        rows.sort()
        shown = [row for _, row in rows[:MAX_DIAGNOSTICS]]
        if len(rows) > MAX_DIAGNOSTICS:
            shown.append(f"… and {len(rows) - MAX_DIAGNOSTICS} more")
        name = self._shown(path)
        return "\n".join([f"{name}: {len(rows)} found", *shown]) if rows else f"{name}: no problems found"


def _demand(server: LanguageServer, provider: str, what: str) -> None:
    if not server.capabilities.get(provider):
        raise ServerError(f"it does not offer {what}")


def _hover_text(contents: Any) -> str:
    if isinstance(contents, list):
        return "\n\n".join(filter(None, map(_hover_text, contents)))
    if isinstance(contents, dict):
        value = str(contents.get("value") or "").strip()
        return f"```{contents['language']}\n{value}\n```" if contents.get("language") else value
    return str(contents or "").strip()
