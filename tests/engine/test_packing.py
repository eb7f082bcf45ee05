"""Long outputs in a record: packed, cut above the limit, found again, and never worse than what was there."""

from __future__ import annotations

import base64
import json
import random
import zlib
from dataclasses import replace

import pytest

from claw_kernel.headless.comparison import compare_turn
from claw_kernel.messages import RequestParts, Step, TextBlock, ToolCall, ToolResult, TurnRecord
from claw_kernel.session import Session, read_notebook, read_record, write_record
from claw_kernel.session.check import check_session
from claw_kernel.session.integrity import check_records
from claw_kernel.session.normaliser import Normaliser
from claw_kernel.session.packing import PACKED_FROM, unpacked_record
from claw_kernel.session.request_hash import START, extend_chain, request_hash
from claw_kernel.session.scrubbing import scrub_text
from claw_kernel.session.signature import record_digest

LOG = "".join(f"2026-01-01 line {number} of the log, value {number * 7919 % 1000}\n" for number in range(4_000))
NOISE = random.Random(1).randbytes(60_000).hex()
LIMIT = 60_000


def record(text: str, *, is_hashed: bool = False) -> TurnRecord:
    prompt = TextBlock("do")
    call, result = ToolCall("c1", "Bash", {"command": "make"}), ToolResult("c1", (TextBlock(text),))
    first, last = Step((call,), (result,), stop="tool_use"), Step((TextBlock("done"),))
    if is_hashed:
        chain = extend_chain(START, "user", [prompt])
        first = replace(first, **hashes(chain))
        chain = extend_chain(extend_chain(chain, "assistant", first.content), "user", first.results)
        last = replace(last, **hashes(chain))
    return TurnRecord(
        "t_1", "s_1", "do", (prompt,), "x/y", "2026-01-01T00:00:00Z", (first, last), stop_reason="end_turn", cell_id="a"
    )


def hashes(chain: str) -> dict[str, object]:
    parts = RequestParts("s", "t", chain)
    return {"request_parts": parts, "request_hash": request_hash("y", parts)}


def result_of(messages) -> str:
    return (
        next(block for message in messages for block in message.content if isinstance(block, ToolResult))
        .content[0]
        .text
    )


def test_a_long_output_is_a_third_of_its_size_and_comes_back_whole():
    document = write_record(record(LOG))
    again = read_record(json.loads(json.dumps(document)))
    session = Session()
    session.merge([document])

    assert len(json.dumps(document)) < len(LOG) / 3
    assert document["steps"][0]["results"][0]["content"][0]["text"].startswith("2026-01-01 line 0")
    assert unpacked_record(again) == record(LOG)
    assert result_of(session.transcript("x/y")) == LOG
    assert write_record(again) == document
    assert record_digest(write_record(again)) == record_digest(document)
    assert check_session([document], None).problems == ()


@pytest.mark.parametrize("text", ["short", "x" * (PACKED_FROM + 1), NOISE[: PACKED_FROM + 100]])
def test_what_is_short_or_does_not_shrink_stays_readable(text):
    block = write_record(record(text))["steps"][0]["results"][0]["content"][0]

    assert block == {"type": "text", "text": text}


