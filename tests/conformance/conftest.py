"""The places in which every network is held to the same promises."""

import pytest
import trio.testing

from tests.conformance.places import InMemory, Real


@pytest.fixture(params=[Real, InMemory], ids=["real", "memory"])
def place(request):
    return request.param()


@pytest.fixture
def clock(place):
    """Virtual time where there are no sockets."""
    return trio.testing.MockClock(autojump_threshold=0) if isinstance(place, InMemory) else None
