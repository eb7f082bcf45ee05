"""Classes whose methods are made late are to their users what the standard decorator makes at once."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import threading

import pytest
from pydantic import TypeAdapter

import claw_kernel
import claw_magics
from claw_kernel import late_dataclass

DECORATORS = {
    "standard": dataclasses.dataclass,
    "late": late_dataclass.dataclass,
}


@pytest.fixture(params=DECORATORS)
def dataclass(request):
    return DECORATORS[request.param]


def point(dataclass, **options):
    @dataclass(**options)
    class Point:
        x: int
        y: int = 0
        marks: list[str] = dataclasses.field(default_factory=list, compare=False)

        @property
        def total(self) -> int:
            return self.x + self.y

    return Point


def test_values(dataclass):
    kind = point(dataclass, frozen=True)
    one = kind(1, y=2)
    assert (one.x, one.y, one.marks, one.total) == (1, 2, [], 3)
    assert one == kind(1, 2, ["other"]) != kind(2, 1)
    assert hash(one) == hash(kind(1, 2))
    assert repr(one).endswith("Point(x=1, y=2, marks=[])")
    assert dataclasses.replace(one, x=5) == kind(5, 2)
    assert dataclasses.asdict(one) == {"x": 1, "y": 2, "marks": []}
    assert one.marks is not kind(1).marks
    assert not hasattr(kind, "marks")
    assert kind.y == 0
    match one:
        case kind(1, y):
            assert y == 2
        case _:
            pytest.fail("no match")


def test_what_is_refused(dataclass):
    one = point(dataclass, frozen=True)(1)
    with pytest.raises(dataclasses.FrozenInstanceError, match="'x'"):
        one.x = 2
    with pytest.raises(dataclasses.FrozenInstanceError, match="'x'"):
        del one.x
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'x'"):
        type(one)()
    with pytest.raises(TypeError, match="unexpected keyword argument 'z'"):
        point(dataclass, frozen=True)(1, z=1)


def test_what_may_change(dataclass):
    kind = point(dataclass)
    one = kind(1)
    one.x = 3
    assert one == kind(3)
    with pytest.raises(TypeError, match="unhashable"):
        hash(one)


def test_fields_of_a_class_without_instances(dataclass):
    kind = point(dataclass, frozen=True)
    assert dataclasses.is_dataclass(kind)
    assert [item.name for item in dataclasses.fields(kind)] == ["x", "y", "marks"]
    assert TypeAdapter(point(dataclass, frozen=True)).validate_python({"x": "4"}).x == 4


def test_subclasses(dataclass):
    base = point(dataclass, frozen=True)

    @dataclass(frozen=True)
    class Named(base):
        name: str = ""

    class Plain(base):
        def __init__(self, x: int) -> None:
            super().__init__(x, 9)

    assert Named(1, 2, [], "n") == Named(x=1, y=2, marks=[], name="n")
    assert [item.name for item in dataclasses.fields(Named)] == ["x", "y", "marks", "name"]
    assert Plain(1).y == 9


def test_many_threads_make_the_first_instance_together():
    for _ in range(50):
        kind, found, start = point(late_dataclass.dataclass, frozen=True), set(), threading.Barrier(8)

        def make(kind=kind, found=found, start=start):
            start.wait()
            found.add(kind(1, 2))

        threads = [threading.Thread(target=make) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == {kind(1, 2)}


def test_nothing_is_made_before_it_is_needed():
    kind = point(late_dataclass.dataclass, frozen=True)
    assert "__eq__" not in vars(kind)
    kind(1)
    assert "__eq__" in vars(kind)


def test_a_mistake_in_a_declaration_is_said_at_every_use():
    @late_dataclass.dataclass(frozen=True)
    class Wrong:
        items: list[str] = []  # noqa: RUF012 - the mistake

    for _ in range(2):
        with pytest.raises(ValueError, match="mutable default"):
            Wrong()


def test_every_class_of_ours_is_declared_well():
    """The standard decorator would say so when a module is imported."""
    for package in (claw_kernel, claw_magics):
        for entry in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not entry.name.endswith("__main__"):
                importlib.import_module(entry.name)
    waiting = [cls for cls in late_dataclass._waiting if cls.__module__.startswith("claw_")]
    for cls in waiting:
        dataclasses.fields(cls)  # raises for what is no declaration
        assert "__eq__" in vars(cls)
