"""A model's server that reads files without end: for sessions that grow until they must be shortened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from claw_kernel.agent import Agent
from claw_kernel.session import Session
from claw_kernel.settings import load_settings
from tests.model_server import ModelServer, Request, Response, anthropic_frames, text, tool_call

OUTPUT_CHARACTERS = 4_000
NOTES = "## Next\nread the file after the last one"
ASKS_FOR_NOTES = "[From Claw, not from the user: this conversation"


def last_text(request: Request) -> str:
    """The last block of a request, where that is text."""
    block = request.json["messages"][-1]["content"][-1]
    return block.get("text", "") if block["type"] == "text" else ""


def is_for_notes(request: Request) -> bool:
    return ASKS_FOR_NOTES.encode() in request.body[-8_000:] and last_text(request).startswith(ASKS_FOR_NOTES)


class Reader:
    """Answers each request with a call that reads the next file; after ``steps`` of them with a text. Usage is a quarter of the
    bytes of the request, rounded down. ``notes``: what it answers to the request for notes; ``talk``: characters of text before each call."""

    def __init__(self, workspace: Path, *, steps: int, notes: str | Response = NOTES, talk: int = 1_000) -> None:
        self.steps, self.notes, self.talk = steps, notes, talk
        self.taken = 0
        self.workspace = workspace
        (workspace / "part.txt").write_text(_lines())

    def tokens(self, request: Request) -> int:
        return len(request.body) // 4

    def usage(self, request: Request) -> dict[str, int]:
        return {"input_tokens": self.tokens(request), "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}

    def __call__(self, request: Request) -> Response:
        usage = self.usage(request)
        if is_for_notes(request):
            if isinstance(self.notes, Response):
                return self.notes
            return Response(parts=anthropic_frames([text(self.notes)], usage=usage))
        if self.taken >= self.steps:
            return Response(parts=anthropic_frames([text("Read them all.")], usage=usage))
        self.taken += 1
        said = f"Part {self.taken}. ".ljust(self.talk, "z")
        read = tool_call(f"call_{self.taken}", "Read", {"file_path": "part.txt", "limit": 100 + self.taken})
        return Response(parts=anthropic_frames([text(said), read] if self.talk else [read], usage=usage))


def _lines() -> str:
    return "\n".join(f"{n:03} {'x' * 60}" for n in range(OUTPUT_CHARACTERS // 65)) + "\n"


@contextmanager
def serving(reader: Callable[[Request], Response]) -> Iterator[ModelServer]:
    with ModelServer(repeat=True) as server:
        server.answer(reader)
        yield server


def open_agent(
    home: Path, workspace: Path, server: ModelServer, session: Session | None = None, **options: Any
) -> Agent:
    env = {"CLAW_HOME": str(home), "PATH": "/usr/bin:/bin"}
    options = {"model": "anthropic/m", "base_url": server.base_url, "api": "anthropic", "max_turns": 10_000, **options}
    return Agent(load_settings(str(workspace), env).with_options("test", **options), session=session)
