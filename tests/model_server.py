"""A model's server on 127.0.0.1 for tests and benchmarks: real HTTP, answers made of bytes written beforehand.

In a test::

    with ModelServer() as server:
        server.answer(anthropic_frames([text("Hello"), tool_call("t1", "Bash", {"command": "ls"})]))
        server.answer(Response(429, {"retry-after": "1"}, [b"{}"]))
        ...
        assert server.requests[0].json["model"] == "m"

Each POST takes the next answer, unless the request is one that real servers refuse (``tests/request_invariants.py``): it is
answered with 400, and ``tests/conftest.py`` fails the test that sent it.

From the command line it serves a script again and again, one answer per request, and prints its address first::

    python tests/model_server.py --api anthropic --script answers.json [--port 0]

where answers.json is ``[[{"type": "text", "text": "…", "deltas": 20000}], [{"type": "tool_call", "name": …, "input": …}]]``.
"""

from __future__ import annotations

import argparse
import json
import socket
import socketserver
import struct
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.request_invariants import find_violation

EVENT_STREAM = {"content-type": "text/event-stream; charset=utf-8"}
JSON = {"content-type": "application/json"}


_violations = []


def take_violations():
    """What was illegal in requests since this was last asked, over all servers of this process."""
    found = list(_violations)
    _violations.clear()
    return found


class Drop:
    """In a response's parts: cut the connection here (``is_reset``: with RST, else by closing it)."""

    def __init__(self, *, is_reset=True):
        self.is_reset = is_reset


@dataclass
class Response:
    """``parts``: bytes (one HTTP chunk each), seconds to wait, or ``Drop``. ``is_raw``: the parts are all there is, head included."""

    status: int = 200
    headers: dict = field(default_factory=lambda: dict(EVENT_STREAM))
    parts: list = field(default_factory=list)
    is_chunked: bool = True
    is_raw: bool = False

    @cached_property
    def wire(self):
        """What is sent: neighbouring bytes joined."""
        parts, joined = [], bytearray()
        if not self.is_raw:
            head = f"HTTP/1.1 {self.status} X\r\n" + "".join(
                f"{name}: {value}\r\n" for name, value in self.headers.items()
            )
            head += "transfer-encoding: chunked\r\n\r\n" if self.is_chunked else "connection: close\r\n\r\n"
            joined += head.encode()
        is_framed = self.is_chunked and not self.is_raw
        for part in self.parts:
            if isinstance(part, bytes):
                joined += b"%x\r\n%s\r\n" % (len(part), part) if is_framed and part else part
            else:
                parts += [bytes(joined), part]
                joined = bytearray()
        if is_framed:
            joined += b"0\r\n\r\n"
        return [*parts, bytes(joined)]


@dataclass
class Request:
    method: str
    path: str
    headers: dict
    body: bytes
    received_at: float
    """time.perf_counter() when the head was read."""

    @cached_property
    def json(self):
        return json.loads(self.body)


