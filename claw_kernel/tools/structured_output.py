"""``StructuredOutput``: the result of a turn in the form its caller asked for. Offered only where a JSON schema was given."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from claw_kernel._core import ToolInputError, ToolOutput
from claw_kernel.errors import SettingsError
from claw_kernel.messages import Limit, ToolSpec
from claw_kernel.tools.registry import Intent, OnOutput, text_output

NAME = "StructuredOutput"
MAX_SCHEMA = 50_000
"""Characters of a schema as JSON: it is sent with every request."""
_ERRORS = 5


class StructuredOutput:
    """One turn's. The first call that fits is the result and ends the turn."""

    spec = ToolSpec(
        NAME,
        "Give the result of this turn. Call it once, at the end.",
        {"type": "object", "additionalProperties": False},
        limits=(Limit("characters of a schema", MAX_SCHEMA),),
    )
    """Its schema is the caller's."""
    request = f"Give the result by calling {NAME} once; its arguments are the result."
    """Goes with the prompt."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        """Raises SettingsError for what is no JSON schema or refers to others by address, which is never followed."""
        self._validator = _validator(schema)
        # A tool's arguments are an object; any other result is wrapped into one.
        self._is_wrapped = schema.get("type") != "object"
        self.spec = replace(self.spec, input_schema=self._sent(schema))
        self.has_result = False
        self.result: Any = None

    def intend(self, arguments: dict[str, Any]) -> Intent:
        value = self.value(arguments)
        try:
            problems = [
                f"{error.json_path}: {error.message[:300]}"
                for _, error in zip(range(_ERRORS), self._validator.iter_errors(value), strict=False)
            ]
        except RecursionError:
            problems = ["$: it is nested too deeply"]
        if problems:
            raise ToolInputError(f"{NAME}: the result does not fit its schema. {'; '.join(problems)}. Call it again.")
        text = json.dumps(value, ensure_ascii=False, indent=2)
        return Intent("Result", (), {"kind": "code", "code": text, "visible": ""}, is_read_only=False)

    async def run(self, arguments: dict[str, Any], on_output: OnOutput) -> ToolOutput:  # noqa: ARG002
        if self.has_result:
            return text_output("The result was given already; the first one counts.", is_error=True)
        self.result, self.has_result = self.value(arguments), True
        return text_output("This is the result of the turn.")

    def value(self, arguments: dict[str, Any]) -> Any:
        """The result that a call with these arguments gives. Raises ToolInputError where there is none."""
        if not self._is_wrapped:
            return arguments
        if set(arguments) != {"value"}:
            raise ToolInputError(f"{NAME}: give the result as the argument value, and nothing else.")
        return arguments["value"]

    def _sent(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        if not self._is_wrapped:
            return dict(schema)
        shared = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
        inner = {key: item for key, item in schema.items() if key not in (*shared, "$schema", "$id")}
        return {"type": "object", "properties": {"value": inner}, "required": ["value"], **shared}


def read_schema(path: str, cwd: str) -> dict[str, Any]:
    """A JSON schema from a file that the person named. Raises SettingsError."""
    place = Path(cwd, path).expanduser()
    try:
        schema = json.loads(place.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"The schema {place} cannot be read: {error.strerror}.", "Give the path of a file."
        ) from None
    except ValueError as error:
        raise SettingsError(f"The schema {place} is not valid JSON: {error}.", "Mend the file.") from None
    if not isinstance(schema, dict):
        raise SettingsError(f"The schema {place} is not a JSON object.", 'Write it as {"type": "object", …}.')
    return schema


def _validator(schema: Mapping[str, Any]) -> Any:
    """Raises SettingsError."""
    from jsonschema import SchemaError
    from jsonschema.validators import Draft202012Validator, validator_for
    from referencing import Registry

    remedy = 'Give a JSON schema, such as {"type": "object", "properties": {…}}.'
    if not isinstance(schema, Mapping):
        raise SettingsError("The schema is not a JSON object.", remedy)
    if len(json.dumps(schema)) > MAX_SCHEMA:
        raise SettingsError(f"The schema is longer than {MAX_SCHEMA:,} characters.", "Give a shorter one.")
    for reference in _references(schema):
        if not reference.startswith("#"):
            raise SettingsError(
                f"The schema refers to {reference!r}, which is not followed.", "Put what it refers to under $defs."
            )
    kind = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        raise SettingsError(f"The schema is no JSON schema: {error.json_path}: {error.message}.", remedy) from None
    # An empty registry finds nothing by address, whatever the schema says.
    return kind(dict(schema), registry=Registry())


def _references(value: Any) -> Iterator[str]:
    """Every ``$ref`` of a schema, of all drafts."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key in ("$ref", "$dynamicRef", "$recursiveRef") and isinstance(item, str):
                yield item
            yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)
