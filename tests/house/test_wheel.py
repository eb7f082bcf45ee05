"""The wheel carries everything an installation needs, and nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel `make build` left; where there is none or sources are newer, one built now (some seconds: the crate is compiled)."""
    sources = [p for package in ("claw_kernel", "claw_magics") for p in (ROOT / package).rglob("*.py")]
    sources += [*(ROOT / "rust_core" / "src").rglob("*.rs"), ROOT / "pyproject.toml"]
    newest = max(path.stat().st_mtime for path in sources)
    for found in (ROOT / "dist").glob("*.whl"):
        if found.stat().st_mtime >= newest:
            return found
    maturin = shutil.which("maturin", path=Path(sys.executable).parent) or shutil.which("maturin")
    assert maturin, "maturin is missing; run make test, or make build before"
    out = tmp_path_factory.mktemp("dist")
    command = [maturin, "build", "--release", "--locked", "--out", str(out), "--interpreter", sys.executable]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert built.returncode == 0, built.stderr
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def names(wheel):
    return zipfile.ZipFile(wheel).namelist()


def data(names: list[str], place: str) -> set[str]:
    return {name.split(f".data/data/share/jupyter/{place}/")[1] for name in names if f"/share/jupyter/{place}/" in name}


@pytest.mark.timeout(900)
def test_every_module_is_in_the_wheel(names):
    modules = {
        str(path.relative_to(ROOT))
        for package in ("claw_kernel", "claw_magics")
        for path in (ROOT / package).rglob("*")
        if path.suffix in {".py", ".pyi", ".json"} and "__pycache__" not in path.parts
    }
    assert modules - set(names) == set()


def test_the_native_module_is_for_every_later_python(wheel, names):
    assert "-abi3-" in wheel.name
    assert [name for name in names if name.startswith("claw_kernel/_core.") and not name.endswith(".pyi")] in (
        ["claw_kernel/_core.abi3.so"],
        ["claw_kernel/_core.pyd"],
    )


def test_the_kernelspec_is_in_the_wheel(names):
    assert "kernel.json" in data(names, "kernels/claw")


def test_the_labextension_is_in_the_wheel(names):
    found = data(names, "labextensions/claw-jupyter")
    assert {"package.json", "install.json"} <= found
    assert any(name.startswith("static/remoteEntry.") for name in found)


def test_nothing_else_is_in_the_wheel(names):
    known = (
        "claw_kernel/",
        "claw_magics/",
        ".dist-info/",
        "/share/jupyter/kernels/claw/",
        "/share/jupyter/labextensions/claw-jupyter/",
    )
    strange = [name for name in names if not any(part in name for part in known)]
    waste = [name for name in names if "__pycache__" in name or name.endswith((".rs", ".ts", ".tsbuildinfo", ".map"))]
    assert (strange, waste) == ([], [])
