"""``claw prompt``: stdout holds the answer or the events only, the exit code says how it ended."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time

import pytest

from tests.cli.conftest import bash
from tests.model_server import ModelServer, Response, anthropic_frames, chat_frames, responses_frames, text, tool_call
from tests.processes import wait_until, with_arguments

FRAMES = {"anthropic": anthropic_frames, "openai-chat": chat_frames, "openai-responses": responses_frames}
JSON = {"content-type": "application/json"}


def test_text_is_the_last_answer_alone(claw):
    model = claw.script(bash("echo from the shell", "I look."), {"text": "It says **hi**."})
    done = claw.run("prompt", "look", "--model", model, "--allow", "Bash(echo:*)")
    assert (done.returncode, done.stdout) == (0, "It says **hi**.\n")
    assert "$ echo from the shell" in done.stderr
    assert "scripted" in done.stderr


def test_json_is_one_object(claw):
    model = claw.script(bash("true"), {"text": "Done."})
    done = claw.run("prompt", "go", "--model", model, "--allow", "Bash(true)", "--output-format", "json")
    document = json.loads(done.stdout)
    assert {key: document[key] for key in ("answer", "stop_reason", "model", "steps", "tool_calls", "error")} == {
        "answer": "Done.",
        "stop_reason": "end_turn",
        "model": model,
        "steps": 2,
        "tool_calls": 1,
        "error": None,
    }
    assert {"session_id", "turn_id", "usage", "cost_usd", "duration_seconds"} <= set(document)


def test_stream_json_is_the_turns_events_with_the_record_last(claw):
    model = claw.script(bash("echo hi"), {"text": "Done."})
    done = claw.run("prompt", "go", "--model", model, "--allow", "Bash(echo hi)", "--output-format", "stream-json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    kinds = [event["type"] for event in events]
    assert kinds[0] == "turn_started"
    assert kinds[-1] == "turn_finished"
    for earlier, later in [
        ("step_started", "tool_started"),
        ("tool_started", "tool_finished"),
        ("tool_finished", "step_finished"),
    ]:
        assert kinds.index(earlier) < kinds.index(later)
    from claw_kernel.session import read_record

    record = read_record(events[-1]["record"])
    assert record.stop_reason == "end_turn"
    assert len(record.steps) == 2


@pytest.mark.parametrize("api", list(FRAMES))
def test_the_wire_format_is_chosen_by_option(claw, api):
    with ModelServer() as server:
        server.answer(
            FRAMES[api]([tool_call("call_1", "Bash", {"command": "printf fine"})]), FRAMES[api]([text("Good.")])
        )
        root = server.base_url if api == "anthropic" else f"{server.base_url}/v1"
        options = ["--api", api, "--base-url", root, "--model", "local/m", "--allow", "Bash(printf:*)"]
        done = claw.run("prompt", "go", *options, CLAW_API_KEY="key-for-the-test")
        assert (done.returncode, done.stdout) == (0, "Good.\n"), done.stderr
        assert len(server.requests) == 2
        assert "fine" in server.requests[1].body.decode()


def test_the_prompt_comes_from_a_pipe(claw):
    with ModelServer() as server:
        server.answer(chat_frames([text("Read.")]), chat_frames([text("Read.")]))
        options = ["--base-url", f"{server.base_url}/v1", "--model", "local/m"]
        assert claw.run("prompt", *options, stdin="a question\n").stdout == "Read.\n"
        assert claw.run("prompt", "-", *options, stdin="another one\n").stdout == "Read.\n"
        assert "a question" in server.requests[0].body.decode()
        assert "another one" in server.requests[1].body.decode()


def test_where_nobody_can_answer_the_policy_denies_at_once(claw):
    model = claw.script(bash("echo ran > proof"), {"text": "Denied, then."})
    done = claw.run("prompt", "go", "--model", model)
    assert done.returncode == 0
    assert not (claw.workspace / "proof").exists()
    assert "--allow" in done.stderr  # the remedy


def test_a_deny_rule_beats_an_allow_rule(claw):
    model = claw.script(bash("echo ran > proof"), {"text": "Denied."})
    rules = ["--allow", "Bash(echo:*)", "--deny", "Bash(echo:*)"]
    claw.run("prompt", "go", "--model", model, "--permission-mode", "bypassPermissions", *rules)
    assert not (claw.workspace / "proof").exists()


def test_plan_mode_changes_nothing(claw):
    call = {"name": "Write", "input": {"file_path": "new.txt", "content": "x"}}
    model = claw.script({"text": "", "tool_calls": [call]}, {"text": "A plan."})
    done = claw.run("prompt", "go", "--model", model, "--permission-mode", "plan")
    assert done.stdout == "A plan.\n"
    assert not (claw.workspace / "new.txt").exists()


def test_a_workspace_elsewhere(claw, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    model = claw.script(bash("pwd > here"), {"text": "Done."}).replace("scripted/", f"scripted/{claw.workspace}/")
    done = claw.run("prompt", "go", "--model", model, "--cwd", str(other), "--permission-mode", "bypassPermissions")
    assert done.returncode == 0, done.stderr
    assert (other / "here").read_text().strip() == str(other)


def test_a_limit_on_requests_has_its_own_exit_code(claw):
    model = claw.script(bash("true"), bash("true"), {"text": "Never said."})
    done = claw.run("prompt", "go", "--model", model, "--allow", "Bash(true)", "--max-turns", "2")
    assert done.returncode == 3
    assert "Never said" not in done.stdout
    assert "--max-turns" in done.stderr


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (
            401,
            {"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}},
            "ANTHROPIC_API_KEY",
        ),
        (404, {"type": "error", "error": {"type": "not_found_error", "message": "model: nope"}}, "nope"),
    ],
)
def test_what_the_server_refuses_is_one_line(claw, status, body, said):
    with ModelServer() as server:
        server.answer(Response(status, JSON, [json.dumps(body).encode()]))
        options = ["--model", "anthropic/nope", "--base-url", server.base_url]
        done = claw.run("prompt", "go", *options, ANTHROPIC_API_KEY="sk-wrong-key-of-the-test")
        assert done.returncode == 1
        assert done.stdout == ""
        assert len(done.stderr.strip().split("\n")) == 1, done.stderr
        assert said in done.stderr
        assert "sk-wrong" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "local/m", "--base-url", "http://127.0.0.1:9/v1"], "127.0.0.1:9"),
        (["--model", "anthropic/claude-sonnet-5"], "ANTHROPIC_API_KEY"),
        (["--model", "antropic/claude-sonnet-5"], "anthropic"),
        (["--model", "scripted/nothing.json"], "nothing.json"),
    ],
)
def test_a_model_that_cannot_be_reached_is_one_line(claw, arguments, said):
    done = claw.run("prompt", "go", *arguments)
    assert done.returncode in (1, 2)
    assert done.stdout == ""
    assert len(done.stderr.strip().split("\n")) == 1, done.stderr
    assert said in done.stderr


def test_json_tells_the_error_on_stdout_too(claw):
    done = claw.run(
        "prompt", "go", "--model", "local/m", "--base-url", "http://127.0.0.1:9/v1", "--output-format", "json"
    )
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert document["stop_reason"] == "error"
    assert document["error"]["kind"] == "network"


def test_a_key_the_model_repeats_is_not_printed(claw):
    with ModelServer() as server:
        server.answer(chat_frames([text("Your key is sk-0123456789abcdef.")]))
        options = ["--model", "local/m", "--base-url", f"{server.base_url}/v1", "--output-format", "json"]
        done = claw.run("prompt", "go", *options, OPENAI_API_KEY="sk-0123456789abcdef")
        assert done.returncode == 0, done.stderr
        assert "0123456789abcdef" not in done.stdout + done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_turn_and_its_processes(claw, number, code):
    duration = (
        f"60.{os.getpid()}{number:d}"  # found again from outside the sandbox, where its process number means nothing
    )
    model = claw.script(bash(f"touch started; sleep {duration}"), {"text": "Never."})
    options = ["--model", model, "--permission-mode", "bypassPermissions", "--output-format", "json"]
    running = claw.start(
        "prompt", "go", *options, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    wait_until(lambda: (claw.workspace / "started").exists() and with_arguments("sleep", duration))
    sent = time.monotonic()
    running.send_signal(number)
    stdout, stderr = running.communicate(timeout=10)
    assert time.monotonic() - sent < 1
    assert running.returncode == code
    assert json.loads(stdout)["stop_reason"] == "interrupted"
    assert "Traceback" not in stderr
    wait_until(lambda: not with_arguments("sleep", duration), seconds=2)


def test_a_reader_that_goes_away_ends_the_turn_quietly(claw):
    model = claw.script({"text": "x" * 1_000_000})
    options = ["--model", model, "--output-format", "stream-json"]
    running = claw.start(
        "prompt", "go", *options, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    running.stdout.readline()
    running.stdout.close()
    stderr = running.stderr.read()
    assert running.wait(timeout=10) != 0
    assert "Traceback" not in stderr
    assert "BrokenPipe" not in stderr


@pytest.mark.parametrize(
    ("typed", "shown", "is_run"),
    [
        ("y", "Ran.", True),
        ("a", "Ran.", True),
        ("n", "Ran.", False),
        ("use printf instead", "use printf instead", False),
        ("\ny", "Ran.", True),
        ("\x04", "Ran.", False),  # the end of input: nobody is there
    ],
)
def test_at_a_terminal_the_question_is_answered_by_a_line(claw, typed, shown, is_run):
    model = claw.script(bash("touch proof", "I would run this."), {"text": "Ran.\n\n{{result}}"})
    screen, code = converse(claw, ["prompt", "go", "--model", model], typed)
    assert code == 0
    assert "| touch proof" in screen
    assert shown in screen
    assert (claw.workspace / "proof").exists() is is_run


def test_at_a_terminal_ctrl_c_gives_up_the_question(claw):
    model = claw.script(bash("echo ran > proof"), {"text": "Never."})
    screen, code = converse(claw, ["prompt", "go", "--model", model], "\x03")
    assert code == 130
    assert "Traceback" not in screen
    assert not (claw.workspace / "proof").exists()


def test_what_a_model_says_cannot_drive_the_terminal(claw):
    model = claw.script({"text": "\x1b]0;owned\x07\x1b[2Jplain"})
    screen, code = converse(claw, ["prompt", "go", "--model", model], "")
    assert code == 0
    assert "plain" in screen
    assert "\x1b" not in screen


# --- questions, plans and results -------------------------------------------------------------------------------------

QUESTION = {"question": "Which?", "header": "Which", "options": [{"label": "Red"}, {"label": "Blue"}]}


def uses(name, **given):
    return {"tool_calls": [{"name": name, "input": given}]}


def test_at_a_terminal_questions_are_answered_by_numbers_and_words(claw):
    model = claw.script(uses("AskUserQuestion", questions=[QUESTION, QUESTION]), {"text": "{{result}}"})
    screen, code = converse(claw, ["prompt", "go", "--model", model], "2", "for no answer: ", then="none of these")
    assert code == 0
    assert "1. Red" in screen
    assert "Blue" in screen.partition("The user answers")[2]
    assert "none of these" in screen.partition("The user answers")[2]


def test_plan_mode_is_enforced_and_left_by_the_person(claw):
    write = uses("Write", file_path="made", content="x")
    replies = [write, uses("ExitPlanMode", plan="# Make it"), write, {"text": "{{result:1}} / {{result:2}}"}]
    screen, code = converse(claw, ["prompt", "go", "--plan", "--model", claw.script(*replies)], "e", "what to change: ")
    assert code == 0
    assert "| # Make it" in screen
    assert "In plan mode only reading is allowed" in screen
    assert "The permission mode is acceptEdits now" in screen
    assert (claw.workspace / "made").exists()


def test_without_a_person_plan_mode_is_not_left(claw):
    write = uses("Write", file_path="made", content="x")
    model = claw.script(uses("EnterPlanMode"), uses("ExitPlanMode", plan="# Make it"), write, {"text": "{{result:2}}"})
    done = claw.run("prompt", "go", "--model", model, "--permission-mode", "bypassPermissions", "--allow", "Write")
    assert done.returncode == 0
    assert "Nobody can approve a plan here" in done.stdout
    assert not (claw.workspace / "made").exists()


def test_a_result_that_fits_a_schema(claw):
    (claw.workspace / "s.json").write_text('{"type": "array", "items": {"type": "string"}}')
    model = claw.script(uses("StructuredOutput", value=[1]), uses("StructuredOutput", value=["a", "é"]))
    done = claw.run("prompt", "go", "--model", model, "--schema", "s.json")
    assert (done.returncode, json.loads(done.stdout)) == (0, ["a", "é"])
    done = claw.run("prompt", "go", "--model", model, "--schema", "s.json", "--output-format", "json")
    assert json.loads(done.stdout)["result"] == ["a", "é"]
    done = claw.run("prompt", "go", "--model", claw.script({"text": "no"}), "--schema", "s.json")
    assert done.returncode == 1
    assert "without a result that fits" in done.stderr
    done = claw.run("prompt", "go", "--model", model, "--schema", "none.json")
    assert done.returncode == 2
    assert "none.json cannot be read" in done.stderr


def test_messages_and_steps_are_told_while_it_works(claw):
    todos = [{"content": "look", "status": "completed"}, {"content": "write", "status": "in_progress"}]
    model = claw.script(
        uses("SendUserMessage", message="Half done."), uses("TodoWrite", todos=todos), {"text": "Done."}
    )
    done = claw.run("prompt", "go", "--model", model)
    assert done.stdout == "Done.\n"
    assert "» Half done." in done.stderr
    assert "✓ Todos 1/2 · write" in done.stderr


def converse(claw, arguments, typed, prompt="type why not: ", then=""):
    """Run at a pseudo-terminal, type when the question stands there (``then``: when it stands there again), and give the whole
    screen and the exit code."""
    import pty

    child, master = pty.fork()
    if child == 0:
        os.chdir(claw.workspace)
        command = claw.command(*arguments)
        os.execve(command[0], command, claw.environment)
    screen, deadline = b"", time.monotonic() + 30
    lines = [line for line in (typed, then) if line]
    count = 0
    try:
        while time.monotonic() < deadline:
            if not select.select([master], [], [], 0.1)[0]:
                continue
            try:
                chunk = os.read(master, 65536)
            except OSError:  # the other end is closed
                break
            if not chunk:
                break
            screen += chunk
            if lines and screen.count(prompt.encode()) > count:
                count += 1
                line = lines.pop(0)
                os.write(master, (line if line in "\x03\x04" else line + "\n").encode())
        else:
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    finally:
        os.close(master)
    return screen.decode("utf-8", "replace"), os.waitstatus_to_exitcode(status)
