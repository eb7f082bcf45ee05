"""What a turn ran on: versions, and the user's variables as names, kinds, sizes and short hashes (docs/record.md, ``environment``).

As in ``inspection.py`` no code of a variable's type is run: hashes are made of plain values and of arrays and tables of known
libraries alone, as far as little time allows. A variable without a hash is compared by its kind and size.
"""

from __future__ import annotations

import hashlib
import platform
import sys
import time
import types
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from claw_magics.classes import full_type_name, is_one_of, library_name, module_dict, module_name, text_or
from claw_magics.inspection import user_names
from claw_magics.previews import MAPPINGS

BUDGET_SECONDS = 0.02
"""Of this thread's own time, for all hashes of one turn; variables that come later have none."""
MAX_VARIABLES = 200
MAX_ITEMS = 2_000
"""Items of a container, or cells of a table, that are hashed."""
MAX_BYTES = 1_000_000
"""Of one array or text that is hashed."""
_MAX_LIBRARIES = 30
_SCALARS = (int, float, complex, bool, str, bytes, type(None))
_SEQUENCES = (list, tuple)
_SETS = (set, frozenset)
_PLAIN_DTYPES = "biufcmMSU"


def surroundings(user_ns: Mapping[str, Any], hidden: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a record's ``environment`` that the kernel knows. Arguments as for ``inspection.user_names``."""
    from claw_kernel import __version__

    names = [name for name in user_names(user_ns, hidden) if name in user_ns and not _is_imported(user_ns[name])]
    shown = names[:MAX_VARIABLES]
    libraries = dict(sorted(_libraries(user_ns)))
    deadline = time.thread_time() + BUDGET_SECONDS
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "claw": __version__,
        "libraries": libraries,
        "variables": {name: fingerprint(user_ns[name], deadline) for name in shown},
        **({"more_variables": len(names) - len(shown)} if len(names) > len(shown) else {}),
    }


def fingerprint(value: Any, deadline: float = float("inf")) -> str:
    """``pandas.DataFrame 344x7 #9f2ab31c``: kind, size where there is one, hash where it is cheap before ``deadline``
    (``time.thread_time``)."""
    cls = type(value)
    try:
        kind = f"{full_type_name(cls)}{_size(value, cls)}"
        if time.thread_time() >= deadline:
            return kind
        digest = hashlib.blake2b(digest_size=4)
        budget = [MAX_ITEMS]
        for part in _parts(value, cls, budget):
            digest.update(part)
        return f"{kind} #{digest.hexdigest()}"
    except _NotCheapError:
        return kind
    except Exception:  # a library's private layout may change; then the kind alone is compared
        return full_type_name(cls)


class _NotCheapError(Exception):
    """The value is too large, or of a type that would have to be asked."""


def _size(value: Any, cls: type) -> str:
    if is_one_of(cls, (*_SEQUENCES, *_SETS, *MAPPINGS, str, bytes, bytearray)):
        return f" {len(value)}"
    match library_name(cls):
        case "numpy.ndarray":
            return f" {_shape(value.shape)} {value.dtype.kind}{value.dtype.itemsize}"
        case "pandas.DataFrame":
            manager = value._mgr
            return f" {len(manager.axes[1])}x{len(manager.axes[0])}"
        case "pandas.Series" | "polars.Series":
            return f" {len(value)}"
        case "polars.DataFrame":
            return f" {value.height}x{value.width}"
        case "torch.Tensor" | "torch.nn.parameter.Parameter":
            return f" {_shape(tuple(value.shape))}"
    return ""


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(str(int(side)) for side in shape) or "()"


