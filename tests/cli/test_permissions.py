"""``claw permissions`` and ``claw tools``: the gate from outside, by hand and by program."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


@pytest.fixture
def claw(tmp_path):
    """Run claw in a workspace of its own; gives the finished process."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()

    def run(*arguments, lines=None):
        return subprocess.run(
            [sys.executable, "-m", "claw_kernel.cli", *arguments],
            input="".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines or ()),
            capture_output=True,
            text=True,
            timeout=60,
            cwd=workspace,
            env={"PATH": "/usr/bin:/bin", "CLAW_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)},
        )

    run.workspace = workspace
    return run


def test_explain_says_what_would_happen_why_and_which_rule_to_write(claw):
    done = claw("permissions", "explain", "git status && rm -rf x", "--allow", "Bash(git status:*)")

    assert done.returncode == 0
    assert "asked for: No rule allows `rm -rf x`." in done.stdout
    assert "Bash(rm -rf x)" in done.stdout
    assert not done.stderr


def test_explain_names_the_rule_and_where_it_came_from(claw):
    done = claw("permissions", "explain", "secrets/key", "--tool", "Read", "--deny", "Read(secrets/**)")

    assert "denied" in done.stdout
    assert "Read(secrets/**) (--deny)" in done.stdout


def test_check_answers_one_decision_a_line_whatever_the_line(claw):
    run = {"tool": "Bash", "input": {"command": "make x"}}
    done = claw(
        "permissions",
        "check",
        "--json",
        lines=[
            run,
            {**run, "policy": {"allow": ["Bash(make:*)"]}},
            {**run, "policy": {"allow": ["Bash(make:*)"], "deny": ["Bash"]}},
            {**run, "policy": {"mode": "plan"}},
            {**run, "policy": {"allow": ["Bsh"]}},
            {**run, "policy": {"mode": "planned"}},
            {**run, "policy": {"dney": ["Bash"]}},
            {**run, "policy": {"deny": "Bash"}},
            {"tool": "Bash", "input": {}},
            {"input": {}},
            "nonsense",
            "[]",
        ],
    )

    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [a.get("decision") for a in answers] == [
        "ask",
        "allow",
        "deny",
        "deny",
        None,
        None,
        None,
        None,
        "invalid",
        None,
        None,
        None,
    ]
    assert answers[1]["rule"] == "Bash(make:*)"
    assert all(a["error"] for a in answers if "decision" not in a)
    assert done.returncode == 0
    assert not done.stderr


def test_tools_run_goes_through_the_gate_and_shares_a_session(claw):
    (claw.workspace / "a.txt").write_text("one\n")
    edit = {"tool": "Edit", "input": {"file_path": "a.txt", "old_string": "one", "new_string": "two"}}
    done = claw(
        "tools",
        "run",
        "--json",
        lines=[
            {"tool": "Read", "input": {"file_path": "a.txt"}},
            edit,
            {**edit, "answer": "allow_once"},
            {"tool": "Bash", "input": {"command": "cat a.txt; exit 3"}, "answer": "allow_once"},
            {"tool": "Read", "input": {"file_path": "/etc/passwd"}, "answer": "allow_once"},
        ],
    )

    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [a["ran"] for a in answers] == [True, False, True, True, False]
    assert (claw.workspace / "a.txt").read_text() == "two\n"
    assert answers[3]["details"]["exit_code"] == 3
    assert "two" in answers[3]["content"][0]["text"]


def test_tools_written_in_python_run_from_a_program_too(claw):
    policy = {"allow": ["REPL"]}
    lines = [
        {"tool": "REPL", "input": {"code": "n = 41"}, "policy": policy},
        {"tool": "repl", "input": {"code": "n + 1"}, "policy": policy},
        {"tool": "REPL", "input": {"code": "n"}},
        {"tool": "WebFetch", "input": {"url": "http://169.254.169.254/"}, "answer": "allow_once"},
        {"tool": "WebSearch", "input": {"query": "sky"}},
    ]
    done = claw("tools", "run", "--json", lines=lines)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(a["decision"], a["ran"]) for a in answers] == [
        ("allow", True),
        ("allow", True),
        ("ask", False),
        ("invalid", False),
        ("allow", True),
    ]
    assert answers[1]["content"][0]["text"] == "42"
    assert "No search engine is set" in answers[4]["content"][0]["text"]
    judged = claw("permissions", "check", "--json", lines=lines[:3])
    assert [json.loads(line)["decision"] for line in judged.stdout.splitlines()] == ["allow", "allow", "ask"]


def test_rules_are_asked_also_of_a_call_that_could_not_succeed(claw):
    (claw.workspace / ".git").mkdir()
    (claw.workspace / ".git/config").write_text("[core]\n")
    policy = {"allow": ["Edit(**)"]}
    lines = [
        {"tool": "Write", "input": {"file_path": ".git/config", "content": "x"}, "policy": policy},
        {"tool": "Edit", "input": {"file_path": ".mcp.json", "old_string": "a", "new_string": "b"}, "policy": policy},
        {"tool": "Edit", "input": {"file_path": "absent", "old_string": "a", "new_string": "b"}, "policy": policy},
        {"tool": "Edit", "input": {"file_path": "absent", "old_string": "a", "new_string": "b"}},
    ]
    judged = [json.loads(line) for line in claw("permissions", "check", "--json", lines=lines).stdout.splitlines()]
    assert [answer["decision"] for answer in judged] == ["ask", "ask", "allow", "ask"]
    assert judged[3]["suggested_rules"] == ["Edit(./absent)"]
    done = claw("permissions", "explain", "--tool", "edit_file", "absent")
    assert "asked for: No rule allows writing" in done.stdout


