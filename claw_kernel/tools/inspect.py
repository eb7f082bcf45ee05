"""``Inspect``: look at the user's variables without running their code."""

from __future__ import annotations

from typing import Annotated, Any

from claw_kernel._core import ToolOutput
from claw_kernel.messages import ToolSpec
from claw_kernel.tools.arguments import arguments, check_arguments, doc, schema_of
from claw_kernel.tools.namespace import Namespace, Variable
from claw_kernel.tools.registry import Intent, OnOutput, text_output


@arguments
class InspectArguments:
    names: Annotated[tuple[str, ...], doc("Variables to describe; empty: list all.")] = ()
    repr: Annotated[bool, doc("Also run the objects' own repr(); this may need approval.")] = False


class Inspect:
    spec = ToolSpec(
        "Inspect",
        "List or describe the user's variables (type, shape, columns, length, safe preview) without running any of "
        "their code. Look here before you write code that uses a variable.",
        schema_of(InspectArguments),
        effects=("inspect", "namespace"),
    )

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace

    def intend(self, arguments: dict[str, Any]) -> Intent:
        asked = check_arguments(InspectArguments, arguments, "Inspect")
        title = f"Inspect {', '.join(asked.names) or 'variables'}"
        if asked.repr:
            # A repr is the object's code, so it needs the right to run code in the namespace.
            code = "\n".join(f"repr({name})" for name in asked.names)
            preview = {"kind": "code", "code": code, "visible": code}
            return Intent(f"{title} (repr)", ({"effect": "namespace"},), preview, is_read_only=False)
        effects = tuple({"effect": "inspect", "name": name} for name in asked.names or ["*"])
        return Intent(title, effects, {"kind": "none"}, is_read_only=True)

    async def run(self, arguments: dict[str, Any], on_output: OnOutput) -> ToolOutput:  # noqa: ARG002
        asked = check_arguments(InspectArguments, arguments, "Inspect")
        try:
            if not asked.names:
                found = await self._namespace.list_variables()
                text = "\n".join(_line(variable) for variable in found) or "The user has no variables yet."
                return text_output(text)
            lines, is_error = [], False
            for name in asked.names:
                try:
                    lines.append(_line(await self._namespace.describe(name, with_repr=asked.repr)))
                except KeyError as error:
                    lines.append(f"{name}: {error.args[0] if error.args else 'there is no such variable'}")
                    is_error = True
            return text_output("\n\n".join(lines), is_error=is_error)
        except RuntimeError as error:
            return text_output(str(error), is_error=True)


def _line(variable: Variable) -> str:
    size = f", {variable.size_bytes:,} bytes" if variable.size_bytes is not None else ""
    opaque = " (opaque; repr=true would run its own code)" if variable.is_opaque else ""
    return f"{variable.name}: {variable.type_name}{size}{opaque}\n{variable.summary}".rstrip()