def _parts(value: Any, cls: type, budget: list[int]) -> Iterator[bytes]:
    """Bytes that differ where values differ. Raises _NotCheapError."""
    budget[0] -= 1
    if budget[0] < 0:
        raise _NotCheapError
    if is_one_of(cls, _SCALARS):
        if (is_one_of(cls, (str, bytes)) and len(value) > MAX_BYTES) or (cls is int and value.bit_length() > 8_000):
            raise _NotCheapError
        yield f"{cls.__name__}:{value!r};".encode("utf-8", "surrogatepass")
    elif is_one_of(cls, _SEQUENCES):
        yield f"{cls.__name__}[{len(value)}".encode()
        for item in value:
            yield from _parts(item, type(item), budget)
        yield b"]"
    elif is_one_of(cls, MAPPINGS):
        yield b"{"
        for key, item in dict.items(value):
            yield from _parts(key, type(key), budget)
            yield from _parts(item, type(item), budget)
        yield b"}"
    elif is_one_of(cls, _SETS):
        # In an order of their own: that of a set differs between processes.
        yield from sorted(b"".join(_parts(item, type(item), budget)) for item in value)
    elif cls is types.FunctionType:
        yield from (value.__code__.co_code, repr(value.__code__.co_names).encode())
    elif (library := library_name(cls)) == "numpy.ndarray":
        yield from _array(value)
    elif library in ("pandas.DataFrame", "pandas.Series"):
        yield from _table(value._mgr, budget)
    else:
        raise _NotCheapError


def _array(array: Any) -> Iterator[bytes]:
    if array.dtype.kind not in _PLAIN_DTYPES or array.nbytes > MAX_BYTES:
        raise _NotCheapError
    yield f"{array.dtype.str}{array.shape}".encode()
    yield array.tobytes()


def _table(manager: Any, budget: list[int]) -> Iterator[bytes]:
    """Labels and columns of a table of pandas, block by block."""
    for axis in manager.axes:
        yield from _column(axis._values, budget)
    for block in manager.blocks:
        yield repr(block.mgr_locs.as_array.tolist()).encode()
        yield from _column(block.values, budget)


def _column(values: Any, budget: list[int]) -> Iterator[bytes]:
    if library_name(type(values)) == "numpy.ndarray" and values.dtype.kind in _PLAIN_DTYPES:
        yield from _array(values)
        return
    from claw_magics.tables import is_known_array

    if not is_known_array(values) or values.size > budget[0]:
        raise _NotCheapError
    array = values if library_name(type(values)) == "numpy.ndarray" else values.astype(object)
    missing = sys.modules["pandas"].NA
    for item in array.ravel().tolist():
        yield from _parts("<NA>" if item is missing else item, str if item is missing else type(item), budget)


# --- libraries --------------------------------------------------------------------------------------------------------


def _is_imported(value: Any) -> bool:
    """A class or function that was defined elsewhere: importing brings it back."""
    cls = type(value)
    if cls is types.FunctionType:
        return text_or(value.__module__, "") != "__main__"
    if cls in (types.BuiltinFunctionType, types.MethodType):
        return True
    return issubclass(cls, type) and module_name(value) != "__main__"


def _libraries(user_ns: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Distributions that the namespace holds something of, with their versions."""
    roots: dict[str, None] = {}
    for name, value in list(user_ns.items()):
        if type(name) is not str or name.startswith("_"):
            continue
        cls = type(value)
        if cls is types.ModuleType:
            module = text_or(module_dict(value).get("__name__"), "")
        elif cls is types.FunctionType:
            module = text_or(value.__module__, "")
        else:
            module = module_name(value if issubclass(cls, type) else cls)
        roots[module.partition(".")[0]] = None
    known = [root for root in roots if root not in sys.stdlib_module_names and root not in _OWN]
    for root in known[:_MAX_LIBRARIES]:
        if version := _version(root):
            yield root, version


_OWN = ("", "__main__", "builtins", "IPython", "ipykernel", "claw_magics", "claw_kernel")


@cache
def _version(root: str) -> str:
    from importlib import metadata

    module = sys.modules.get(root)
    if type(module) is types.ModuleType and (version := text_or(module_dict(module).get("__version__"), "")):
        return version
    try:
        return metadata.version(root)
    except Exception:  # it has no distribution of its name: a module of the project
        return ""
