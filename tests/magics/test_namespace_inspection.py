"""Inspection runs none of an object's code: every hostile object here records each call that reaches it."""

from __future__ import annotations

import datetime as dt
import sys
import time
from typing import Any

import numpy as np
import pandas as pd
import pytest

from claw_kernel.tools.namespace import Variable
from claw_magics.inspection import describe, list_variables, summarize
from claw_magics.previews import preview

CALLS: list[str] = []


def trap(name: str) -> Any:
    def called(*args: Any, **kwargs: Any) -> Any:
        CALLS.append(name)
        raise RuntimeError(f"{name} ran")

    return called


HOOKS = (  # noqa: SIM905  a list of this length reads worse
    "__repr__ __str__ __format__ __len__ __iter__ __bool__ __hash__ __eq__ __lt__ __contains__ __getitem__ __sizeof__ "
    "__dir__ __getattr__ __getattribute__ __index__ __int__ __float__ __bytes__ __reduce__ __reduce_ex__ __copy__ "
    "__array__ __dataframe__ __call__ __instancecheck__ __subclasscheck__ _repr_html_ _repr_mimebundle_ "
    "_ipython_display_ keys items values shape dtype columns"
).split()

Hostile = type(
    "Hostile",
    (),
    {name: trap(name) for name in HOOKS} | {"__module__": "lair", "__class__": property(trap("__class__"))},
)

HostileMeta = type(
    "HostileMeta",
    (type,),
    {
        name: trap("meta " + name)
        for name in ("__repr__", "__hash__", "__eq__", "__getattribute__", "__instancecheck__", "__dir__")
    }
    | {name: property(trap("meta " + name)) for name in ("__name__", "__module__", "__mro__", "__dict__", "__bases__")},
)


def make_hostile() -> Any:
    return object.__new__(Hostile)


def make_with_hostile_class() -> Any:
    return object.__new__(type.__new__(HostileMeta, "Sneaky", (), {}))


class HostileDict(dict):  # type: ignore[type-arg]
    """A subclass of a known type is not that type."""

    __repr__ = __len__ = __iter__ = items = keys = __getitem__ = trap("dict")  # type: ignore[assignment]


class HostileFrame(pd.DataFrame):
    __repr__ = __len__ = __getitem__ = trap("frame")  # type: ignore[assignment]
    shape = property(trap("frame shape"))  # type: ignore[assignment]


class HostileZone(dt.tzinfo):
    utcoffset = tzname = dst = trap("zone")  # type: ignore[assignment]


class HiddenDict:
    __dict__ = property(trap("__dict__"))  # type: ignore[assignment]


@pytest.fixture(autouse=True)
def no_calls() -> Any:
    CALLS.clear()
    yield
    assert CALLS == []


def fill(array: Any, *values: Any) -> Any:
    """Put strangers into an object array in place: building one from them would look at them."""
    for position, value in enumerate(values):
        array[position] = value
    return array


def hostile_things() -> dict[str, Any]:
    array = np.empty(2, dtype=object)
    frame = pd.DataFrame({"plain": [1, 2], "strange": pd.Series([1, 2], dtype=object)})
    fill(frame._mgr.blocks[int(frame._mgr.blknos[1])].values[0], make_hostile(), make_hostile())  # noqa: PD011
    renamed = pd.DataFrame([[1, 2]], columns=pd.Index(["plain", 0], dtype=object))
    fill(renamed.columns.array._ndarray, "plain", make_hostile())  # a label that would answer to ==, hash and repr
    found = {
        "instance": make_hostile(),
        "of_hostile_class": make_with_hostile_class(),
        "hostile_class": type(make_with_hostile_class()),
        "dict_subclass": HostileDict(a=1),
        "frame_subclass": HostileFrame({"a": [1]}),
        "hidden": HiddenDict(),
        "in_list": [make_hostile(), make_with_hostile_class(), 1],
        "in_tuple": (make_hostile(),),
        "in_dict": {"a": make_hostile()},
        "array": fill(array, make_hostile(), 1),
        "frame": frame,
        "renamed": renamed,
        "series": frame.iloc[:, 1],
        "zoned": dt.datetime(2020, 1, 1, tzinfo=HostileZone()),
    }
    CALLS.clear()  # building them may compare or look at them; inspecting may not
    return found


