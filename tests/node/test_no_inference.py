"""A node without models says so, and how to get some."""

import pytest

from p2phub.errors import UnsupportedError
from p2phub.node.no_inference import NoInference


async def test_there_is_no_model():
    assert (await NoInference().models(), await NoInference().loaded()) == ((), ())


@pytest.mark.parametrize(
    "call",
    [
        lambda api: api.fit("lab/x"),
        lambda api: api.load("lab/x", None, print),
        lambda api: api.unload("lab/x"),
        lambda api: api.serve("lab/x", "text-generation").__aenter__(),
    ],
)
async def test_every_call_says_what_to_install(call):
    with pytest.raises(UnsupportedError) as caught:
        await call(NoInference())
    assert "inference" in caught.value.remedy
