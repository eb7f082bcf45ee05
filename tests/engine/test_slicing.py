"""What code does to names, and which pieces others need."""

from __future__ import annotations

import pytest

from claw_kernel.session.slicing import read_code, slice_back


@pytest.mark.parametrize(
    ("source", "binds", "changes", "uses"),
    [
        ("x = y + 1", "x", "", "y"),
        ("x = 1\ny = x", "x y", "", ""),
        ("x += 1", "", "x", "x"),
        ("df['a'] = df.b * k", "", "df", "df k"),
        ("df.attrs = {}", "", "df", "df"),
        ("rows.append(1)", "", "rows", "rows"),
        ("h = model.fit(X)", "h", "model", "model X"),
        ("df.drop(columns='a', inplace=True)", "", "df", "df"),
        ("df.head()", "", "", "df"),
        ("print(df)", "", "", "print df"),
        ("shuffle(rows)", "", "rows", "shuffle rows"),
        ("if a:\n    x = 1\n    z = x", "", "x z", "a"),
        ("for i in rows:\n    total = i", "", "i total", "rows"),
        ("try:\n    import fast as f\nexcept ImportError as e:\n    f = e", "", "f", "ImportError"),
        ("with open(p) as file:\n    t = file.read()", "file t", "", "open p"),
        ("[a for a in rows if a > k]", "", "", "rows k"),
        ("import os.path, numpy as np\nfrom x import y as z", "os np z", "", ""),
        ("def f(a, b=d):\n    c = a + g\n    return c", "f", "", "d"),
        ("class A(B):\n    z = q", "A", "", "B"),
        ("(n := len(rows))", "n", "", "len rows"),
        ("match a:\n    case {'k': v, **rest}:\n        w = v", "", "v rest w", "a"),
        ("%%time\nx = y", "x", "", "y"),
        ("files = !ls {folder}", "files", "", "get_ipython"),
        ("x = await fetch(u)", "x", "", "fetch u"),
    ],
)
def test_what_code_does_to_names(source, binds, changes, uses):
    code = read_code(source)
    assert code.is_readable
    assert (set(code.binds), set(code.changes), set(code.uses)) == (
        set(binds.split()),
        set(changes.split()),
        set(uses.split()),
    )


def test_what_is_ambient_a_shell_or_no_python():
    assert read_code("os.environ['A'] = '1'").is_ambient
    assert read_code("%matplotlib inline").is_ambient
    assert read_code("from x import *").is_ambient
    assert read_code("!make data").is_shell
    assert read_code("%%bash\nls").is_shell
    assert read_code("await x").awaits
    assert not read_code("x = (").is_readable
    assert not read_code("x = " + "(" * 5000 + ")" * 5000).is_readable


@pytest.mark.parametrize(
    ("source", "is_writing"),
    [
        ("with open('a.txt', 'w') as file:\n    file.write('x')", True),
        ("open('w')", False),
        ("open('a', mode='rb')", False),
        ("Path('a').open('a+')", True),
        ("gzip.open('a', 'wt')", True),
        ("df.to_csv('a.csv')", True),
        ("pd.read_csv('a.csv').head()", False),
        ("plt.gcf().savefig('a.png')", True),
        ("shutil.copy(a, b)", True),
        ("%%writefile a.py\nx = 1", True),
        ("text.replace('w', 'x').save", False),
    ],
)
def test_what_puts_something_into_a_file(source, is_writing):
    assert read_code(source).is_writing is is_writing


def slices(cells: list[str], *names: str) -> list[int]:
    return slice_back([read_code(cell) for cell in cells], set(names))


def test_the_smallest_set_in_order():
    cells = [
        "import pandas as pd",  # 0
        "raw = [1]",  # 1
        "other = 2",  # 2
        "df = pd.DataFrame(raw)",  # 3
        "df['b'] = 1",  # 4
        "df.head()",  # 5
        "raw = None",  # 6
        "mean = df.b.mean()",  # 7
    ]
    assert slices(cells, "mean") == [0, 1, 3, 4, 7]
    assert slices(cells, "raw") == [6]
    assert slices(cells, "other", "df") == [0, 1, 2, 3, 4]
    assert slices(cells, "nowhere") == []
    # A value given anew needs nothing of what was before; one that is changed does.
    assert slices(["x = 1", "x = 2", "x += 1"], "x") == [1, 2]
    assert slices(["x = 1", "if a:\n    x = 2"], "x") == [0, 1]


def test_what_a_function_needs_may_stand_behind_it():
    assert slices(["def f():\n    return scale", "scale = 2", "y = f()"], "y") == [0, 1, 2]


def test_what_is_ambient_belongs_to_every_slice_behind_it():
    cells = ["import os", "os.chdir('data')", "x = open('a').read()", "os.chdir('..')"]
    assert slices(cells, "x") == [0, 1, 2]
    assert slices(cells, "nothing") == []
