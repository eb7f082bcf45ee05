"""A local model server for the benchmarks: Anthropic Messages over HTTP/1.1, prepared bytes, times of every request.

The scenario is the first part of the path (``/bash/v1/messages``); which reply comes next is told by how many assistant
messages the request holds. ``Server.log`` has, for each request, when its headers and body had arrived and when the
reply's last byte had been sent (``time.perf_counter`` seconds), and the body's size.
"""

from __future__ import annotations

import json
import socketserver
import threading
import time
from dataclasses import dataclass, field

ROUNDS = 50
DELTAS = 20_000
MANY_DELTAS = 200_000
LONG_ROUNDS = 200
RESULT_BYTES = 4096


def _event(kind: str, **content) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **content})}\n\n".encode()


_NO_TOKENS = b'"input_tokens": 0'
_BYTES_PER_TOKEN = 4
"""The usual rule of thumb: Claw looks whether a server counts less than it was sent."""


def _tokens(count: int) -> bytes:
    """Always as many bytes, so that a prepared reply stays one."""
    return b'"input_tokens":%11d' % count


def _start() -> bytes:
    usage = {"input_tokens": 0, "output_tokens": 1}
    event = _event(
        "message_start", message={"id": "m", "model": "bench", "role": "assistant", "content": [], "usage": usage}
    )
    return event.replace(_NO_TOKENS, _tokens(0))


def _end(reason: str) -> bytes:
    return _event("message_delta", delta={"stop_reason": reason}, usage={"output_tokens": 9}) + _event("message_stop")


def text_reply(pieces: list[str]) -> list[bytes]:
    frames = [_start(), _event("content_block_start", index=0, content_block={"type": "text", "text": ""})]
    frames += [_event("content_block_delta", index=0, delta={"type": "text_delta", "text": piece}) for piece in pieces]
    return [*frames, _event("content_block_stop", index=0), _end("end_turn")]


def call_reply(calls: list[tuple[str, dict]], pieces: list[str] = (), tag: str = "") -> list[bytes]:
    frames = [_start()]
    first = 0
    if pieces:
        frames += text_reply(pieces)[1:-1]
        first = 1
    for index, (name, arguments) in enumerate(calls, first):
        block = {"type": "tool_use", "id": f"toolu_{tag}_{index}", "name": name, "input": {}}
        delta = {"type": "input_json_delta", "partial_json": json.dumps(arguments)}
        frames.append(_event("content_block_start", index=index, content_block=block))
        frames.append(_event("content_block_delta", index=index, delta=delta))
        frames.append(_event("content_block_stop", index=index))
    return [*frames, _end("tool_use")]


def _chunked(frames: list[bytes]) -> bytes:
    """Each frame a chunk of its own, as model servers send them."""
    body = b"".join(b"%x\r\n%b\r\n" % (len(frame), frame) for frame in frames)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + body + b"0\r\n\r\n"


def scenarios(workdir: str) -> dict[str, list[bytes]]:
    done = _chunked(text_reply(["done"]))
    # No call twice: an agent may well stop a model that goes round in circles.
    repeat = {
        "bash": lambda n: ("Bash", {"command": f"true {n}"}),
        "read": lambda n: ("Read", {"file_path": f"{workdir}/small.txt", "limit": 100 + n}),
    }
    made = {
        name: [*(_chunked(call_reply([call(n)], tag=f"{name}{n}")) for n in range(ROUNDS)), done]
        for name, call in repeat.items()
    }
    made["hello"] = [_chunked(text_reply(["hello"]))]
    sleeps = [("Bash", {"command": "sleep 0.5"})] * 8
    made["parallel"] = [_chunked(call_reply(sleeps, tag="p")), done]
    for name, count in (("stream", DELTAS), ("long-stream", MANY_DELTAS)):
        words = [f"word{n % 97} " for n in range(count)]
        made[name] = [_chunked(call_reply([repeat["read"](0)], words, tag="s")), done]
    looks = [("Read", {"file_path": f"{workdir}/page.txt", "limit": 100 + n}) for n in range(LONG_ROUNDS)]
    made["growth"] = [*(_chunked(call_reply([look], tag=f"g{n}")) for n, look in enumerate(looks)), done]
    made["page"] = [_chunked(call_reply(looks[:1], tag="g0")), done]
    return made


@dataclass
class Entry:
    scenario: str
    arrived: float
    size: int
    body: bytes = field(repr=False)
    sent_first: float = 0.0
    sent_last: float = 0.0


class _Handler(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True

    def handle(self) -> None:
        while line := self.rfile.readline():
            path = line.split()[1].decode()
            length = 0
            while (header := self.rfile.readline()) not in (b"\r\n", b""):
                name, _, value = header.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            body = self.rfile.read(length)
            arrived = time.perf_counter()
            scenario = path.split("/")[1]
            entry = Entry(scenario, arrived, length, body)
            replies = self.server.replies.get(scenario)
            if replies is None:
                self.wfile.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                continue
            asked = body.count(b'"role": "assistant"') + body.count(b'"role":"assistant"')
            self.server.log.append(entry)
            entry.sent_first = time.perf_counter()
            reply = replies[min(asked, len(replies) - 1)]
            self.wfile.write(reply.replace(_tokens(0), _tokens(length // _BYTES_PER_TOKEN), 1))
            self.wfile.flush()
            entry.sent_last = time.perf_counter()


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, workdir: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.replies = scenarios(workdir)
        self.log: list[Entry] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def url(self, scenario: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{scenario}"

    def take(self) -> list[Entry]:
        log, self.log = self.log, []
        return log
