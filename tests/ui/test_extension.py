"""The labextension alone, against a small kernel side that speaks docs/protocol.md."""

from __future__ import annotations

import subprocess
import sys
import time

import nbformat
import pytest
from playwright.sync_api import Route

from claw_kernel.session.packing import pack
from tests.ui import records
from tests.ui.lab import EXTENSION, TURN_MIME

pytestmark = pytest.mark.ui

START = "from tests.ui import kernel_side, records\nkernel_side.start()"


@pytest.fixture
def server(start_server):
    return start_server()


def test_the_built_extension_is_listed_and_active(server, open_page) -> None:
    env = {"JUPYTER_PATH": str(EXTENSION.parents[1]), "PATH": "/usr/bin:/bin", "HOME": str(server.notebooks)}
    command = [sys.executable, "-m", "jupyter", "labextension", "list"]
    listed = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    line = next(line for line in (listed.stdout + listed.stderr).splitlines() if "claw-jupyter v" in line)
    assert "enabled" in line
    assert "OK" in line
    assert "python, claw-jupyter" in line
    server.write("active.ipynb", ["1"])
    page = open_page(server, "active.ipynb")
    assert page.page.evaluate("() => jupyterapp.hasPlugin('claw-jupyter:turns')")
    assert page.page.evaluate("() => jupyterapp.commands.hasCommand('claw:interrupt-turn')")


def test_a_finished_record_is_drawn_and_stored(server, open_page) -> None:
    server.write("finished.ipynb", [START, "kernel_side.draw(records.finished())"])
    page = open_page(server, "finished.ipynb")
    page.run_cell(0)
    page.run_cell(1)
    stored = page.wait_metadata(1)
    page.page.locator(".jp-RenderedMarkdown", has_text="off by one").wait_for()
    text = page.cell_text(1)
    assert "**" not in text
    assert "\x1b" not in text
    assert "5,120" not in text  # the cache counts as input: 9,120 in
    assert "9,120 in (4,000 cached) / 431 out · cost unknown · 7.3 s" in text
    assert "scripted model" in text
    assert page.page.locator(".claw-Call").count() == 4
    assert page.page.locator(".claw-Call-output img").count() == 1
    assert page.page.locator(".claw-Call-output table").count() == 1
    page.shoot("finished")
    page.page.locator(".claw-Call-row").nth(0).click()
    page.page.locator(".claw-Call-row").nth(1).click()
    page.page.locator(".claw-Thinking summary").click()
    assert page.page.locator(".claw-mod-added").inner_text().strip() == "+    return sum(values) / len(values)"
    page.shoot("finished-open")

    page.save()
    saved = server.read("finished.ipynb")
    cell = saved.cells[1]
    assert cell.metadata.claw == stored == cell.outputs[0].data[TURN_MIME]
    assert saved.metadata.claw["turns"] == ["t_1"]


def test_saving_twice_changes_nothing(server, open_page) -> None:
    """The same finished bundle again (a second front end, a hello after a rename) does not touch the document."""
    server.write(
        "twice.ipynb",
        [
            START,
            "kernel_side.draw(records.finished())",
            "kernel_side.draw({**records.finished(), 'cell_id': kernel_side.drawn['t_1']['cell_id']})",
        ],
    )
    page = open_page(server, "twice.ipynb")
    page.run_cell(0)
    page.run_cell(1)
    page.wait_metadata(1)
    page.run_cell(2)
    page.save()
    before = (server.notebooks / "twice.ipynb").read_bytes()
    page.page.wait_for_timeout(500)
    assert not page.is_dirty
    page.save()
    assert (server.notebooks / "twice.ipynb").read_bytes() == before


def test_a_saved_turn_is_drawn_without_a_kernel_that_knows_it(server, open_page) -> None:
    """A colleague opens the notebook: the turn is there, nothing becomes unsaved."""
    server.write("saved.ipynb", [START, "kernel_side.draw(records.finished())"])
    page = open_page(server, "saved.ipynb")
    page.run_cell(0)
    page.run_cell(1)
    page.wait_metadata(1)
    page.save()
    server.stop_kernels()
    later = open_page(server, "saved.ipynb")
    later.wait_text("off by one")
    later.page.wait_for_timeout(500)
    assert not later.is_dirty


