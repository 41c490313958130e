"""What members say to each other about proposals: read back as it was said, and bounded."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2phub.errors import GarbageError, MalformedError
from p2phub.formats import limits
from p2phub.formats.codec import encode
from p2phub.formats.cosigning import (
    MAX_OPEN,
    MAX_PACKED,
    Cosigning,
    Membership,
    Open,
    statement,
)

MEMBER = Membership(b"k" * 32, 1_700_000_000, b"s" * 64)


def digest(number):
    return number.to_bytes(32, "big")


def said(**more):
    return Cosigning(MEMBER, **more)


@pytest.mark.parametrize(
    "message",
    [
        said(),
        said(open=(Open(digest(1)), Open(digest(2), (digest(3), digest(4))))),
        said(releases=(b"one", b"two"), lacks=(digest(1), digest(2))),
        said(open=tuple(Open(digest(n)) for n in range(MAX_OPEN))),
        said(releases=tuple(b"%d" % n for n in range(MAX_OPEN))),
        said(lacks=tuple(digest(n) for n in range(MAX_OPEN))),
        said(releases=(bytes(MAX_PACKED),)),
        said(open=(Open(digest(1), tuple(digest(n) for n in range(limits.MAX_SIGNATURES))),)),
    ],
)
def test_a_message_is_read_back_as_it_was_said(message):
    assert Cosigning.from_bytes(message.to_bytes()) == message


@pytest.mark.parametrize(
    "message",
    [
        said(open=tuple(Open(digest(n)) for n in range(MAX_OPEN + 1))),
        said(releases=tuple(b"%d" % n for n in range(MAX_OPEN + 1))),
        said(lacks=tuple(digest(n) for n in range(MAX_OPEN + 1))),
        said(releases=(bytes(MAX_PACKED + 1),)),
        said(open=(Open(digest(1), tuple(digest(n) for n in range(limits.MAX_SIGNATURES + 1))),)),
        said(open=(Open(digest(1), (digest(2), digest(1))),)),
        replace(said(), member=replace(MEMBER, key=b"short")),
        replace(said(), member=replace(MEMBER, signature=b"short")),
        replace(said(), member=replace(MEMBER, at=limits.MAX_TIME + 1)),
    ],
)
def test_one_too_many_or_out_of_order_is_garbage(message):
    with pytest.raises(GarbageError):
        Cosigning.from_bytes(message.to_bytes())


def test_more_than_a_message_holds_is_not_sent():
    with pytest.raises(MalformedError):
        said(releases=(bytes(limits.MAX_MESSAGE),)).to_bytes()


@given(st.binary(max_size=200))
def test_noise_is_garbage(data):
    with pytest.raises(GarbageError):
        Cosigning.from_bytes(data)


def test_a_map_of_other_things_is_garbage():
    with pytest.raises(GarbageError):
        Cosigning.from_bytes(encode({"op": "hello"}))


def test_a_statement_is_for_one_pair_one_publisher_and_one_moment():
    said_by = {
        statement(publisher, speaker, listener, at)
        for publisher in (digest(1), digest(2))
        for speaker in ("a", "b")
        for listener in ("a", "b")
        for at in (1, 2)
    }
    assert len(said_by) == 16
