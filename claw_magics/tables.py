"""Arrays and tables of known libraries, described through calls that run nobody else's code.

Called with the library name of an exact class (``claw_magics.classes.library_name``), so the methods used here are
the library's own. What they hold may still be a stranger's: cells, labels and array types are checked in turn before
they are looked into, and a column whose array type is not known shows its type only.
"""

from __future__ import annotations

import sys
import types
from typing import Any

_MAX_COLUMNS = 30
_MAX_ROWS = 5
_MAX_VALUES = 8

_INDEXES = (
    "pandas.Index", "pandas.RangeIndex", "pandas.MultiIndex", "pandas.DatetimeIndex", "pandas.TimedeltaIndex",
    "pandas.PeriodIndex", "pandas.CategoricalIndex", "pandas.IntervalIndex",
)  # fmt: skip
_PLAIN_KINDS = "biufcmMSU"
"""Kinds of NumPy dtypes whose values are numbers, times or text (not objects, not records)."""


def describe_array_or_table(
    library_name: str, value: Any, details: dict[str, Any], *, is_short: bool
) -> tuple[str, int | None] | None:
    """Summary and size in bytes, or None where the class is not one of those known here."""
    match library_name:
        case "numpy.ndarray":
            return _describe_ndarray(value, details)
        case "pandas.DataFrame":
            return _describe_frame(value, details, is_short=is_short)
        case "pandas.Series":
            return _describe_series(value, details)
        case name if name in _INDEXES:
            details["length"] = len(value)
            return f"{len(value):,} labels: {_join(labels(value, _MAX_VALUES), len(value))}", None
        case "polars.DataFrame":
            return _describe_polars(value, details, is_short=is_short)
        case "polars.LazyFrame":
            return "lazy frame, not collected", None
        case "polars.Series":
            details["length"] = len(value)
            return (
                f"{len(value):,} values of {value.dtype}: {_join(value.head(_MAX_VALUES).to_list(), len(value))}",
                None,
            )
        case "torch.Tensor" | "torch.nn.parameter.Parameter":
            return _describe_tensor(value, details)
    scalar = preview_scalar(library_name, value)
    return (scalar, None) if scalar is not None else None


def preview_scalar(library_name: str, value: Any) -> str | None:
    """A number, time or path of a known library as text; None where it is something else."""
    library, _, name = library_name.partition(".")
    if library == "numpy" and _is_numpy_scalar(value):
        return f"{name}({value.item()!r})" if value.dtype.kind in "biufcSU" else f"{name}('{value.astype(str)!s}')"
    if library_name in ("datetime.date", "datetime.timedelta"):
        return str(value)
    if library_name in ("datetime.datetime", "datetime.time", "pandas.Timestamp"):
        return value.isoformat() if _has_known_zone(value) else None
    if library_name in ("pandas.Timedelta", "pandas.Period"):
        return str(value)
    if library == "pandas" and name.endswith(("NaTType", "NAType")):  # its module differs between versions
        return "NaT" if name.endswith("NaTType") else "<NA>"
    if library_name.startswith("matplotlib.") and library_name.endswith(".Figure"):
        width, height = (float(side) for side in value.bbox_inches.size)
        return f"figure of {width:g} by {height:g} inches"
    if library == "PIL" and isinstance(value, _pil_image()):
        return f"image of {value.size[0]} by {value.size[1]} pixels, mode {value.mode}"
    return None


def labels(index: Any, count: int) -> list[Any]:
    """The first ``count`` labels of a pandas index, or none where the index is of an unknown class."""
    if not _is_known_index(index):
        return []
    return list(index[:count])


def column_position(frame: Any, label: Any) -> int:
    """Where the column ``label`` stands, found among plain labels only. Raises ValueError."""
    from claw_magics.classes import full_type_name

    for position, own in enumerate(labels(frame.columns, len(frame.columns))):
        if full_type_name(type(own)) in ("str", "int", "bool") and type(own) is type(label) and own == label:
            return position
    raise ValueError(label)


# --- NumPy ------------------------------------------------------------------------------------------------------------


