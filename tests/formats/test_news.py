"""What peers tell each other of publishers: read back as it was said, and bounded."""

import pytest

from p2phub.errors import GarbageError
from p2phub.formats import limits
from p2phub.formats.codec import encode
from p2phub.formats.documents import TYPES
from p2phub.formats.messages import decode_reply, decode_request, encode_message
from p2phub.formats.news import (
    CatalogReply,
    CatalogRequest,
    KnownPublisher,
    TellReply,
    TellRequest,
)

A, B = bytes([1]) * 32, bytes([2]) * 32
H, N = b"h" * 32, b"n" * 32
TELL = TellRequest((b"head", b"notice"))
ASK = CatalogRequest((KnownPublisher(A), KnownPublisher(B, (1, 2, 300), H, N)), skip=7)
GOLDEN = {
    b"\x82\xa9documents\x92\xc4\x04head\xc4\x06notice\xa2op\xa4tell": TELL,
    b"\x83\xa5known\x92\x81\xa9publisher\xc4\x20"
    + A
    + b"\x86\xb2delegation_version\x02\xa4head\xc4\x20"
    + H
    + b"\xa7notices\xc4\x20"
    + N
    + b"\xa9publisher\xc4\x20"
    + B
    + b"\xa6root_v\x01\xa3seq\xcd\x01\x2c\xa2op\xa7catalog\xa4skip\x07": ASK,
}
GOLDEN_REPLIES = {
    b"\x81\xa2op\xa4tell": TellReply(),
    b"\x81\xa2op\xa7catalog": CatalogReply(),
    b"\x83\xa9documents\x91\xc4\x04head\xa4more\xc3\xa2op\xa7catalog": CatalogReply(
        (b"head",), more=True
    ),
}


def test_the_bytes_of_today_are_read_for_ever():
    for data, message in GOLDEN.items():
        assert encode_message(message) == data
        assert decode_request(data) == message
    for data, reply in GOLDEN_REPLIES.items():
        assert encode_message(reply) == data
        assert decode_reply(data) == reply


def many(count):
    return tuple(KnownPublisher(number.to_bytes(32, "big")) for number in range(count))


def documents(count, size=1):
    return tuple(bytes([7]) * size for _ in range(count))


@pytest.mark.parametrize(
    ("at_the_limit", "beyond"),
    [
        (TellRequest(documents(limits.MAX_TOLD)), TellRequest(documents(limits.MAX_TOLD + 1))),
        (
            TellRequest(documents(1, limits.MAX_TOLD_DOCUMENT)),
            TellRequest(documents(1, limits.MAX_TOLD_DOCUMENT + 1)),
        ),
        (CatalogRequest(many(limits.MAX_CATALOG)), CatalogRequest(many(limits.MAX_CATALOG + 1))),
        (
            CatalogRequest(many(1), limits.MAX_CATALOG_SKIP),
            CatalogRequest(many(1), limits.MAX_CATALOG_SKIP + 1),
        ),
    ],
    ids=["documents told", "a document told", "publishers asked for", "documents skipped"],
)
def test_a_question_at_its_limit_is_read_and_one_beyond_is_not(at_the_limit, beyond):
    assert decode_request(encode_message(at_the_limit)) == at_the_limit
    with pytest.raises(GarbageError):
        decode_request(encode_message(beyond))


@pytest.mark.parametrize(
    ("at_the_limit", "beyond"),
    [
        (documents(limits.MAX_CATALOG_DOCUMENTS), documents(limits.MAX_CATALOG_DOCUMENTS + 1)),
        (documents(1, limits.MAX_TOLD_DOCUMENT), documents(1, limits.MAX_TOLD_DOCUMENT + 1)),
    ],
    ids=["documents", "a document"],
)
def test_an_answer_at_its_limit_is_read_and_one_beyond_is_not(at_the_limit, beyond):
    assert decode_reply(encode_message(CatalogReply(at_the_limit))).documents == at_the_limit
    with pytest.raises(GarbageError):
        decode_reply(encode_message(CatalogReply(beyond)))


