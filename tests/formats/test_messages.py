"""Control messages: what is written is read back, and a peer's garbage is `GarbageError`."""

from contextlib import suppress

import pytest

from p2phub.errors import GarbageError, MalformedError, NotFoundError, RefusedError, RemoteError
from p2phub.formats import limits
from p2phub.formats.codec import decode, encode
from p2phub.formats.ids import ContentId
from p2phub.formats.messages import (
    DocumentsReply,
    DocumentsRequest,
    ErrorReply,
    ExchangeReply,
    ExchangeRequest,
    HaveReply,
    HaveRequest,
    HelloReply,
    HelloRequest,
    decode_reply,
    decode_request,
    encode_message,
    plain_text,
)

A, B = bytes([1]) * 32, bytes([2]) * 32
SMALL, LARGE = ContentId(10, A), ContentId(1 << 30, B)
ADDRESS = "/ip4/192.0.2.1/tcp/4042/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"
HELLO = HelloReply("p2phub/0.1.0", b"t" * 32, 3600, 4043, ("192.0.2.1:4043",), ("have",))

REQUESTS = [
    HelloRequest("p2phub/0.1.0"),
    DocumentsRequest(),
    DocumentsRequest(digests=(A, B), heads=(A,)),
    HaveRequest((LARGE, SMALL)),
    HaveRequest((LARGE,), follow=True),
    ExchangeRequest(A),
]
REPLIES = [
    HELLO,
    HelloReply("p2phub/0.1.0", b"t", 0, 0),
    DocumentsReply(),
    DocumentsReply(documents={A: b"one", B: b"two"}, larger=(A,), heads=(b"head",)),
    HaveReply(),
    HaveReply(complete=(SMALL,), partial={LARGE: ((0, 5), (6, 1 << 30))}),
    ExchangeReply(),
    ExchangeReply((ADDRESS, "whatever a stranger says")),
    ErrorReply(1, "no such document"),
]


HEX_A, HEX_B = b"01" * 32, b"02" * 32
GOLDEN = {
    b"\x82\xa8contents\x91\xd9C10-" + HEX_A + b"\xa2op\xa4have": HaveRequest((SMALL,)),
    b"\x83\xa8contents\x91\xd9C10-" + HEX_A + b"\xa6follow\xc3\xa2op\xa4have": HaveRequest(
        (SMALL,), follow=True
    ),
    b"\x82\xa6digest\xc4 " + A + b"\xa2op\xa8exchange": ExchangeRequest(A),
}
GOLDEN_REPLIES = {
    b"\x83\xa8complete\x91\xd9C10-"
    + HEX_A
    + b"\xa2op\xa4have\xa7partial\x81\xd9K1073741824-"
    + HEX_B
    + b"\x92\x00\x05": HaveReply(complete=(SMALL,), partial={LARGE: ((0, 5),)}),
    b"\x82\xa2op\xa8exchange\xa5peers\x91\xd9P" + ADDRESS.encode(): ExchangeReply((ADDRESS,)),
}


def test_the_bytes_of_today_are_read_for_ever():
    for data, message in GOLDEN.items():
        assert decode_request(data) == message
        assert encode_message(message) == data
    for data, reply in GOLDEN_REPLIES.items():
        assert decode_reply(data) == reply
        assert encode_message(reply) == data


@pytest.mark.parametrize("message", REQUESTS, ids=lambda m: type(m).__name__)
def test_a_request_is_read_back(message):
    assert decode_request(encode_message(message)) == message


@pytest.mark.parametrize("message", REPLIES, ids=lambda m: type(m).__name__)
def test_a_reply_is_read_back(message):
    assert decode_reply(encode_message(message)) == message


def test_what_a_later_version_says_too_is_kept_and_written_back():
    data = encode({"op": "hello", "agent": "later", "version": 2, "colour": "blue"})
    message = decode_request(data)
    assert message.extra == {"colour": "blue"}
    assert encode_message(message) == data


def test_an_unknown_key_cannot_stand_in_for_a_known_one():
    with pytest.raises(MalformedError, match="'agent' is among the unknown keys"):
        encode_message(HelloRequest("one", extra={"agent": "two"}))


def test_a_reply_is_no_request():
    with pytest.raises(GarbageError, match="op is not one this version knows"):
        decode_request(encode_message(ErrorReply(1, "no")))


def request(**fields):
    return encode(fields)


def hello(**fields):
    return encode({"op": "hello", "agent": "x", "version": 1, **fields})


def digests(count):
    return [number.to_bytes(32, "big") for number in range(count)]


