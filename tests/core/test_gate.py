"""The gate around every call: redaction, limits, audit, Python's tools, modes and the policy's own face."""

from __future__ import annotations

import base64
import json
import urllib.parse
from pathlib import Path

import pytest

from claw_kernel._core import CancelToken, Core, RuleError, ToolInputError, ToolOutput, visible

SECRET = 'sk-ant-9f8e7d6c/5b4a+"x'


def entries(bench) -> list[dict]:
    return [json.loads(line) for line in (bench.state / "audit.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    "spelling",
    [
        SECRET,
        json.dumps(SECRET)[1:-1],
        urllib.parse.quote(SECRET, safe=""),
        urllib.parse.quote_plus(SECRET),
        SECRET.encode().hex(),
        base64.b64encode(SECRET.encode()).decode(),
        base64.b64encode(b"a" + SECRET.encode()).decode(),
        base64.b64encode(b"ab" + SECRET.encode() + b"tail").decode(),
        base64.urlsafe_b64encode(b"user:" + SECRET.encode()).decode(),
    ],
)
def test_a_secret_reaches_neither_model_nor_screen_nor_audit_nor_files(bench, spelling):
    bench.core.add_secret(SECRET)
    bench.write("a.txt", spelling)
    seen: list[str] = []
    result = bench.call(
        "Bash", command=f"cat a.txt; sleep 0.1; seq 10000; cat a.txt # {spelling}", on_output=seen.append
    )
    assert spelling not in result.text
    assert result.text.startswith("[secret]") or "[secret]" in result.text[:200]
    assert spelling not in "".join(seen)
    assert spelling not in (bench.state / "audit.jsonl").read_text()
    assert spelling not in Path(result.details["spill_path"]).read_text()
    assert "[secret]" in bench.call("Read", file_path="a.txt").text
    assert bench.core.redact(f"x{spelling}y").count("[secret]") == 1


def test_a_secret_split_over_two_chunks_is_not_shown(bench):
    bench.core.add_secret("abcdefghijklmnop")
    seen: list[str] = []
    bench.call("Bash", command="printf 'x abcdefgh'; sleep 0.3; printf 'ijklmnop y'", on_output=seen.append)
    assert "".join(seen) == "x [secret] y"


def test_secrets_in_details_are_redacted_and_short_ones_ignored(bench):
    bench.core.add_secret("abcdefgh")
    bench.core.add_secret("short")
    prepared = bench.core.prepare("Python", "{}", '[{"effect": "namespace"}]')
    output = bench.core.finish(prepared, ToolOutput('[{"type":"text","text":"short"}]', "ok", '{"a": ["xabcdefghx"]}'))
    assert json.loads(output.details) == {"a": ["x[secret]x"]}
    assert "short" in output.content


def test_long_results_of_python_tools_are_capped_and_kept(bench):
    prepared = bench.core.prepare("Python", "{}", '[{"effect": "namespace"}]')
    whole = "".join(f"{n}\n" for n in range(20_000))
    output = bench.core.finish(prepared, ToolOutput(json.dumps([{"type": "text", "text": whole}])))
    result = bench.read(output)
    assert len(result.text) < 31_000
    assert Path(result.details["spill_path"]).read_text() == whole


def test_every_finished_call_is_in_the_audit_log(bench):
    bench.call("Bash", command="exit 2")
    prepared = bench.core.prepare("Python", "{}", '[{"effect": "namespace"}]')
    bench.core.finish(prepared, ToolOutput("[]", "cancelled"), "widget:allow_once")
    first, second = entries(bench)
    assert (first["session"], first["tool"], first["title"]) == ("s1", "Bash", "$ exit 2")
    assert (first["status"], first["decision"]) == ("error", "allow")
    assert (second["tool"], second["answer"], second["status"]) == ("Python", "widget:allow_once", "cancelled")
    assert (bench.state / "audit.jsonl").stat().st_mode & 0o777 == 0o600


def test_effects_of_python_tools_are_judged(bench):
    bench.set_policy("default", allow=["WebFetch(domain:example.org)", "mcp__files__*"], deny=["mcp__files__write"])

    def decide(tool: str, *effects: dict) -> str:
        return bench.core.prepare(tool, "{}", json.dumps(effects)).decision

    assert decide("Python", {"effect": "namespace"}) == "ask"
    assert decide("Inspect", {"effect": "inspect", "name": "df"}) == "allow"
    assert decide("WebFetch", {"effect": "fetch", "host": "example.org"}) == "allow"
    assert decide("WebFetch", {"effect": "fetch", "host": "evil.org"}) == "ask"
    assert decide("mcp__files__read", {"effect": "mcp", "tool": "mcp__files__read"}) == "allow"
    assert decide("mcp__files__write", {"effect": "mcp", "tool": "mcp__files__write"}) == "deny"
    assert decide("NotebookEdit", {"effect": "write_path", "path": "/etc/x"}) == "deny"
    assert decide("WebFetch", {"effect": "fetch", "host": "example.org"}, {"effect": "namespace"}) == "ask"
    with pytest.raises(ToolInputError, match="effects"):
        bench.core.prepare("Python", "{}", '[{"effect": "explode"}]')


def test_a_denied_call_does_not_run(bench):
    bench.set_policy("plan")
    prepared = bench.prepare("Bash", command="touch made")
    assert prepared.decision == "deny"
    assert "plan mode" in prepared.reason
    output = bench.core.run(prepared, CancelToken())
    assert output.is_error
    assert not (bench.workspace / "made").exists()


def test_decisions_name_their_rule(bench):
    bench.core.set_policy(
        json.dumps({"rules": [{"behavior": "deny", "rule": "Bash(curl:*)", "source": "~/.config/claw/settings.json"}]})
    )
    prepared = bench.prepare("Bash", command="ls && curl x")
    assert prepared.decision == "deny"
    assert (prepared.rule, prepared.rule_source) == ("Bash(curl:*)", "~/.config/claw/settings.json")
    assert prepared.reason == "The rule Bash(curl:*) (~/.config/claw/settings.json) denies this command."


def test_allow_always_adds_exactly_what_was_shown(bench):
    bench.set_policy("default")
    prepared = bench.prepare("Bash", command="git status -s")
    assert prepared.decision == "ask"
    assert prepared.suggested_rules == ["Bash(git status:*)"]
    bench.core.add_rule("allow", prepared.suggested_rules[0], "session")
    assert bench.prepare("Bash", command="git status -s").decision == "allow"
    assert bench.prepare("Bash", command="git push").decision == "ask"


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        ('{"mode": "yolo"}', "mode: unknown variant `yolo`"),
        ('{"rules": [{"behavior": "allow", "rule": "Bahs(ls)", "source": "x.json"}]}', "x.json.*nearest is Bash"),
        ('{"rules": [{"behavior": "permit", "rule": "Bash", "source": ""}]}', "unknown variant"),
        ('{"rulez": []}', "unknown field"),
        ("nonsense", "cannot be read"),
    ],
)
def test_a_bad_policy_is_refused_and_the_old_one_stays(bench, policy, says):
    bench.set_policy("plan", deny=["Bash"])
    before = bench.core.policy()
    with pytest.raises(RuleError, match=says):
        bench.core.set_policy(policy)
    assert bench.core.policy() == before
    bench.core.set_policy(before)
    assert bench.core.policy() == before
    with pytest.raises(RuleError):
        bench.core.add_rule("permit", "Bash", "")


def test_the_tools_of_the_core(bench):
    specs = {spec["name"]: spec for spec in json.loads(bench.core.specs())}
    assert {"Bash", "Read", "Write", "Edit", "Glob", "Grep"} <= set(specs)
    assert {name for name in ("Bash", "Read", "Write", "Edit", "Glob", "Grep") if specs[name]["is_read_only"]} == {
        "Read",
        "Glob",
        "Grep",
    }


def test_hidden_characters_are_shown(bench):
    assert visible("a\u202eb\u200bc\x1b\r\n\u00a0") == "a\\u{202e}b\\u{200b}c\\u{1b}\\r\n\\u{a0}"
    preview = json.loads(bench.prepare("Bash", command="ls \u202e x").preview)
    assert preview["command"] == "ls \u202e x"
    assert preview["visible"] == "ls \\u{202e} x"


def test_two_cores_do_not_end_each_other(bench, tmp_path):
    other = Core(str(bench.workspace), state_dir=str(tmp_path / "other"))
    bench.call("Bash", command="sleep 30 & echo $! > pid")
    pid = int((bench.workspace / "pid").read_text())
    other.close()
    assert Path(f"/proc/{pid}").exists()
