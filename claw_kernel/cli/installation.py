"""What ``claw doctor`` looks at in the installation: packages, the native core, kernels, the JupyterLab extension."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from claw_kernel import __version__
from claw_kernel.cli.finding import Finding

_DISTRIBUTION = "claw-jupyter"
_EXTENSION = "claw-jupyter"
_REINSTALL = f"Run: {sys.executable} -m pip install --force-reinstall {_DISTRIBUTION} (in a clone: make setup)."


def packages() -> Iterator[Finding]:
    """The distribution itself, and everything it requires, in a version that will do."""
    from packaging.requirements import Requirement

    python = ".".join(str(part) for part in sys.version_info[:3])
    try:
        distribution = metadata.distribution(_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        yield Finding("packages", "fail", f"{_DISTRIBUTION} is not installed in {sys.prefix}.", _REINSTALL)
        return
    if distribution.version != __version__:
        yield Finding("packages", "warn", f"Claw {__version__} runs, {distribution.version} is installed.", _REINSTALL)
    else:
        yield Finding("packages", "ok", f"Claw {__version__}, Python {python} in {sys.prefix}")
    wanting, found = [], []
    for line in distribution.requires or ():
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            wanting.append(f"{requirement.name} (missing)")
            continue
        if requirement.specifier.contains(version, prereleases=True):
            found.append(f"{requirement.name} {version}")
        else:
            wanting.append(f"{requirement.name} {version} (wanted: {requirement.specifier})")
    if wanting:
        yield Finding("packages", "fail", ", ".join(wanting), f"Run: {sys.executable} -m pip install {_DISTRIBUTION}")
    else:
        yield Finding("packages", "ok", ", ".join(found))


def native_core() -> Iterator[Finding]:
    try:
        from claw_kernel import _core
    except ImportError as error:
        yield Finding("native core", "fail", f"claw_kernel._core does not load: {error}", _REINSTALL)
        return
    if _core.__version__ != __version__:
        yield Finding("native core", "fail", f"version {_core.__version__} beside Claw {__version__}.", _REINSTALL)
    else:
        yield Finding("native core", "ok", f"claw_kernel._core {_core.__version__} loads")


def kernels() -> Iterator[Finding]:
    """The kernelspec "Claw" is found, and the Python it starts has Claw; so does the Python kernel for ``%%claw``."""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    specs = KernelSpecManager()
    try:
        spec = specs.get_kernel_spec("claw")
    except NoSuchKernel:
        yield Finding("kernels", "fail", "Jupyter does not find the kernel Claw.", _REINSTALL)
    else:
        yield _started("Claw", spec, "import claw_kernel, claw_kernel._core, ipykernel")
    try:
        spec = specs.get_kernel_spec("python3")
    except NoSuchKernel:
        message = "Jupyter does not find the kernel python3, which %%claw cells usually live in."
        yield Finding("kernels", "warn", message, f"Run: {sys.executable} -m ipykernel install --sys-prefix")
    else:
        yield _started("Python 3", spec, "import claw_magics, ipykernel")


def _started(name: str, spec: Any, code: str) -> Finding:
    import shutil
    import subprocess

    program = spec.argv[0]
    # Jupyter puts its own interpreter in the place of a bare "python".
    is_ours = program in ("python", "python3", f"python3.{sys.version_info[1]}")
    python = sys.executable if is_ours else (shutil.which(program) or program)
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("kernels", "fail", f"{name} ({spec.resource_dir}): {python} does not run: {error}", _REINSTALL)
    if done.returncode != 0:
        problem = done.stderr.strip().split("\n")[-1]
        remedy = f"Run: {python} -m pip install {_DISTRIBUTION}"
        return Finding("kernels", "fail", f"{name} ({spec.resource_dir}): {python}: {problem}", remedy)
    return Finding("kernels", "ok", f"{name} in {spec.resource_dir}, {python}")


def labextension() -> Iterator[Finding]:
    """Installed where this JupyterLab looks, whole, of this version, and not switched off."""
    from jupyter_core.paths import jupyter_path

    topic = "labextension"
    places = [Path(place) / _EXTENSION for place in jupyter_path("labextensions")]
    place = next((place for place in places if (place / "package.json").is_file()), None)
    if place is None:
        message = "JupyterLab does not find the extension; turns are drawn as Markdown and approvals as widgets."
        yield Finding(topic, "fail", message, _REINSTALL)
        return
    package = json.loads((place / "package.json").read_text("utf-8"))
    entry = package.get("jupyterlab", {}).get("_build", {}).get("load", "")
    if not entry or not (place / entry).is_file():
        yield Finding(topic, "fail", f"{place} is not complete.", _REINSTALL)
        return
    if package.get("version") != __version__:
        yield Finding(topic, "warn", f"version {package.get('version')} in {place}, Claw is {__version__}.", _REINSTALL)
    if _is_disabled():
        yield Finding(topic, "warn", "installed but disabled.", f"Run: jupyter labextension enable {_EXTENSION}")
        return
    lab = metadata.version("jupyterlab")
    yield Finding(topic, "ok", f"{_EXTENSION} {package.get('version')} enabled for JupyterLab {lab} in {place}")


def _is_disabled() -> bool:
    from jupyterlab.commands import get_app_dir  # type: ignore[import-untyped]
    from jupyterlab_server.config import get_page_config

    page = get_page_config([], str(Path(get_app_dir()) / "settings"))
    disabled: Any = page.get("disabledExtensions", ())
    # A dictionary of names in what is written today, a list in older files; a name may carry a plugin behind a colon.
    names = {name for name, is_off in disabled.items() if is_off} if isinstance(disabled, dict) else set(disabled)
    return _EXTENSION in {name.partition(":")[0] for name in names}
