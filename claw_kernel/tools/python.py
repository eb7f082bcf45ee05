"""``Python``: run code in the user's live namespace. Asked for by default, because nothing confines it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from claw_kernel._core import ToolOutput, visible
from claw_kernel.messages import ToolSpec
from claw_kernel.tools.arguments import MinLen, arguments, check_arguments, doc, schema_of
from claw_kernel.tools.escapes import Escape, find_escapes
from claw_kernel.tools.namespace import CodeResult, Namespace
from claw_kernel.tools.registry import Intent, OnOutput

_IMAGE_TYPES = ("image/png", "image/jpeg", "image/gif", "image/webp")


@arguments
class PythonArguments:
    code: Annotated[str, MinLen(1), doc("Python source, run like a notebook cell.")]


def code_title(code: str) -> str:
    """The first line of ``code`` that is not blank, and how many more there are."""
    lines = [line.strip() for line in code.splitlines() if line.strip()]
    title = lines[0] if lines else ""
    if len(title) > 80:
        title = title[:79] + "…"
    more = len(lines) - 1
    return f"{title}  (+{more} line{'s' if more > 1 else ''})" if more > 0 else title


def python_effects(escapes: Iterable[Escape]) -> tuple[dict[str, str], ...]:
    """Runs in the namespace, and the commands that can be read in the code."""
    runs = ({"effect": "run", "command": escape.command} for escape in escapes if escape.command)
    return ({"effect": "namespace"}, *runs)


class Python:
    spec = ToolSpec(
        "Python",
        "Run Python code in the user's live notebook namespace: their variables are there, and what you assign stays. "
        "The value of the last expression, printed text, errors and figures come back to you and are shown to the user. "
        "Use it for the user's data and plots; use Bash for programs and tests.",
        schema_of(PythonArguments),
        effects=("namespace", "run"),
    )

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace

    def intend(self, arguments: dict[str, Any]) -> Intent:
        code = check_arguments(PythonArguments, arguments, "Python").code
        title = code_title(code)
        escapes = find_escapes(code)
        if escapes:
            title += f"  (runs commands: {', '.join(escape.shown.splitlines()[0] for escape in escapes[:3])})"
        preview = {"kind": "code", "code": code, "visible": visible(code)}
        return Intent(f"Python: {visible(title)}", python_effects(escapes), preview, is_read_only=False)

    async def run(self, arguments: dict[str, Any], on_output: OnOutput) -> ToolOutput:
        def show(output: dict[str, Any]) -> None:
            if output["output_type"] == "stream":
                on_output(output["text"], None)
            elif output["output_type"] == "error":
                on_output("\n".join(output["traceback"]), None)
            else:
                on_output("", output["data"])

        try:
            result = await self._namespace.run_code(arguments["code"], show)
        except RuntimeError as error:
            return ToolOutput(json.dumps([{"type": "text", "text": str(error)}]), "error")
        return _to_output(result)


def _to_output(result: CodeResult) -> ToolOutput:
    """Text and images for the model; what only a screen can show (HTML tables) in ``details``."""
    texts: list[str] = []
    images: list[dict[str, str]] = []
    shown: list[dict[str, Any]] = []
    for output in result.outputs:
        if output["output_type"] == "stream":
            texts.append(output["text"])
        elif output["output_type"] == "error":
            texts.append("\n".join(output["traceback"]) or f"{output['ename']}: {output['evalue']}")
        else:
            data = output["data"]
            kinds = [kind for kind in _IMAGE_TYPES if kind in data]
            if kinds:
                images.append({"type": "image", "media_type": kinds[0], "data": "".join(data[kinds[0]].split())})
            if text := data.get("text/plain"):
                texts.append(text if not kinds else f"[figure: {text}]")
            rich = {kind: value for kind, value in data.items() if kind not in _IMAGE_TYPES and kind != "text/plain"}
            if rich:
                shown.append({**rich, "text/plain": data.get("text/plain", "")})
    text = "\n".join(part.rstrip("\n") for part in texts if part.strip())
    if result.is_interrupted:
        text = f"{text}\nInterrupted by the user.".strip()
    content: list[dict[str, str]] = [{"type": "text", "text": text or "(no output)"}, *images]
    status: Literal["ok", "error", "cancelled"] = (
        "cancelled" if result.is_interrupted else "error" if result.is_error else "ok"
    )
    return ToolOutput(json.dumps(content), status, json.dumps({"outputs": shown} if shown else {}))