@pytest.mark.parametrize("text", [LOG, NOISE])
def test_above_the_limit_both_ends_stay_and_a_note_says_what_is_missing(text):
    document = write_record(record(text), limit=LIMIT)
    session = Session()
    session.merge([document])
    sent = result_of(session.transcript("x/y"))

    assert len(json.dumps(document)) < LIMIT + 1_000
    assert sent.startswith(text[: LIMIT // 2])
    assert sent.endswith(text[-LIMIT // 2 :])
    assert f"[{len(text) - LIMIT} characters of this output are not in the record" in sent
    assert write_record(read_record(document), limit=LIMIT) == document
    assert write_record(read_record(document)) == document


@pytest.mark.parametrize("secret", ["correct-horse-battery", "ümläut-pässword-1"])
def test_secrets_are_found_in_what_is_packed(secret):
    def redact(text: str) -> str:
        return text.replace(secret, "[secret]")

    text = LOG + secret + LOG
    leaky = write_record(record(text))
    clean = write_record(record(text), redact)
    later = write_record(read_record(leaky), redact)
    scrubbed, found = scrub_text(json.dumps(leaky), [secret])

    for document in (clean, later, json.loads(scrubbed)):
        whole = unpacked_record(read_record(document)).steps[0].results[0].content[0].text
        assert secret not in whole
        assert whole.startswith(LOG)
        assert whole.endswith(LOG)
    assert len(found) == 1
    assert scrub_text(scrubbed, [secret]) == (scrubbed, [])
    assert write_record(read_record(clean), redact) == clean


def test_an_edit_is_found_in_a_packed_result_and_a_cut_one_is_not_called_edited():
    whole = record(LOG, is_hashed=True)
    packed = read_record(write_record(whole))
    cut = read_record(write_record(whole, limit=LIMIT))
    edited = read_record(write_record(replace(whole, steps=(record("no" + LOG).steps[0], whole.steps[1]))))

    assert (check_records([packed]).edits, check_records([packed]).unchecked) == ((), 0)
    assert (check_records([cut]).edits, check_records([cut]).unchecked) == ((), 1)
    assert len(check_records([edited]).edits) == 1


def test_a_replay_compares_a_cut_result_by_its_hash_and_else_by_what_was_kept():
    cut = read_record(write_record(record(LOG), limit=LIMIT))
    middle = len(LOG) // 2

    def outcome(now: str) -> tuple[str, str]:
        played = read_record(write_record(record(now)))
        call = compare_turn(1, 0, cut, played, Normaliser({})).calls[0]
        return call.outcome, call.reason

    assert outcome(LOG) == ("same", "")
    assert outcome(LOG[:middle] + "changed" + LOG[middle:]) == ("same", "in the part that the record keeps")
    assert outcome(LOG.replace("line 3 ", "line three "))[0] == "drifted"


@pytest.mark.parametrize(
    "packed",
    ["no base64!", base64.b64encode(b"no zlib").decode(), base64.b64encode(zlib.compress(bytes(10**7))).decode()],
)
def test_what_cannot_be_unpacked_or_swells_leaves_its_glimpse(packed):
    document = write_record(record(LOG))
    document["steps"][0]["results"][0]["content"][0]["stored"]["packed"] = packed
    glimpse = document["steps"][0]["results"][0]["content"][0]["text"]
    session = Session()

    assert session.merge([document]) == []
    assert result_of(session.transcript("x/y")) == glimpse


@pytest.mark.parametrize("indent", [1, 2, None])
def test_a_notebook_is_read_the_same_however_it_is_indented(tmp_path, indent):
    document = write_record(record(LOG))
    drawn = {"output_type": "display_data", "metadata": {}, "data": {"application/vnd.claw.turn+json": document}}
    other = write_record(replace(record("short"), turn_id="t_2"))
    tricky = {"cell_type": "markdown", "metadata": {}, "source": '\n "cells": [\n  {\n  },\n  {\n   "x": 1\n ]\n'}
    notebook = {
        "cells": [tricky, {"cell_type": "code", "metadata": {"claw": document}, "outputs": [drawn]}, tricky],
        "metadata": {"claw": {"format": 2, "branches": [other]}},
        "nbformat": 4,
    }
    path = tmp_path / "a.ipynb"
    path.write_text(json.dumps(notebook, indent=indent), encoding="utf-8")

    assert read_notebook(path) == ([document, document, other], notebook["metadata"]["claw"])
    empty = {**notebook, "cells": [{"cell_type": "code", "metadata": {}, "outputs": []}]}
    path.write_text(json.dumps(empty, indent=indent), encoding="utf-8")
    assert read_notebook(path) == ([other], notebook["metadata"]["claw"])
