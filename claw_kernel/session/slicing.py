# ruff: noqa: N815 - the names of visitors are those of ast's nodes
"""Which pieces of code others need: what code does to names is read off it, and sliced back from what is wanted.

Nothing is run. What cannot be seen is taken to matter: a bare call on a name, a subscript or an attribute that is set may change
what the name stands for; code that changes the process for all that follows is *ambient*.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import field

from claw_kernel.late_dataclass import dataclass

_PYTHON_MAGICS = ("%%time", "%%capture", "%%prun")
"""Cell magics under which the cell's code runs in the namespace."""
_AMBIENT = (
    "os.chdir", "os.environ", "os.putenv", "sys.path", "warnings", "locale.setlocale", "logging.basicConfig",
    "get_ipython().run_line_magic",
)  # fmt: skip
_SHELL = ("get_ipython().system", "get_ipython().run_cell_magic", "os.system", "subprocess")
_HARMLESS_CALLS = {
    "print",
    "display",
    "len",
    "repr",
    "str",
    "type",
    "help",
    "isinstance",
    "list",
    "dict",
    "sorted",
    "sum",
}
_HARMLESS_METHODS = {
    "head", "tail", "describe", "info", "show", "sample", "copy", "keys", "values", "items", "join", "format", "nunique",
    "sum", "mean", "min", "max", "count", "std", "median", "value_counts", "groupby", "to_string", "to_markdown", "query",
}  # fmt: skip
_CHANGING_METHODS = {
    "fit", "partial_fit", "fit_transform", "append", "extend", "update", "pop", "popitem", "add", "discard", "remove", "insert",
    "sort", "reverse", "clear", "setdefault", "load_state_dict", "execute", "write", "put", "push", "seed", "shuffle",
}  # fmt: skip
_WRITING_METHODS = {
    "to_csv", "to_excel", "to_feather", "to_hdf", "to_netcdf", "to_parquet", "to_pickle", "to_sql", "to_stata", "to_zarr",
    "write_bytes", "write_csv", "write_html", "write_image", "write_parquet", "write_text", "dump", "extractall", "imsave",
    "imwrite", "makedirs", "mkdir", "save", "savefig", "save_pretrained", "savetxt", "savez", "savez_compressed", "tofile",
    "urlretrieve",
}  # fmt: skip
"""Of pandas, polars, numpy, matplotlib, pathlib, pickle and the like: they put something into a file."""
_MODE = re.compile(r"[rbt]*[wax+][rbt+]*")
_WRITING_MAGICS = ("%%writefile", "%%file")


@dataclass(frozen=True)
class Code:
    """What a piece of code does to names. ``binds``: gives them a value anew; ``changes``: what they stand for, perhaps; ``uses``:
    needs them when it runs; ``later``: when a function that it defines is called. ``is_shell``: it starts programs or is in
    another language; ``is_writing``: it puts something into a file; ``is_readable``: it is Python. ``awaits``: at its top level."""

    binds: frozenset[str] = frozenset()
    changes: frozenset[str] = frozenset()
    uses: frozenset[str] = frozenset()
    later: frozenset[str] = frozenset()
    is_ambient: bool = False
    is_shell: bool = False
    is_writing: bool = False
    is_readable: bool = True
    awaits: bool = False


def read_code(source: str) -> Code:
    """``source``: the text of a cell as IPython takes it."""
    first, _, rest = source.strip().partition("\n")
    if first.startswith("%%"):
        if not first.startswith(_PYTHON_MAGICS):
            return Code(is_shell=True, is_writing=first.startswith(_WRITING_MAGICS), is_readable=False)
        source = rest
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        # Magics and ``!`` are the usual reason.
        from IPython.core.inputtransformer2 import TransformerManager

        try:
            tree = ast.parse(TransformerManager().transform_cell(source))  # type: ignore[no-untyped-call]
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return Code(is_readable=False)
    reader = _Reader()
    try:
        for statement in tree.body:
            reader.visit(statement)
    except RecursionError:
        return Code(is_readable=False)
    return reader.code()


