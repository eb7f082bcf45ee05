"""Kernels for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernels import VERSIONS, Kernels


@pytest.fixture
def kernels(tmp_path: Path, pytestconfig: pytest.Config) -> Iterator[Kernels]:
    """Kernels on the installed ipykernel."""
    made = Kernels(tmp_path, pytestconfig.cache)
    yield made
    made.close()


@pytest.fixture(params=VERSIONS)
def each_kernel(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kernels]:
    """The same on each ipykernel the cells must work on."""
    made = Kernels(tmp_path, request.config.cache, request.param)
    yield made
    made.close()
