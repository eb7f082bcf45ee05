"""The table of tools and the schemas that are sent: generated from the code, and never stale."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from tool_snapshots import END, PAGE, SCHEMAS, START, snapshot

from claw_kernel._core import RuleError, ToolInputError, canonical_tool_name, fit_arguments, tool_aliases
from claw_kernel.messages import Limit
from claw_kernel.tools.table import EFFECTS, all_specs, limit_text, sent_bytes, tools_markdown
from claw_kernel.tools.web_fetch import WebFetch

SPECS = all_specs()
NAMES = [spec.name for spec in SPECS]


def test_the_page_shows_the_tools_there_are():
    shown = PAGE.read_text("utf-8").partition(START)[2].partition(END)[0]
    assert shown == tools_markdown(), "run make tables"


@pytest.mark.parametrize("spec", SPECS, ids=NAMES)
def test_what_is_sent_of_a_tool_changes_only_on_purpose(spec):
    assert (SCHEMAS / f"{spec.name}.json").read_text("utf-8") == snapshot(spec), "run make tables"


def test_no_snapshot_is_left_of_a_tool_that_is_gone():
    assert sorted(path.stem for path in SCHEMAS.glob("*.json")) == sorted(NAMES)


@pytest.mark.parametrize("spec", SPECS, ids=NAMES)
def test_a_tool_is_closed_short_and_says_what_it_touches(spec):
    assert spec.input_schema["type"] == "object"
    assert spec.input_schema["additionalProperties"] is False
    assert sent_bytes(spec) < 2_000
    assert set(spec.effects) <= set(EFFECTS)
    assert canonical_tool_name(spec.name) == spec.name, "name it in rust_core/src/catalogue.rs"


def test_a_tool_answers_to_all_its_names_in_calls_and_in_rules(bench):
    bench.write("a.txt", "x\n")
    for name in ("Read", "read", "READ", *tool_aliases("Read")):
        assert bench.call(name, file_path="a.txt").text == "1\tx\n", name
        assert bench.prepare(name, file_path="a.txt").name == "Read"
        bench.set_policy("default", deny=[f"{name}(a.txt)"])
        assert bench.prepare("read_file", file_path="a.txt").decision == "deny", name
        bench.set_policy()
    with pytest.raises(ToolInputError, match='no tool "reed_file"'):
        bench.prepare("reed_file", file_path="a.txt")
    with pytest.raises(RuleError, match="no tool"):
        bench.set_policy("default", deny=["reed_file"])


def test_a_rule_for_an_alias_holds_for_the_tool_and_the_other_way_round(bench):
    bench.set_policy("default", allow=["bash(git status)", "multi_edit(src/**)"], deny=["shell(rm:*)"])
    assert bench.prepare("Bash", command="git status").decision == "allow"
    assert bench.prepare("Bash", command="rm -r x").decision == "deny"
    assert bench.prepare("write_file", file_path="src/a", content="x").decision == "allow"


def test_usual_other_names_of_arguments_are_understood(bench):
    bench.write("a.txt", "one\n")
    assert bench.call("read_file", path="a.txt").text == "1\tone\n"
    assert bench.call("bash", cmd="echo hi").text.strip() == "hi"
    assert bench.call("str_replace", path="a.txt", old_str="one", new_str="two").status == "ok"
    assert json.loads(fit_arguments("WebSearch", "{}", '{"q": "x"}')) == {"query": "x"}
    with pytest.raises(ToolInputError, match="unknown field `path`"):
        bench.prepare("Read", path="a.txt", file_path="b.txt")


def test_slips_of_form_cost_no_request_and_slip_past_no_rule(bench):
    bench.write("a.txt", "one\ntwo\nthree\n")
    assert bench.call("Read", file_path="a.txt", offset="2", limit=1.0).text.startswith("2\ttwo\n[")
    edits = '[{"old_string": "one", "new_string": "1", "replace_all": "true"}]'
    assert bench.call("Edit", file_path="a.txt", edits=edits).status == "ok"
    assert bench.call("Sleep", duration_ms=1).text == "Slept 0.001 s."
    fitted = fit_arguments(
        "WebFetch", json.dumps(WebFetch.spec.input_schema), '{"url": "x", "offset": "7", "prompt": "?"}'
    )
    assert json.loads(fitted) == {"url": "x", "offset": 7}
    bench.set_policy("bypassPermissions", deny=["Bash(run_in_background:true)"])
    assert bench.prepare("Bash", command="ls", run_in_background="true").decision == "deny"
    with pytest.raises(ToolInputError, match=r"offset: .*expected a whole number"):
        bench.prepare("Read", file_path="a.txt", offset="two")


def test_limits_in_words():
    assert limit_text(Limit("of a file", 32 << 20, "bytes")) == "32 MiB of a file"
    assert limit_text(Limit("of an image", 3_750_000, "bytes")) == "3,750,000 bytes of an image"
    assert limit_text(Limit("lines", 2000)) == "2,000 lines"
    assert limit_text(Limit("for a command", 600, "seconds")) == "600 seconds for a command"
