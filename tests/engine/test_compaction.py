"""Compaction: what is sent shrinks at its threshold, what is recorded does not, and what the user said survives word for word."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from claw_kernel.agent import Agent
from claw_kernel.agent.context import ContextMeter, Window, window_in
from claw_kernel.messages import ContextCompacted, TextBlock, TurnRecord, Usage
from claw_kernel.session import Session
from claw_kernel.session.record import read_record, write_record
from tests.engine.conftest import play
from tests.engine.long_sessions import ASKS_FOR_NOTES, NOTES, Reader, is_for_notes, open_agent, serving
from tests.model_server import (
    FRAMES,
    JSON,
    ModelServer,
    Request,
    Response,
    anthropic_frames,
    chat_frames,
    text,
    tool_call,
)

PROHIBITION = "Never touch raw/data.csv, and don't rename any column."
SMALL_WINDOW = 24_000


@pytest.fixture
def agents(tmp_path: Path, workspace: Path) -> Iterator[Any]:
    made: list[Agent] = []

    def make(server: ModelServer, session: Session | None = None, **options: Any) -> Agent:
        agent = open_agent(tmp_path / "home", workspace, server, session, **options)
        made.append(agent)
        return agent

    yield make
    for agent in made:
        agent.close()


def compactions(record: TurnRecord) -> list[Any]:
    return [step.compaction for step in record.steps if step.compaction]


def sent(request: Request) -> str:
    return json.dumps(request.json["messages"], ensure_ascii=False)


def test_a_long_session_is_cleared_then_summarised_and_keeps_every_prohibition(agents: Any, workspace: Path) -> None:
    reader = Reader(workspace, steps=60)
    with serving(reader) as server:
        agent = agents(server, context_window=SMALL_WINDOW, max_tokens=2_000)
        events = play(agent.start(f"Read it again and again. {PROHIBITION}"))
        record = agent.session.records[-1]
        assert record.stop_reason == "end_turn"
        done = compactions(record)
        assert any(one.cleared and not one.summary for one in done)
        summaries = [one for one in done if one.summary]
        assert summaries
        assert all(
            PROHIBITION in one.summary and NOTES in one.summary and "part.txt" in one.summary for one in summaries
        )
        assert [event.compaction for event in events if isinstance(event, ContextCompacted)] == done
        # In every request after it the user's words are there, and none is larger than the window.
        window = Window.of(SMALL_WINDOW, 2_000)
        for request in server.requests:
            assert PROHIBITION in sent(request)
            assert reader.tokens(request) < window.room
        # The record has every output whole; only what is sent was shortened.
        assert len(record.steps) == 61
        assert all(len(step.results[0].content[0].text) > 3_000 for step in record.steps[:-1])  # type: ignore[union-attr]
        # Each makes progress, and the summaries were paid for.
        assert all(one.tokens_after < one.tokens_before for one in done)
        steps = sum((step.usage for step in record.steps), Usage())
        assert record.usage == sum((one.usage for one in done), steps)
        assert sum(is_for_notes(request) for request in server.requests) == len(summaries)


@pytest.mark.parametrize(("tokens", "is_compacted"), [(-1, False), (0, True)])
def test_it_happens_exactly_at_the_threshold(agents: Any, workspace: Path, tokens: int, *, is_compacted: bool) -> None:
    """Old outputs are too few to be cleared, so a summary is due as soon as the provider has counted so much, not before."""
    window = Window.of(100_000, 10_000)
    estimated_after = 0

    class Counting(Reader):
        def usage(self, request: Request) -> dict[str, int]:
            # The answer counts 20, its result some tokens by estimate: so much is in use before the next request.
            return {"input_tokens": window.compact_at + tokens - 20 - estimated_after}

    reader = Counting(workspace, steps=1)
    (workspace / "part.txt").write_text("x")
    with serving(reader) as server:
        agent = agents(server, context_window=100_000, max_tokens=10_000)
        play(agent.start("Look."))
        [result] = agent.session.records[-1].steps[0].results
        estimated_after = -(-len(result.content[0].text) // 4)  # type: ignore[union-attr]
        agent.session.clear()
        reader.taken = 0
        del server.requests[:]
        play(agent.start("Look."))
        record = agent.session.records[-1]
        assert bool(compactions(record)) is is_compacted
        assert sum(is_for_notes(request) for request in server.requests) == is_compacted


def test_the_request_for_notes_begins_with_the_bytes_that_are_cached(agents: Any, workspace: Path) -> None:
    with serving(Reader(workspace, steps=60)) as server:
        agent = agents(server, context_window=SMALL_WINDOW, max_tokens=2_000)
        play(agent.start("Read."))
    asked = [place for place, request in enumerate(server.requests) if is_for_notes(request)]
    assert asked
    for place in asked:
        before, notes = server.requests[place - 1].json, server.requests[place].json
        assert {**notes, "messages": 0} == {**before, "messages": 0}
        clean = [
            json.loads(json.dumps(body["messages"]).replace(', "cache_control": {"type": "ephemeral"}', ""))
            for body in (before, notes)
        ]
        assert clean[1][: len(clean[0])] == clean[0]


def test_a_fresh_kernel_sends_the_same(agents: Any, workspace: Path) -> None:
    """The transcript is a function of the records: read back from JSON, the next request is the same."""
    reader = Reader(workspace, steps=40)
    with serving(reader) as server:
        agent = agents(server, context_window=SMALL_WINDOW, max_tokens=2_000)
        play(agent.start(f"Read. {PROHIBITION}"))
        documents = [json.loads(json.dumps(write_record(record))) for record in agent.session.records]
        assert [write_record(read_record(document)) for document in documents] == documents
        fresh = Session(agent.session.session_id)
        assert fresh.merge(documents) == []
        second = agents(server, fresh, context_window=SMALL_WINDOW, max_tokens=2_000)
        del server.requests[:]
        play(agent.start("And now?"))
        play(second.start("And now?"))
        assert server.requests[0].body == server.requests[1].body
        assert len(server.requests[0].body) < len(json.dumps(documents))


def test_a_person_can_ask_for_it_and_say_what_matters(agents: Any, workspace: Path) -> None:
    with serving(Reader(workspace, steps=2)) as server:
        agent = agents(server, context_window=200_000)
        play(agent.start(f"Read. {PROHIBITION}"))
        agent.compact("keep the numbers")
        play(agent.start("Go on."))
        [notes] = [request for request in server.requests if is_for_notes(request)]
        assert "keep the numbers" in sent(notes)
        record = agent.session.records[-1]
        [compaction] = compactions(record)
        assert (compaction.turn_id, compaction.steps) in [
            (r.turn_id, n) for r in agent.session.records for n in range(4)
        ]
        assert PROHIBITION in sent(server.requests[-1])
        # Once is enough.
        play(agent.start("And on."))
        assert sum(is_for_notes(request) for request in server.requests) == 1


def overflow(message: str) -> Response:
    body = {"type": "error", "error": {"type": "invalid_request_error", "message": message}}
    return Response(400, JSON, [json.dumps(body).encode()])


def test_an_overflow_is_compacted_and_tried_once_more(agents: Any, workspace: Path) -> None:
    """The server's window is smaller than anybody said: it is learned from the error, and the turn goes on."""
    limit = 20_000

    class Small(Reader):
        def __call__(self, request: Request) -> Response:
            if (tokens := self.tokens(request)) > limit:
                return overflow(f"prompt is too long: {tokens} tokens > {limit} maximum")
            return super().__call__(request)

    with serving(Small(workspace, steps=40)) as server:
        agent = agents(server, context_window=200_000, max_tokens=2_000)
        play(agent.start(f"Read. {PROHIBITION}"))
        record = agent.session.records[-1]
        assert (record.stop_reason, record.error) == ("end_turn", None)
        assert len(record.steps) == 41
        refused = [request for request in server.requests if len(request.body) // 4 > limit]
        assert len(refused) == 1  # from then on the window is known
        assert all(PROHIBITION in sent(request) for request in server.requests)


def test_a_server_that_always_overflows_ends_the_turn(agents: Any, workspace: Path) -> None:
    with serving(lambda _: overflow("prompt is too long")) as server:
        agent = agents(server, context_window=200_000)
        play(agent.start("Read."))
        record = agent.session.records[-1]
        assert record.stop_reason == "error"
        assert record.error is not None
        assert record.error.kind == "context_overflow"
        assert len(server.requests) <= 3


@pytest.mark.parametrize(
    "notes",
    [
        Response(400, JSON, [b'{"error":{"message":"prompt is too long"}}']),
        Response(parts=anthropic_frames([tool_call("t", "Bash", {"command": "ls"})])),
    ],
    ids=["overflow", "no text"],
)
def test_without_the_models_notes_the_summary_is_what_we_know(agents: Any, workspace: Path, notes: Response) -> None:
    with serving(Reader(workspace, steps=200, notes=notes)) as server:
        agent = agents(server, context_window=SMALL_WINDOW, max_tokens=2_000)
        play(agent.start(f"Read. {PROHIBITION}"))
        record = agent.session.records[-1]
        assert record.stop_reason == "end_turn"
        assert all(PROHIBITION in one.summary for one in compactions(record) if one.summary)
        # After three in a row the model is not asked any more.
        assert sum(is_for_notes(request) for request in server.requests) == 3


def test_a_window_that_refills_at_once_ends_the_turn(agents: Any, workspace: Path) -> None:
    """Each step brings more than fits: no endless round of summaries."""
    (workspace / "part.txt").write_text("y" * 100)

    class Filling(Reader):
        def tokens(self, request: Request) -> int:
            return 40_000

    with serving(Filling(workspace, steps=500)) as server:
        agent = agents(server, context_window=32_000, max_tokens=2_000)
        play(agent.start("Read."))
        record = agent.session.records[-1]
        assert record.stop_reason == "error"
        assert record.error is not None
        assert "again as soon as" in record.error.message
        assert len(server.requests) < 20


def test_a_server_that_takes_more_than_the_window_without_a_word_is_believed_in_its_count(
    agents: Any, workspace: Path
) -> None:
    """z.ai counts more input than the model's window has, and says nothing else of it."""
    (workspace / "part.txt").write_text("x")

    def answer(request: Request) -> Response:
        is_shortened = b"was shortened to save room" in request.body
        asked = request.json["messages"][-1]
        usage = {"prompt_tokens": 9_000 if is_shortened else SMALL_WINDOW + 1_000, "completion_tokens": 10}
        if ASKS_FOR_NOTES in str(asked["content"]):
            return Response(parts=chat_frames([text(NOTES)], usage=usage))
        blocks = [text("Done.")] if is_shortened else [tool_call("c1", "Read", {"file_path": "part.txt"})]
        return Response(parts=chat_frames(blocks, usage=usage))

    with serving(answer) as server:
        agent = agents(server, api="openai-chat", model="local/glm", context_window=SMALL_WINDOW, max_tokens=2_000)
        play(agent.start(f"Look. {PROHIBITION}"))
        record = agent.session.records[-1]
        assert (record.stop_reason, len(record.steps), len(server.requests)) == ("end_turn", 2, 3)
        [done] = compactions(record)
        assert done.tokens_before > SMALL_WINDOW
        assert PROHIBITION in done.summary


def test_a_local_server_that_cuts_silently_is_noticed(agents: Any, workspace: Path) -> None:
    class Cutting(Reader):
        def tokens(self, request: Request) -> int:
            return min(len(request.body) // 4, 16_000)

    with serving(Cutting(workspace, steps=40)) as server:
        agent = agents(server, model="local/m", context_window=128_000, max_tokens=2_000)
        play(agent.start(f"Read. {PROHIBITION}"))
        record = agent.session.records[-1]
        assert record.stop_reason == "end_turn"
        assert any("drops the rest" in notice for notice in record.notices)
        assert max(len(request.body) // 4 for request in server.requests[-10:]) < 20_000


def test_what_a_refused_request_compacted_is_kept(agents: Any, workspace: Path) -> None:
    """The summary was paid for: the next turn begins with it, also where the request after it failed."""
    failed = []

    class Failing(Reader):
        def __call__(self, request: Request) -> Response:
            answer = super().__call__(request)
            if failed == [] and "stands for it" in sent(request) and not is_for_notes(request):
                failed.append(request)
                return Response(401, JSON, [b'{"error":{"message":"no"}}'])
            return answer

    with serving(Failing(workspace, steps=40)) as server:
        agent = agents(server, context_window=SMALL_WINDOW, max_tokens=2_000)
        play(agent.start("Read."))
        record = agent.session.records[-1]
        assert record.stop_reason == "error"
        assert record.steps[-1].compaction is not None
        assert record.steps[-1].content == ()
        del server.requests[:]
        play(agent.start("Go on."))
        assert "stands for it" in sent(server.requests[0])
        assert not is_for_notes(server.requests[0])


def test_a_summary_of_a_turn_that_is_gone_summarises_nothing(agents: Any, workspace: Path) -> None:
    with serving(Reader(workspace, steps=40)) as server:
        agent = agents(server, context_window=SMALL_WINDOW, max_tokens=2_000)
        play(agent.start("Read."))
        record = agent.session.records[-1]
        steps = tuple(
            replace(step, compaction=replace(step.compaction, turn_id="t_gone")) if step.compaction else step
            for step in record.steps
        )
        session = Session("s_other")
        session.add(replace(record, steps=steps))
        first = session.transcript(record.model)[0]
        assert first.content == record.content


@pytest.mark.parametrize(
    ("message", "tokens"),
    [
        ("prompt is too long: 208310 tokens > 200000 maximum", 200_000),
        ("This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.", 8_192),
        ("the request exceeds the available context size (4096 tokens), try increasing it", 4_096),
        ("Trying to keep the first 5000 tokens when context length is only 4096 tokens", 4_096),
        ("The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).", 1_048_576),
        ("Prompt contains 40000 tokens, too large for model with 32768 maximum context length", 32_768),
        ("This model's maximum prompt length is 131072 but the request contains 537812 tokens.", 131_072),
        ("Request too large (413)", None),
    ],
)
def test_the_window_is_read_off_an_error(message: str, tokens: int | None) -> None:
    assert window_in(message) == tokens


def test_a_count_that_leaves_out_what_was_cached_is_not_believed() -> None:
    meter = ContextMeter()
    meter.take(Usage(5_000, 10), ())
    meter.add((TextBlock("x" * 4_000),))
    assert not meter.take(Usage(300, 10), ())
    assert meter.tokens >= 6_000


def test_a_smaller_model_in_the_middle_of_a_session_writes_its_notes_too(agents: Any, workspace: Path) -> None:
    """What it is sent for them fits its window, though the conversation does not, and what is said of it is so."""
    with serving(Reader(workspace, steps=40, talk=1_000)) as server:
        large = agents(server, context_window=400_000, max_tokens=2_000)
        play(large.start(f"Read. {PROHIBITION}"))
        whole = len(server.requests[-1].body) // 4
        del server.requests[:]
        small = agents(server, large.session, context_window=SMALL_WINDOW, max_tokens=2_000, model="anthropic/small")
        play(small.start("Go on."))
        [done] = compactions(small.session.records[-1])
        assert is_for_notes(server.requests[0])
        assert all(len(request.body) // 4 < SMALL_WINDOW for request in server.requests)
        assert done.tokens_before > whole * 3 // 4
        assert PROHIBITION in done.summary
        assert NOTES in done.summary


class Pages:
    """Reads pages of ``tokens`` each until it has seen page ``last``; a page it does not find in the request is read again."""

    def __init__(self, workspace: Path, tokens: int, last: int) -> None:
        self.last = last
        for page in range(1, last + 1):
            lines = [f"page {page} of {last}: {'x' * 80}" for _ in range(tokens * 4 // 100)]
            (workspace / f"page{page}.txt").write_text("\n".join(lines))
        self.asked: list[int] = []

    def __call__(self, request: Request) -> Response:
        usage = {"input_tokens": len(request.body) // 4}
        if is_for_notes(request):
            return Response(parts=anthropic_frames([text("## Next\nthe next page")], usage=usage))
        body = request.body.decode()
        page = next((n for n in range(self.last, 0, -1) if f"page {n} of {self.last}" in body), 0) + 1
        if page > self.last:
            return Response(parts=anthropic_frames([text("Read them all.")], usage=usage))
        self.asked.append(page)
        call = tool_call(f"c{len(self.asked)}", "Read", {"file_path": f"page{page}.txt"})
        return Response(parts=anthropic_frames([call], usage=usage))


@pytest.mark.parametrize("tokens", [3_000, 5_000, 8_000])
def test_what_the_model_has_not_seen_yet_is_not_taken_away(agents: Any, workspace: Path, tokens: int) -> None:
    """However long an output is beside the window: the model asked for it, and would ask again."""
    pages = Pages(workspace, tokens, last=6)
    with serving(pages) as server:
        agent = agents(server, context_window=SMALL_WINDOW, max_tokens=2_000)
        play(agent.start(f"Read all pages. {PROHIBITION}"))
        record = agent.session.records[-1]
        assert (record.stop_reason, pages.asked) == ("end_turn", [1, 2, 3, 4, 5, 6])
        assert compactions(record)
        assert all(len(request.body) // 4 < SMALL_WINDOW for request in server.requests)


def test_outputs_that_no_window_holds_are_asked_for_in_parts(agents: Any, workspace: Path) -> None:
    pages = Pages(workspace, 8_000, last=3)

    def answer(request: Request) -> Response:
        if len(request.json["messages"]) > 1:
            return pages(request) if is_for_notes(request) else Response(parts=anthropic_frames([text("I see.")]))
        calls = [tool_call(f"c{page}", "Read", {"file_path": f"page{page}.txt"}) for page in (1, 2, 3)]
        return Response(parts=anthropic_frames(calls))

    with serving(answer) as server:
        agent = agents(server, context_window=SMALL_WINDOW, max_tokens=2_000)
        play(agent.start(f"Read all pages. {PROHIBITION}"))
        assert agent.session.records[-1].stop_reason == "end_turn"
        last = sent(server.requests[-1])
        assert PROHIBITION in last
        assert last.count("ask for them again, a part at a time") == 3


def test_images_count_by_their_size() -> None:
    from base64 import b64encode

    from claw_kernel.messages import ImageBlock
    from claw_kernel.token_estimate import image_tokens

    def png(width: int, height: int) -> ImageBlock:
        head = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big")
        return ImageBlock("image/png", b64encode(head + bytes(20)).decode())

    assert image_tokens(png(300, 250)) == 100
    assert image_tokens(png(9_000, 9_000)) == 1_600
    assert image_tokens(ImageBlock("image/png", "!!!")) == 1_600


@pytest.mark.parametrize("is_said", [True, False])
def test_a_local_window_is_asked_for_again_once_the_model_is_loaded(
    agents: Any, workspace: Path, is_said: bool
) -> None:
    """Before the first answer Ollama lists nothing, and a window that nobody said is taken for 32,768."""
    (workspace / "part.txt").write_text("".join(f"{n:03} {'x' * 60}\n" for n in range(60)))
    taken: list[Request] = []
    asked: list[int] = []

    def pages(request: Request) -> Response:
        asked.append(len(taken))
        models = [{"name": "m", "context_length": 20_000}] if taken and is_said else []
        return Response(200, JSON, [json.dumps({"models": models}).encode()], is_chunked=False)

    def answer(request: Request) -> Response:
        taken.append(request)
        read = tool_call(f"c{len(taken)}", "Read", {"file_path": "part.txt", "limit": len(taken) + 90})
        usage = {"prompt_tokens": len(request.body) // 4, "completion_tokens": 20}
        is_over = len(taken) > 16
        return Response(parts=FRAMES["openai-chat"]([text("Done.") if is_over else read], usage=usage))

    with ModelServer(repeat=True, pages=pages) as server:
        server.answer(answer)
        agent = agents(server, model="ollama/m", api=None, max_tokens=1_000)
        play(agent.start("Read. " + "word " * 5_000))
        record = agent.session.records[-1]
        assert record.stop_reason == "end_turn"
        assert compactions(record)
        assert (max(len(request.body) // 4 for request in taken) < 20_000) == is_said
        assert len(set(asked)) == 2, "before the first answer, and once after it"
