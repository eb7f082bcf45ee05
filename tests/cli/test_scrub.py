"""``claw session scrub``: secrets leave old files, and nothing else does."""

from __future__ import annotations

import base64
import json
import urllib.parse
import zlib

import nbformat
import pytest

CANARY = "cänary/+\"value\" with 'quotes' & <more>: 0123456789"
TOKENS = {
    "GitHub token": "ghp_" + "a1B2" * 9,
    "AWS key id": "AKIA" + "ABCDEFGH12345678",
    "Anthropic key": "sk-ant-api03-" + "x" * 24,
    "private key": "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk=\nAAAA\n-----END OPENSSH PRIVATE KEY-----",
}


def spellings(value: str) -> dict[str, str]:
    raw = value.encode()
    found = {
        "plain": value,
        "json": json.dumps(value),
        "json, not ASCII": json.dumps(value, ensure_ascii=False),
        "json twice": json.dumps(json.dumps(value)),
        "url": urllib.parse.quote(value),
        "url, all": urllib.parse.quote(value, safe=""),
        "form": urllib.parse.quote_plus(value),
        "hex": raw.hex(),
        "hex with blanks": raw.hex(" "),
        "HEX": raw.hex().upper(),
        "unicode escapes": "".join(f"\\u{ord(c):04x}" for c in value),
        "percent": "".join(f"%{byte:02X}" for byte in raw),
        "bytes": repr(raw)[2:-1].replace("\\'", "'"),
        "ascii": value.encode("ascii", "backslashreplace").decode(),
        "utf-16": base64.b64encode(value.encode("utf-16-le")).decode(),
        "wrapped": base64.encodebytes(b"x" * 40 + raw + b"y" * 40).decode(),
    }
    for shift in range(3):
        padded = b"x" * shift + raw + b"yz"
        found[f"base64 {shift}"] = base64.b64encode(padded).decode()
        found[f"base64url {shift}"] = base64.urlsafe_b64encode(padded).decode()
    return found


def png_with_text(text: bytes) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)

    head = chunk(b"IHDR", b"\0\0\0\1\0\0\0\1\x08\0\0\0\0") + chunk(b"tEXt", b"Comment\0" + text)
    packed = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(text))
    return b"\x89PNG\r\n\x1a\n" + head + packed + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")


@pytest.fixture
def notebook(claw):
    """One cell with the canary in every spelling, tokens and a picture; lines of a text stand in a list, as Jupyter writes them."""
    outputs = [
        nbformat.v4.new_output("stream", text=f"before {text} after\nmore\n") for text in spellings(CANARY).values()
    ]
    outputs += [nbformat.v4.new_output("stream", text=f"key:\n{token}\nend\n") for token in TOKENS.values()]
    picture = base64.b64encode(png_with_text(CANARY.encode())).decode()
    outputs.append(nbformat.v4.new_output("display_data", {"image/png": picture + "\n", "text/plain": "picture"}))
    cell = nbformat.v4.new_code_cell("print('ünd \\u00fc')", outputs=outputs, metadata={"claw": {"prompt": CANARY}})
    path = claw.workspace / "old.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    return path


def test_no_spelling_of_a_secret_stays_and_all_else_does(claw, notebook):
    before = notebook.read_text()
    check = claw.run("session", "scrub", str(notebook), "--check", SERVICE_TOKEN=CANARY)
    assert check.returncode == 1
    assert CANARY not in check.stdout
    assert notebook.read_text() == before
    assert all(f": {kind}\n" in check.stdout for kind in [*TOKENS, "a known value"]), check.stdout
    done = claw.run("session", "scrub", str(notebook), "--backup", SERVICE_TOKEN=CANARY)
    assert done.returncode == 0, done.stderr
    after = notebook.read_text()
    document = json.loads(after)
    outputs = document["cells"][0]["outputs"]
    for (name, spelled), output in zip(spellings(CANARY).items(), outputs, strict=False):
        text = "".join(output["text"])
        assert "[secret]" in text, name
        assert spelled not in text, name
        assert text.startswith("before "), name
        assert text.endswith(" after\nmore\n"), name
    for token, output in zip(TOKENS.values(), outputs[-1 - len(TOKENS) :], strict=False):
        assert "".join(output["text"]) == "key:\n[secret]\nend\n", token
    picture = base64.b64decode(outputs[-1]["data"]["image/png"])
    assert b"c\xc3\xa4nary" not in picture
    assert b"zTXt" not in picture
    assert b"****" in picture

    # What held no secret is byte by byte as it was.
    def kept(text: str) -> list[str]:
        return [
            line for line in text.splitlines() if '"text/plain"' in line or '"more' in line or "output_type" in line
        ]

    assert kept(before) == kept(after)
    assert claw.run("session", "scrub", str(notebook), "--check", SERVICE_TOKEN=CANARY).returncode == 0
    claw.run("session", "scrub", str(notebook), SERVICE_TOKEN=CANARY)
    assert notebook.read_text() == after
    assert notebook.with_name("old.ipynb.before-scrub").read_text() == before


def test_values_can_be_given_and_a_clean_file_is_left_alone(claw, notebook):
    clean = claw.workspace / "clean.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("hello wörld")]), clean)
    state = clean.stat()
    assert claw.run("session", "scrub", str(clean), "--values", "-", stdin="another secret\n").returncode == 0
    assert (clean.stat().st_mtime_ns, clean.stat().st_ino) == (state.st_mtime_ns, state.st_ino)
    clean.write_text(clean.read_text().replace("hello", "another secret"))
    assert (
        claw.run("session", "scrub", str(clean), "--check", "--values", "-", stdin="another secret\n").returncode == 1
    )
    missing = claw.run("session", "scrub", "nowhere.ipynb")
    assert missing.returncode == 2
    assert missing.stderr.strip() == "claw: There is no file nowhere.ipynb. Give the path of a notebook."
