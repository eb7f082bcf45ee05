"""The reference: the least a Python agent can be. http.client and subprocess, no framework, no policy, no record.

python bare_loop.py URL PROMPT
"""

import http.client
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

TOOLS = [
    {
        "name": "Bash",
        "description": "Run a command.",
        "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}},
    },
    {
        "name": "Read",
        "description": "Read a file.",
        "input_schema": {"type": "object", "properties": {"file_path": {"type": "string"}}},
    },
]


def run(call):
    arguments = call["input"]
    if call["name"] == "Bash":
        done = subprocess.run(["bash", "-c", arguments["command"]], capture_output=True, text=True)
        text = done.stdout + done.stderr
    else:
        with open(arguments["file_path"]) as file:  # noqa: PTH123 (pathlib costs 5 ms of start)
            text = file.read()
    return {"type": "tool_result", "tool_use_id": call["id"], "content": text or "(no output)"}


def request(connection, path, messages):
    body = json.dumps({"model": "bench", "max_tokens": 4096, "stream": True, "tools": TOOLS, "messages": messages})
    connection.request("POST", path, body, {"content-type": "application/json", "x-api-key": "none"})
    blocks, fragments = [], []
    for line in connection.getresponse():
        if not line.startswith(b"data:"):
            continue
        event = json.loads(line[5:])
        kind = event["type"]
        if kind == "content_block_start":
            blocks.append(event["content_block"])
            fragments = []
        elif kind == "content_block_delta":
            delta = event["delta"]
            fragments.append(delta.get("text") or delta.get("partial_json") or "")
        elif kind == "content_block_stop":
            if blocks[-1]["type"] == "text":
                blocks[-1]["text"] = "".join(fragments)
            else:
                blocks[-1]["input"] = json.loads("".join(fragments) or "{}")
    return blocks


def main():
    url, prompt = sys.argv[1:3]
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port)
    messages = [{"role": "user", "content": prompt}]
    with ThreadPoolExecutor(8) as pool:
        while True:
            blocks = request(connection, f"{parts.path}/v1/messages", messages)
            messages.append({"role": "assistant", "content": blocks})
            calls = [block for block in blocks if block["type"] == "tool_use"]
            if not calls:
                break
            messages.append({"role": "user", "content": list(pool.map(run, calls))})
    print("".join(block.get("text", "") for block in blocks))


main()