def test_what_belongs_to_a_conversation_runs_where_it_can(claw):
    todos = [{"content": "write", "status": "pending"}]
    lines = [
        {"tool": "TodoWrite", "input": {"todos": todos}},
        {"tool": "ToolSearch", "input": {"query": "select:LSP"}},
        {"tool": "Config", "input": {"setting": "max_turns", "value": 3}},
        {"tool": "Config", "input": {"setting": "max_turns", "value": 4}},
        {"tool": "Config", "input": {"setting": "permission_mode", "value": 1}},
        {"tool": "StructuredOutput", "input": {"n": 1}, "schema": {"type": "object", "required": ["n"]}},
        {"tool": "StructuredOutput", "input": {}, "schema": {"type": "object", "required": ["m"]}},
        {"tool": "StructuredOutput", "input": {}},
        {"tool": "StructuredOutput", "input": {}, "schema": {"type": "nothing"}},
        {"tool": "AskUserQuestion", "input": {}},
        {"tool": "Inspect", "input": {}},
        {"tool": "Python", "input": {"code": "1"}, "answer": "allow_once"},
        {"tool": "Nothing", "input": {}},
    ]
    answers = [json.loads(line) for line in claw("tools", "run", "--json", lines=lines).stdout.splitlines()]
    assert [(a.get("decision"), a.get("ran")) for a in answers] == [
        ("allow", True),
        ("allow", True),
        ("allow", True),
        ("invalid", False),
        ("invalid", False),
        ("allow", True),
        ("invalid", False),
        ("invalid", False),
        (None, None),
        ("allow", False),
        ("allow", False),
        ("ask", False),
        ("invalid", False),
    ]
    assert "may only lower max_turns; it is 3" in answers[3]["reason"]
    assert "'m' is a required property" in answers[6]["reason"]
    assert '"schema"' in answers[7]["reason"]
    assert all("only in a notebook" in answer["why_not"] for answer in answers[9:12])
    assert "There is no tool 'Nothing'" in answers[12]["reason"]
    judged = claw("permissions", "check", "--json", lines=lines[:3])
    assert [json.loads(line)["decision"] for line in judged.stdout.splitlines()] == ["allow"] * 3


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("permissions", "explan", "x"), "did you mean 'explain'"),
        (("permissions", "explain", "x", "--tool", "Bsh"), 'no tool "Bsh"'),
        (("permissions", "explain", "x", "--permission-mode", "plane"), "did you mean plan"),
        (("tools", "rum"), "did you mean 'run'"),
        (("permissions", "check"), "--json"),
    ],
)
def test_a_mistake_is_one_line(claw, arguments, says):
    done = claw(*arguments)

    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_explain_takes_a_whole_call_and_hosts(claw):
    whole = json.dumps({"file_path": "src/a.py", "content": "x"})
    done = claw("permissions", "explain", "--tool", "Write", "--input", whole, "--allow", "Edit(src/**)")
    assert "allowed: The rule Edit(src/**)" in done.stdout

    done = claw(
        "permissions",
        "explain",
        "--tool",
        "WebFetch",
        "https://docs.example.org/x",
        "--deny",
        "WebFetch(domain:*.example.org)",
    )
    assert "denied" in done.stdout
    assert "fetch: docs.example.org" in done.stdout

    done = claw("permissions", "explain", "--tool", "Network", "example.org", "--allow", "Network(domain:other.org)")
    assert "Network(domain:example.org) would allow it" in done.stdout


def test_a_folder_is_trusted_and_no_longer(claw):
    (claw.workspace / ".claw").mkdir()
    settings = {"permissions": {"allow": ["Bash(make:*)"]}}
    (claw.workspace / ".claw" / "settings.json").write_text(json.dumps(settings))

    assert "asked for" in claw("permissions", "explain", "make x").stdout
    assert "allow: Bash(make:*)" in claw("trust").stdout
    assert "allowed" in claw("permissions", "explain", "make x").stdout
    assert str(claw.workspace) in claw("trust", "--list").stdout
    assert "no longer trusted" in claw("trust", "--revoke").stdout
    assert "asked for" in claw("permissions", "explain", "make x").stdout
    assert claw("trust", "--revoke").returncode == 1
    assert claw("trust", "missing").returncode == 2


def test_an_example_that_is_wrong_is_one_line_that_names_the_rule(claw, tmp_path):
    (tmp_path / "home").mkdir(exist_ok=True)
    rule = {"rule": "Bash(npm run *)", "not_matches": ["npm run x"]}
    (tmp_path / "home" / "settings.json").write_text(json.dumps({"permissions": {"allow": [rule]}}))
    done = claw("permissions", "explain", "ls")
    assert done.returncode == 2
    assert "Bash(npm run *)" in done.stderr
    assert "settings.json" in done.stderr
    assert "npm run x" in done.stderr