def slice_back(
    codes: Sequence[Code], wanted: Collection[str], roots: Container[int] = (), *, with_ambient: bool = True
) -> list[int]:
    """Positions, in order, of the pieces that make the names ``wanted``, and of those that the pieces ``roots`` need, with these.
    ``with_ambient``: what is ambient belongs to every slice that begins behind it."""
    deferred: set[str] = set()
    while True:
        needed = {*wanted, *deferred}
        chosen: set[int] = set()
        later: set[str] = set()
        for at in reversed(range(len(codes))):
            code = codes[at]
            is_ambient = with_ambient and code.is_ambient and bool(chosen)
            if at in roots or is_ambient or needed & (code.binds | code.changes):
                chosen.add(at)
                needed = (needed - code.binds) | code.uses
                later |= code.later
        # A function may use what is defined behind it, so these are looked for everywhere.
        if later <= deferred:
            return sorted(chosen)
        deferred |= later


@dataclass()
class _Reader(ast.NodeVisitor):
    """Reads statements in the order in which they run."""

    binds: set[str] = field(default_factory=set)
    changes: set[str] = field(default_factory=set)
    uses: set[str] = field(default_factory=set)
    later: set[str] = field(default_factory=set)
    known: set[str] = field(default_factory=set)
    """Names that have a value of this code's own at this point."""
    branches: int = 0
    is_ambient: bool = False
    is_shell: bool = False
    is_writing: bool = False
    awaits: bool = False

    def code(self) -> Code:
        return Code(
            frozenset(self.binds),
            frozenset(self.changes - self.binds),
            frozenset(self.uses),
            frozenset(self.later - self.binds),
            is_ambient=self.is_ambient,
            is_shell=self.is_shell,
            is_writing=self.is_writing,
            awaits=self.awaits,
        )

    # --- names ---

    def use(self, name: str) -> None:
        if name not in self.known:
            self.uses.add(name)

    def bind(self, name: str) -> None:
        self.known.add(name)
        (self.changes if self.branches else self.binds).add(name)

    def change(self, node: ast.expr) -> None:
        """What ``node`` is part of may be changed."""
        self._mark(_dotted(node))
        root: ast.expr = node
        while isinstance(root, ast.Attribute | ast.Subscript | ast.Starred):
            root = root.value
        if isinstance(root, ast.Name):
            self.use(root.id)
            self.changes.add(root.id)

    @contextmanager
    def branch(self) -> Iterator[None]:
        """What is bound inside is perhaps not bound at all."""
        before = set(self.known)
        self.branches += 1
        try:
            yield
        finally:
            self.branches -= 1
            self.known = before

    def _mark(self, dotted: str) -> None:
        self.is_ambient = self.is_ambient or dotted.startswith(_AMBIENT)
        self.is_shell = self.is_shell or dotted.startswith(_SHELL)

    # --- expressions ---

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self.use(node.id)
        else:
            self.bind(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if not isinstance(node.ctx, ast.Load):
            self.change(node)
        self.visit(node.value)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if not isinstance(node.ctx, ast.Load):
            self.change(node)
        self.visit(node.value)
        self.visit(node.slice)

    def visit_Call(self, node: ast.Call) -> None:
        self._mark(_dotted(node.func))
        self.is_writing = self.is_writing or _is_writing(node)
        in_place = any(
            keyword.arg == "inplace" and getattr(keyword.value, "value", None) is True for keyword in node.keywords
        )
        if isinstance(node.func, ast.Attribute) and (in_place or node.func.attr in _CHANGING_METHODS):
            self.change(node.func.value)
        self.generic_visit(node)

    def visit_Await(self, node: ast.Await) -> None:
        self.awaits = True
        self.generic_visit(node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        for default in (*node.args.defaults, *filter(None, node.args.kw_defaults)):
            self.visit(default)
        for name in _free_names(node):
            self.use(name)

    def _visit_comprehension(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> None:
        for name in _free_names(node):
            self.use(name)

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _visit_comprehension

    # --- statements ---

    def visit_Expr(self, node: ast.Expr) -> None:
        self.visit(node.value)
        call = node.value.value if isinstance(node.value, ast.Await) else node.value
        if not isinstance(call, ast.Call):
            return
        if isinstance(call.func, ast.Attribute):
            if call.func.attr in _HARMLESS_METHODS:
                return
            self.change(call.func.value)
        elif isinstance(call.func, ast.Name) and call.func.id in _HARMLESS_CALLS:
            return
        for argument in call.args:
            # It is called for what it does, perhaps to what it is given.
            if isinstance(argument, ast.Name | ast.Attribute | ast.Subscript):
                self.change(argument)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            self.visit(target)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.visit(node.annotation)
        if node.value is not None:
            self.visit(node.value)
            self.visit(node.target)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.visit(node.value)
        self.change(node.target)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.visit(node.value)
        self.visit(node.target)

    def _visit_import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            if alias.name == "*":
                self.is_ambient = True  # nobody knows what it binds
            else:
                self.bind(alias.asname or alias.name.split(".")[0])

    visit_Import = visit_ImportFrom = _visit_import

    def _visit_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for part in (*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)):
            self.visit(part)
        self.later |= _free_names(node)
        for inner in ast.walk(node):
            if isinstance(inner, ast.Global):
                self.changes |= set(inner.names)
        self.bind(node.name)

    visit_FunctionDef = visit_AsyncFunctionDef = _visit_function

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for part in (*node.decorator_list, *node.bases, *(keyword.value for keyword in node.keywords)):
            self.visit(part)
        self.later |= _free_names(node)
        self.bind(node.name)

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        for body in (node.body, node.orelse):
            with self.branch():
                for statement in body:
                    self.visit(statement)

    def _visit_for(self, node: ast.For | ast.AsyncFor) -> None:
        self.awaits = self.awaits or isinstance(node, ast.AsyncFor)
        self.visit(node.iter)
        with self.branch():
            self.visit(node.target)
            for statement in (*node.body, *node.orelse):
                self.visit(statement)

    visit_For = visit_AsyncFor = _visit_for

    def visit_While(self, node: ast.While) -> None:
        self.visit(node.test)
        with self.branch():
            for statement in (*node.body, *node.orelse):
                self.visit(statement)

    def _visit_try(self, node: ast.Try | ast.TryStar) -> None:
        with self.branch():
            for statement in (*node.body, *node.orelse):
                self.visit(statement)
        for handler in node.handlers:
            with self.branch():
                if handler.type is not None:
                    self.visit(handler.type)
                if handler.name:
                    self.known.add(handler.name)
                for statement in handler.body:
                    self.visit(statement)
        for statement in node.finalbody:
            self.visit(statement)

    visit_Try = visit_TryStar = _visit_try

    def visit_AsyncWith(self, node: ast.AsyncWith) -> None:
        self.awaits = True
        self.generic_visit(node)

    def visit_Match(self, node: ast.Match) -> None:
        self.visit(node.subject)
        for case in node.cases:
            with self.branch():
                for part in ast.walk(case.pattern):
                    name = getattr(part, "name", None) or getattr(part, "rest", None)
                    if isinstance(name, str):
                        self.bind(name)
                for statement in (*([case.guard] if case.guard else []), *case.body):
                    self.visit(statement)


def _is_writing(call: ast.Call) -> bool:
    """Whether the call puts something into a file, by its name; of ``open`` by its mode."""
    is_method = isinstance(call.func, ast.Attribute)
    name = _dotted(call.func).rpartition(".")[2]
    if name != "open":
        return is_method and (name in _WRITING_METHODS or _dotted(call.func).startswith("shutil."))
    # The first argument of a method may be the mode: Path(…).open("w").
    places = [*call.args[0 if is_method else 1 : 2], *(key.value for key in call.keywords if key.arg == "mode")]
    modes = [place.value for place in places if isinstance(place, ast.Constant) and isinstance(place.value, str)]
    return any(_MODE.fullmatch(mode) for mode in modes)


def _free_names(node: ast.AST) -> set[str]:
    """Names that a function, class or comprehension takes from outside."""
    loads: set[str] = set()
    own: set[str] = set()
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name):
            (loads if isinstance(inner.ctx, ast.Load) else own).add(inner.id)
        elif isinstance(inner, ast.arg):
            own.add(inner.arg)
        elif isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and inner is not node:
            own.add(inner.name)
        elif isinstance(inner, ast.Import | ast.ImportFrom):
            own |= {alias.asname or alias.name.split(".")[0] for alias in inner.names}
    declared = {name for inner in ast.walk(node) if isinstance(inner, ast.Global) for name in inner.names}
    return (loads - own) | declared


def _dotted(node: ast.expr) -> str:
    """``os.environ`` of ``os.environ["x"].y``; empty where the expression is something else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    if isinstance(node, ast.Subscript):
        return _dotted(node.value)
    if isinstance(node, ast.Call):
        return f"{_dotted(node.func)}()"
    return ""
