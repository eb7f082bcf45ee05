"""LSP with real language servers, and with one that misbehaves."""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys
import time
from pathlib import Path

import pytest

from claw_kernel._core import ToolInputError
from claw_kernel.tool_settings import LanguageServerSettings
from claw_kernel.tools.language_servers import find_servers
from claw_kernel.tools.lsp import LSP, MAX_FILE_BYTES, MAX_LOCATIONS
from tests.processes import is_alive, wait_until

A = '''import os


class Shape:
    """Something with an area."""

    def area(self, scale: int) -> str:
        return "😀é" + str(scale)


smile = "😀😀"; shape = Shape(); shape.area(2)
'''
B = "from a import Shape\n\nprint(Shape().area(1), undefined_name)\n"
ENV = {"PATH": os.environ.get("PATH", "")}


def installed(package: str, program: str) -> str:
    """The program of a package of the test tools, wherever its environment lies."""
    files = importlib.metadata.distribution(package).files or []
    (path,) = (
        str(Path(file.locate()).resolve()) for file in files if file.name == program and file.parent.name == "bin"
    )
    return path


SERVERS = {
    "pylsp": (installed("python-lsp-server", "pylsp"),),
    "ty": (installed("ty", "ty"), "server"),
    "ruff": (installed("ruff", "ruff"), "server"),
}


@pytest.fixture
def lsp(bench):
    """``lsp(server, …)``: one call to the tool with that server for Python files."""
    bench.write("a.py", A)
    bench.write("b.py", B)

    def offer(name: str):
        bench.offer(LSP(bench.core, [LanguageServerSettings(name, SERVERS[name], (".py",))], ENV))
        return lambda action, file="a.py", **more: bench.call("LSP", action=action, file_path=file, **more)

    return offer


@pytest.mark.parametrize("server", ["pylsp", "ty"])
def test_real_servers_answer_every_question(lsp, server):
    ask = lsp(server)
    assert ask("definition", "b.py", symbol="area").text == "a.py:7:9: def area(self, scale: int) -> str:"
    assert ask("definition", "b.py", symbol="Shape", line=3).text.startswith("a.py:4:7: class Shape:")
    found = ask("references", symbol="area", line=7).text.split("\n")
    assert [row.split(":")[:2] for row in found] == [["a.py", "7"], ["a.py", "11"], ["b.py", "3"]]
    assert "scale: int" in ask("hover", "b.py", symbol="area").text
    outline = ask("symbols").text
    assert "    4 class Shape" in outline
    assert "method area" in outline
    assert "undefined_name" in ask("diagnostics", "b.py").text
    # Outside the workspace the place is said, not what stands there.
    assert re.fullmatch(r"\S+\bos\b\S*:1:1", ask("definition", symbol="os").text)


def test_columns_are_counted_as_the_server_counts_them(lsp):
    ask = lsp("ty")  # UTF-16: the smiles before the name are two units each
    row = next(row for row in ask("references", symbol="area", line=7).text.split("\n") if row.startswith("a.py:11:"))
    assert int(row.split(":")[2]) == A.split("\n")[10].index("area") + 1
    assert ask("definition", symbol="shape", line=11).text.startswith("a.py:11:15:")


def test_the_server_sees_files_as_they_are_now(bench, lsp):
    ask = lsp("ty")
    assert "undefined_name" in ask("diagnostics", "b.py").text
    bench.write("b.py", B.replace("undefined_name", "other_name"))
    assert "other_name" in ask("diagnostics", "b.py").text
    bench.write("b.py", B.replace(", undefined_name", ""))
    assert "undefined" not in ask("diagnostics", "b.py").text
    bench.write("a.py", "\n" + A)  # opened before, changed since
    ask("symbols", "a.py")
    assert ask("definition", "b.py", symbol="area").text.startswith("a.py:8:9:")


def test_diagnostics_that_are_asked_for(lsp):
    """ruff gives them on request; it offers nothing else, and that is said."""
    ask = lsp("ruff")
    assert "b.py: 1 found\n3:24 error: Undefined name `undefined_name`" in ask("diagnostics", "b.py").text
    got = ask("definition", symbol="area")
    assert got.is_error
    assert "does not offer definition" in got.text


def test_searching_the_project(lsp):
    assert "a.py:4: class Shape" in lsp("ty")("symbols", symbol="Shape").text


def test_starting_asks_once_and_reading_goes_on_freely(bench, lsp):
    ask = lsp("ty")
    bench.allow()
    first = bench.prepare("LSP", action="symbols", file_path="a.py")
    assert first.prepared.decision == "ask"
    assert first.prepared.suggested_rules == ["LSP"]
    assert first.preview["kind"] == "command"
    assert "ty server" in first.preview["visible"]
    bench.allow("LSP")
    ask("symbols")
    bench.allow()
    again = bench.prepare("LSP", action="symbols", file_path="a.py")
    assert again.prepared.decision == "allow"
    assert again.is_read_only
    bench.allow(deny=["LSP"])
    assert bench.prepare("LSP", action="symbols", file_path="a.py").prepared.decision == "deny"


def test_what_may_not_be_read_is_not_sent_to_a_server(bench, lsp, tmp_path):
    lsp("pylsp")
    (tmp_path / "outside.py").write_text("x = 1\n")
    (bench.workspace / "link.py").symlink_to(tmp_path / "outside.py")
    bench.allow("LSP", deny=["Read(a.py)"])
    for path in ("a.py", "link.py", str(tmp_path / "outside.py"), "../outside.py"):
        assert bench.prepare("LSP", action="symbols", file_path=path).prepared.decision == "deny", path


