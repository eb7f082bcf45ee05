"""What a summary keeps by itself, whatever the model's notes say."""

from __future__ import annotations

from claw_kernel.agent.summary import notes_in, summary_text
from claw_kernel.messages import Approval, Step, TextBlock, ToolCall, ToolResult, TurnRecord


def turn(number: int, prompt: str, *calls: tuple[str, dict[str, object]], **changes: object) -> TurnRecord:
    """Each call has its result; one whose input has ``fails`` an error."""
    blocks = tuple(ToolCall(f"c{number}_{place}", name, given) for place, (name, given) in enumerate(calls))
    results = tuple(
        ToolResult(
            call.id,
            (TextBlock("done"),),
            is_error=bool(call.input.get("fails")),
            details={"title": call.name, "answers": [["weekly"]]} if call.name == "AskUserQuestion" else {"title": call.name},
        )
        for call in blocks
    )  # fmt: skip
    steps = (Step(blocks, results), Step((TextBlock(f"Turn {number} is done."),)))
    return TurnRecord(f"t_{number}", "s_1", prompt, (TextBlock(prompt),), "m", "2026-01-01T00:00:00.000Z", steps, **changes)  # type: ignore[arg-type]  # fmt: skip


BEGINNING = "Plot the sales. " + "Here is how the file came about. " * 200 + "Never touch raw/data.csv! And thanks."
RECORDS = (
    turn(
        1,
        BEGINNING,
        ("Read", {"file_path": "raw/data.csv"}),
        ("Read", {"file_path": "gone.py", "fails": True}),
        ("Write", {"file_path": "src/clean.py"}),
        ("NotebookEdit", {"notebook_path": "report.ipynb"}),
        ("TodoWrite", {"todos": [{"content": "plot", "status": "pending"}]}),
        ("AskUserQuestion", {"questions": [{"question": "How often?"}]}),
    ),
    turn(
        2,
        "Go on.",
        ("Read", {"file_path": "src/clean.py"}),
        ("Python", {"code": "sales = load()\nfor month in sales: pass\ndef total(): pass"}),
        ("Python", {"code": "lost = 1", "fails": True}),
        ("TodoWrite", {"todos": [{"content": "plot", "status": "completed"}]}),
        ("Bash", {"command": "rm -r out"}),
        approvals=(Approval("c2_4", "ask", "no rule", "", "deny", "widget", "I need out"),),
    ),
)


def test_words_tasks_decisions_files_and_variables_are_kept() -> None:
    summary = summary_text(RECORDS, "## Findings: 7 of 9", window_tokens=8_000)
    assert "Never touch raw/data.csv!" in summary  # of a prompt that is too long to be kept
    assert BEGINNING not in summary
    assert "2. Go on." in summary
    assert "- plot (completed)" in summary
    assert "pending" not in summary
    assert "- How often? → weekly" in summary
    assert "- refused Bash: “I need out”" in summary
    assert "# Files changed\n- src/clean.py\n- report.ipynb" in summary
    assert "# Files read\n- raw/data.csv" in summary
    assert "gone.py" not in summary
    assert "# Names set by the assistant's code\nsales, month, total" in summary
    assert "lost" not in summary
    assert notes_in(summary) == "## Findings: 7 of 9"


RULES = """\
You mustn't delete the backups.
You mustn\u2019t delete the logs.
It shouldn't call the network.
Refrain from editing main.py.
Stay away from prod.
Hands off the config.
Use tabs instead of spaces.
Make sure the index stays sorted.
Deleting files is prohibited.
I forbade pip.
Nobody may write there.
None of the columns may change.
Nothing in raw/ may change.
Touch it where you like, except raw/.
Ask me first.
Hold off on merging.
Lösche nichts.
Ne touche à rien.
No toques nada.
\u041d\u0435 трогай файлы."""


def test_rules_are_known_however_they_are_put() -> None:
    prompt = "Here is how the file came about. " * 200 + "\n" + RULES
    summary = summary_text((turn(1, prompt), turn(2, "Go on.")), "", window_tokens=8_000)
    assert [rule for rule in RULES.splitlines() if rule not in summary] == []


def test_a_log_that_was_pasted_neither_fills_the_window_nor_hides_a_rule() -> None:
    log = "\n".join(f"{n}: the file does not exist" for n in range(20_000))
    records = (turn(1, RULES), turn(2, f"{RULES}\n{log}\nNever restart it."), turn(3, "Go on."))
    summary = summary_text(records, "", window_tokens=32_000)
    assert len(summary) < 32_000
    assert [rule for rule in RULES.splitlines() if summary.count(rule) != 2] == []
    assert "Never restart it." in summary
    assert "more sentences of this message are left out" in summary


def test_what_was_said_to_a_refusal_stays() -> None:
    calls = [("Bash", {"command": f"try {n}"}) for n in range(100)]
    said = Approval("c1_0", "ask", "no rule", "", "deny", "widget", "never deploy")
    others = (Approval(f"c1_{n}", "ask", "no rule", "", "deny", "widget", "") for n in range(1, 100))
    summary = summary_text((turn(1, "Go.", *calls, approvals=(said, *others)),), "", window_tokens=8_000)
    assert "- refused Bash: “never deploy”" in summary
    assert len(summary) < 3_000


def test_a_prompt_that_fits_is_kept_whole() -> None:
    assert BEGINNING in summary_text(RECORDS, "", window_tokens=200_000)


def test_without_notes_the_last_words_stand_in() -> None:
    assert "- Turn 2 is done." in summary_text(RECORDS, "", window_tokens=8_000)