@pytest.mark.parametrize("name", sorted(hostile_things()))
def test_no_code_of_the_object_runs(name: str) -> None:
    things = hostile_things()
    assert type(summarize(things[name])) is str
    found = describe(name, things)
    assert found.summary
    assert "could not be read" not in found.summary
    assert CALLS == []


def test_listing_hostile_variables_runs_nothing() -> None:
    things = hostile_things()
    found = {variable.name: variable for variable in list_variables(things, {})}
    assert set(found) == set(things)
    assert found["instance"].is_opaque
    assert found["instance"].type_name == "lair.Hostile"
    assert found["of_hostile_class"].is_opaque
    assert "Sneaky" in found["of_hostile_class"].type_name
    assert found["dict_subclass"].is_opaque
    assert "subclass of dict" in found["dict_subclass"].summary
    assert found["frame_subclass"].is_opaque


def test_strangers_inside_stand_as_their_type() -> None:
    things = hostile_things()
    assert (
        preview(things["in_list"])
        == "[<lair.Hostile>, <" + summarize(things["of_hostile_class"]).removeprefix("object of ") + ">, 1]"
    )
    assert "'strange' (object): <lair.Hostile>, <lair.Hostile>" in describe("frame", things).summary
    assert describe("frame['plain']", things).summary.startswith("2 values of int64")
    assert describe("renamed['plain']", things).summary.startswith("1 values of int64")


def test_a_class_that_lies_about_itself_is_seen_through() -> None:
    class Liar:
        __class__ = int  # type: ignore[assignment]

    found = describe("liar", {"liar": Liar()})
    assert found.is_opaque
    assert "Liar" in found.type_name


def test_a_look_alike_module_name_is_not_enough() -> None:
    fake = type(
        "DataFrame", (), {"__module__": "pandas", "shape": property(trap("shape")), "_mgr": property(trap("_mgr"))}
    )
    assert describe("x", {"x": fake()}).is_opaque


def test_attributes_are_read_without_getattr() -> None:
    class Model:
        __slots__ = ("__dict__", "layers", "unset")
        version = "1.0"

        def __init__(self) -> None:
            self.layers = [64, 32]
            self.name = "net"

        @property
        def loss(self) -> float:
            CALLS.append("loss")
            return 0.5

        def fit(self, x: int) -> None:
            """Train."""

    things = {"model": Model()}
    assert describe("model.layers", things).summary == "2 items: [64, 32]"
    assert describe("model.layers[1]", things).summary == "32"
    assert describe("model.name", things).summary == "3 characters: 'net'"
    assert describe("model.version", things).summary == "3 characters: '1.0'"
    assert describe("model.fit", things).summary == "function fit(self, x): Train."
    for name, reason in {
        "model.loss": "would run code",
        "model.unset": "is not set",
        "model.nothing": "has no attribute",
        "model[0]": "would run code",
        "other": "no variable other",
        "model.fit()": "not a variable name",
        "model.layers[len]": "constants",
        "model.layers[9]": "no item 9",
        "__import__('os')": "not a variable name",
        "": "not a variable name",
        "(" * 500: "not a variable name",
    }.items():
        with pytest.raises(KeyError, match=reason):
            describe(name, things)


def test_only_the_users_own_variables_are_listed() -> None:
    hidden = {"quit": exit, "old": 1}
    things = {"np": np, "_private": 1, "In": [], "Out": {}, "quit": exit, "old": 2, "mine": 3, "f": lambda: None}
    assert [variable.name for variable in list_variables(things, hidden)] == ["f", "mine", "old"]