def test_a_packed_output_is_whole_when_its_row_is_opened(server, open_page) -> None:
    record = records.finished()
    block = record["steps"][0]["results"][0]["content"][0]
    text = "".join(f"line {number} of a long output\n" for number in range(5_000))
    block |= {"text": "line 0 of\n[…]", "stored": {"characters": len(text), "packed": pack(text)}}
    server.write("packed.ipynb", [START, f"kernel_side.draw({record!r})"])
    page = open_page(server, "packed.ipynb")
    page.run_cell(0)
    page.run_cell(1)
    page.wait_metadata(1)
    page.page.locator(".claw-Call-row").nth(0).click()
    page.page.locator(".claw-Output", has_text="line 4999 of a long output").wait_for(timeout=10_000)
    assert page.page.locator(".claw-Output", has_text="[…]").count() == 0


CARD_CELL = """import time
kernel_side.draw(records.pending())
end = time.time() + 20
while time.time() < end and not kernel_side.answered.is_set():
    time.sleep(0.01)                     # the main thread is blocked: no comm message gets in
late = time.time()
kernel_side.draw(records.running(started_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())))
time.sleep(1.5)
kernel_side.draw(records.done())"""


def test_a_click_reaches_a_blocked_kernel(server, open_page) -> None:
    """The answer goes over control while the main thread sleeps; the card, the running tool and the end keep their place."""
    server.write(
        "card.ipynb", [START, CARD_CELL, "print(kernel_side.answers['a_t_2']['answer'], len(kernel_side.answers))"]
    )
    page = open_page(server, "card.ipynb")
    page.run_cell(0)
    page.start_cell(1)
    page.button("Allow once").wait_for()
    text = page.cell_text(1)
    assert "Claw asks: run this command?" in text
    assert "no rule allows it" in text
    assert records.COMMAND in text
    assert "Bash(pytest:*)" in text
    page.shoot("card")
    place = page.page.locator(".claw-Call-row").bounding_box()
    height = page.page.locator(".claw-Call-details").bounding_box()["height"]
    clicked = time.time()
    page.button("Allow once").click()
    page.wait_text("collected 2 items")
    assert time.time() - clicked < 3
    assert page.button("Allow once").count() == 0
    assert "Allowed once" in page.cell_text(1)
    assert page.page.locator(".claw-Call-row").bounding_box() == place
    assert page.page.locator(".claw-Call-details").bounding_box()["height"] >= height
    page.wait_cell(1)
    page.wait_text("All tests pass.")
    assert page.page.locator(".claw-Call-row").bounding_box() == place
    page.shoot("card-answered")
    page.run_cell(2)
    assert page.cell_text(2).strip() == "allow_once 1"


def test_a_card_stays_where_it_is_while_the_renderer_of_its_text_is_loaded(server, open_page) -> None:
    """JupyterLab fetches what renders Markdown with the first text of a page: no answer may move under the pointer."""
    server.write("loaded.ipynb", [START, "kernel_side.draw(records.pending())"])
    page = open_page(server, "loaded.ipynb")
    page.run_cell(0)
    held: list[Route] = []
    is_released = False
    page.page.route("**/static/lab/**", lambda route: route.continue_() if is_released else held.append(route))
    page.run_cell(1)
    page.button("Allow once").wait_for()
    intro = page.page.locator(".claw-Text")
    assert intro.inner_text() == "I run the tests first."
    assert intro.locator(".jp-RenderedMarkdown").count() == 0
    place = page.button("Allow once").bounding_box()
    assert held
    is_released = True
    for route in held:
        route.continue_()
    intro.locator(".jp-RenderedMarkdown").wait_for()
    assert intro.inner_text() == "I run the tests first."
    assert page.button("Allow once").bounding_box() == place


def test_the_keyboard_answers_with_a_message(server, open_page) -> None:
    """Tab and Enter work in the card; letters do not run the notebook's commands."""
    server.write("keys.ipynb", [START, CARD_CELL, "a = kernel_side.answers['a_t_2']; print(a['answer'], a['message'])"])
    page = open_page(server, "keys.ipynb")
    page.run_cell(0)
    page.start_cell(1)
    page.button("Allow once").focus()
    page.page.keyboard.press("Tab")
    page.page.keyboard.press("Shift+Tab")
    page.shoot("card-focus")
    ring = page.button("Allow once").evaluate(
        "b => { const s = getComputedStyle(b); return [s.outlineWidth, s.outlineOffset]; }"
    )
    assert ring == ["2px", "2px"]  # beside the button, not on its border, where it would be blue on blue
    for _ in range(2):
        page.page.keyboard.press("Tab")
    page.page.keyboard.press("Enter")
    page.page.keyboard.type("add b first, do not dd")
    page.shoot("card-message")
    page.page.keyboard.press("Enter")
    page.wait_cell(1)
    assert page.page.locator(".jp-Notebook .jp-Cell").count() == 3
    assert page.page.evaluate("() => document.activeElement.closest('.jp-Cell') !== null")
    page.run_cell(2)
    assert page.cell_text(2).strip() == "deny add b first, do not dd"


