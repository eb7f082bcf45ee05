"""Tools as the loop runs them (prepare, run, finish) in a private workspace, and a web server of our own."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from claw_kernel._core import CancelToken, Core
from claw_kernel.messages import ImageBlock, ToolCall
from claw_kernel.tools import ToolSet


@dataclass
class Outcome:
    text: str
    is_error: bool
    images: list[ImageBlock]
    shown: str
    """What was shown while it ran."""


class Bench:
    """One session's tools on one event loop."""

    def __init__(self, root: Path) -> None:
        self.workspace = root / "workspace"
        self.workspace.mkdir()
        self.core = Core(str(self.workspace), state_dir=str(root / "state"))
        self.loop = asyncio.new_event_loop()
        self.tools: ToolSet | None = None
        self.allow("WebFetch", "WebSearch", "REPL", "LSP")

    def offer(self, *tools: Any) -> None:
        self.tools = ToolSet(self.core, tools)

    def allow(self, *rules: str, mode: str = "default", deny: Iterable[str] = ()) -> None:
        given = [("allow", rule) for rule in rules] + [("deny", rule) for rule in deny]
        written = [{"behavior": behavior, "rule": rule, "source": "test"} for behavior, rule in given]
        self.core.set_policy(json.dumps({"mode": mode, "rules": written}))

    def prepare(self, name: str, **arguments: Any) -> Any:
        return self.tools.prepare(ToolCall("c1", name, arguments))

    def call(self, name: str, **arguments: Any) -> Outcome:
        return self.loop.run_until_complete(self.start(name, **arguments))

    async def start(self, name: str, **arguments: Any) -> Outcome:
        ready = self.prepare(name, **arguments)
        assert ready.prepared.decision == "allow", ready.prepared.reason
        shown: list[str] = []
        output = await self.tools.run(ready, CancelToken(), lambda text, _: shown.append(text))
        result = self.tools.finish(ready, output, "", 0.0)
        texts = [block.text for block in result.content if block.type == "text"]
        images = [block for block in result.content if isinstance(block, ImageBlock)]
        return Outcome("\n".join(texts), result.is_error, images, "".join(shown))

    def write(self, name: str, text: str) -> Path:
        path = self.workspace / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def close(self) -> None:
        if self.tools is not None:
            self.tools.close()
        self.core.close()
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


@dataclass
class Seen:
    """One request as the server got it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""


@dataclass
class WebServer:
    """A real HTTP server on loopback. ``pages[path]`` is what it answers: ``(status, headers, body)``, or a function that
    writes the response itself."""

    port: int
    pages: dict[str, Any] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def add(self, path: str, body: str | bytes, content_type: str = "text/html", status: int = 200, **headers: str):
        content = body.encode() if isinstance(body, str) else body
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.pages[path] = (status, {"Content-Type": content_type, **named}, content)

    def redirect(self, path: str, to: str, status: int = 302) -> None:
        self.pages[path] = (status, {"Location": to, "Set-Cookie": "id=1"}, b"")


def serve(server: WebServer, wrap: Callable[[ThreadingHTTPServer], None] | None = None) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            length = int(self.headers.get("content-length") or 0)
            body = self.rfile.read(length)
            server.seen.append(Seen(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            page = server.pages.get(self.path.split("?")[0], (404, {"Content-Type": "text/plain"}, b"nothing here"))
            if callable(page):
                page(self)
                return
            status, headers, content = page
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_):
            """Clients that give up are part of the tests."""

    http = Quiet(("127.0.0.1", 0), Handler)
    if wrap is not None:
        wrap(http)
    server.port = http.server_address[1]
    threading.Thread(target=http.serve_forever, daemon=True).start()
    return http


@pytest.fixture
def web() -> Iterator[WebServer]:
    server = WebServer(0)
    http = serve(server)
    yield server
    http.shutdown()
    http.server_close()