def _describe_ndarray(array: Any, details: dict[str, Any]) -> tuple[str, int | None]:
    shape, dtype = array.shape, _dtype_text(array.dtype)
    details.update(shape=list(shape), dtype=dtype)
    text = f"{_shape_text(shape)} array of {dtype}"
    if array.size and array.dtype.kind in _PLAIN_KINDS + "O":
        # ``flat`` copies what it is asked for, ``ravel`` could copy the whole array.
        text += f": {_join(list(array.flat[:_MAX_VALUES]), array.size)}"
    return text, int(array.nbytes)


def _dtype_text(dtype: Any) -> str:
    if dtype.kind in _PLAIN_KINDS:
        return str(dtype)
    if dtype.kind == "O":
        return "object"
    names = dtype.names
    return f"records ({', '.join(names[:_MAX_COLUMNS])})" if names else f"{dtype.itemsize}-byte items"


def _is_numpy_scalar(value: Any) -> bool:
    generic = vars(sys.modules["numpy"]).get("generic")
    return generic is not None and isinstance(value, generic) and value.dtype.kind in _PLAIN_KINDS


def _shape_text(shape: tuple[int, ...]) -> str:
    return str(tuple(int(side) for side in shape))


# --- pandas -----------------------------------------------------------------------------------------------------------


def _describe_frame(frame: Any, details: dict[str, Any], *, is_short: bool) -> tuple[str, int | None]:
    manager = frame._mgr
    columns, index = manager.axes
    if not (_is_known_index(columns) and _is_known_index(index)):
        return "data frame with an index of an unknown class", None
    count = len(columns)
    details["shape"] = [len(index), count]
    names = labels(columns, _MAX_COLUMNS)
    text = _shape_of_table(len(index), count) + (f": {_join(names, count, _MAX_COLUMNS)}" if count else "")
    blocks = manager.blocks
    known = [is_known_array(block.values) for block in blocks]
    size = sum(int(block.values.nbytes) for block, is_known in zip(blocks, known, strict=True) if is_known)
    if is_short:
        return text, size if all(known) else None
    lines = [text]
    kinds: dict[str, str] = {}
    for position in range(min(count, _MAX_COLUMNS)):
        is_known = known[int(manager.blknos[position])]
        label = _one(names[position]) if position < len(names) else str(position)
        if is_known:
            array = frame.iloc[:, position].array
            kind = _array_text(array)
            values = _join(list(array[:_MAX_ROWS]), len(index), _MAX_ROWS)
        else:
            kind, values = _class_text(blocks[int(manager.blknos[position])].values), "…"
        kinds[label] = kind
        lines.append(f"  {label} ({kind}): {values}")
    if count > _MAX_COLUMNS:
        lines.append(f"  … {count - _MAX_COLUMNS:,} more columns")
    first = _join(labels(index, _MAX_ROWS), len(index), _MAX_ROWS)
    lines.append(f"index: {_class_text(index)}" + (f", {first}" if first else ""))
    details["columns"] = kinds
    return "\n".join(lines), size if all(known) else None


def _describe_series(series: Any, details: dict[str, Any]) -> tuple[str, int | None]:
    array = series._mgr.blocks[0].values
    if not is_known_array(array) or not _is_known_index(series._mgr.axes[0]):
        return f"series of {_class_text(array)}", None
    count, kind = len(array), _array_text(series.array)
    details.update(length=count, dtype=kind)
    values = _join(list(series.array[:_MAX_VALUES]), count)
    name = f" named {_one(series.name)}" if series.name is not None else ""
    return f"{count:,} values of {kind}{name}" + (f": {values}" if count else ""), int(array.nbytes)


def _is_known_index(index: Any) -> bool:
    from claw_magics.classes import library_name

    if library_name(type(index)) not in _INDEXES:
        return False
    if library_name(type(index)) == "pandas.MultiIndex":
        return all(_is_known_index(level) for level in index.levels)
    return is_known_array(index.array)


