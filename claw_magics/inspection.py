"""Variables described without running the object's code.

A type is recognised by identity: ``type(obj)`` is one of a known list, or a class that really stands in the module of
pandas, numpy, polars, torch, matplotlib or PIL that it names (modules are looked up in ``sys.modules``, never imported).
Only of those is anything called. Everything else, subclasses of known types included, is *opaque*: its class name and
the names in its ``__dict__`` are read through the interpreter's own descriptors, so that no ``__repr__``,
``__getattr__``, ``__class__``, ``__len__`` or metaclass gets a say.
"""

from __future__ import annotations

import ast
import inspect
import sys
import time
import types
from collections import deque
from collections.abc import Mapping
from typing import Any

from claw_kernel.tools.namespace import Variable
from claw_magics.classes import (
    MISSING,
    full_type_name,
    instance_dict,
    is_one_of,
    library_name,
    methods,
    module_dict,
    module_name,
    own_value,
    text_or,
    type_bases,
    type_dict,
    type_mro,
    type_name,
    type_qualname,
)
from claw_magics.previews import MAPPINGS, SIZED, cut, is_plain, preview, simple

MAX_PREVIEW_CHARS = 2_000
MAX_REPR_CHARS = 10_000
_MAX_TEXT = 200
_MAX_NAMES = 40


def user_names(user_ns: Mapping[str, Any], hidden: Mapping[str, Any]) -> list[str]:
    """Names of the user's own variables, sorted. ``hidden``: IPython's own names (``user_ns_hidden``)."""
    return sorted(
        name
        for name, value in list(user_ns.items())
        if type(name) is str
        and not name.startswith("_")
        and type(value) is not types.ModuleType
        and not (name in hidden and hidden[name] is value)
        and name not in ("In", "Out", "exit", "quit", "get_ipython")
    )


def list_variables(user_ns: Mapping[str, Any], hidden: Mapping[str, Any]) -> tuple[Variable, ...]:
    """The user's own variables, one line each; arguments as for :func:`user_names`."""
    names = user_names(user_ns, hidden)
    return tuple(_describe(name, user_ns[name], is_short=True) for name in names if name in user_ns)


def describe(name: str, user_ns: Mapping[str, Any], *, with_repr: bool = False) -> Variable:
    """More about ``name``: a variable, or a path into one by constants (``rows[0]["id"]``, ``model.layers``).

    ``with_repr`` runs the object's own ``repr``. Raises KeyError with a sentence where there is no such thing, or where
    reaching it would run the object's code.
    """
    found = _describe(name, resolve(name, user_ns), is_short=False)
    return _with_repr(found, resolve(name, user_ns)) if with_repr else found


def summarize(value: Any) -> str:
    """One line about any object, at most 200 characters or so."""
    return _describe("", value, is_short=True).summary


# --- names ------------------------------------------------------------------------------------------------------------


def resolve(name: str, user_ns: Mapping[str, Any]) -> Any:
    """The object that ``name`` stands for. Raises KeyError as :func:`describe` does."""
    try:
        node = ast.parse(name.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise KeyError(f"{name[:80]!r} is not a variable name") from None
    steps: list[ast.expr] = []
    while isinstance(node, ast.Attribute | ast.Subscript):
        steps.append(node)
        node = node.value
    if not isinstance(node, ast.Name):
        raise KeyError(f"{name[:80]!r} is not a variable name")
    value = own_value(user_ns, node.id)
    if value is MISSING:
        raise KeyError(f"there is no variable {node.id}")
    for step in reversed(steps):
        if isinstance(step, ast.Attribute):
            value = _get_attribute(value, step.attr)
        else:
            assert isinstance(step, ast.Subscript)
            value = _get_item(value, _constant(step.slice))
    return value


def _constant(node: ast.expr) -> Any:
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError):
        raise KeyError("only constants can stand in [ ] here; use the Python tool for more") from None
    return value


def _get_attribute(value: Any, name: str) -> Any:
    cls = type(value)
    if cls is types.ModuleType:
        if (found := own_value(module_dict(value), name)) is not MISSING:
            return found
        raise KeyError(f"the module has no {name}")
    if library_name(cls) in ("pandas.DataFrame", "pandas.Series") and name in ("columns", "index", "shape", "dtypes"):
        return getattr(value, name)
    full_name = full_type_name(cls)
    refusal = f".{name} would run code of {full_name}; use the Python tool, or repr=true on the object"
    if issubclass(cls, type):
        raise KeyError(refusal) if cls is not type else KeyError("describe the class itself to see what is in it")
    on_class = next(
        (found for base in type_mro(cls) if (found := own_value(type_dict(base), name)) is not MISSING), MISSING
    )
    if type(on_class) is types.MemberDescriptorType:  # __slots__: read by the interpreter
        try:
            return on_class.__get__(value, cls)
        except AttributeError:
            raise KeyError(f"{name} of this {full_name} is not set") from None
    if any("__set__" in type_dict(base) for base in type_mro(type(on_class))):
        raise KeyError(refusal)
    own = instance_dict(value)
    if own is not None and (found := own_value(own, name)) is not MISSING:
        return found
    if on_class is MISSING:
        raise KeyError(f"{full_name} has no attribute {name}")
    if type(on_class) is types.FunctionType:
        return on_class
    if any("__get__" in type_dict(base) for base in type_mro(type(on_class))):
        raise KeyError(refusal)
    return on_class


def _get_item(value: Any, key: Any) -> Any:
    cls = type(value)
    try:
        if is_one_of(cls, (list, tuple, deque, range, str, bytes, bytearray)) and type(key) is int:
            return value[key]
        if is_one_of(cls, MAPPINGS):
            return _lookup(value, key)
        if library_name(cls) == "pandas.DataFrame":
            from claw_magics.tables import column_position

            return value.iloc[:, column_position(value, key)]
    except (IndexError, ValueError):
        raise KeyError(f"there is no item {key!r}") from None
    raise KeyError(f"[{key!r}] would run code of {full_type_name(cls)}; use the Python tool")