class ModelServer:
    """``base_url`` has no path. ``models``: what ``/v1/models`` lists. ``repeat``: answers are served in a circle.
    ``tls``: an ``ssl.SSLContext`` to serve https with. ``pages``: gives the ``Response`` to whatever is no request to a model.
    ``unchecked``: why requests may be illegal here."""

    def __init__(self, *, port=0, models=(), repeat=False, unchecked="", tls=None, pages=None):
        self.requests = []
        self.models = list(models)
        self._answers = deque()
        self._repeat = repeat
        self._pages = pages
        self._unchecked = unchecked
        self._lock = threading.Lock()
        self.connections = 0
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            disable_nagle_algorithm = True
            rbufsize = 1024 * 1024

            def setup(self):
                if tls is not None:
                    self.request = tls.wrap_socket(self.request, server_side=True)
                super().setup()

            def handle(self):
                with outer._lock:
                    outer.connections += 1
                try:
                    while outer._serve(self.rfile, self.connection):
                        pass
                except OSError:
                    pass  # the client went away

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

            def handle_error(self, request, client_address):
                if tls is None:  # a client that does not trust the certificate is no fault of the server's
                    super().handle_error(request, client_address)

            block_on_close = False
            request_queue_size = 64

        self._server = Server(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        self.base_url = f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def answer(self, *answers):
        """Each a ``Response``, the list of parts of a 200 event stream, or a function that gives one for the ``Request``."""
        for answer in answers:
            if callable(answer):
                self._answers.append(answer)
                continue
            response = answer if isinstance(answer, Response) else Response(parts=list(answer))
            _ = response.wire
            self._answers.append(response)

    def clear(self):
        """Forget the answers that were not asked for."""
        self._answers.clear()

    def _serve(self, reader, connection):
        line = reader.readline()
        if not line:
            return False
        received_at = time.perf_counter()
        method, path, _ = line.decode("latin-1").split(" ", 2)
        headers = {}
        while (line := reader.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        body = reader.read(int(headers.get("content-length", 0)))
        violation = find_violation(path, headers, body) if method == "POST" and not self._unchecked else ""
        with self._lock:
            request = Request(method, path, headers, body, received_at)
            self.requests.append(request)
            if self._pages is not None and (method == "GET" or path.startswith("/api/")):
                response = self._pages(request)
            elif violation:
                _violations.append(f"POST {path}: {violation}")
                error = {"type": "invalid_request_error", "message": f"illegal request: {violation}"}
                response = Response(400, JSON, [json.dumps({"type": "error", "error": error}).encode()])
            elif method == "GET":
                response = self._list_models(path)
            elif self._answers:
                response = self._answers.popleft()
                if self._repeat:
                    self._answers.append(response)
            else:
                response = Response(400, JSON, [b'{"error":{"message":"the test server has no answer left"}}'])
        if callable(response):
            try:
                response = response(request)
            except Exception as error:
                _violations.append(f"POST {path}: the test's own answer failed: {error!r}")
                raise
        for part in response.wire:
            if isinstance(part, bytes):
                connection.sendall(part)
            elif isinstance(part, Drop):
                if part.is_reset:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                else:
                    connection.shutdown(socket.SHUT_RDWR)
                connection.close()
                return False
            else:
                time.sleep(part)
        if not response.is_chunked or response.is_raw or headers.get("connection", "").lower() == "close":
            connection.shutdown(socket.SHUT_RDWR)
            return False
        return True

    def _list_models(self, path):
        if self.models and path == "/v1/models":
            listed = {"object": "list", "data": [{"id": model, "object": "model"} for model in self.models]}
        elif self.models and path == "/api/tags":
            listed = {"models": [{"name": model} for model in self.models]}
        else:
            return Response(404, JSON, [b"{}"], is_chunked=False)
        return Response(200, JSON, [json.dumps(listed).encode()], is_chunked=False)


# --- answers ----------------------------------------------------------------------------------------------------------


def text(value, *, deltas=None):
    """``deltas``: how many frames the text comes in (default: one per 5 characters)."""
    return {"type": "text", "text": value, "deltas": deltas}


def thinking(value, signature="sig=="):
    return {"type": "thinking", "thinking": value, "signature": signature}


def tool_call(call_id, name, value):
    return {"type": "tool_call", "id": call_id, "name": name, "input": value}


def _dump(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _pieces(value, count=None):
    if count:
        value = value or "token "
        size = len(value) / count
        return [value[int(i * size) : int((i + 1) * size)] for i in range(count)] if size >= 1 else [value] * count
    return [value[i : i + 5] for i in range(0, len(value), 5)]


def _stop(blocks, stop, with_calls, without):
    return stop or (with_calls if any(block["type"] == "tool_call" for block in blocks) else without)


def _event(value):
    return b"event: %s\ndata: %s\n\n" % (value["type"].encode(), _dump(value))


def anthropic_frames(blocks, *, stop=None, usage=None, model="claude-test"):
    """A Messages stream: one SSE frame per item."""
    usage = usage or {"input_tokens": 10, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 3}
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "usage": {**usage, "output_tokens": 1},
    }
    values = [{"type": "message_start", "message": message}]
    for index, block in enumerate(blocks):
        kind = block["type"]
        start = {
            "text": {"type": "text", "text": ""},
            "thinking": {"type": "thinking", "thinking": "", "signature": ""},
            "redacted_thinking": {"type": "redacted_thinking", "data": block.get("data")},
            "tool_call": {
                "type": "tool_use",
                "id": block.get("id") or f"toolu_{index}",
                "name": block.get("name"),
                "input": {},
            },
        }[kind]
        deltas = {
            "text": lambda block=block: [
                {"type": "text_delta", "text": piece} for piece in _pieces(block["text"], block.get("deltas"))
            ],
            "thinking": lambda block=block: [
                *({"type": "thinking_delta", "thinking": piece} for piece in _pieces(block["thinking"])),
                {"type": "signature_delta", "signature": block["signature"]},
            ],
            "redacted_thinking": list,
            "tool_call": lambda block=block: [
                {"type": "input_json_delta", "partial_json": piece}
                for piece in ("", *_pieces(_dump(block["input"]).decode()))
            ],
        }[kind]()
        values.append({"type": "content_block_start", "index": index, "content_block": start})
        values.append({"type": "ping"})
        values += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        values.append({"type": "content_block_stop", "index": index})
    delta = {"stop_reason": _stop(blocks, stop, "tool_use", "end_turn"), "stop_sequence": None}
    values.append({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 20}})
    values.append({"type": "message_stop"})
    return [_event(value) for value in values]


CHAT_HEAD = {"id": "c1", "object": "chat.completion.chunk", "created": 0, "model": "gpt-test"}


def chat_chunk(delta, finish=None, **more):
    """One frame of a Chat Completions stream."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: %s\n\n" % _dump({**CHAT_HEAD, "choices": [choice], **more})


DONE = b"data: [DONE]\n\n"


def chat_frames(blocks, *, stop=None, usage=None):
    frames = [chat_chunk({"role": "assistant", "content": ""})]
    calls = 0
    for block in blocks:
        if block["type"] == "text":
            frames += [chat_chunk({"content": piece}) for piece in _pieces(block["text"], block.get("deltas"))]
        elif block["type"] == "thinking":
            frames += [chat_chunk({"reasoning_content": piece}) for piece in _pieces(block["thinking"])]
        else:
            first = {
                "index": calls,
                "id": block.get("id") or f"call_{calls}",
                "type": "function",
                "function": {"name": block["name"], "arguments": ""},
            }
            frames.append(chat_chunk({"tool_calls": [first]}))
            for piece in _pieces(_dump(block["input"]).decode()):
                frames.append(chat_chunk({"tool_calls": [{"index": calls, "function": {"arguments": piece}}]}))
            calls += 1
    frames.append(chat_chunk({}, _stop(blocks, stop, "tool_calls", "stop")))
    usage = usage or {
        "prompt_tokens": 15,
        "completion_tokens": 20,
        "total_tokens": 35,
        "prompt_tokens_details": {"cached_tokens": 5},
    }
    frames.append(b"data: %s\n\n" % _dump({**CHAT_HEAD, "choices": [], "usage": usage}))
    return [*frames, DONE]


def responses_frames(blocks, *, status="completed", usage=None, reason="max_output_tokens"):
    values = [
        {
            "type": "response.created",
            "response": {"id": "r1", "model": "gpt-test", "status": "in_progress", "output": []},
        }
    ]
    output = []
    for index, block in enumerate(blocks):
        kind = block["type"]
        if kind == "text":
            item = {"type": "message", "id": f"m{index}", "role": "assistant", "content": []}
            place = {"item_id": item["id"], "output_index": index, "content_index": 0}
            empty = {"type": "output_text", "text": "", "annotations": []}
            values.append({"type": "response.output_item.added", "output_index": index, "item": item})
            values.append({"type": "response.content_part.added", **place, "part": empty})
            values += [
                {"type": "response.output_text.delta", **place, "delta": piece}
                for piece in _pieces(block["text"], block.get("deltas"))
            ]
            part = {"type": "output_text", "text": block["text"], "annotations": []}
            values.append({"type": "response.output_text.done", **place, "text": block["text"]})
            values.append({"type": "response.content_part.done", **place, "part": part})
            item = {**item, "content": [part]}
        elif kind == "thinking":
            item = {"type": "reasoning", "id": f"rs{index}", "summary": []}
            place = {"item_id": item["id"], "output_index": index, "summary_index": 0}
            empty = {"type": "summary_text", "text": ""}
            values.append({"type": "response.output_item.added", "output_index": index, "item": item})
            values.append({"type": "response.reasoning_summary_part.added", **place, "part": empty})
            values += [
                {"type": "response.reasoning_summary_text.delta", **place, "delta": piece}
                for piece in _pieces(block["thinking"])
            ]
            summary = [{"type": "summary_text", "text": block["thinking"]}]
            item = {**item, "summary": summary, "encrypted_content": block["signature"]}
        else:
            item = {
                "type": "function_call",
                "id": f"fc{index}",
                "call_id": block.get("id") or f"call_{index}",
                "name": block["name"],
                "arguments": "",
            }
            values.append({"type": "response.output_item.added", "output_index": index, "item": item})
            arguments = _dump(block["input"]).decode()
            values += [
                {"type": "response.function_call_arguments.delta", "output_index": index, "delta": piece}
                for piece in _pieces(arguments)
            ]
            done = {"item_id": item["id"], "output_index": index, "arguments": arguments}
            values.append({"type": "response.function_call_arguments.done", **done})
            item = {**item, "arguments": arguments}
        values.append({"type": "response.output_item.done", "output_index": index, "item": item})
        output.append(item)
    usage = usage or {"input_tokens": 15, "output_tokens": 20, "input_tokens_details": {"cached_tokens": 5}}
    last = {"id": "r1", "model": "gpt-test", "status": status, "output": output, "usage": usage}
    if status == "incomplete":
        last["incomplete_details"] = {"reason": reason}
    values.append({"type": f"response.{status}", "response": last})
    return [_event({**value, "sequence_number": number}) for number, value in enumerate(values)]


FRAMES = {"anthropic": anthropic_frames, "openai-chat": chat_frames, "openai-responses": responses_frames}


def main():
    parser = argparse.ArgumentParser(description="Serve written answers in a wire format.")
    parser.add_argument("--api", choices=sorted(FRAMES), default="anthropic")
    parser.add_argument("--script", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    server = ModelServer(port=options.port, repeat=True, models=["test"])
    server.answer(*(FRAMES[options.api](blocks) for blocks in json.loads(options.script.read_text())))
    with server:
        print(server.base_url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
