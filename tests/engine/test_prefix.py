"""What a long session sends again: nearly all of it as it was sent before, and marked so that a provider's cache finds it."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from tests.engine.conftest import play
from tests.model_server import FRAMES, ModelServer, Response, text, thinking, tool_call

STEPS = 40
FROM_STEP = 3
LOOK_BACK = 20
"""Blocks that Anthropic's cache looks back from a breakpoint for an earlier one (the API's documentation)."""


@pytest.fixture(params=["anthropic", "openai-chat", "openai-responses"])
def api(request):
    return request.param


def requests_of(make_agent, workspace, api, steps):
    """The bodies of a turn with these steps; each is a list of calls."""
    (workspace / "page.txt").write_text("a line of a page\n" * 240)  # 4 KB
    with ModelServer() as server:
        server.answer(*(answer(api, calls) for calls in steps), answer(api, [text("Done.")]))
        agent = make_agent(
            [], base_url=server.base_url, api=api, permission_mode="bypassPermissions", context_window=1_000_000
        )
        agent.set_model("local/m")
        record = play(agent.start("Read it again and again."))[-1].record
    assert record.stop_reason == "end_turn", record.error
    return [request.body for request in server.requests]


def answer(api, blocks):
    """With the tokens that the request may well have had."""

    def make(request):
        tokens = len(request.body) // 4
        usage = {"prompt_tokens": tokens, "completion_tokens": 9} if api == "openai-chat" else {"input_tokens": tokens}
        return Response(parts=FRAMES[api](blocks, usage=usage))

    return make


def read(number):
    return tool_call(f"call_{number}", "Read", {"file_path": "page.txt", "limit": 1000 + number})


def common(one, other):
    return next(
        (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


def test_what_was_sent_is_the_prefix_of_what_is_sent(make_agent, workspace, api):
    bodies = requests_of(make_agent, workspace, api, [[read(n)] for n in range(STEPS)])
    assert len(bodies) == STEPS + 1
    pairs = list(pairwise(bodies))[FROM_STEP - 1 :]
    assert all(common(a, b) > len(a) - 60 for a, b in pairs), "all but the last breakpoint and the closing brackets"
    assert sum(common(a, b) for a, b in pairs) / sum(len(b) for _, b in pairs) > 0.9


def test_the_next_turn_begins_with_the_bytes_of_the_last(make_agent, workspace, api):
    (workspace / "page.txt").write_text("a line of a page\n" * 240)
    with ModelServer() as server:
        agent = make_agent(
            [], base_url=server.base_url, api=api, permission_mode="bypassPermissions", context_window=1_000_000
        )
        agent.set_model("local/m")
        for turn in range(3):
            server.answer(answer(api, [thinking("Hm."), text("I look."), read(turn)]), answer(api, [text("Done.")]))
            play(agent.start("Read it."))
    bodies = [request.body for request in server.requests]
    assert len(bodies) == 6
    assert all(common(a, b) > len(a) - 60 for a, b in pairwise(bodies))


def test_tools_and_system_never_change_and_what_changes_by_the_day_stands_behind_them(make_agent, workspace):
    bodies = [
        json.loads(body) for body in requests_of(make_agent, workspace, "anthropic", [[read(n)] for n in range(9)])
    ]
    assert len({json.dumps([body["tools"], body["system"]]) for body in bodies}) == 1
    assert "Today: " in bodies[0]["system"][0]["text"].rpartition("\n")[2]


class Cache:
    """Anthropic's prompt cache as its documentation has it: a breakpoint writes the prefix that ends with it, and reads the
    longest that was written, ending at one of the twenty blocks before it."""

    def __init__(self):
        self._written = set()

    def take(self, body):
        """``(bytes read from the cache, bytes in all)``."""
        blocks = list(self._blocks(json.loads(body)))
        prefixes, sizes, total = [], [], 0
        digest = 0
        for block, _ in blocks:
            digest = hash((digest, block))
            total += len(block)
            prefixes.append(digest)
            sizes.append(total)
        marked = [place for place, (_, is_marked) in enumerate(blocks) if is_marked]
        found = [
            sizes[place]
            for mark in marked
            for place in range(mark, max(mark - LOOK_BACK, -1), -1)
            if prefixes[place] in self._written
        ]
        self._written.update(prefixes[mark] for mark in marked)
        return max(found, default=0), total

    def _blocks(self, body):
        messages = [(message["role"], block) for message in body["messages"] for block in message["content"]]
        for kind, block in [
            *(("tool", tool) for tool in body["tools"]),
            *(("system", s) for s in body["system"]),
            *messages,
        ]:
            is_marked = block.pop("cache_control", None) is not None
            yield f"{kind} {json.dumps(block)}", is_marked


@pytest.mark.parametrize("calls", [1, 12])
def test_breakpoints_are_where_they_pay(make_agent, workspace, calls):
    """From the third request on nine tenths of the input are read from the cache, and all of what was sent before; also where
    a step adds more blocks than the cache looks back over."""
    count = STEPS if calls == 1 else 6
    bodies = requests_of(
        make_agent, workspace, "anthropic", [[read(calls * n + k) for k in range(calls)] for n in range(count)]
    )
    cache = Cache()
    taken = [cache.take(body) for body in bodies]
    assert all(now[0] == before[1] for before, now in pairwise(taken)), "everything that was sent before is found"
    if calls == 1:
        taken = taken[FROM_STEP - 1 :]
        assert sum(read for read, _ in taken) / sum(total for _, total in taken) > 0.9
    assert all(body.count(b'"cache_control"') <= 4 for body in bodies)
