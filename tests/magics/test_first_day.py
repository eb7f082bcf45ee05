"""What somebody meets who has just loaded the extension: no model yet, no idea of the options, a slip of the pen."""

from __future__ import annotations

import json

from claw_kernel.providers.known import KNOWN

KEYLESS = {name: "" for known in KNOWN.values() for name in known.key_variables}


def _shown(execution) -> str:
    return "\n".join(output["data"]["text/plain"] for output in execution.outputs if "data" in output)


def test_no_model_yet(kernels) -> None:
    """The turn says in one line what to do, ``%claw model`` lists all ways, and none of it is a traceback."""
    kernel = kernels.start(**KEYLESS)
    failed = kernel.run("%%claw\nhello")
    assert [error["ename"] for error in failed.errors] == ["TurnFailed"]
    assert len(failed.errors[0]["traceback"]) == 1
    error = failed.turn["error"]
    assert error["kind"] == "auth"
    assert "claw login anthropic" in error["remedy"]
    assert "%claw model" in error["remedy"]
    assert "ANTHROPIC_AUTH_TOKEN" not in error["message"] + error["remedy"]  # not every variable there is
    ways = _shown(kernel.run("%claw model"))
    for way in ("claw login anthropic", "getpass", "ollama serve", "scripted/hello"):
        assert way in ways, ways


def test_a_key_that_is_set_in_a_cell_counts_at_once(kernels) -> None:
    """And is taken out of what is saved, as those that the kernel was started with."""
    kernel = kernels.start(**KEYLESS)
    assert kernel.run("%%claw --model anthropic/claude-sonnet-5\nhello").turn["error"]["kind"] == "auth"
    kernel.run(
        "import os\nos.environ['ANTHROPIC_API_KEY'] = 'sk-test-0123456789'\n"
        "os.environ['ANTHROPIC_BASE_URL'] = 'http://127.0.0.1:9'"
    )
    assert "key in ANTHROPIC_API_KEY" in _shown(kernel.run("%claw model"))
    second = kernel.run("%%claw --model openai/gpt-5\nI type sk-test-0123456789 here").turn
    assert second["error"]["kind"] == "auth"
    assert "OPENAI_API_KEY" in second["error"]["message"]
    assert "sk-test-0123456789" not in json.dumps(second)
    kernel.run("del os.environ['ANTHROPIC_API_KEY']")
    assert "No key for anthropic" in kernel.run("%%claw --model anthropic/x\nhello").turn["error"]["message"]


def test_a_key_of_claw_login_is_found(kernels) -> None:
    environment = kernels.environment()
    kernel = kernels.start(**KEYLESS)
    path = kernels.directory / "home" / "credentials.json"
    path.write_text(json.dumps({"openai": "sk-test-9876543210"}))
    path.chmod(0o600)
    assert environment["CLAW_HOME"] == str(path.parent)
    found = _shown(kernel.run("%claw model"))
    assert f"key in {path}" in found, found


def test_the_options_are_explained(kernels) -> None:
    kernel = kernels.start({"text": "hello"})
    for cell in ("%%claw --help", "%%claw --help\nsome request", "%%time\n%%claw --help\nsome request"):
        shown = kernel.run(cell)
        assert shown.is_ok, (cell, shown.errors)
        assert "--max-cost USD" in _shown(shown), cell
        assert "--recorded" in _shown(shown), cell
    inspected = kernel.client.inspect("%%claw", 6, reply=True, timeout=10)["content"]["data"]["text/plain"]
    assert "%%claw --help" in inspected
    assert "{df}" in inspected


def test_claw_alone_says_where_one_stands(kernels) -> None:
    kernel = kernels.start({"text": "hello"})
    shown = _shown(kernel.run("%claw"))
    assert "mode default · 0 turns in this conversation" in shown
    assert "%claw undo" in shown
    assert len(shown.splitlines()) < 15
    every = _shown(kernel.run("%claw help"))
    assert "The conversation" in every
    assert "%claw checkpoints" in every


def test_a_request_where_a_command_is_meant(kernels) -> None:
    kernel = kernels.start({"text": "hello"})
    said = kernel.run("%claw why are there fewer rows").errors[0]["evalue"]
    assert said == "'why' is no command; a request to the agent goes into a cell that begins with %%claw."
    assert "did you mean 'model'?" in kernel.run("%claw modle").errors[0]["evalue"]


def test_what_a_request_brings_with_it_is_said(kernels) -> None:
    kernel = kernels.start({"text": "hello"})
    (kernels.workspace / "prepare.py").write_text("x = 1\n")
    kernel.run("rows = [1, 2]")
    turn = kernel.run("%%claw\nlook at {rows}, {nothing} and @prepare.py").turn
    assert turn["notices"][0] == "attached: rows, prepare.py"


def test_each_tool_has_a_rule_that_is_one(kernels) -> None:
    """Code in the namespace is not a command line: no pattern of commands allows it."""
    kernel = kernels.start({"text": "hello"})
    rows = [line.split() for line in _shown(kernel.run("%claw tools")).splitlines()]
    python = next(row for row in rows if row and row[0] == "Python")
    assert "Python(git" not in python
    assert python.count("Python") == 2