def test_a_program_in_the_workspace_is_never_a_server(bench):
    program = bench.write("bin/pylsp", "#!/bin/sh\n")
    program.chmod(0o755)
    own = [
        LanguageServerSettings("own", (str(program),), (".py",)),
        LanguageServerSettings("b", ("./bin/pylsp",), (".py",)),
    ]
    env = {"PATH": f"{program.parent}:bin:."}
    found = [argv[0] for _, argv in find_servers(Path("x.py"), own, env, str(bench.workspace))]
    assert not any(argv.startswith(str(bench.workspace)) or not argv.startswith("/") for argv in found)
    link = bench.workspace.parent / "pylsp"
    link.symlink_to(program)
    assert str(link) not in [
        argv[0] for _, argv in find_servers(Path("x.py"), [], {"PATH": str(link.parent)}, str(bench.workspace))
    ]


# --- a server that misbehaves ---


@pytest.fixture
def odd(bench, tmp_path):
    """``odd(manner)``: as ``lsp``, with the server of ``odd_server.py``."""
    bench.write("a.odd", "é😀 name other\n" + "filler\n" * 600)
    bench.write("secret.odd", "the secret line\n")
    script = str(Path(__file__).with_name("odd_server.py"))

    def offer(manner: str, **options):
        command = (sys.executable, script, manner, str(tmp_path / "workspace" / "notes"))
        tool = LSP(bench.core, [LanguageServerSettings("odd", command, (".odd",), options)], ENV)
        bench.offer(tool)
        return lambda action, **more: bench.call("LSP", action=action, file_path="a.odd", **more)

    return offer


def test_a_server_may_count_in_bytes(odd):
    assert odd("")("hover", symbol="name").text == "hover at 7"


def test_a_crashed_server_is_started_once_more(odd, tmp_path):
    assert odd("crashing")("hover", symbol="name").text == "hover at 7"
    assert (tmp_path / "workspace" / "notes").read_text() == "2"


def test_a_server_that_cannot_start_says_why(odd, tmp_path):
    got = odd("dead")("hover", symbol="name")
    assert got.is_error
    assert "exit code 7" in got.text
    assert "no licence found" in got.text
    assert (tmp_path / "workspace" / "notes").read_text() == "2"


def test_a_server_that_speaks_something_else_is_ended(odd):
    got = odd("garbage")("hover", symbol="name")
    assert got.is_error
    assert "does not speak the protocol" in got.text


def test_a_request_that_must_be_repeated_is(odd):
    assert odd("retrying")("hover", symbol="name").text == "hover at 7"


def test_what_a_server_asks_is_answered(odd, tmp_path):
    import json

    assert odd("asking", odd={"deep": {"x": 1}})("hover", symbol="name").text == "hover at 7"
    path = tmp_path / "workspace" / "notes.answers"
    deadline = time.monotonic() + 10
    while (not path.exists() or path.read_text().count("\n") < 6) and time.monotonic() < deadline:
        time.sleep(0.05)
    answers = {name: (result, error) for name, result, error in map(json.loads, path.read_text().splitlines())}
    assert answers["workspace/configuration"] == ([{"x": 1}, None], None)
    assert answers["workspace/applyEdit"][0]["applied"] is False
    assert answers["window/showMessageRequest"] == (None, None)
    assert answers["no/such/method"][1]["code"] == -32601


def test_many_places_are_counted_and_lines_that_may_not_be_read_are_not_shown(bench, odd):
    ask = odd("")
    rows = ask("references", symbol="name").text.split("\n")
    assert rows[-1] == f"… and {501 - MAX_LOCATIONS} more"
    assert rows[0] in {"/etc/passwd:1:1", "a.odd:1:1: é😀 name other"}
    assert "root:" not in "\n".join(rows)
    assert "the secret line" in ask("definition", symbol="name").text
    bench.allow("LSP", deny=["Read(secret.odd)"])
    assert ask("definition", symbol="name").text == "secret.odd:1:1"


def test_it_ends_with_the_session(bench, odd):
    odd("")("hover", symbol="name")
    tool = bench.tools._python["LSP"]
    (server,) = tool._running.values()
    pid = server._process.pid
    bench.core.close()
    wait_until(lambda: not is_alive(pid))


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"action": "definition", "file_path": "a.odd"}, "needs symbol"),
        ({"action": "rename", "file_path": "a.odd"}, "definition"),
        ({"action": "hover", "file_path": "a.unheardof", "symbol": "x"}, "no language server"),
        ({"action": "hover", "file_path": "a.odd", "symbol": "x", "line": 0}, "greater than or equal"),
        ({"action": "hover", "file_path": "a.odd", "symbol": "x", "column": 1}, "takes: action"),
    ],
)
def test_bad_input_is_one_sentence(bench, odd, arguments, why):
    odd("")
    with pytest.raises(ToolInputError, match=why):
        bench.prepare("LSP", **arguments)


def test_questions_that_have_no_answer_say_what_is_there(bench, odd):
    ask = odd("")
    assert "does not hold the name 'nowhere'" in ask("hover", symbol="nowhere").text
    assert "it reads: filler" in ask("hover", symbol="name", line=2).text
    assert "there is no line 9000" in ask("hover", symbol="name", line=9000).text
    (bench.workspace / "a.odd").write_bytes(b"x" * (MAX_FILE_BYTES + 1))
    assert "larger than" in ask("hover", symbol="name").text
    (bench.workspace / "a.odd").unlink()
    os.mkfifo(bench.workspace / "a.odd")
    assert "is not a file" in ask("hover", symbol="name").text
    (bench.workspace / "a.odd").unlink()
    assert "No such file" in ask("hover", symbol="name").text
