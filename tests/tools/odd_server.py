"""A language server that misbehaves as its first argument says; it speaks the protocol over its pipes."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path


def read() -> dict | None:
    size = 0
    while (line := sys.stdin.buffer.readline().strip()) != b"":
        name, _, value = line.partition(b":")
        size = int(value) if name.lower() == b"content-length" else size
    return json.loads(sys.stdin.buffer.read(size)) if size else None


def send(message: dict) -> None:
    body = json.dumps({"jsonrpc": "2.0", **message}).encode()
    sys.stdout.buffer.write(b"Content-Length: %d\r\nContent-Type: x\r\n\r\n%b" % (len(body), body))
    sys.stdout.buffer.flush()


def main(manner: str, notes: Path) -> None:
    starts = int(notes.read_text()) + 1 if notes.exists() else 1
    notes.write_text(str(starts))
    asked: dict[int, str] = {}
    while (message := read()) is not None:
        method, number = message.get("method"), message.get("id")
        if method == "initialize":
            if manner == "garbage":
                print("Welcome to the server!\n" * 500, flush=True)
            elif manner == "dead":
                print("no licence found", file=sys.stderr, flush=True)
                os._exit(7)
            features = {"hoverProvider": True, "definitionProvider": True, "referencesProvider": True}
            send({"id": number, "result": {"capabilities": {**features, "positionEncoding": "utf-8"}}})
        elif method == "initialized" and manner == "asking":
            wanted = [
                ("workspace/configuration", {"items": [{"section": "odd.deep"}, {"section": "none"}]}),
                ("workspace/applyEdit", {"edit": {}}),
                ("client/registerCapability", {"registrations": []}),
                ("window/workDoneProgress/create", {"token": 1}),
                ("window/showMessageRequest", {"type": 1, "message": "?", "actions": [{"title": "Yes"}]}),
                ("no/such/method", {}),
            ]
            for index, (name, params) in enumerate(wanted):
                asked[1000 + index] = name
                send({"id": 1000 + index, "method": name, "params": params})
        elif method is None:
            with Path(f"{notes}.answers").open("a") as file:
                print(json.dumps([asked[number], message.get("result"), message.get("error")]), file=file)
        elif method == "textDocument/hover":
            if manner == "crashing" and starts == 1:
                os._exit(1)
            elif manner == "silent":
                time.sleep(100)
            elif manner == "retrying" and "retried" not in asked.values():
                asked[-1] = "retried"
                send({"id": number, "error": {"code": -32801, "message": "content modified"}})
                continue
            column = message["params"]["position"]["character"]
            send({"id": number, "result": {"contents": {"kind": "plaintext", "value": f"hover at {column}"}}})
        elif method == "textDocument/references":
            uri = message["params"]["textDocument"]["uri"]
            place = {"line": 0, "character": 0}
            many = [{"uri": uri, "range": {"start": {**place, "line": n}, "end": place}} for n in range(500)]
            outside = [{"uri": "file:///etc/passwd", "range": {"start": place, "end": place}}]
            send({"id": number, "result": [*many, *outside, {"uri": "http://x/", "range": {}}]})
        elif method == "textDocument/definition":
            other = message["params"]["textDocument"]["uri"].replace("a.odd", "secret.odd")
            send({"id": number, "result": {"uri": other, "range": {"start": {"line": 0, "character": 0}}}})


main(sys.argv[1], Path(sys.argv[2]))
