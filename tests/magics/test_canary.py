"""A secret of the environment, wherever else it turns up: in nothing that is drawn, recorded or logged, in no spelling."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import urllib.parse
from typing import Any

import nbformat

from tests.kernels import TURN, Kernels, call

CANARY = 'cänary/+"q" & <x>:0123456789-ABC'
PICTURE = """
import base64, zlib
from IPython.display import Image, display
def chunk(kind, content):
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")
display(Image(
    b"\\x89PNG\\r\\n\\x1a\\n" + chunk(b"IHDR", b"\\0\\0\\0\\1\\0\\0\\0\\1\\x08\\0\\0\\0\\0") + chunk(b"tEXt", b"Key\\0" + key.encode())
    + chunk(b"zTXt", b"Key\\0\\0" + zlib.compress(key.encode())) + chunk(b"IDAT", zlib.compress(b"\\0\\0")) + chunk(b"IEND", b""),
    format="png"))
print(key[:9], end="", flush=True); print(key[9:])
print(base64.encodebytes(b"x" * 30 + key.encode() * 2).decode(), key.encode().hex(), ascii(key), repr({"k": [key]}))
raise RuntimeError(f"refused for {key}")
"""
COMMANDS = (
    "base64 .env; base64 -w0 .env; od -An -tx1 .env | tr -d '\\n'; "
    "python -c \"import json,urllib.parse; k=open('.env').read().strip()[4:]; print(json.dumps({'u': "
    "'https://h.example/?k=' + urllib.parse.quote(k)}))\""
)


def spellings(value: str) -> dict[str, bytes]:
    raw = value.encode()
    texts = {
        "plain": value, "json": json.dumps(value)[1:-1], "json twice": json.dumps(json.dumps(value))[3:-3],
        "url": urllib.parse.quote(value), "url all": urllib.parse.quote(value, safe=""), "hex": raw.hex(),
        "ascii": ascii(value)[1:-1], "half": value[:-4], "other half": value[4:],
    }  # fmt: skip
    found = {name: text.encode() for name, text in texts.items()}
    for shift in range(3):
        code = base64.b64encode(b"x" * shift + raw)
        found[f"base64 {shift}"] = code[4 : len(code) - 4]
    return found


def assert_absent(saved: bytes, where: str) -> None:
    squeezed = saved.replace(b"\\n", b"").replace(b"\n", b"")
    for name, spelling in spellings(CANARY).items():
        assert spelling not in saved, f"{name} in {where}"
        assert spelling not in squeezed, f"{name}, wrapped, in {where}"


def test_a_canary_is_in_no_saved_byte(kernels: Kernels) -> None:
    (kernels.directory / "home").mkdir()
    settings = {"permissions": {"allow": ["Python", "Bash", "Read", "WebFetch"]}}
    (kernels.directory / "home" / "settings.json").write_text(json.dumps(settings))
    (kernels.workspace / ".env").write_text(f"KEY={CANARY}\n")
    replies: list[dict[str, Any]] = [
        {"text": f"I try {CANARY}.", "tool_calls": [call("Read", file_path=".env"), call("Bash", command=COMMANDS)]},
        {"text": "", "tool_calls": [call("Python", code=PICTURE)]},
        {"text": "", "tool_calls": [call("WebFetch", url=f"http://127.0.0.1:9/?k={urllib.parse.quote(CANARY)}")]},
        {"text": f"It was {base64.b64encode(CANARY.encode()).decode()}."},
    ]
    kernel = kernels.start(*replies, SERVICE_TOKEN=CANARY)
    drawn: list[dict[str, Any]] = []
    kernel.run("import os; key = os.environ['SERVICE_TOKEN']", cell_id="setup")
    prompt = "%%claw\nWhat is {key} in @.env, " + CANARY + "?"
    cell = kernel.run(
        prompt,
        lambda _kernel, channel, message: drawn.append(message["content"]) if channel == "iopub" else None,
        cell_id="ask",
    )
    assert cell.is_ok, cell.errors
    record = cell.turn
    assert len(record["steps"]) == 4
    results = [result for step in record["steps"] for result in step.get("results", ())]
    # The canary was there to be taken out: each result has the mark, or stars in the picture.
    assert json.dumps(results).count("[secret]") >= 8, results
    images = [block["data"] for result in results for block in result["content"] if block["type"] == "image"]
    assert len(images) == 1
    assert b"tEXt" in base64.b64decode(images[0])
    assert b"*" * len(CANARY.encode()) in base64.b64decode(images[0])
    assert len(json.dumps(record["environment"]["variables"])) < 300

    document = nbformat.v4.new_notebook(metadata={"claw": kernel.request("header")["header"]})
    shown = [nbformat.v4.new_output("display_data", bundle) for bundle in cell.displays.values()]
    # The text of the person's own cell is theirs; all else is saved by Claw.
    document.cells.append(nbformat.v4.new_code_cell("%%claw", metadata={"claw": record}, outputs=shown))
    path = kernels.workspace / "saved.ipynb"
    nbformat.write(document, path)
    kernel.close()
    states = [
        content for content in drawn if content.get("code") != prompt and "claw_host" not in str(content.get("code"))
    ]
    assert_absent(json.dumps(states, ensure_ascii=False).encode(), "a drawing")
    assert_absent(path.read_bytes(), "the notebook")
    logs = [place for place in (kernels.directory / "home").rglob("*") if place.is_file()]
    assert any("audit" in place.name for place in logs), logs
    for place in logs:
        if "checkpoints" in place.parts:
            # Copies of the person's own files, for undo: a redacted one could not be put back. Nobody else may read them.
            assert place.stat().st_mode & 0o077 == 0 or place.parent.stat().st_mode & 0o077 == 0
            continue
        assert_absent(place.read_bytes(), str(place))
    # And by the tool that a person has.
    command = [sys.executable, "-m", "claw_kernel.cli", "session", "scrub", "--check", str(path)]
    environment = kernels.environment(SERVICE_TOKEN=CANARY)
    checked = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stdout
    assert TURN in path.read_text()