def _lookup(mapping: Any, key: Any) -> Any:
    # A look-up may compare with keys of other types, which is their code: so only among plain keys.
    for own, value in dict.items(mapping):
        if type(own) is type(key) and simple(type(own)) is not None and own == key:
            return value
    raise ValueError(key)


# --- the description --------------------------------------------------------------------------------------------------


def _describe(name: str, value: Any, *, is_short: bool) -> Variable:
    cls = type(value)
    details: dict[str, Any] = {}
    size: int | None = None
    is_opaque = False
    try:
        known = _describe_known(value, cls, details, is_short=is_short)
    except Exception as error:  # a library's private layout may change; the variable is then only less well described
        known = (f"{full_type_name(cls)} (could not be read: {type_name(type(error))})", None)
    if known is None:
        summary, is_opaque = _describe_opaque(value, cls, details, is_short=is_short), True
    else:
        summary, size = known
    return Variable(
        name, full_type_name(cls), cut(summary, 240 if is_short else MAX_PREVIEW_CHARS), size, is_opaque, details
    )


def _describe_known(value: Any, cls: type, details: dict[str, Any], *, is_short: bool) -> tuple[str, int | None] | None:
    if is_plain(cls):
        text = preview(value, max_chars=160 if is_short else MAX_PREVIEW_CHARS)
        size = sys.getsizeof(value)
        if simple(cls) is not None and not is_one_of(cls, SIZED):
            return text, size
        count = details["length"] = len(value)
        unit = "characters" if cls is str else "items" if not is_one_of(cls, SIZED) else "bytes"
        return f"{count:,} {unit if count != 1 else unit[:-1]}: {text}", size
    if cls is types.FunctionType:
        return _describe_function(value, details), None
    if cls is types.ModuleType:
        return f"module {text_or(module_dict(value).get('__name__'), '?')}", None
    if issubclass(cls, type):
        return _describe_class(value, details), None
    from claw_magics.tables import describe_array_or_table

    return describe_array_or_table(library_name(cls), value, details, is_short=is_short)


def _describe_function(function: types.FunctionType, details: dict[str, Any]) -> str:
    code = function.__code__
    count = code.co_argcount + code.co_kwonlyargcount
    names = list(code.co_varnames[:count])
    if code.co_flags & inspect.CO_VARARGS:
        names.insert(code.co_argcount, "*" + code.co_varnames[count])
        count += 1
    elif code.co_kwonlyargcount:
        names.insert(code.co_argcount, "*")
    if code.co_flags & inspect.CO_VARKEYWORDS:
        names.append("**" + code.co_varnames[count])
    details["parameters"] = names
    doc = function.__doc__
    first = doc.strip().split("\n")[0] if type(doc) is str and doc.strip() else ""
    kind = "async function" if code.co_flags & inspect.CO_COROUTINE else "function"
    return f"{kind} {function.__name__}({', '.join(names)})" + (f": {cut(first, _MAX_TEXT)}" if first else "")


def _describe_class(cls: type, details: dict[str, Any]) -> str:
    own = type_dict(cls)
    names = [name for name in own if type(name) is str and not name.startswith("_")]
    details["attributes"] = names[:_MAX_NAMES]
    bases = ", ".join(full_type_name(base) for base in type_bases(cls) if base is not object)
    text = f"class {type_qualname(cls)}({bases})" if bases else f"class {type_qualname(cls)}"
    return text + (f" with {_join_names(names)}" if names else "")


def _describe_opaque(value: Any, cls: type, details: dict[str, Any], *, is_short: bool) -> str:
    own = instance_dict(value)
    names = [name for name in dict.keys(own) if type(name) is str] if own is not None else []
    details["module"] = module_name(cls)
    details["attributes"] = names[:_MAX_NAMES]
    found = methods(cls)
    details["methods"] = found[:_MAX_NAMES]
    text = f"object of {full_type_name(cls)}"
    known_base = next((base for base in type_mro(cls)[1:-1] if is_plain(base)), None)
    if known_base is not None:
        text += f", a subclass of {type_name(known_base)}"
    if is_short:
        return text + (f" with attributes {_join_names(names)}" if names else "")
    lines = [text]
    if own is not None and names:
        lines.append("attributes:")
        lines += [f"  {name}: {preview(own_value(own, name), max_chars=120)}" for name in names[:_MAX_NAMES]]
        if len(names) > _MAX_NAMES:
            lines.append(f"  … {len(names) - _MAX_NAMES} more")
    if found:
        lines.append(f"methods: {_join_names(found)}")
    return "\n".join(lines)


def _with_repr(found: Variable, value: Any) -> Variable:
    """``found`` with the object's own ``repr``: its failure is part of the description, an interrupt is not."""
    begun = time.monotonic()
    try:
        text = repr(value)
        shown = cut(text if type(text) is str else str.__str__(text), MAX_REPR_CHARS)
    except Exception as error:
        shown = f"(repr failed with {type_name(type(error))})"
    seconds = time.monotonic() - begun
    slow = f" (took {seconds:.1f} s)" if seconds >= 1 else ""
    details = {**found.details, "repr_seconds": round(seconds, 3)}
    summary = f"{found.summary}\nrepr{slow}: {shown}"
    return Variable(found.name, found.type_name, summary, found.size_bytes, found.is_opaque, details)


def _join_names(names: list[str]) -> str:
    shown = ", ".join(names[:12])
    return shown + (f", … ({len(names)})" if len(names) > 12 else "")
