"""From a pydantic model of arguments to a compact JSON schema, and from the model's arguments to a checked object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from claw_kernel._core import ToolInputError

if TYPE_CHECKING:
    from pydantic import BaseModel

M = TypeVar("M", bound="BaseModel")


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema without titles and nulls, which cost tokens and say nothing."""
    found: dict[str, Any] = _compact(model.model_json_schema())
    found["additionalProperties"] = False
    return found


def check_arguments(model: type[M], arguments: dict[str, Any], tool: str) -> M:
    """Raises ToolInputError naming the field and what is accepted."""
    from pydantic import ValidationError

    try:
        return model.model_validate(arguments)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "arguments"
        fields = ", ".join(model.model_fields)
        raise ToolInputError(f"{tool}: {where}: {first['msg']}. {tool} takes: {fields}.") from None


def _compact(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _compact(item)
            for key, item in value.items()
            if not (key == "title" and isinstance(item, str)) and not (key == "default" and item in (None, False))
        }
    if isinstance(value, list):
        return [_compact(item) for item in value]
    return value
