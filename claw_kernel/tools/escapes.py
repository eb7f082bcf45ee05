"""Commands that Python code hands to a shell: ``!ls``, ``%sx``, ``%%bash``, ``get_ipython().system``, ``os.system``.

They are named in the request and judged by the rules that forbid commands. This finds what is written plainly; code can hide
what it runs, so it is no boundary: ``Python`` asks, and a rule that allows it allows all of it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from claw_kernel.late_dataclass import dataclass

_SYSTEM = ("system", "getoutput", "system_piped", "system_raw", "popen", "getstatusoutput")
_SUBPROCESS = ("run", "call", "check_call", "check_output", "Popen")
_IMPORTED = ("system", "popen", "getoutput", "getstatusoutput", "check_call", "check_output", "Popen")
"""What is also meant where it stands without its module."""
_STARTS = {
    **dict.fromkeys(("execv", "execve", "execvp", "execvpe", "posix_spawn", "posix_spawnp"), 1),
    **dict.fromkeys(("spawnv", "spawnve", "spawnvp", "spawnvpe"), 2),
    "create_subprocess_shell": 0,
}
"""Functions of ``os`` and ``asyncio``, and which argument is the command."""
_LINE_MAGICS = ("sx", "system", "sc", "!", "!!")
_SHELL_MAGICS = ("bash", "sh", "zsh", "sx", "system", "!", "!!")
"""Cell magics whose body is a shell script."""
_CODE_MAGICS = ("time", "timeit", "capture", "prun", "python", "python3")
"""Cell magics whose body is a cell again."""
_MAX_DEPTH = 5


@dataclass(frozen=True)
class Escape:
    """``command``: what the shell gets; None where the code computes it. ``shown``: what the request says."""

    shown: str
    command: str | None


def find_escapes(code: str, depth: int = 0) -> list[Escape]:
    """In order of appearance; empty for code that does not parse (it does not run either)."""
    from IPython.core.inputtransformer2 import TransformerManager

    try:
        tree = ast.parse(TransformerManager().transform_cell(code))  # type: ignore[no-untyped-call]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    calls.sort(key=lambda node: (node.lineno, node.col_offset))
    return [escape for call in calls for escape in _of_call(call, depth)]


def _of_call(call: ast.Call, depth: int) -> Iterator[Escape]:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    if isinstance(call.func, ast.Name) and call.func.id in _IMPORTED:
        name = call.func.id
    given = call.args or [keyword.value for keyword in call.keywords if keyword.arg == "args"]
    texts = [_text(argument) for argument in given]
    first = texts[0] if texts else None
    match name:
        case "run_line_magic" | "magic" if first in _LINE_MAGICS:
            yield Escape(f"%{first} {_line(texts, 1)}".strip(), _known(texts, 1))
        case "run_line_magic" if first is not None and depth < _MAX_DEPTH and first in _CODE_MAGICS:
            yield from find_escapes(re.sub(r"^(-\S+\s+(\d+\s+)?)+", "", _line(texts, 1)), depth + 1)
        case "run_cell_magic" if first in _SHELL_MAGICS:
            # Of %%sx, what stands behind the name is the script's first line; of %%bash it is options.
            script = (_line(texts, 1) if first in _LINE_MAGICS else "", _line(texts, 2))
            yield Escape(f"%%{first}", "\n".join(script).strip() or None)
        case "run_cell_magic" if first == "script":
            yield Escape(f"%%script {_line(texts, 1)}".strip(), _known(texts, 1))
            if re.search(r"sh\b", _line(texts, 1)):
                yield Escape("its script", _line(texts, 2).strip() or None)
        case "run_cell_magic" if first in _CODE_MAGICS and depth < _MAX_DEPTH:
            yield from find_escapes(_line(texts, 2), depth + 1)
        case name if name in _SYSTEM:
            yield Escape(f"!{first}" if first is not None else f"{ast.unparse(call.func)}(…)", first)
        case name if name in _STARTS:
            yield Escape(f"{ast.unparse(call.func)}(…)", _known(texts, _STARTS[name]))
        case name if name in _SUBPROCESS and ("subprocess" in ast.unparse(call.func) or name in _IMPORTED):
            yield Escape(f"{ast.unparse(call.func)}({first or '…'})", first)


def _text(node: ast.expr) -> str | None:
    """A text, or the words of a command, that stands in the code as it is."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.List(elts=items) | ast.Tuple(elts=items):
            words = [item.value for item in items if isinstance(item, ast.Constant) and isinstance(item.value, str)]
            if words and len(words) == len(items):
                import shlex

                return shlex.join(words)
    return None


def _line(texts: list[str | None], position: int) -> str:
    return (texts[position] or "") if len(texts) > position else ""


def _known(texts: list[str | None], position: int) -> str | None:
    return texts[position] if len(texts) > position else None
