"""The scripted provider: says that it is one, keeps no state, and speaks about real results."""

import asyncio
import json

import pytest

from claw_kernel.errors import InvalidRequestError, SettingsError
from claw_kernel.messages import (
    Message,
    MessageFinished,
    ModelRequest,
    ProviderNotice,
    TextBlock,
    TextDelta,
    ThinkingBlock,
    ToolCall,
    ToolResult,
    Usage,
)
from claw_kernel.providers import ProviderSettings, open_provider
from claw_kernel.providers.prices import cost_usd
from claw_kernel.providers.scripted import built_in_scripts, load_script
from tests.providers.conftest import collect

TOUR = {
    "title": "tour",
    "turns": [
        {
            "when": "columns",
            "replies": [
                {"thinking": "Look.", "text": "Let me look.", "tool_calls": [{"name": "Bash", "input": {"command": "head -1"}}]},
                {"tool_calls": [{"name": "Bash", "input": {"command": "echo '{{result}}'"}}]},
                {"text": "First {{result:1}}, then {{result}}; {{result:9}}; {{other}}; asked: {{prompt}}"},
            ],
        },
        {"when": "^thanks", "replies": [{"text": "You are welcome."}]},
    ],
}  # fmt: skip


def write(path, script):
    (path / "tour.json").write_text(script if isinstance(script, str) else json.dumps(script))


def play(path, *messages, name="scripted/tour.json"):
    async def run():
        provider, model = open_provider(name, ProviderSettings(cwd=str(path)))
        return await collect(provider, ModelRequest(model, "", messages))

    return asyncio.run(run())


def user(text):
    return Message("user", (TextBlock(text),))


def answered(message, *texts):
    calls = [block for block in message.content if isinstance(block, ToolCall)]
    return Message("user", tuple(ToolResult(c.id, (TextBlock(t),)) for c, t in zip(calls, texts, strict=True)))


def test_a_turn_with_tools(tmp_path):
    write(tmp_path, TOUR)
    ask = user("Which COLUMNS are there?")
    first = play(tmp_path, ask)
    assert isinstance(first.events[0], ProviderNotice)
    assert first.events[0].text.startswith("scripted model: answers are written in tour.json, no model is called")
    thought, said, call = first.content
    assert (thought, said) == (ThinkingBlock("Look."), TextBlock("Let me look."))
    assert (call.name, call.input) == ("Bash", {"command": "head -1"})
    assert first.finished.stop == "tool_use"

    earlier = [ask, first.finished.message, answered(first.finished.message, "a,b\n")]
    second = play(tmp_path, *earlier)
    assert second.notices == []  # once per turn
    assert second.content[0].input == {"command": "echo 'a,b'"}
    assert second.content[0].id != call.id

    third = play(tmp_path, *earlier, second.finished.message, answered(second.finished.message, "x"))
    said = "First a,b, then x; (no such result); {{other}}; asked: Which COLUMNS are there?"
    assert third.content == (TextBlock(said),)
    assert third.finished.stop == "end_turn"


def test_the_latest_prompt_chooses(tmp_path):
    write(tmp_path, TOUR)
    later = play(tmp_path, user("columns"), Message("assistant", (TextBlock("a"),)), user("Thanks!"))
    assert later.content == (TextBlock("You are welcome."),)


def test_a_cell_that_runs_again_plays_the_same(tmp_path):
    write(tmp_path, TOUR)
    assert play(tmp_path, user("columns")).content == play(tmp_path, user("columns")).content


def test_past_its_last_reply_a_turn_asks_for_no_more_tools(tmp_path):
    write(tmp_path, {"turns": [{"replies": [{"tool_calls": [{"name": "Bash", "input": {}}]}]}]})
    first = play(tmp_path, user("x")).finished
    second = play(tmp_path, user("x"), first.message, answered(first.message, "r")).finished
    assert second.stop == "end_turn"
    assert second.message.content == (TextBlock("The script has no further reply to this prompt."),)


def test_a_plain_list_of_replies(tmp_path):
    write(tmp_path, {"replies": [{"text": "one"}, {"text": "two"}, {"when": "special", "text": "yes"}]})
    one = play(tmp_path, user("a")).finished.message
    assert one.content == (TextBlock("one"),)
    assert play(tmp_path, user("a"), one, user("b")).content == (TextBlock("two"),)
    assert play(tmp_path, user("a"), one, user("special b")).content == (TextBlock("yes"),)


def test_a_prompt_the_script_does_not_know(tmp_path):
    write(tmp_path, TOUR)
    error = play(tmp_path, user("something else")).error
    assert type(error) is InvalidRequestError
    assert "'columns', '^thanks'" in error.remedy


def test_words_with_a_pause(tmp_path):
    write(tmp_path, {"chunk_seconds": 0.001, "replies": [{"text": "one two\n three "}]})
    exchange = play(tmp_path, user("x"))
    pieces = [event.text for event in exchange.events if isinstance(event, TextDelta)]
    assert len(pieces) == 3
    assert "".join(pieces) == "one two\n three " == exchange.content[0].text


def test_usage_is_an_estimate_without_a_price(tmp_path):
    write(tmp_path, {"replies": [{"text": "x" * 400}]})
    exchange = play(tmp_path, user("y" * 80))
    assert exchange.finished.usage == Usage(20, 100)
    assert "estimates" in exchange.notices[0]
    assert cost_usd("scripted", "tour.json", exchange.finished.usage) is None


@pytest.mark.parametrize(
    ("script", "line"),
    [
        ("{", "cannot be read"),
        ("[]", "the script is not an object"),
        ({}, 'either "turns" or "replies"'),
        ({"replies": []}, "no replies"),
        ({"turns": [{"when": "("}]}, "turn 1"),
        ({"turns": [{"when": "(", "replies": [{"text": "x"}]}]}, "no regular expression"),
        ({"turns": [{"replies": [{"text": "x"}, {}]}]}, 'turn 1, reply 2 needs "text" or "tool_calls"'),
        ({"replies": [{"text": 1}]}, "'text' of reply 1 is no str"),
        ({"replies": [{"txt": "x"}]}, "unknown field 'txt'"),
        ({"replies": [{"tool_calls": [{"input": {}}]}]}, 'reply 1, tool call 1 needs "name"'),
        ({"replies": [{"text": "x", "chunk_seconds": -1}]}, "number of seconds"),
    ],
)
def test_a_script_with_a_mistake_names_the_place(tmp_path, script, line):
    write(tmp_path, script)
    with pytest.raises(SettingsError) as caught:
        open_provider("scripted/tour.json", ProviderSettings(cwd=str(tmp_path)))
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", built_in_scripts())
def test_each_script_that_ships_can_be_read(name):
    assert load_script(name, ".").title


def test_hello(tmp_path):
    exchange = play(tmp_path, user("Hi there"), name="scripted/hello")
    assert isinstance(exchange.events[-1], MessageFinished)
    assert "scripted" in exchange.content[0].text
