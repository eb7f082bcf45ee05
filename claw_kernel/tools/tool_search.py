"""``ToolSearch``: finds tools that are not sent with each request, and has them sent from then on."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from claw_kernel._core import ToolOutput
from claw_kernel.messages import Limit, ToolSpec
from claw_kernel.tools.arguments import MaxLen, MinLen, arguments, check_arguments, doc, schema_of
from claw_kernel.tools.catalog import FOUND_AT_ONCE, Catalog
from claw_kernel.tools.registry import Intent, OnOutput, text_output

MAX_QUERY = 200


@arguments
class ToolSearchArguments:
    query: Annotated[str, MinLen(1), MaxLen(MAX_QUERY), doc("Words to look for, or select:Name,Name.")]


class ToolSearch:
    """Made by the ToolSet where tools are deferred, and only then."""

    spec = ToolSpec(
        "ToolSearch",
        "Load more tools; they can be called from your next message on. There are: ",
        schema_of(ToolSearchArguments),
        limits=(Limit("tools loaded by one search of words", FOUND_AT_ONCE),),
    )

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        # All names, also those loaded later: what is sent first never changes.
        self.spec = replace(self.spec, description=f"{self.spec.description}{', '.join(catalog.deferred)}.")

    def intend(self, arguments: dict[str, Any]) -> Intent:
        asked = check_arguments(ToolSearchArguments, arguments, "ToolSearch")
        # Not read-only: the order in which schemas are added must be the order of the calls.
        return Intent(f"ToolSearch: {asked.query}", (), {"kind": "none"}, is_read_only=False)

    async def run(self, arguments: dict[str, Any], on_output: OnOutput) -> ToolOutput:  # noqa: ARG002
        found = self._catalog.search(arguments["query"])
        lines = [f"{spec.name}: {spec.description}" for spec in found.loaded]
        if lines:
            lines.insert(0, "Loaded; call them from your next message on:")
        if found.known:
            lines.append(f"Loaded before: {', '.join(found.known)}.")
        if found.missing or not lines:
            waiting = ", ".join(self._catalog.waiting()) or "none"
            what = f"There is no tool {', '.join(found.missing)}." if found.missing else "Nothing fits."
            lines.append(f"{what} Not loaded yet: {waiting}.")
        return text_output("\n".join(lines), is_error=not found.loaded and not found.known)
