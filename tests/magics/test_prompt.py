"""What a prompt becomes: the text as typed, then what it refers to."""

from __future__ import annotations

import base64
import json
import os
import time
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from claw_kernel._core import Core
from claw_kernel.messages import ImageBlock, TextBlock
from claw_magics.prompt import ExpandedPrompt, expand_prompt, read_policy


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    root = tmp_path / "work"
    root.mkdir()
    (root / "data.csv").write_text("city,count\nRome,3\n")
    (root / "with space.txt").write_text("spaced")
    (root / "src").mkdir()
    (root / "src" / "größe.py").write_text("x = 'ü'\r\ny = 2\r\n", encoding="utf-8")
    (tmp_path / "secret.txt").write_text("outside")
    return root


def texts(expanded: ExpandedPrompt) -> list[str]:
    return [block.text for block in expanded.content if isinstance(block, TextBlock)]


def images(expanded: ExpandedPrompt) -> list[ImageBlock]:
    return [block for block in expanded.content if isinstance(block, ImageBlock)]


UNTOUCHED = [
    '{"a": 1, "b": {"c": [1, 2]}}',
    "f'{df.shape} {len(df)} {df!r} {df:>10} { df }'",
    "{{df}} and {{{df}}}",
    "${df} \\{df}",
    "{} {0} {a b} {a,b} {1df} {",
    "\"\"\"triple\"\"\" and '''quotes''' and \\ and \x00 and a trailing ?",
    "%%claw inside the text\n/status",
    "```python\nprint(f'{df}')\n@data.csv\n```",
    "~~~\n{df}\nand no end",
    "mail me@data.csv or a.b@data.csv, pip install pkg@data.csv, https://x.org/@data.csv",
    "@property\ndef f(self): ...\n@functools.cache\n@app.route('/')",
    "`@data.csv`",
    "meet @ 5, meet me @. and @.. then",
    "Grüße 🎉 {naïve} \ud83d",
]


@pytest.mark.parametrize("text", UNTOUCHED)
def test_text_that_refers_to_nothing_is_sent_alone(text: str, workspace: Path) -> None:
    assert expand_prompt(text, {"df": pd.DataFrame({"a": [1]}), "x": 1}, workspace) == ExpandedPrompt(
        (TextBlock(text),)
    )


def test_a_megabyte_is_quick(workspace: Path) -> None:
    pieces = [
        "{" * 300_000,
        "@" * 300_000,
        "{a" * 150_000,
        "```\n" * 80_001,
        "`" * 300_000,
        "{x[" * 100_000,
        "@a" * 200_000,
    ]
    for text in [*pieces, "\n".join(pieces), "{x} é " * 170_000]:
        begun = time.perf_counter()
        expanded = expand_prompt(text, {"x": 1}, workspace)
        assert time.perf_counter() - begun < 3
        assert texts(expanded)[0] == text


def test_variables_are_described_after_the_text(workspace: Path) -> None:
    user_ns = {"df": pd.DataFrame({"city": ["Rome"], "count": [3]}), "rows": [{"id": 7}], "größe": 3}
    text = "Plot {df} against {rows[0]['id']}, {größe} and {df} again; also {{df}}."
    typed, described = texts(expand_prompt(text, user_ns, workspace))
    assert typed == text
    assert "df (pandas.DataFrame): 1 row, 2 columns: 'city', 'count'" in described
    assert "rows[0]['id'] (int): 7" in described
    assert "größe (int): 3" in described
    assert described.count("pandas.DataFrame") == 1


def test_a_slip_is_a_problem_line_and_the_prompt_goes_on(workspace: Path) -> None:
    expanded = expand_prompt("Look at {dff} and {unrelated}", {"df": 1}, workspace)
    assert expanded.content == (TextBlock("Look at {dff} and {unrelated}"),)
    assert expanded.problems == ("There is no variable dff; did you mean df?",)


def test_what_would_run_code_is_refused_in_one_line(workspace: Path) -> None:
    class Lazy:
        def __getitem__(self, key: object) -> Any:
            raise AssertionError("ran")

        def __repr__(self) -> str:
            raise AssertionError("ran")

    expanded = expand_prompt("{lazy} {lazy[0]} {rows[5]}", {"lazy": Lazy(), "rows": [1]}, workspace)
    assert "Lazy" in texts(expanded)[1]
    assert len(expanded.problems) == 2
    assert "would run code" in expanded.problems[0]
    assert "no item 5" in expanded.problems[1]


def test_figures_and_pictures_become_images(workspace: Path) -> None:
    figure = matplotlib.figure.Figure(figsize=(40, 2))
    figure.add_subplot().plot([1, 2, 1])
    picture = Image.fromarray(np.zeros((20, 30, 3), dtype="uint8"))

    class Own(matplotlib.figure.Figure):
        def savefig(self, *args: Any, **kwargs: Any) -> None:
            raise AssertionError("ran")

    expanded = expand_prompt(
        "{figure} {picture} {own}", {"figure": figure, "picture": picture, "own": Own()}, workspace
    )
    assert not expanded.problems
    assert [image.media_type for image in images(expanded)] == ["image/png"] * 2
    first = base64.b64decode(images(expanded)[0].data)
    assert first.startswith(b"\x89PNG")
    assert int.from_bytes(first[16:20], "big") <= 1568


