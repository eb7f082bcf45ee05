"""``%claw context``, ``compact``, ``memory`` and ``budget``: what is sent to the model, and what may be spent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from claw_magics.report import CommandOutput, Report, UsageError, take_nothing, unknown

if TYPE_CHECKING:
    from claw_magics.host import Host


def show_context(host: Host, rest: str) -> CommandOutput:
    """How full the window is, and by what."""
    take_nothing("context", rest)
    use = host.agent.context_use()
    report = Report()
    window = use.window
    if use.is_assumed:
        report.line(
            f"Nobody knows the context window of {use.model or 'the model'}; {window.tokens:,} tokens are assumed."
        )
    counted = "as the provider counted" if use.is_counted else "by estimate"
    report.line(
        f"About {use.tokens:,} of {window.tokens:,} tokens ({use.tokens * 100 // window.tokens} %), {counted}; "
        f"{window.answer:,} are kept for the answer."
    )
    report.table(("What is sent", "Tokens (estimate)"), [(what, f"{tokens:,}") for what, tokens in use.parts])
    report.line(
        f"Old outputs are cleared from {window.clear_at:,} tokens on, the conversation is summarised from "
        f"{window.compact_at:,} on; %claw compact does so before the next request."
    )
    return report.output()


def compact(host: Host, rest: str) -> CommandOutput:
    """Ask for a summary; the next request makes it."""
    report = Report()
    if not host.session.records:
        report.line("There is nothing to summarise yet.")
        return report.output()
    host.agent.compact(rest)
    focus = f", keeping: {rest}" if rest else ""
    report.line(f"The conversation is summarised before the next request{focus}. The notebook keeps all of it.")
    return report.output()


def memory(host: Host, rest: str) -> CommandOutput:
    """Notes and instruction files; ``add NOTE`` and ``forget NUMBER`` change the notes. Raises SessionError, UsageError."""
    host.recall(host.agent.settings.env)
    word, _, value = rest.partition(" ")
    value = " ".join(value.split())
    if word == "add":
        if not value:
            raise UsageError("%claw memory add needs the note.")
        return _change(host, (*host.session.memory, host.agent.gate.core.redact(value)), f"Noted: {value}")
    if word == "forget":
        return _forget(host, value)
    if word:
        raise UsageError(unknown("word", word, ("add", "forget"), "see %claw help memory."))
    return _show_memory(host)


def complete_memory(host: Host, words: Sequence[str]) -> Sequence[str]:
    if not words:
        return ("add", "forget")
    return [str(n) for n, _ in enumerate(host.session.memory, start=1)] if list(words) == ["forget"] else ()


def _forget(host: Host, value: str) -> CommandOutput:
    notes = host.session.memory
    if not (value.isascii() and value.isdecimal() and 1 <= int(value[:9]) <= len(notes)):
        raise UsageError(f"%claw memory forget needs the number of a note; there are {len(notes)}.")
    at = int(value) - 1
    return _change(host, (*notes[:at], *notes[at + 1 :]), f"Forgotten: {notes[at]}")


def _change(host: Host, notes: tuple[str, ...], done: str) -> CommandOutput:
    host.session.remember(notes)
    report = Report()
    report.line(done)
    report.line("The model is told from the next turn on, in every conversation of this notebook.")
    if not host.frontend.has_extension:
        report.line("Without the extension nothing writes it into the notebook: it holds for this kernel.")
    return report.output()


def _show_memory(host: Host) -> CommandOutput:
    """Notes, and instruction files in the order in which they are sent."""
    instructions = host.agent.instructions
    report = Report()
    if notes := host.session.memory:
        report.table(("", "Kept in this notebook"), [(str(n), note) for n, note in enumerate(notes, start=1)])
    else:
        report.line("Nothing is kept in this notebook: %claw memory add NOTE.")
    if not instructions.files:
        report.line(
            f"No instruction files: none of CLAUDE.md and AGENTS.md in {host.agent.settings.home}, nor from "
            f"{instructions.root} to {instructions.cwd}."
        )
        return report.output()
    rows = []
    for number, one in enumerate(instructions.files, start=1):
        sent = "not sent" if not one.text else f"when {', '.join(one.paths)} is touched" if one.is_scoped else "sent"
        state = f"{sent}: {one.note}" if one.note else sent
        rows.append((str(number), one.path, one.level, f"{one.size_bytes:,}", state))
    report.table(("", "File", "Level", "Bytes", "State"), rows)
    report.line("Changes count from the next conversation on (%claw clear). A project's files grant nothing.")
    return report.output()


def show_budget(host: Host, rest: str) -> CommandOutput:
    """Each limit, and what of it is spent."""
    take_nothing("budget", rest)
    settings, before = host.agent.settings, host.agent.spent()
    session, notebook = before.session, before.notebook

    def cost(spent: float, unpriced: str) -> str:
        return f"${spent:.4f}" + (f" and what {unpriced} cost, whose price is unknown" if unpriced else "")

    spent = {
        "max_session_cost_usd": cost(session.cost_usd, session.unpriced),
        "max_session_seconds": f"{session.seconds:.0f}",
        "max_session_tokens": f"{session.tokens:,}",
        "max_session_turns": f"{session.requests:,}",
        "max_notebook_cost_usd": cost(notebook.cost_usd, notebook.unpriced),
        "max_notebook_seconds": f"{notebook.seconds:.0f}",
        "max_notebook_tokens": f"{notebook.tokens:,}",
        "max_notebook_turns": f"{notebook.requests:,}",
    }
    cell = ("max_turns", "max_cost_usd", "max_seconds", "max_turn_tokens")
    rows = []
    for name in (*cell, *spent):
        limit = getattr(settings, name)
        scope = "cell" if name in cell else "conversation" if "session" in name else "notebook"
        shown = "none" if limit is None else f"{limit:,}"
        rows.append((name, scope, shown, spent.get(name, "each cell anew"), settings.sources.get(name, "default")))
    report = Report()
    report.table(("Limit", "Of a", "Set to", "Spent", "From"), rows)
    report.line(
        "%claw config set NAME VALUE sets one for this session. A cell that meets one ends; the next goes on from there."
    )
    return report.output()
