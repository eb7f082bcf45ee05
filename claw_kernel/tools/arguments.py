"""From a type of arguments to a compact JSON schema, and from the model's arguments to a checked object.

A tool declares its arguments as a class under ``@arguments``: a frozen dataclass whose fields may carry limits (``MinLen`` …)
and a ``doc``. The schema is read off the class, because a start must not wait for pydantic; pydantic checks each call, and is
imported with the first. The limits are here because importing those of ``annotated_types`` takes 6 ms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING
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

from claw_kernel._core import ToolInputError
from claw_kernel.late_dataclass import dataclass

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")

_NAMES: dict[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}


class _Bound:
    """What a value must not pass, for the model (a keyword of JSON schema) and for pydantic's core."""

    core: str
    keyword: str
    kinds: tuple[str, ...]
    """What it can bound, as pydantic's core calls it."""

    def __init__(self, bound: int) -> None:
        self.bound = bound

    def schema(self, *, is_list: bool) -> dict[str, int]:
        return {self.keyword.replace("Length", "Items") if is_list else self.keyword: self.bound}

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        return self._bounded(handler(source))

    def _bounded(self, schema: dict[str, Any]) -> dict[str, Any]:
        """``schema`` of pydantic's core with the bound. Raises TypeError where it would be passed over."""
        if schema["type"] == "nullable":
            return {**schema, "schema": self._bounded(schema["schema"])}
        if schema["type"] not in self.kinds:
            raise TypeError(f"{type(self).__name__} bounds no {schema['type']}")
        return {**schema, self.core: self.bound}


class MinLen(_Bound):
    """At least so many characters, or items."""

    core, keyword, kinds = "min_length", "minLength", ("str", "tuple", "list")


class MaxLen(_Bound):
    """At most so many characters, or items."""

    core, keyword, kinds = "max_length", "maxLength", ("str", "tuple", "list")


class Ge(_Bound):
    """A number not below."""

    core, keyword, kinds = "ge", "minimum", ("int", "float")


class Le(_Bound):
    """A number not above."""

    core, keyword, kinds = "le", "maximum", ("int", "float")


class doc:  # noqa: N801 - reads as the word it stands for
    """What the model is told of a field."""

    def __init__(self, text: str) -> None:
        self.text = text


@dataclass_transform(frozen_default=True)
def arguments(cls: type[T]) -> type[T]:
    """A frozen dataclass that takes no other fields. The default of a field is a value."""
    cls.__pydantic_config__ = {"extra": "forbid"}  # type: ignore[attr-defined]  # read by pydantic
    return dataclass(frozen=True)(cls)


@cache
def schema_of(cls: Any) -> dict[str, Any]:
    """The JSON schema of a class under ``@arguments``, without titles, nulls and references, which cost tokens and say
    nothing."""
    properties: dict[str, Any] = {}
    required: list[str] = []
    for name, hint in get_type_hints(cls, include_extras=True).items():
        schema = _schema(hint)
        default = vars(cls).get(name, MISSING)
        if default is MISSING:
            required.append(name)
        elif default not in (None, False, (), ""):
            schema["default"] = default
        properties[name] = schema
    found: dict[str, Any] = {"type": "object", "properties": properties}
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
    if hasattr(hint, "__pydantic_config__"):
        return dict(schema_of(hint))
    if hint in _NAMES:
        return {"type": _NAMES[hint]}
    raise TypeError(f"{hint} is no type of arguments")


def _limit(limit: Any, *, is_list: bool) -> dict[str, Any]:
    match limit:
        case doc():
            return {"description": limit.text}
        case _Bound():
            return limit.schema(is_list=is_list)
        case _:
            raise TypeError(f"{limit} is no limit of arguments")
