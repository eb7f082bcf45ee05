"""Classes and attributes read through the interpreter's own descriptors, so that no class gets a say in what is read.

Comparing, hashing or naming a class runs its metaclass; ``isinstance`` and ``getattr`` run the object's. Nothing here does.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any

type_name: Callable[[type], str] = type.__dict__["__name__"].__get__
type_qualname: Callable[[type], str] = type.__dict__["__qualname__"].__get__
type_mro: Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__
type_dict: Callable[[type], Mapping[str, Any]] = type.__dict__["__dict__"].__get__
type_bases: Callable[[type], tuple[type, ...]] = type.__dict__["__bases__"].__get__
_type_module: Callable[[type], Any] = type.__dict__["__module__"].__get__
module_dict: Callable[[Any], dict[str, Any]] = vars(types.ModuleType)["__dict__"].__get__
"""The namespace of a module, past a ``__getattr__`` it may have."""

MISSING: Any = object()
_LIBRARIES = ("numpy", "pandas", "polars", "torch", "pyarrow", "matplotlib", "PIL", "zoneinfo", "datetime", "pytz")


def full_type_name(cls: type) -> str:
    """``module.Class``; builtins and ``__main__`` without their module."""
    module = module_name(cls)
    name = type_qualname(cls)
    public = library_name(cls)
    if public:
        return public
    return name if module in ("builtins", "__main__", "") else f"{module}.{name}"


def module_name(cls: type) -> str:
    """Where the class says that it was defined; empty where it says nothing."""
    try:
        return text_or(_type_module(cls), "")
    except AttributeError:
        return ""


def text_or(value: Any, default: str) -> str:
    """``value`` where it is a plain string."""
    return value if type(value) is str else default


def library_name(cls: type) -> str:
    """``pandas.DataFrame`` for the class that really is it (subclasses and look-alikes: empty)."""
    module = module_name(cls)
    library = module.split(".", 1)[0]
    if library not in _LIBRARIES:
        return ""
    name = type_name(cls)
    home = sys.modules.get(module)
    if not issubclass(type(home), types.ModuleType) or module_dict(home).get(name) is not cls:
        return ""
    root = sys.modules.get(library)
    is_public = issubclass(type(root), types.ModuleType) and module_dict(root).get(name) is cls
    return f"{library}.{name}" if is_public else f"{module}.{name}"


def instance_dict(value: Any) -> dict[str, Any] | None:
    """The object's ``__dict__`` by the interpreter's own descriptor, or None where the class hides or lacks it."""
    for base in type_mro(type(value)):
        entry = own_value(type_dict(base), "__dict__")
        if entry is not MISSING:
            if type(entry) is not types.GetSetDescriptorType or base is type:
                return None
            found = entry.__get__(value, type(value))
            return found if issubclass(type(found), dict) else None
    return None


def methods(cls: type) -> list[str]:
    """Public functions and properties of the class and its bases, nearest first."""
    found: dict[str, None] = {}
    for base in type_mro(cls)[:-1]:
        for name, entry in type_dict(base).items():
            is_method = type(entry) is types.FunctionType or type(entry) is property
            if type(name) is str and not name.startswith("_") and is_method:
                found.setdefault(name)
    return list(found)


def own_value(entries: Any, name: str) -> Any:
    """The entry called ``name`` of a dict (or a class's), or MISSING."""
    # Not a look-up: that would compare with keys of other types, which is their code.
    for key, value in dict.items(entries) if issubclass(type(entries), dict) else entries.items():
        if type(key) is str and key == name:
            return value
    return MISSING


def is_one_of(cls: type, known: Iterable[type]) -> bool:
    """By identity: ``in`` compares, and hashing or comparing a class runs its metaclass."""
    return any(cls is one for one in known)
