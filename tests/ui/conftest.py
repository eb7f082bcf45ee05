"""Servers are shared by the tests of a module, the browser by all; each test has notebooks and pages of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kernels import INSTALLED, overlay
from tests.ui.lab import CHROMIUM, CHROMIUM_ARGUMENTS, EXTENSION, LabPage, LabServer

playwright_api = pytest.importorskip("playwright.sync_api")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A server, a kernel and a browser share two cores here, and on a busy machine one of them may be late: such a test is
    run once more, which the closing line counts, as JupyterLab does with its own browser tests."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(scope="session")
def browser() -> Iterator[playwright_api.Browser]:
    if not Path(CHROMIUM).exists():
        pytest.fail("These tests need Chromium: install the package `chromium`, or set CLAW_TEST_CHROMIUM to its path.")
    if not (EXTENSION / "package.json").exists():
        pytest.fail("The labextension is not built: run `npm ci && npm run build` in labextension/.")
    with playwright_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=CHROMIUM_ARGUMENTS)
        yield chromium
        chromium.close()


StartServer = Callable[..., LabServer]


@pytest.fixture(scope="module")
def start_server(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[StartServer]:
    """``start_server(version=INSTALLED, **options of LabServer)``: the same server for the same options.

    ``version`` of ipykernel; CLAW_TEST_KERNEL_PYTHONPATH names a folder to put before the installed one.
    """
    servers: dict[str, LabServer] = {}

    def start(version: str = INSTALLED, **options: object) -> LabServer:
        key = repr((version, sorted(options.items())))
        if key not in servers:
            home = tmp_path_factory.mktemp("jupyter")
            folder = overlay(version, pytestconfig.cache) or os.environ.get("CLAW_TEST_KERNEL_PYTHONPATH", "")
            servers[key] = LabServer(home, overlay=folder, **options)
        return servers[key]

    yield start
    for server in servers.values():
        server.close()


@pytest.fixture
def open_page(browser: playwright_api.Browser, tmp_path: Path) -> Iterator[Callable[..., LabPage]]:
    """``open_page(server, name, **options of LabPage.open)``: a new browser window."""
    pages: list[LabPage] = []

    def open_one(server: LabServer, name: str, **options: bool) -> LabPage:
        page = LabPage(browser, server)
        pages.append(page)
        page.open(name, **options)
        return page

    yield open_one
    for number, page in enumerate(pages):
        # Kept with the test's files, so that a failure can be looked at.
        page.page.screenshot(path=str(tmp_path / f"page-{number}.png"))
        page.close()
    for server in {id(page.server): page.server for page in pages}.values():
        server.stop_kernels()
