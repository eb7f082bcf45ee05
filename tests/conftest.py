"""What holds for every test of every folder."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.model_server import take_violations

# A run in the background (`nohup make test &`) is started with these ignored, and so would be every program that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def legal_requests() -> Iterator[None]:
    """Every request that a model's server of the test got was legal (``tests/request_invariants.py``). A server that somebody
    else's client asks says so: ``ModelServer(unchecked="why")``."""
    take_violations()
    yield
    found = take_violations()
    assert not found, "illegal requests were sent:\n" + "\n".join(found)