def test_hidden_characters_are_shown_and_no_rule_means_no_always(server, open_page) -> None:
    draw = """command = "echo safe\\u202e fdp.exe \\u200b&& <img src=x onerror=alert(1)>"
visible = command.replace("\\u202e", "\\\\u{202e}").replace("\\u200b", "\\\\u{200b}")
preview = {"kind": "command", "command": command, "visible": visible, "cwd": "/"}
kernel_side.draw(records.pending(preview=preview, title="$ echo safe", rules=[]))"""
    server.write("hidden.ipynb", [START, draw])
    page = open_page(server, "hidden.ipynb")
    page.run_cell(0)
    page.run_cell(1)
    page.button("Allow once").wait_for()
    assert page.page.locator(".claw-Escape").all_inner_texts() == ["\\u{202e}", "\\u{200b}"]
    assert "hidden characters" in page.cell_text(1)
    assert page.page.locator(".claw-Turn img").count() == 0
    assert page.button("Allow always").count() == 0
    page.shoot("card-hidden")


def test_an_edit_shows_its_diff(server, open_page) -> None:
    draw = """preview = {"kind": "diff", "path": "stats.py", "diff": records.DIFF + "--- a comment of SQL\\n", "is_new": False}
kernel_side.draw(records.pending(preview=preview, tool="Edit", title="Edit stats.py", rules=["Edit(stats.py)", "Edit(src/**)"]))"""
    server.write("edit.ipynb", [START, draw])
    page = open_page(server, "edit.ipynb")
    page.run_cell(0)
    page.run_cell(1)
    page.button("Allow always").wait_for()
    assert "Claw asks: change this file?" in page.cell_text(1)
    removed = page.page.locator(".claw-mod-removed").all_inner_texts()
    assert len(removed) == 2
    assert removed[1].strip() == "--- a comment of SQL"  # no heading, where it stands in a hunk
    assert page.page.locator(".claw-Rule").all_inner_texts() == ["Edit(stats.py)", "Edit(src/**)"]
    page.shoot("card-edit")


def test_a_restart_expires_the_card(server, open_page) -> None:
    """In the open page, and in one opened later with a fresh kernel: no buttons, no answer."""
    server.write("expired.ipynb", [START, "kernel_side.draw(records.pending())"])
    page = open_page(server, "expired.ipynb")
    page.run_cell(0)
    page.run_cell(1)
    page.button("Allow once").wait_for()
    page.save()
    page.restart_kernel()
    page.wait_text("Expired: the kernel")
    assert page.button("Allow once").count() == 0
    page.run_cell(0)
    page.wait_text("Expired: the kernel")
    page.shoot("expired")
    later = open_page(server, "expired.ipynb")
    later.wait_text("Expired: the kernel")
    assert later.button("Allow once").count() == 0


def test_a_reload_brings_the_card_back(server, open_page) -> None:
    """JupyterLab drops the output of a running cell on reload; the card returns, can be answered, and the end is stored."""
    server.write("reload.ipynb", [START, CARD_CELL])
    page = open_page(server, "reload.ipynb")
    page.run_cell(0)
    page.start_cell(1)
    page.button("Allow once").wait_for()
    page.reload()
    page.button("Allow once").wait_for()
    page.page.wait_for_function("() => document.querySelector('.claw-Button.claw-mod-accept').disabled === false")
    page.button("Allow once").click()
    page.wait_text("All tests pass.")
    stored = page.wait_metadata(1)
    assert stored["stop_reason"] == "end_turn"
    page.save()
    assert server.read("reload.ipynb").cells[1].metadata.claw == stored


