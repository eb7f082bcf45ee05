"""``@dataclass`` as in the standard library, its methods made when the first instance is.

The standard decorator compiles six methods for each frozen class, 0.2 ms of a start. More than a hundred classes are defined
on the way to the first request, and some thirty of them used; so it is applied to a class when that is called, or asked for its
fields, for the first time. What an instance is and does is what ``dataclasses`` makes it.

``slots`` are not on offer: they would need another class than the one that was defined.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

_lock = threading.RLock()
_waiting: dict[type, dict[str, Any]] = {}
"""The classes that were not used yet, and the options each was declared with."""
_OF_EACH_CLASS = {"__dict__", "__weakref__", "__doc__", "__init__", "__dataclass_fields__"}
"""Attributes of a waiting class that are no part of its declaration."""

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass  # noqa: PLC0414 - what a type checker knows all about
else:

    def dataclass(**options: bool) -> Callable[[type], type]:
        """As ``dataclasses.dataclass``, always with parentheses, without ``slots``."""
        return partial(_postpone, options)


def _postpone(options: dict[str, bool], cls: type) -> type:
    def __init__(self: object, *args: Any, **kwargs: Any) -> None:  # noqa: N807 - as tracebacks name it
        _finish(cls)
        cls.__init__(self, *args, **kwargs)  # type: ignore[misc]  # by now another one

    cls.__init__ = __init__  # type: ignore[misc]
    cls.__dataclass_fields__ = _Fields(cls)  # type: ignore[attr-defined]
    _waiting[cls] = options
    return cls


class _Fields:
    """In the place of ``__dataclass_fields__``, which ``fields``, ``is_dataclass``, pydantic and subclasses look for."""

    def __init__(self, cls: type) -> None:
        self._cls = cls

    def __get__(self, instance: object, owner: type) -> Any:
        _finish(self._cls)
        return owner.__dataclass_fields__  # type: ignore[attr-defined]


def _finish(cls: type) -> None:
    """The methods are made on a twin and moved over, ``__init__`` last: another thread finds all of them, or waits here."""
    with _lock:
        if cls not in _waiting:
            return
        options = _waiting[cls]
        declared = {name: value for name, value in vars(cls).items() if name not in _OF_EACH_CLASS}
        # Without a docstring it would be given its signature, which takes as long as all the rest.
        twin = type(cls)(cls.__name__, cls.__bases__, {**declared, "__doc__": cls.__doc__ or cls.__name__})
        made = vars(dataclasses.dataclass(**options)(twin))
        for name, value in declared.items():
            if isinstance(value, dataclasses.Field) and name not in made:
                delattr(cls, name)  # a field without a default
        for name, value in made.items():
            if name not in _OF_EACH_CLASS and (name not in declared or value is not declared[name]):
                setattr(cls, name, value)
        if options.get("frozen"):
            # Those of the twin know their class.
            cls.__setattr__ = _refuse_to_set  # type: ignore[assignment,method-assign]
            cls.__delattr__ = _refuse_to_delete  # type: ignore[assignment,method-assign]
        cls.__dataclass_fields__ = made["__dataclass_fields__"]  # type: ignore[attr-defined]
        cls.__init__ = made["__init__"]  # type: ignore[misc]
        del _waiting[cls]


def _refuse_to_set(_: object, name: str, __: object) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(_: object, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
