"""Notes that a notebook keeps: sent in every conversation, and a stranger's word when they come with a file."""

from __future__ import annotations

from claw_kernel.session import Session, write_record
from claw_kernel.session.check import check_session
from tests.engine.test_tree import Clock


def test_notes_survive_in_the_header_and_in_another_conversation() -> None:
    session = Session()
    record = Clock(session).run("c1")
    session.remember(["weights are in grams", "  ask\nbefore plotting "])
    assert check_session([write_record(record)], session.header()).is_whole
    session.clear()
    header = session.header()
    assert header["memory"] == ["weights are in grams", "ask before plotting"]
    again = Session()
    assert again.merge([], header) == []
    assert again.memory == ("weights are in grams", "ask before plotting")


def test_a_strangers_notes_are_short_plain_lines() -> None:
    session = Session()
    session.merge([], {"memory": ["good", 3, "bad\u202eline", "two\nlines", "", "x" * 2_000, *["more"] * 100]})
    assert session.memory == ("good", *["more"] * 49)