def test_two_windows_first_answer_wins(server, open_page) -> None:
    server.write("windows.ipynb", [START, CARD_CELL])
    first = open_page(server, "windows.ipynb")
    first.run_cell(0)
    first.start_cell(1)
    first.button("Allow once").wait_for()
    first.save()
    second = open_page(server, "windows.ipynb", is_kernel_busy=True)
    second.button("Allow once").wait_for()
    second.page.wait_for_function("() => document.querySelector('.claw-Button.claw-mod-accept').disabled === false")
    second.button("Allow once").click()
    first.wait_text("Allowed once in another window")


def test_streaming_keeps_selection_and_opened_rows(server, open_page) -> None:
    """Frames change what changed: a marked word stays marked, an opened row stays open, old elements stay the same."""
    stream = """import time
words = records.ANSWER.split(" ")
def frame(n, **more):
    text = "A first paragraph that is finished.\\n\\n" + " ".join(words[:n])
    return {**records.finished("t_9"), "steps": records.finished()["steps"][:2], "stop_reason": None, "live": {"text": text}}
for n in range(len(words)):
    kernel_side.draw(frame(n))
    time.sleep(0.06)
kernel_side.draw(records.finished("t_9"))"""
    server.write("stream.ipynb", [START, stream])
    page = open_page(server, "stream.ipynb")
    page.run_cell(0)
    page.start_cell(1)
    page.wait_text("The mean was")  # the second paragraph has begun: the first one is finished
    page.page.locator(".claw-Call-row").nth(0).click()
    page.page.evaluate(
        "() => { const p = [...document.querySelectorAll('.claw-Text p')].find(p => p.textContent.startsWith('A first'));"
        " getSelection().selectAllChildren(p); window.marked = p; }"
    )
    page.page.wait_for_timeout(700)
    page.shoot("streaming")
    assert (
        page.page.evaluate("() => marked.isConnected && getSelection().toString()")
        == "A first paragraph that is finished."
    )
    page.wait_cell(1)
    page.wait_text("9,120 in")
    assert page.page.locator(".claw-Call-details").nth(0).get_attribute("open") is not None
    assert page.page.locator(".claw-Text table").count() == 1
    assert not [error for error in page.errors if "claw" in error.lower()]


MARKDOWN = """# A title

Intro with $a_1$ and `code`.

1. first

   continued with an indented paragraph

2. second
   - nested

   ```python
   x = 1

   y = 2
   ```

- other list

~~~text
a fence

with a blank line and
- no list
~~~

$$
x = 1

y = 2
$$

| a | b |
| --- | --- |
| 1 | 2 |

> a quote
>
> goes on

Last words."""


@pytest.mark.parametrize(
    "tail",
    [
        "",
        "\n\nsee [the docs][d]\n\n[d]: https://example.org\n",
        "\n\n<details><summary>more</summary>\n\nhidden\n\n</details>\n",
    ],
)
def test_streamed_markdown_ends_as_a_markdown_cell(server, open_page, tail) -> None:
    """However the text was cut while it grew, its end reads as JupyterLab's own Markdown cell of the same text."""
    text = MARKDOWN + tail
    stream = f"""import time
text = {text!r}
base = records.base("t_m")
for end in range(1, len(text), 7):
    kernel_side.draw({{**base, "steps": [], "stop_reason": None, "live": {{"text": text[:end]}}}})
    time.sleep(0.01)
kernel_side.draw({{**base, "steps": [{{"content": [{{"type": "text", "text": text}}]}}], "stop_reason": "end_turn"}})"""
    server.write("markdown.ipynb", [START, stream, nbformat.v4.new_markdown_cell(text)])
    page = open_page(server, "markdown.ipynb")
    page.run_cell(0)
    page.run_cell(1)
    page.wait_metadata(1)
    page.page.wait_for_timeout(700)
    words = "(selector) => document.querySelector(selector).innerText.replace(/[\\s\\u00b6]+/g, ' ').trim()"
    expected = page.page.evaluate(words, ".jp-MarkdownCell .jp-MarkdownOutput")
    assert page.page.evaluate(words, ".claw-Text") == expected
    assert "Last words." in expected


def test_notebook_7_draws_and_answers(start_server, open_page) -> None:
    server = start_server(application="notebook")
    server.write(
        "nb7.ipynb", [START, CARD_CELL, "print([r['ui'] for r in kernel_side.requests if r['op'] == 'hello'])"]
    )
    page = open_page(server, "nb7.ipynb")
    page.run_cell(0)
    page.start_cell(1)
    page.button("Allow once").click()
    page.wait_cell(1)
    page.wait_metadata(1)
    page.shoot("notebook7")
    page.run_cell(2)
    assert page.cell_text(2).strip() == "['notebook']"


