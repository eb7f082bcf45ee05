"""``%claw`` commands in a real IPython shell with the extension loaded."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell

from claw_kernel.messages import Step, TextBlock, TurnRecord, Usage
from claw_kernel.session import write_record
from claw_kernel.session.record import MIME_TYPE
from claw_magics.commands import COMMANDS, commands_markdown, inspect_command, run_command
from claw_magics.report import CommandOutput
from tests.model_server import ModelServer

SECRET = "sk-test-0123456789abcdef"


def record(number: int, prompt: str, cost_usd: float | None = None, **options: Any) -> TurnRecord:
    values: dict[str, Any] = {
        "turn_id": f"t_{number}",
        "session_id": "s_old",
        "parent_id": f"t_{number - 1}" if number > 1 else "",
        "prompt": prompt,
        "content": (TextBlock(prompt),),
        "model": "anthropic/claude-sonnet-5",
        "started_at": f"2026-01-0{number}T10:00:00.000Z",
        "steps": (Step((TextBlock("answer"),)),),
        "stop_reason": "end_turn",
        "usage": Usage(1_200, 34, 500, 6),
        "cost_usd": cost_usd,
    }
    return TurnRecord(**{**values, **options})


class Shell:
    """A shell in a workspace of its own."""

    def __init__(self, ip: Any, workspace: Path) -> None:
        self.ip = ip
        self.workspace = workspace
        self.host = ip.claw_host

    def run(self, line: str) -> CommandOutput:
        return run_command(self.host, line)

    def plain(self, line: str) -> str:
        found = self.run(line)
        assert not found.is_error, found.plain
        return found.plain

    def error(self, line: str) -> str:
        found = self.run(line)
        assert found.is_error, found.plain
        assert "\n" not in found.plain
        assert "Traceback" not in found.plain
        return found.plain


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    workspace = tmp_path / "work"
    workspace.mkdir()
    monkeypatch.chdir(workspace)
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "CLAW_MODEL", "CLAW_BASE_URL", "CLAW_PERMISSION_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLAW_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TEST_API_KEY", SECRET)
    ip = InteractiveShell()
    ip.extension_manager.load_extension("claw_magics")
    yield Shell(ip, workspace)
    ip.extension_manager.unload_extension("claw_magics")


def test_help_lists_every_command(shell: Shell) -> None:
    for line in ("help", "/help"):
        text = shell.plain(line)
        assert all(f"%claw {name}" in text for name in COMMANDS)
    assert "permissions deny RULE" in shell.plain("help permissions")
    assert "did you mean 'model'" in shell.error("help modl")
    table = commands_markdown()
    assert all(f"| %claw {name}" in table for name in COMMANDS)
    assert inspect_command("/model x").startswith("Show the model")
    assert inspect_command("/nothing") == ""


def test_an_unknown_command_gets_the_nearest_name(shell: Shell) -> None:
    assert shell.error("stats") == "unknown command 'stats'; did you mean 'status'?"
    assert shell.error("frobnicate") == "unknown command 'frobnicate'; %claw help lists them."
    assert shell.host.session.records == ()


def test_status_shows_what_is_in_force(shell: Shell) -> None:
    shell.host.session.merge([write_record(record(1, "one", 0.5)), write_record(record(2, "two"))])
    text = shell.plain("status")
    assert "s_old" in text
    assert "none yet" in text
    assert "mode default, 0 rules" in text
    assert "terminal" in text
    assert "nobody can be asked here" in text
    assert str(shell.workspace) in text
    assert "3,412 in (1,000 from cache), 68 out" in text
    assert "at least $0.5000 (1 turn of unknown price)" in text
    assert "status takes nothing" in shell.error("status now")


def test_model_switches_only_to_what_can_be_used(shell: Shell) -> None:
    assert "Model: none" in shell.plain("model")
    assert "scripted/hello" in shell.plain("model scripted/hello")
    assert shell.host.agent.model == "scripted/hello"
    assert "scripted" in shell.plain("status")
    for line, said in {
        "model anthropic/claude-sonnet-5": "ANTHROPIC_API_KEY",
        "model antropic/x": "anthropic/x",
        "model claude-sonnet-5": "anthropic/claude-sonnet-5",
        "model scripted/none": "none",
    }.items():
        assert said in shell.error(line)
    assert shell.host.agent.model == "scripted/hello"


def test_model_knows_ones_own_short_names(shell: Shell) -> None:
    home = Path(os.environ["CLAW_HOME"])
    home.mkdir()
    (home / "settings.json").write_text('{"aliases": {"mine": "scripted/hello"}}')
    assert "Model from the next turn on: mine" in shell.plain("model mine")
    assert "mine" in COMMANDS["model"].complete(shell.host, ())


def test_model_lists_what_the_one_named_server_has(shell: Shell) -> None:
    with ModelServer(models=["qwen3"]) as server:
        shell.plain(f"config set base_url {server.base_url}/v1")
        text = shell.plain("model")
    assert [line.split()[0] for line in text.split("\n") if "served by" in line] == ["local/qwen3"]
    gone = shell.plain("model")
    assert f"{server.base_url}/v1 lists no models" in gone
    assert "claw login" not in gone


def test_permissions_change_for_the_session(shell: Shell) -> None:
    assert "No rules" in shell.plain("permissions")
    assert "plan" in shell.plain("permissions mode plan")
    assert shell.host.agent.permission_mode == "plan"
    shell.plain("permissions allow Bash(git diff:*)")
    shell.plain("permissions deny Read(secrets/**)")
    listed = shell.plain("permissions list")
    assert "Permission mode: plan" in listed
    assert [rule.rule for rule in shell.host.agent.rules()] == ["Bash(git diff:*)", "Read(secrets/**)"]
    assert "Bash(git diff:*)  allow     %claw permissions" in listed
    assert "\\*" in shell.run("permissions").markdown
    assert "did you mean 'acceptEdits'" in shell.error("permissions mode acceptedits")
    assert "needs a rule" in shell.error("permissions allow")
    assert "did you mean 'allow'" in shell.error("permissions alow Bash")
    assert shell.error("permissions allow Bash(")
    assert len(shell.host.agent.rules()) == 2


def test_cost_is_unknown_where_a_price_is(shell: Shell) -> None:
    assert shell.plain("cost") == "No turn yet."
    shell.host.session.merge([write_record(record(1, "one", 0.0123))])
    assert "$0.0123" in shell.plain("cost")
    assert "unknown" not in shell.plain("cost")
    shell.host.session.merge([write_record(record(2, "two", None))])
    text = shell.plain("cost")
    assert "unknown" in text
    assert "at least $0.0123" in text
    assert "1,200" in text


def test_session_shows_turns_and_clear_begins_anew(shell: Shell) -> None:
    long = "\n\n  plot | the\n second line"
    shell.host.session.merge([write_record(record(1, long, stop_reason="max_turns"))])
    text = shell.plain("session")
    assert "Session s_old" in text
    assert "plot | the" in text
    assert "second line" not in text
    assert "max_turns" in text
    assert "plot \\| the" in shell.run("session list").markdown
    assert "records stay in the notebook" in shell.plain("clear")
    assert shell.host.session.records == ()
    assert "s_old" not in shell.plain("session")


def test_session_goes_out_to_a_file_and_in_from_one(shell: Shell) -> None:
    shell.host.session.merge([write_record(record(1, f"use {SECRET}")), write_record(record(2, "two"))])
    shell.plain("session export turns.json")
    assert SECRET not in (shell.workspace / "turns.json").read_text()
    assert "exists already" in shell.error("session export turns.json")
    assert "cannot be written" in shell.error("session export nowhere/turns.json")
    assert "here already" in shell.error("session load turns.json")
    shell.plain("clear")
    assert "2 turns taken" in shell.plain("session load turns.json")
    assert [turn.turn_id for turn in shell.host.session.records] == ["t_1", "t_2"]


def test_session_loads_a_notebook_and_says_what_it_cannot_read(shell: Shell) -> None:
    cell = {"cell_type": "code", "metadata": {}, "outputs": [{"data": {MIME_TYPE: write_record(record(1, "one"))}}]}
    bad = {"cell_type": "code", "metadata": {"claw": {"format": 99}}, "outputs": []}
    (shell.workspace / "old book.ipynb").write_text(json.dumps({"cells": [cell, bad], "metadata": {}}))
    (shell.workspace / "empty.ipynb").write_text(json.dumps({"cells": []}))
    text = shell.plain('session load "old book.ipynb"')
    assert "1 turn taken" in text
    assert "format 99" in text
    assert "no turns" in shell.error("session load empty.ipynb")
    assert "no file" in shell.error("session load missing.ipynb")
    assert "needs the path" in shell.error("session load")
    assert "did you mean 'load'" in shell.error("session laod x")


def test_config_shows_sources_and_sets_for_the_session(shell: Shell) -> None:
    assert "default" in shell.plain("config")
    shell.plain("config set max_turns 7")
    shell.plain("config set max_cost_usd 0.25")
    shell.plain("config set approvals none")
    assert shell.host.agent.settings.max_turns == 7
    assert re.search(r"^max_turns +7 ", shell.plain("config"), re.MULTILINE)
    assert "%claw config" in shell.plain("config")
    shell.plain("config set base_url http://me:password@127.0.0.1:9/v1")
    assert "password" not in shell.plain("config") + shell.plain("status")
    for line, said in {
        "config set max_turns none": "positive whole number",
        "config set max_turn 3": "did you mean 'max_turns'",
        "config set max_turns": "needs a value",
        "config sett x": "did you mean 'set'",
        "config set approvals maybe": "Use one of",
    }.items():
        assert said in shell.error(line)


def test_tools_and_version(shell: Shell) -> None:
    text = shell.plain("tools")
    assert all(spec.name in text for spec in shell.host.agent.tools.all_specs)
    assert re.search(r"TodoWrite +nothing outside the conversation +TodoWrite +with each request", text)
    assert re.search(r"SendUserMessage +nothing outside the conversation +SendUserMessage +once found or called", text)
    assert "Bash(git status:*)" in text
    assert "claw-jupyter" in shell.plain("version")


def test_a_broken_settings_file_is_one_line(shell: Shell) -> None:
    (shell.workspace / ".claw").mkdir()
    (shell.workspace / ".claw" / "settings.json").write_text("{")
    assert "not valid JSON" in shell.error("status")
    assert "%claw status" in shell.plain("help")


def test_the_magic_shows_the_output_and_fails_in_one_line(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    assert shell.ip.run_cell("%claw version").success
    assert "claw-jupyter" in capsys.readouterr().out
    result = shell.ip.run_cell("%claw stats")
    assert not result.success
    shown = capsys.readouterr()
    assert "did you mean 'status'" in shown.out + shown.err
    assert "Traceback" not in shown.out + shown.err


def test_trust_lets_the_folders_rules_count_at_once(shell):
    (shell.workspace / ".claw").mkdir()
    rules = {"permissions": {"allow": ["Bash(make:*)"], "deny": ["WebFetch"]}}
    (shell.workspace / ".claw" / "settings.json").write_text(json.dumps(rules))
    assert "Bash(make:*)" not in shell.plain("permissions")
    assert "Bash(make:*)" in shell.plain("trust")
    assert "Bash(make:*)" in shell.plain("permissions")
    assert "no longer trusted" in shell.plain("trust revoke")
    assert "Bash(make:*)" not in shell.plain("permissions")
    assert "revoke" in shell.error("trust revok")


def test_a_notebooks_header_can_only_tighten(shell):
    header = {"permissions": {"mode": "bypassPermissions", "allow": ["Bash"], "ask": ["Read"]}}
    shell.host.session.merge([], header)
    shown = shell.plain("permissions")
    assert "Permission mode: default" in shown
    assert "the notebook's header" in shown
    assert "Bash" not in shown
    assert shell.host.session.header()["permissions"] == header["permissions"]


def test_context_memory_and_budget(shell: Shell) -> None:
    (shell.workspace / "AGENTS.md").write_text("Prefer polars.")
    (shell.workspace / "CLAUDE.md").symlink_to("/etc/passwd")
    shell.plain("model scripted/hello")
    shell.ip.run_cell_magic("claw", "", "Say hello")
    shown = shell.plain("context")
    assert "tokens are assumed" in shown
    assert re.search(r"About [\d,]+ of 128,000 tokens", shown)
    assert "outputs of calls" in shown
    assert "Noted: weights are in grams" in shell.plain("memory add weights are   in grams")
    assert "at most 1,000 characters" in shell.error(f"memory add {'x' * 1001}")
    assert "there are 1" in shell.error("memory forget 2")
    shown = shell.plain("memory")
    assert re.search(r"1\s+weights are in grams", shown)
    assert re.search(r"CLAUDE.md\s+project\s+0\s+not sent: leads out of the project", shown)
    assert re.search(r"AGENTS.md\s+project\s+14\s+sent", shown)
    assert "before the next request, keeping: the numbers" in shell.plain("compact the numbers")
    shell.plain("config set max_session_cost_usd 2.50")
    shell.plain("config set max_seconds 60")
    shown = shell.plain("budget")
    assert re.search(r"max_session_cost_usd\s+conversation\s+2.5\s+\$0.0000 and what scripted/hello cost", shown)
    assert re.search(r"max_seconds\s+cell\s+60.0", shown)
    assert "max_session_cost_usd cannot be '-1'" in shell.error("config set max_session_cost_usd -1")