def test_huge_values_are_cheap() -> None:
    things: dict[str, Any] = {
        "rows": list(range(3_000_000)),
        "text": "x" * 20_000_000,
        "number": 10**200_000,
        "table": {i: i for i in range(1_000_000)},
        "array": np.zeros((4_000, 4_000)).T,
        "frame": pd.DataFrame(np.zeros((1_000_000, 8))),
        "deep": None,
    }
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    things["deep"] = deep
    looping: list[Any] = []
    looping.append(looping)
    things["looping"] = looping
    begun = time.perf_counter()
    found = list_variables(things, {})
    full = [describe(name, things) for name in things]
    assert time.perf_counter() - begun < 1
    assert all(len(variable.summary) <= 240 for variable in found)
    assert all(len(variable.summary) <= 2_000 for variable in full)
    sizes = {variable.name: variable.size_bytes for variable in found}
    assert sizes["array"] == 4_000 * 4_000 * 8
    assert sizes["frame"] == 8_000_000 * 8
    while deep:  # taken apart by hand: freeing it in one go would recurse
        deep = deep.pop()


def test_known_types_say_what_is_in_them() -> None:
    things: dict[str, Any] = {
        "frame": pd.DataFrame(
            {
                "city": ["Rome", "Oslo"],
                "kind": pd.Categorical(["a", "b"]),
                "when": pd.date_range("2024-01-01", periods=2, tz="UTC"),
                "count": pd.array([1, None], dtype="Int64"),
            },
            index=pd.MultiIndex.from_tuples([(1, "x"), (2, "y")]),
        ),
        "array": np.arange(6, dtype="int32").reshape(2, 3),
        "scalar": np.float64(2.5),
        "when": pd.Timestamp("2024-05-06 07:08"),
        "one": (1,),
        "empty": set(),
        "nothing": pd.DataFrame(),
        "months": pd.DataFrame(
            {"month": pd.period_range("2020", periods=2, freq="M"), "sparse": pd.array([0, 1], dtype="Sparse[int]")}
        ),
    }
    frame = describe("frame", things)
    assert frame.type_name == "pandas.DataFrame"
    assert "2 rows, 4 columns: 'city', 'kind', 'when', 'count'" in frame.summary
    assert "'city'" in frame.summary
    assert "'Rome', 'Oslo'" in frame.summary
    assert "(category of 2)" in frame.summary
    assert "2024-01-01T00:00:00+00:00" in frame.summary
    assert "(Int64): 1, <NA>" in frame.summary
    assert frame.details["shape"] == [2, 4]
    summaries = {name: describe(name, things).summary for name in things}
    assert summaries["array"] == "(2, 3) array of int32: 0, 1, 2, 3, 4, 5"
    assert summaries["scalar"] == "float64(2.5)"
    assert summaries["when"] == "2024-05-06T07:08:00"
    assert summaries["one"] == "1 item: (1,)"
    assert summaries["empty"] == "0 items: set()"
    assert summaries["nothing"] == "0 rows, 0 columns\nindex: pandas.RangeIndex"
    assert "'month' (period[M]): 2020-01, 2020-02" in summaries["months"]
    assert "(Sparse[int64, 0]): 0, 1" in summaries["months"]


def test_repr_runs_only_when_asked_and_is_bounded() -> None:
    class Chatty:
        def __repr__(self) -> str:
            return "y" * 1_000_000

    class Broken:
        def __repr__(self) -> str:
            raise ValueError("no")

    class Wrong:
        def __repr__(self) -> Any:
            return 5

    things = {"chatty": Chatty(), "broken": Broken(), "wrong": Wrong()}
    long: Variable = describe("chatty", things, with_repr=True)
    assert "yyyy" in long.summary
    assert len(long.summary) < 11_000
    assert "repr failed with ValueError" in describe("broken", things, with_repr=True).summary
    assert "repr failed with TypeError" in describe("wrong", things, with_repr=True).summary
    assert "yyyy" not in describe("chatty", things).summary


def test_nothing_is_imported() -> None:
    assert "polars" not in sys.modules
    before = set(sys.modules)
    list_variables(hostile_things(), {})
    assert {name for name in set(sys.modules) - before if name.startswith(("polars", "torch", "matplotlib"))} == set()
