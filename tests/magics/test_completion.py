"""Completion at the cursor, in a real IPython shell with the extension loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell

from claw_magics.completion import complete


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    work = tmp_path / "work"
    (work / "src").mkdir(parents=True)
    (work / "src" / "main.py").write_text("")
    (work / "data.csv").write_text("")
    (work / "my file.txt").write_text("")
    (work / ".hidden").write_text("")
    (tmp_path / "outside.txt").write_text("")
    (work / "up").symlink_to("..")
    monkeypatch.chdir(work)
    monkeypatch.setenv("CLAW_HOME", str(tmp_path / "home"))
    ip = InteractiveShell()
    ip.extension_manager.load_extension("claw_magics")
    ip.user_ns.update(values=[1], value=2, größe=3, _private=4)
    yield ip.claw_host
    ip.extension_manager.unload_extension("claw_magics")


@pytest.mark.parametrize(
    ("text", "matches", "kind"),
    [
        ("/sta", ["status"], "command"),
        ("%claw mo", ["model"], "command"),
        ("/", None, "command"),
        ("/permissions mo", ["mode"], "value"),
        ("/permissions mode pl", ["plan"], "value"),
        ("%claw config set max_t", ["max_turns", "max_turn_tokens", "max_tokens"], "value"),
        ("/help ver", ["version"], "value"),
        ("/model scripted", ["scripted/hello"], "value"),
        ("%%claw --ma", ["--max-turns", "--max-cost"], "option"),
        ("%%claw --model x --mo", ["--mode"], "option"),
        ("%%claw --mode acc", ["acceptEdits"], "value"),
        ("%%claw --mode=acc", ["acceptEdits"], "value"),
        ("look at @da", ["data.csv"], "path"),
        ("%%claw\nread @src/m", ["src/main.py"], "path"),
        ("@", ["data.csv", '"my file.txt"', "src/", "up/"], "path"),
        ('@"my f', ["my file.txt"], "path"),
        ("@.h", [".hidden"], "path"),
        ("plot {va", ["value", "values"], "instance"),
        ("plot {größ", ["größe"], "instance"),
    ],
)
def test_matches_and_their_kind(host: Any, text: str, matches: list[str] | None, kind: str) -> None:
    found = complete(host, text, len(text))
    if matches is None:
        assert {"help", "status", "model"} <= set(found.matches)
    else:
        assert list(found.matches) == matches
    assert set(found.types) <= {kind}
    assert len(found.types) == len(found.matches)
    assert found.end == len(text)
    typed = text[found.start : found.end]
    assert all(match.strip('"').startswith(typed) for match in found.matches)


@pytest.mark.parametrize(
    "text",
    [
        "just prose",
        "mail me@da",
        "{{va",
        "f'${va",
        "@../out",
        "@up/out",
        "@/etc/pas",
        "first\n/sta",
        "/nothing x",
        "%%claw --max-turns ",
        "1 / sta",
    ],
)
def test_prose_and_what_is_outside_complete_to_nothing(host: Any, text: str) -> None:
    found = complete(host, text, len(text))
    assert found.matches == ()
    assert found.start == found.end == len(text)


def test_the_cursor_may_stand_anywhere(host: Any) -> None:
    text = "ä {va} and @da"
    found = complete(host, text, 5)
    assert (found.matches, text[found.start : found.end]) == (("value", "values"), "va")
    for position in (-1, 0, 99):
        complete(host, text, position)


def test_a_megabyte_is_quick(host: Any) -> None:
    text = "@" * 300_000 + "{" * 300_000 + "a" * 400_000
    assert complete(host, text, len(text)).matches == ()
