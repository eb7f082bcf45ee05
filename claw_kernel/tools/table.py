"""The table of tools, made from the tools themselves: ``claw tools list``, ``docs/tools.md``."""

from __future__ import annotations

import importlib
import json
import pkgutil
from typing import Any

from claw_kernel._core import tool_aliases
from claw_kernel.messages import Limit, ToolSpec
from claw_kernel.tools.registry import rust_specs

EFFECTS = {
    "read_path": "reads files",
    "write_path": "writes files",
    "run": "runs commands",
    "start": "starts a program",
    "fetch": "talks to hosts",
    "namespace": "runs code in the notebook",
    "inspect": "looks at variables",
    "mcp": "calls MCP tools",
}
"""What each kind of effect is to a person."""

_UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def all_specs() -> tuple[ToolSpec, ...]:
    """Every tool of the product: those of the core in its order, then those of this package by name."""
    import claw_kernel.tools as package

    found = {}
    for entry in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        module = importlib.import_module(entry.name)
        for value in vars(module).values():
            spec = getattr(value, "spec", None)
            if isinstance(value, type) and value.__module__ == entry.name and isinstance(spec, ToolSpec):
                found[spec.name] = spec
    return (*rust_specs(), *(found[name] for name in sorted(found)))


def describe(spec: ToolSpec) -> dict[str, Any]:
    """A tool as JSON: what the model sees, how many bytes of a request that takes, and what people see."""
    return {
        **sent(spec),
        "bytes": sent_bytes(spec),
        "aliases": tool_aliases(spec.name),
        "effects": list(spec.effects),
        "limits": [{"what": limit.what, "amount": limit.amount, "unit": limit.unit} for limit in spec.limits],
    }


def sent(spec: ToolSpec) -> dict[str, Any]:
    """What the model sees."""
    return {"name": spec.name, "description": spec.description, "input_schema": spec.input_schema}


def sent_bytes(spec: ToolSpec) -> int:
    """The size of that in a request, as compact JSON."""
    return len(json.dumps(sent(spec), ensure_ascii=False, separators=(",", ":")).encode())


def tools_markdown() -> str:
    """A table with a row for each tool."""
    lines = [
        "| Tool | Also called | What a call may touch | Limits | Bytes of a request |",
        "| --- | --- | --- | --- | --- |",
    ]
    for spec in all_specs():
        touches = ", ".join(EFFECTS[effect] for effect in spec.effects) or "nothing outside the conversation"
        aliases = ", ".join(f"`{name}`" for name in tool_aliases(spec.name))
        limits = "; ".join(limit_text(limit) for limit in spec.limits)
        lines.append(f"| **{spec.name}** | {aliases} | {touches} | {limits} | {sent_bytes(spec):,} |")
    return "\n".join(lines) + "\n"


def limit_text(limit: Limit) -> str:
    """A limit in words: ``32 MiB of a file``."""
    if limit.unit == "bytes":
        for size, name in _UNITS:
            if limit.amount >= size and limit.amount % size == 0:
                return f"{limit.amount / size:,.0f} {name} {limit.what}"
    unit = f" {limit.unit}" if limit.unit else ""
    return f"{limit.amount:,}{unit} {limit.what}"