def test_hello_comes_soon_after_the_comm(server, open_page) -> None:
    """The kernel waits at most one second for it before its first turn; it brings the notebook's path and records."""
    cell = (
        START
        + "\nimport time; begun = time.time()\nwhile not kernel_side.requests and time.time() < begun + 5: time.sleep(0.005)\nlatency = time.time() - begun\nprint(kernel_side.requests[0]['op'], kernel_side.requests[0]['path'], kernel_side.requests[0]['ui'], latency < 1)"
    )
    server.write("hello.ipynb", [cell])
    page = open_page(server, "hello.ipynb")
    page.run_cell(0)
    assert page.cell_text(0).strip() == "hello hello.ipynb jupyterlab True"


def test_a_damaged_record_is_one_line(server, open_page) -> None:
    bad = f"""from IPython.display import display
damaged = {{"format": 1, "turn_id": "t", "session_id": "s", "steps": [3]}}
for value in ({{"format": 99, "turn_id": "x"}}, damaged, "text", None):
    display({{"{TURN_MIME}": value, "text/plain": "x"}}, raw=True)"""
    server.write("damaged.ipynb", [bad])
    page = open_page(server, "damaged.ipynb")
    page.run_cell(0)
    page.wait_text("newer version of Claw")
    page.wait_text("cannot be drawn")
    assert not [error for error in page.errors if "TypeError" in error]


def test_what_a_model_wrote_runs_nothing_and_fetches_nothing(server, open_page) -> None:
    """In a trusted notebook too: no script, no handler, and no address that is asked for by being shown."""
    text = (
        "![chart](http://127.0.0.1:9/leak.png?secret)\n\n"
        '<img src=x onerror="window.owned = 1"><script>window.owned = 2</script>\n\n'
        '<b style="background: url(http://127.0.0.1:9/leak.css)">bold</b> '
        "![dot](data:image/png;base64,iVBORw0KGgo=)\n\nLast words."
    )
    draw = f"""text = {text!r}
base = records.base("t_q")
kernel_side.draw({{**base, "steps": [{{"content": [{{"type": "text", "text": text}}]}}], "stop_reason": "end_turn"}})"""
    server.write("quiet.ipynb", [START, draw])
    page = open_page(server, "quiet.ipynb")
    asked: list[str] = []
    page.page.on("request", lambda request: asked.append(request.url))
    page.run_cell(0)
    page.run_cell(1)
    page.wait_text("Last words.")
    page.page.wait_for_timeout(500)
    assert [url for url in asked if "leak" in url] == []
    assert page.page.evaluate("() => window.owned") is None
    shown = page.page.evaluate(
        "() => [...document.querySelectorAll('.claw-Text img')].map(image => image.src.slice(0, 10))"
    )
    assert shown == ["data:image"]
    link = page.page.locator(".claw-Text a", has_text="[image: chart]")
    assert link.get_attribute("href") == "http://127.0.0.1:9/leak.png?secret"
    assert "bold" in page.page.locator(".claw-Text b").inner_text()


def test_the_buttons_of_a_question_come_into_view(server, open_page) -> None:
    """A long diff in a cell that is being followed must not hide what answers it."""
    diff = "--- a/x\n+++ b/x\n@@ -1 +1,40 @@\n" + "".join(f"+line {number}\n" for number in range(40))
    preview = {"kind": "diff", "path": "x", "diff": diff, "is_new": False}
    draw = f"""kernel_side.draw(records.pending(preview={preview!r}, tool="Edit", title="Edit x"))
import time
end = time.time() + 10
while time.time() < end and not kernel_side.answered.is_set():
    time.sleep(0.01)"""
    server.write("view.ipynb", [START, "print('line\\n' * 40)", draw])
    page = open_page(server, "view.ipynb")
    page.run_cell(0)
    page.run_cell(1)
    page.start_cell(2)
    button = page.button("Allow once")
    button.wait_for()
    page.page.wait_for_timeout(300)
    box = button.bounding_box()
    height = page.page.viewport_size["height"]
    assert box["y"] + box["height"] < height
    button.click()
    page.wait_cell(2)