def test_files_are_attached_with_line_numbers(workspace: Path) -> None:
    text = 'Fix @src/größe.py, read "@data.csv" and @"with space.txt"; see @src/ and @data.csv.'
    expanded = expand_prompt(text, {}, workspace)
    typed, code, table, spaced, listing = texts(expanded)
    assert typed == text
    assert code == "File @src/größe.py:\n\n     1\tx = 'ü'\n     2\ty = 2"
    assert table == "File @data.csv:\n\n     1\tcity,count\n     2\tRome,3"
    assert spaced == "File @with space.txt:\n\n     1\tspaced"
    assert listing.startswith("Directory @src/:\n\ngröße.py (")
    assert not expanded.problems


def test_long_files_are_cut_with_a_note(workspace: Path) -> None:
    (workspace / "lines.txt").write_text("line\n" * 5_000)
    (workspace / "wide.txt").write_text("w" * 10_000_000)
    many, wide = texts(expand_prompt("@lines.txt @wide.txt", {}, workspace))[1:]
    assert "  2000\tline" in many
    assert "  2001\tline" not in many
    assert "lines 1 to 2000" in many
    assert len(wide) < 3_000
    assert "cut here" in wide


def test_images_and_notebooks(workspace: Path) -> None:
    Image.new("RGB", (4, 4)).save(workspace / "plot.png")
    cells = [
        {"cell_type": "markdown", "id": "m1", "source": ["# Title\n", "text"]},
        {
            "cell_type": "code",
            "id": "c1",
            "source": "1+1",
            "outputs": [{"data": {"text/plain": "2"}}, {"data": {"image/png": "x"}}],
        },
    ]
    (workspace / "book.ipynb").write_text(json.dumps({"cells": cells}))
    (workspace / "broken.ipynb").write_text("{")
    expanded = expand_prompt("@plot.png @book.ipynb @broken.ipynb", {}, workspace)
    assert [image.media_type for image in images(expanded)] == ["image/png"]
    book, broken = texts(expanded)[2:]
    assert "[cell 1, markdown, id m1]\n# Title\ntext" in book
    assert "[cell 2, code, id c1]\n1+1\n[output]\n2\n[output]\n(image/png)" in book
    assert "     1\t{" in broken


@pytest.mark.parametrize(
    "name", ["../secret.txt", "link.txt", "out/secret.txt", "/etc/passwd", "src/../../secret.txt", "out/"]
)
def test_nothing_outside_the_workspace_is_read(workspace: Path, name: str) -> None:
    (workspace / "link.txt").symlink_to("../secret.txt")
    (workspace / "out").symlink_to("..")
    expanded = expand_prompt(f"@{name}", {}, workspace)
    assert expanded.content == (TextBlock(f"@{name}"),)
    assert expanded.problems == (f"@{name} is not attached: it is outside the workspace.",)


def test_a_loop_of_links_is_no_file(workspace: Path) -> None:
    (workspace / "loop").symlink_to("loop")
    assert expand_prompt("@loop", {}, workspace) == ExpandedPrompt((TextBlock("@loop"),))


def test_pipes_devices_and_binaries_do_not_hang(workspace: Path) -> None:
    os.mkfifo(workspace / "pipe")
    (workspace / "blob.bin").write_bytes(b"\x00\x01" * 50)
    (workspace / "locked.txt").write_text("x")
    expanded = expand_prompt("@pipe and @blob.bin", {}, workspace)
    assert len(expanded.content) == 1
    assert expanded.problems == (
        "@pipe is not attached: it is not a regular file.",
        "@blob.bin is not attached: it is a binary file of 100 bytes.",
    )


def test_near_misses_of_files_are_told(workspace: Path) -> None:
    expanded = expand_prompt('@dta.csv @src/grösse.py @"no such.txt" @octocat @types/node', {}, workspace)
    assert expanded.content == (TextBlock('@dta.csv @src/grösse.py @"no such.txt" @octocat @types/node'),)
    assert expanded.problems == (
        "There is no file dta.csv; did you mean data.csv?",
        "There is no file src/grösse.py; did you mean src/größe.py?",
        'There is no file "no such.txt" in the workspace.',
    )


def test_the_policy_is_asked_with_the_real_path(workspace: Path) -> None:
    (workspace / "alias.csv").symlink_to("data.csv")
    asked: list[str] = []

    def may_read(path: str) -> str | None:
        asked.append(path)
        return "denied by Read(data.csv)" if path.endswith("data.csv") else None

    expanded = expand_prompt("@alias.csv @src/", {}, workspace, may_read)
    assert asked == [str(workspace / "data.csv"), str(workspace / "src")]
    assert expanded.problems == ("@alias.csv is not attached: denied by Read(data.csv).",)
    assert len(expanded.content) == 2


def test_the_cores_rules_and_secrets_hold_for_attachments(workspace: Path, tmp_path: Path) -> None:
    core = Core(str(workspace), state_dir=str(tmp_path / "state"), session_id="s_1")
    rules = [
        {"behavior": "deny", "rule": "Read(data.csv)", "source": "settings.json"},
        {"behavior": "ask", "rule": "Read(with space.txt)", "source": "settings.json"},
    ]
    core.set_policy(json.dumps({"mode": "default", "rules": rules}))
    core.add_secret("sk-0123456789")
    (workspace / ".env").write_text("KEY=sk-0123456789")
    text = '@data.csv @"with space.txt" @.env @src/ {key}'
    expanded = expand_prompt(text, {"key": "sk-0123456789"}, workspace, read_policy(core), core.redact)
    assert expanded.problems == ("@data.csv is not attached: denied by Read(data.csv) (settings.json).",)
    assert texts(expanded)[0] == text
    assert "sk-0123456789" not in "".join(texts(expanded))
    assert any("KEY=[secret]" in block for block in texts(expanded))
    assert any("spaced" in block for block in texts(expanded))
