"""What all control messages share."""

import pytest

from p2phub.formats.message_kind import Message
from p2phub.formats.messages import HelloRequest


class Forgetful(Message):
    """A kind of message that nobody can read back."""

    OP = "forgetful"

    def _write(self):
        return {}


def test_a_kind_that_cannot_be_read_back_is_no_kind():
    with pytest.raises(TypeError, match="_read"):
        Forgetful()


def test_every_kind_has_an_op():
    assert HelloRequest.OP == "hello"
    assert isinstance(HelloRequest("x"), Message)