def is_known_array(array: Any) -> bool:
    """An array whose class is NumPy's or pandas' own, down to the array behind a category or a mask."""
    from claw_magics.classes import library_name

    name = library_name(type(array))
    if name == "numpy.ndarray":
        return bool(array.dtype.kind in _PLAIN_KINDS + "OV")
    if not name.startswith("pandas."):
        return False
    inner = getattr(array, "categories", None)
    if inner is not None and not (_is_known_index(inner) and is_known_array(inner.array)):
        return False
    dtype = array.dtype
    if not library_name(type(dtype)).startswith(("pandas.", "numpy.")):
        return False
    # A sparse array's filling and an Arrow extension write themselves into the dtype's name.
    subtype, arrow = getattr(dtype, "subtype", None), getattr(dtype, "pyarrow_dtype", None)
    if (subtype is not None and subtype.kind not in _PLAIN_KINDS) or (
        arrow is not None and not library_name(type(arrow))
    ):
        return False
    zone = getattr(dtype, "tz", None)
    return zone is None or _is_known_zone(zone)


def _array_text(array: Any) -> str:
    if _class_text(array).endswith("Categorical"):
        return f"category of {len(array.categories):,}"
    dtype = array.dtype
    return _dtype_text(dtype) if _class_text(dtype).startswith("numpy.") else str(dtype)


# --- others -----------------------------------------------------------------------------------------------------------


def _describe_polars(frame: Any, details: dict[str, Any], *, is_short: bool) -> tuple[str, int | None]:
    height, width = frame.shape
    details["shape"] = [height, width]
    names, size = frame.columns, int(frame.estimated_size())
    text = f"{_shape_of_table(height, width)}: {_join(names[:_MAX_COLUMNS], width, _MAX_COLUMNS)}"
    if is_short:
        return text, size
    lines = [text]
    for name, kind in list(zip(names, frame.dtypes, strict=True))[:_MAX_COLUMNS]:
        lines.append(f"  {_one(name)} ({kind}): {_join(frame[name].head(_MAX_ROWS).to_list(), height, _MAX_ROWS)}")
    if width > _MAX_COLUMNS:
        lines.append(f"  … {width - _MAX_COLUMNS:,} more columns")
    return "\n".join(lines), size


def _describe_tensor(tensor: Any, details: dict[str, Any]) -> tuple[str, int | None]:
    # No values: those of a tensor on a GPU would have to be waited for.
    shape = tuple(int(side) for side in tensor.shape)
    details.update(shape=list(shape), dtype=str(tensor.dtype), device=str(tensor.device))
    grad = ", requires grad" if tensor.requires_grad else ""
    text = f"{_shape_text(shape)} tensor of {tensor.dtype} on {tensor.device}{grad}"
    return text, int(tensor.numel() * tensor.element_size())


def _shape_of_table(rows: int, columns: int) -> str:
    return f"{rows:,} row{'s' * (rows != 1)}, {columns:,} column{'s' * (columns != 1)}"


def _has_known_zone(value: Any) -> bool:
    return value.tzinfo is None or _is_known_zone(value.tzinfo)


def _is_known_zone(zone: Any) -> bool:
    from claw_magics.classes import library_name

    return library_name(type(zone)) in ("datetime.timezone", "zoneinfo.ZoneInfo") or library_name(
        type(zone)
    ).startswith("pytz.")


def _pil_image() -> Any:
    module = sys.modules.get("PIL.Image")
    return vars(module)["Image"] if type(module) is types.ModuleType else ()


def _class_text(value: Any) -> str:
    from claw_magics.classes import full_type_name

    return full_type_name(type(value))


def _one(value: Any) -> str:
    from claw_magics.previews import preview

    return preview(value, max_chars=60)


def _join(values: list[Any], total: int, most: int = _MAX_VALUES) -> str:
    shown = ", ".join(_one(_unwrap(value)) for value in values[:most])
    return shown + (", …" if total > min(len(values), most) else "")


def _unwrap(value: Any) -> Any:
    """A NumPy number or text as Python's own: in a row of values the type is said once."""
    from claw_magics.classes import library_name

    is_number = (
        library_name(type(value)).startswith("numpy.") and _is_numpy_scalar(value) and value.dtype.kind in "biufcSU"
    )
    return value.item() if is_number else value