def test_a_message_as_a_whole_has_a_limit_too():
    size = limits.MAX_TOLD_DOCUMENT
    count = limits.MAX_MESSAGE // size
    assert count < limits.MAX_TOLD
    few, many_ = TellRequest(documents(count, size)), TellRequest(documents(count + 1, size))
    assert decode_request(encode_message(few)) == few
    with pytest.raises(GarbageError, match="at most 1048576"):
        decode_request(encode_message(many_))


KNOWN = {"publisher": A}
GARBAGE = {
    "a tell of nothing": (encode({"op": "tell"}), "documents is missing"),
    "an empty tell": (encode({"op": "tell", "documents": []}), "documents is empty"),
    "a tell of texts": (encode({"op": "tell", "documents": ["x"]}), "is not bytes"),
    "an empty document": (encode({"op": "tell", "documents": [b""]}), "has 0 bytes"),
    "a catalog of nobody": (encode({"op": "catalog", "known": []}), "known is empty"),
    "a publisher twice": (encode({"op": "catalog", "known": [KNOWN, KNOWN]}), "has one twice"),
    "publishers out of order": (
        encode({"op": "catalog", "known": [{"publisher": B}, KNOWN]}),
        "not sorted",
    ),
    "a negative seq": (encode({"op": "catalog", "known": [{**KNOWN, "seq": -1}]}), "seq is -1"),
    "a seq written out that is none": (
        encode({"op": "catalog", "known": [{**KNOWN, "seq": 0}]}),
        "its default",
    ),
    "half a digest of notices": (
        encode({"op": "catalog", "known": [{**KNOWN, "notices": b"x" * 16}]}),
        "must have 32",
    ),
    "half a digest of a head": (
        encode({"op": "catalog", "known": [{**KNOWN, "head": b"x" * 16}]}),
        "must have 32",
    ),
    "a publisher with a note": (
        encode({"op": "catalog", "known": [{**KNOWN, "note": 1}]}),
        "more beside it",
    ),
}


@pytest.mark.parametrize(("data", "problem"), GARBAGE.values(), ids=GARBAGE.keys())
def test_a_garbage_question_is_refused(data, problem):
    with pytest.raises(GarbageError, match=f"not our protocol: .*{problem}"):
        decode_request(data)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"documents": []}, "documents is empty"),
        ({"more": False}, "must be true or left out"),
        ({"documents": [b"x", 5]}, "is not bytes"),
    ],
)
def test_a_garbage_answer_is_refused(fields, problem):
    with pytest.raises(GarbageError, match=problem):
        decode_reply(encode({"op": "catalog", **fields}))


def test_what_a_later_version_says_too_is_kept_and_written_back():
    data = encode({"op": "tell", "documents": [b"x"], "why": "it is new"})
    assert decode_request(data).extra == {"why": "it is new"}
    assert encode_message(decode_request(data)) == data


def test_every_head_and_notice_fits_in_and_none_of_them_fills_a_message():
    for name in ("head", "revocation", "withdrawal", "fork"):
        assert TYPES[name] + limits.MAX_ENVELOPE_OVERHEAD <= limits.MAX_TOLD_DOCUMENT or (
            name == "head" and limits.MAX_HEAD <= limits.MAX_TOLD_DOCUMENT
        )
    assert 4 * limits.MAX_TOLD_DOCUMENT < limits.MAX_MESSAGE


def test_heads_and_small_notices_fit_into_gossip_and_fork_proofs_do_not():
    room = limits.MAX_GOSSIP - len(encode_message(TellRequest((b"x",))))
    assert room > limits.MAX_HEAD
    assert room > limits.MAX_REVOCATION + limits.MAX_ENVELOPE_OVERHEAD
    assert limits.MAX_FORK > limits.MAX_GOSSIP


def test_the_largest_question_fits_into_a_message():
    most = limits.MAX_INTEGER
    full = [KnownPublisher(each.publisher, (most, most, most), H, N) for each in many(256)]
    assert len(encode_message(CatalogRequest(tuple(full), 5))) < limits.MAX_MESSAGE
