"""What is sent for a prompt: the text as typed, and after it what its ``{variable}`` and ``@file`` refer to.

The text itself is never changed, so JSON, f-strings and code in a prompt survive. A name in braces counts only where
the user has such a variable (``{rows[0]}``: constants may follow), an ``@path`` only where the workspace has such a
file. What looks like a slip (``{dff}`` beside ``df``) becomes a problem line for the person; the prompt is sent all the
same. ``{{name}}`` is literal. Nothing is expanded inside fenced code.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claw_kernel.late_dataclass import dataclass
from claw_kernel.messages import ImageBlock, TextBlock

if TYPE_CHECKING:
    from claw_kernel._core import Core

MAX_REFERENCES = 20
"""Variables, and files, that one prompt may attach."""
_MAX_NEAR_MISSES = 5

_INLINE_CODE = re.compile(r"`[^`\n]+`")
_VARIABLE = re.compile(r"(?<![{$\\])\{([^\W\d]\w{0,99}(?:\[[^\[\]{}\n]{1,80}\]){0,4})\}(?!\})")
_FILE = re.compile(
    r"(?<![\w@.`/\\+-])@(?:\"([^\"\n]{1,1000})\"|([^\s\"'`<>|;(){}\[\]@,][^\s\"'`<>|;(){}\[\]@]{0,999}))"
)

MayRead = Callable[[str], str | None]
"""Given a real path, why it may not be read, or None."""


@dataclass(frozen=True)
class ExpandedPrompt:
    """``content`` begins with the prompt as typed. ``attached``: the variables and files it brings with it. ``problems`` are
    single lines for the person."""

    content: tuple[TextBlock | ImageBlock, ...]
    attached: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    def notices(self) -> tuple[str, ...]:
        """What the person is told before the answer."""
        return (*([f"attached: {', '.join(self.attached)}"] if self.attached else []), *self.problems)


def expand_prompt(
    text: str,
    user_ns: Mapping[str, Any],
    workspace: str | Path,
    may_read: MayRead | None = None,
    redact: Callable[[str], str] | None = None,
) -> ExpandedPrompt:
    """The content for ``text``. Raises nothing for what the prompt says; a file that cannot be read is a problem line.

    ``may_read`` is asked before a file is opened (:func:`read_policy`); None: the workspace alone decides. ``redact``
    (``Core.redact``) takes secrets out of what is attached.
    """
    names: list[str] = []
    problems: list[str] = []
    attached: list[TextBlock | ImageBlock] = []
    prose = _blank_fences(text) if "```" in text or "~~~" in text else text
    if "{" in prose:
        attached += _attach_variables(prose, user_ns, names, problems)
    if "@" in prose:
        prose = _INLINE_CODE.sub(_blank, prose)
        attached += _attach_files(prose, Path(workspace), may_read, names, problems)
    if redact is not None:
        attached = [TextBlock(redact(block.text)) if isinstance(block, TextBlock) else block for block in attached]
    return ExpandedPrompt((TextBlock(text), *attached), tuple(names), tuple(problems))


def read_policy(core: Core) -> MayRead:
    """The permission rules as :data:`MayRead`: what they deny is refused. Naming a file is the person's own answer where they
    would ask."""

    def may_read(path: str) -> str | None:
        from claw_kernel._core import ToolInputError

        is_directory = Path(path).is_dir()
        call = ("Glob", {"pattern": "*", "path": path}) if is_directory else ("Read", {"file_path": path})
        try:
            prepared = core.prepare(call[0], json.dumps(call[1]))
        except ToolInputError as error:
            return str(error)
        if prepared.decision != "deny":
            return None
        return f"denied by {prepared.rule} ({prepared.rule_source})" if prepared.rule else prepared.reason

    return may_read


def _blank_fences(text: str) -> str:
    """``text`` with fenced code left out, as Markdown means it: to a fence as long as the opening one, or to the end."""
    kept: list[str] = []
    fence = ""
    for line in text.split("\n"):
        bare = line.strip(" \t\r")
        if fence:
            if bare.startswith(fence) and not bare.strip(fence[0]):
                fence = ""
            kept.append("")
        elif bare.startswith(("```", "~~~")):
            fence = bare[: len(bare) - len(bare.lstrip(bare[0]))]
            if fence[0] == "`" and "`" in bare[len(fence) :]:  # `` ```code``` `` within a line
                fence = ""
            kept.append("" if fence else line)
        else:
            kept.append(line)
    return "\n".join(kept)


def _blank(match: re.Match[str]) -> str:
    # Spaces, so that nothing before and after grows together.
    return " " * (match.end() - match.start())


# --- variables --------------------------------------------------------------------------------------------------------


def _attach_variables(
    prose: str, user_ns: Mapping[str, Any], attached: list[str], problems: list[str]
) -> list[TextBlock | ImageBlock]:
    from claw_magics.inspection import describe, resolve

    names = dict.fromkeys(match[1] for match in _VARIABLE.finditer(prose))
    known = [name for name in user_ns if type(name) is str and not name.startswith("_")]
    lines: list[str] = []
    images: list[TextBlock | ImageBlock] = []
    missed = 0
    for name in names:
        base = name.partition("[")[0]
        if base not in user_ns or base in ("In", "Out", "exit", "quit", "get_ipython", "open"):
            near = difflib.get_close_matches(base, known, 1, cutoff=0.75) if missed < _MAX_NEAR_MISSES else []
            if near:
                missed += 1
                problems.append(f"There is no variable {base}; did you mean {near[0]}?")
            continue
        if len(lines) == MAX_REFERENCES:
            problems.append(f"Only the first {MAX_REFERENCES} variables of the prompt are described.")
            break
        try:
            variable = describe(name, user_ns)
            image = _to_image(resolve(name, user_ns))
        except KeyError as error:
            problems.append(f"{{{name}}} is not described: {error.args[0]}.")
            continue
        except Exception as error:
            problems.append(f"{{{name}}} cannot be drawn: {type(error).__name__}.")
            image = None
        attached.append(name)
        lines.append(f"{name} ({variable.type_name}): {variable.summary}")
        if image is not None:
            images += [TextBlock(f"Image of {name}:"), image]
    if not lines:
        return []
    return [TextBlock("Variables that the prompt names, as they are now:\n\n" + "\n\n".join(lines)), *images]


def _to_image(value: Any) -> ImageBlock | None:
    from claw_magics.images import draw_image

    return draw_image(value)


# --- files ------------------------------------------------------------------------------------------------------------


def _attach_files(
    prose: str, workspace: Path, may_read: MayRead | None, attached: list[str], problems: list[str]
) -> list[TextBlock | ImageBlock]:
    from claw_magics.attachments import Unreadable, attach

    root = workspace.resolve()
    blocks: list[TextBlock | ImageBlock] = []
    seen: set[Path] = set()
    missed = 0
    for match in _FILE.finditer(prose):
        is_quoted = match[1] is not None
        found = _find(root, match[1] or match[2], is_quoted=is_quoted)
        if found is None:
            if missed < _MAX_NEAR_MISSES and (problem := _near_miss(root, match[1] or match[2], is_quoted=is_quoted)):
                missed += 1
                problems.append(problem)
            continue
        name, path = found
        if path in seen:
            continue
        seen.add(path)
        if len(seen) > MAX_REFERENCES:
            problems.append(f"Only the first {MAX_REFERENCES} files of the prompt are attached.")
            break
        reason = None if path.is_relative_to(root) else "it is outside the workspace"
        if reason is None and may_read is not None:
            reason = may_read(str(path))
        if reason is None:
            try:
                blocks += attach(name, path)
                attached.append(name)
            except Unreadable as error:
                reason = str(error)
        if reason is not None:
            problems.append(f"@{name} is not attached: {reason.rstrip('.')}.")
    return blocks


def _find(root: Path, name: str, *, is_quoted: bool) -> tuple[str, Path] | None:
    """The name as it is meant (without the sentence's own punctuation) and the real path, where there is one."""
    while name and (is_quoted or name.strip(".,:!?")):  # "@." ends a sentence, "@./" is a directory
        try:
            path = (root / Path(name).expanduser()).resolve()
            if path.exists():
                return name, path
        except (OSError, RuntimeError, ValueError):  # too long, a loop of links, no such home, a NUL
            return None
        if is_quoted or name[-1] not in ".,:!?*_'…":
            return None
        name = name[:-1]
    return None


def _near_miss(root: Path, name: str, *, is_quoted: bool) -> str | None:
    """A problem line where ``name`` can only have meant a file (quoted, or a path whose directory is there)."""
    name = name.rstrip(".,:!?")
    if is_quoted:
        return f'There is no file "{name}" in the workspace.'
    path = root / name
    try:
        if not ("." in name or "/" in name) or not path.resolve().is_relative_to(root):
            return None
        siblings = [entry.name for entry in list(path.parent.iterdir())[:1_000]]
    except (OSError, RuntimeError, ValueError):
        return None
    near = difflib.get_close_matches(path.name, siblings, 1, cutoff=0.75)
    return f"There is no file {name}; did you mean {Path(name).parent / near[0]}?" if near else None