GARBAGE = {
    "nothing": (b"", "not msgpack"),
    "no msgpack": (b"\xc1" * 20, "not msgpack"),
    "a web server": (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not msgpack"),
    "a list": (encode([1, 2]), "is not a map"),
    "no op": (request(agent="x"), "op is missing"),
    "an unknown op": (request(op="gossip"), "op is not one this version knows"),
    "an op that is a number": (request(op=1), "op is not text"),
    "hello without a version": (request(op="hello", agent="x"), "version is missing"),
    "hello of version 0": (hello(version=0), "version is 0"),
    "an agent too long": (hello(agent="x" * 129), "agent is not 1 to 128 bytes"),
    "an agent that rings the bell": (hello(agent="\a"), "agent has a control character"),
    "a digest too short": (request(op="documents", digests=[b"x" * 31]), "must have 32"),
    "digests out of order": (request(op="documents", digests=[B, A]), "not sorted"),
    "a digest twice": (request(op="documents", digests=[A, A]), "has one twice"),
    "too many heads": (request(op="documents", heads=digests(65)), "at most 64"),
    "too many digests": (request(op="documents", digests=digests(1025)), "at most 1024"),
    "have of nothing": (request(op="have"), "contents is empty"),
    "have of a path": (request(op="have", contents=["../../etc/passwd"]), "not a content id"),
    "a file larger than any": (
        request(op="have", contents=[f"{2**48}-{'0' * 64}"]),
        "a content id of a file over",
    ),
    "have and follow no": (
        request(op="have", contents=[str(SMALL)], follow=False),
        "follow must be true or left out",
    ),
    "an exchange of nothing": (request(op="exchange"), "digest is missing"),
    "an exchange of half a digest": (request(op="exchange", digest=b"x" * 16), "must have 32"),
    "too large a message": (
        request(op="documents", more=b"x" * limits.MAX_MESSAGE),
        "at most 1048576 are allowed",
    ),
    "two spellings": (b"\x81\xa2op\xd9\x09documents", "not canonical"),
}


@pytest.mark.parametrize(("data", "problem"), GARBAGE.values(), ids=GARBAGE.keys())
def test_a_garbage_request_is_refused(data, problem):
    with pytest.raises(GarbageError, match=f"not our protocol: .*{problem}"):
        decode_request(data)


def have(*edges, content=SMALL):
    return encode({"op": "have", "partial": {str(content): list(edges)}})


def documents(*entries):
    return encode({"op": "documents", "documents": list(entries)})


def hello_reply(**fields):
    return encode({**decode(encode_message(HELLO), limit=1000), **fields})


ENTRY = {"data": b"x", "digest": A}
GARBAGE_REPLIES = {
    "ranges beyond the file": (have(0, 11), "byte ranges that"),
    "an empty range": (have(3, 3), "byte ranges that"),
    "ranges that overlap": (have(0, 5, 4, 6), "byte ranges that"),
    "ranges that touch": (have(0, 5, 5, 6), "byte ranges that"),
    "a negative start": (have(-1, 4), "byte ranges that"),
    "half a range": (have(0, 1, 2), "no byte ranges"),
    "no ranges": (have(), "no byte ranges"),
    "true as a number": (have(True, 4), "no byte ranges"),
    "ranges as text": (encode({"op": "have", "partial": {str(SMALL): "0-4"}}), "no byte ranges"),
    "too many ranges": (have(*range(2 * limits.MAX_RANGES + 2), content=LARGE), "more than 8192"),
    "too many peers": (encode({"op": "exchange", "peers": ["x"] * 65}), "peers has 65 entries"),
    "an address too long": (encode({"op": "exchange", "peers": ["x" * 257]}), "not 1 to 256"),
    "an address that rings": (encode({"op": "exchange", "peers": ["\a"]}), "control character"),
    "peers that are bytes": (encode({"op": "exchange", "peers": [b"x"]}), "peers is not text"),
    "an empty list of peers": (encode({"op": "exchange", "peers": []}), "it must be left out"),
    "a document twice": (documents(ENTRY, ENTRY), "has one twice"),
    "a document with a note": (documents({**ENTRY, "note": "hi"}), "more than a digest"),
    "a head too large": (encode({"op": "documents", "heads": [b"x" * 10241]}), "10241 bytes"),
    "an error without a sentence": (encode({"op": "error", "wire": 1}), "message is missing"),
    "a wire number out of range": (
        encode({"op": "error", "wire": 256, "message": "x"}),
        "wire is 256",
    ),
    "an error that moves the cursor": (
        encode({"op": "error", "wire": 1, "message": "\x1b[2J"}),
        "control character",
    ),
    "a port that is none": (hello_reply(data_port=65536), "data_port is 65536"),
    "a ticket too long": (hello_reply(ticket=b"x" * 257), "257 bytes"),
    "too many addresses": (hello_reply(data=["x:1"] * 33), "data has 33 entries"),
}


@pytest.mark.parametrize(("data", "problem"), GARBAGE_REPLIES.values(), ids=GARBAGE_REPLIES.keys())
def test_a_garbage_reply_is_refused(data, problem):
    with pytest.raises(GarbageError, match=f"not our protocol: .*{problem}"):
        decode_reply(data)


def test_one_changed_byte_never_passes_for_the_same_message():
    data = encode_message(HELLO)
    for at in range(len(data)):
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        with suppress(GarbageError):
            assert decode_reply(changed) != HELLO


def test_a_ticket_is_not_shown_to_whoever_reads_a_log():
    assert "ttt" not in repr(HELLO)


class TestErrorsOnTheWire:
    def test_arrive_as_what_they_were(self):
        error = ErrorReply.of(NotFoundError("no such document")).as_error()
        assert type(error) is NotFoundError
        assert error.message == "no such document"

    def test_of_a_later_version_are_remote_errors(self):
        assert type(ErrorReply(99, "new").as_error()) is RemoteError

    def test_lose_what_could_harm_a_terminal(self):
        reply = ErrorReply.of(RefusedError("no\nroom\x1b[2J"))
        assert decode_reply(encode_message(reply)).message == "no room [2J"

    def test_are_never_too_long_to_send(self):
        reply = ErrorReply.of(RefusedError("ü" * 5000))
        assert decode_reply(encode_message(reply)) == reply

    def test_have_a_sentence_even_if_there_was_none(self):
        assert ErrorReply.of(RefusedError("\n")).message == "it failed"


def test_plain_text_does_not_cut_a_letter_in_two():
    assert plain_text("üü", 3) == "ü"
