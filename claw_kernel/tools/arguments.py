"""From a type of arguments to a compact JSON schema, and from the model's arguments to a checked object.

A tool declares its arguments as a class under ``@arguments``: a frozen dataclass whose fields may carry limits of
``annotated_types`` and a ``doc``. The schema is read off the class, because a start must not wait for pydantic; pydantic
checks each call, and is imported with the first.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

from annotated_types import DocInfo, Ge, Le, MaxLen, MinLen

from claw_kernel._core import ToolInputError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")

_NAMES: dict[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}


@dataclass_transform(frozen_default=True)
def arguments(cls: type[T]) -> type[T]:
    """A frozen dataclass that takes no other fields."""
    cls.__pydantic_config__ = {"extra": "forbid"}  # type: ignore[attr-defined]  # read by pydantic
    return dataclass(frozen=True)(cls)


@cache
def schema_of(cls: Any) -> dict[str, Any]:
    """The JSON schema without titles, nulls and references, which cost tokens and say nothing. ``cls`` is a class under
    ``@arguments``, or a pydantic model."""
    if not is_dataclass(cls):
        found: dict[str, Any] = _compact(cls.model_json_schema())
        found["additionalProperties"] = False
        return found
    hints = get_type_hints(cls, include_extras=True)
    properties: dict[str, Any] = {}
    required: list[str] = []
    for item in fields(cls):
        schema = _schema(hints[item.name])
        if item.default is MISSING and item.default_factory is MISSING:
            required.append(item.name)
        elif item.default is not MISSING and item.default not in (None, False, (), ""):
            schema["default"] = item.default
        properties[item.name] = schema
    found = {"type": "object", "properties": properties}
    if required:
        found["required"] = required
    found["additionalProperties"] = False
    return found


def check_arguments(cls: type[T], given: dict[str, Any], tool: str) -> T:
    """Raises ToolInputError naming the field and what is accepted."""
    from pydantic import ValidationError

    kind: Any = cls
    try:
        checked: T = _adapter(kind).validate_python(given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "arguments"
        accepted = ", ".join(schema_of(kind).get("properties", {})) or "no arguments"
        raise ToolInputError(f"{tool}: {where}: {first['msg']}. {tool} takes: {accepted}.") from None
    return checked


@cache
def _adapter(cls: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(cls)


def _schema(hint: Any) -> dict[str, Any]:
    """Raises TypeError for a type that arguments cannot have."""
    origin = get_origin(hint)
    if origin is Annotated:
        inner, *limits = get_args(hint)
        schema = _schema(inner)
        for limit in limits:
            schema |= _limit(limit, is_list=schema.get("type") == "array")
        return schema
    if origin is Literal:
        return {"type": "string", "enum": list(get_args(hint))}
    if origin in (list, tuple):
        return {"type": "array", "items": _schema(get_args(hint)[0])}
    if origin in (Union, UnionType):
        given = [option for option in get_args(hint) if option is not NoneType]
        return _schema(given[0]) if len(given) == 1 else {"anyOf": [_schema(option) for option in given]}
    if is_dataclass(hint):
        return dict(schema_of(hint))  # type: ignore[arg-type]  # a class is hashable
    if hint in _NAMES:
        return {"type": _NAMES[hint]}
    raise TypeError(f"{hint} is no type of arguments")


def _limit(limit: Any, *, is_list: bool) -> dict[str, Any]:
    match limit:
        case DocInfo():
            return {"description": limit.documentation}
        case MinLen():
            return {"minItems" if is_list else "minLength": limit.min_length}
        case MaxLen():
            return {"maxItems" if is_list else "maxLength": limit.max_length}
        case Ge():
            return {"minimum": limit.ge}
        case Le():
            return {"maximum": limit.le}
        case _:
            raise TypeError(f"{limit} is no limit of arguments")


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
