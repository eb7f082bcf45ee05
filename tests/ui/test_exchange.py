"""What passes between Claw and the person beside the answer, in a real JupyterLab: questions, plans, steps, messages."""

from __future__ import annotations

import json
import re

import pytest

pytestmark = pytest.mark.ui

LOAD = "%load_ext claw_magics"
SPLIT = {
    "question": "The file has 344 rows, 11 of them with missing values. What shall I do with those?",
    "header": "Missing rows",
    "options": [
        {"label": "Drop them", "description": "The means of the other rows stay exact; 11 birds are not counted."},
        {"label": "Fill with the median", "description": "All birds count; the spread gets a little smaller."},
        {"label": "Keep them"},
    ],
}
PLOTS = {
    "question": "Which plots do you want?",
    "header": "Plots",
    "multiSelect": True,
    "options": [{"label": "Histogram", "description": "one per species"}, {"label": "Scatter"}, {"label": "Box"}],
}
PLAN = """## Speed up the loader

1. Read the file once with `pandas.read_csv`
2. Cache the result beside it
3. Run **all** tests

![tracker](http://127.0.0.1:9/seen.png)
"""
WRITE = {"name": "Write", "input": {"file_path": "plan.txt", "content": "done\n"}}


def todos(*states: str) -> dict:
    steps = ["Read the data", "Plot masses by species", "Write the report"]
    shown = [{"content": step, "status": state} for step, state in zip(steps, states, strict=True)]
    return {"name": "TodoWrite", "input": {"todos": shown}}


def ask(*questions: dict) -> dict:
    return {"name": "AskUserQuestion", "input": {"questions": list(questions)}}


SLOW = {"name": "Bash", "input": {"command": "sleep 1"}}
SCRIPT = {
    "turns": [
        {"when": "one question", "replies": [{"tool_calls": [ask(SPLIT)]}, {"text": "So: {{result}}"}]},
        {"when": "two questions", "replies": [{"tool_calls": [ask(SPLIT, PLOTS)]}, {"text": "So: {{result}}"}]},
        {
            "when": "plan",
            "replies": [
                {"tool_calls": [{"name": "EnterPlanMode", "input": {}}, WRITE]},
                {"tool_calls": [{"name": "ExitPlanMode", "input": {"plan": PLAN}}]},
                {"tool_calls": [WRITE]},
                {"text": "It ends with: {{result}}"},
            ],
        },
        {
            "when": "steps",
            "replies": [
                {
                    "text": "I begin.",
                    "tool_calls": [
                        todos("in_progress", "pending", "pending"),
                        {"name": "Glob", "input": {"pattern": "*"}},
                    ],
                },
                {
                    "tool_calls": [
                        {"name": "SendUserMessage", "input": {"message": "The file has **344** rows; I go on."}},
                        todos("completed", "in_progress", "pending"),
                        SLOW,
                    ]
                },
                {"tool_calls": [todos("completed", "completed", "completed")]},
                {"text": "All is done."},
            ],
        },
    ]
}


@pytest.fixture
def server(start_server):
    server = start_server()
    (server.notebooks / "script.json").write_text(json.dumps(SCRIPT))
    (server.notebooks / "plan.txt").unlink(missing_ok=True)
    return server


def begin(server, open_page, name: str, prompt: str, options: str = ""):
    server.write(name, [LOAD, f"%%claw --model scripted/script.json {options}\n{prompt}"])
    page = open_page(server, name)
    page.run_cell(0)
    page.start_cell(1)
    return page


def results(stored: dict) -> list[str]:
    return [result["content"][0]["text"] for step in stored["steps"] for result in step.get("results", ())]


def test_one_click_answers_one_question(server, open_page) -> None:
    page = begin(server, open_page, "question.ipynb", "one question")
    option = page.page.get_by_role("radio", name="Fill with the median")
    option.wait_for()
    page.shoot("question")
    option.click()
    page.wait_cell(1)
    stored = page.wait_metadata(1)
    assert "Fill with the median" in results(stored)[0]
    assert stored["steps"][0]["results"][0]["details"]["answers"] == [["Fill with the median"]]
    assert [(entry["answer"], entry["answered_by"]) for entry in stored["approvals"]] == [("answered", "extension")]
    assert option.get_attribute("aria-checked") == "true"
    assert option.is_disabled()
    page.shoot("question-answered")


def test_questions_by_the_keyboard_after_a_reload(server, open_page) -> None:
    """Numbers, arrows, Tab and own words; nothing is sent before all is answered."""
    page = begin(server, open_page, "keys.ipynb", "two questions")
    page.button("Send answers").wait_for()
    page.reload()
    page.button("Send answers").wait_for()
    assert page.button("Send answers").is_disabled()
    page.page.get_by_role("radio", name="Drop them").focus()
    keyboard = page.page.keyboard
    keyboard.press("2")
    assert page.page.get_by_role("radio", name="Fill with the median").get_attribute("aria-checked") == "true"
    keyboard.press("Tab")
    keyboard.press("Tab")
    keyboard.press("ArrowDown")
    keyboard.press("Space")
    keyboard.press("3")
    keyboard.press("Tab")
    keyboard.type("a map")
    assert page.page.locator(".claw-Question-own").last.input_value() == "a map"
    assert page.button("Send answers").is_enabled()
    page.shoot("questions")
    page.page.locator(".claw-Question-own").last.focus()
    keyboard.press("Enter")
    page.wait_text("So:")
    stored = page.wait_metadata(1)
    answers = stored["steps"][0]["results"][0]["details"]["answers"]
    assert answers == [["Fill with the median"], ["Scatter", "Box", "a map"]]
    page.save()
    later = open_page(server, "keys.ipynb")
    later.page.locator(".claw-Call-row").click()
    assert later.page.get_by_role("checkbox", name="Scatter").get_attribute("aria-checked") == "true"
    assert later.page.locator(".claw-Question-own").last.input_value() == "a map"
    later.shoot("questions-stored")


def test_no_answer_is_an_answer(server, open_page) -> None:
    page = begin(server, open_page, "none.ipynb", "one question")
    page.button("No answer").click()
    page.wait_cell(1)
    stored = page.wait_metadata(1)
    assert "The user does not answer" in results(stored)[0]


def test_a_plan_is_shown_and_approved(server, open_page) -> None:
    """What the model does in plan mode is denied; the person sees the plan, drawn and inert, and lets it go on."""
    page = begin(server, open_page, "plan.ipynb", "plan")
    page.button("Approve").wait_for()
    page.wait_text("Speed up the loader")
    assert page.page.locator(".claw-Plan img").count() == 0
    assert page.page.locator(".claw-Plan ol li").count() == 3
    page.shoot("plan")
    page.button("Approve and accept edits").click()
    page.wait_cell(1)
    stored = page.wait_metadata(1)
    assert "In plan mode only reading is allowed" in results(stored)[1]
    assert "The user approves this plan. The permission mode is acceptEdits now" in results(stored)[2]
    assert (server.notebooks / "plan.txt").read_text() == "done\n"
    page.shoot("plan-approved")


def test_keep_planning_with_words(server, open_page) -> None:
    page = begin(server, open_page, "replan.ipynb", "plan", "--plan")
    page.button("Keep planning…").click()
    page.page.get_by_label("Message to the model").fill("cache it in memory")
    page.page.keyboard.press("Enter")
    page.wait_cell(1)
    stored = page.wait_metadata(1)
    assert "The user wants to keep planning: cache it in memory" in results(stored)[2]
    assert not (server.notebooks / "plan.txt").exists()
    assert "cache it in memory" in page.cell_text(1)


def test_one_list_of_steps_and_a_message(server, open_page) -> None:
    page = begin(server, open_page, "steps.ipynb", "steps", "--mode bypassPermissions")
    page.page.locator(".claw-Todo[data-status=completed]").wait_for()
    page.wait_text("rows; I go on")
    first = page.page.locator(".claw-Todo").first.element_handle()
    page.shoot("steps")
    page.wait_cell(1)
    page.wait_text("All is done.")
    assert page.page.locator(".claw-Todos").count() == 1
    assert page.page.locator(".claw-Todo[data-status=completed]").count() == 3
    assert first.evaluate("node => node.isConnected"), "the list changes in place"
    assert page.page.locator(".claw-Message strong").inner_text() == "344"
    assert page.page.locator(".claw-Call").count() == 2
    assert re.search("Steps · all 3 done", page.cell_text(1))
    page.shoot("steps-done")
