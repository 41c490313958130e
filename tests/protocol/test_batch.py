"""Many small files in one answer: what is sent, and what is made of it."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2phub.errors import DamagedBlobError, GarbageError, P2PHubError, UsageError
from p2phub.formats.ids import ContentId
from p2phub.formats.limits import MAX_PIECE, MIB
from p2phub.protocol.ask import Head, NotUnderstoodError, batch_reader, batch_request
from p2phub.protocol.batch import (
    FRAME,
    MAX_BATCH_BODY,
    MAX_BATCH_BYTES,
    MAX_BATCH_FILES,
    BatchReader,
    batch_body,
    batches_of,
    frame,
    parse_batch,
)
from p2phub.protocol.serve import Request, answer
from p2phub.testing.libraries import BytesReader, MemoryLibrary
from p2phub.testing.samples import make_sample

FILES = [make_sample(size, seed=size) for size in (1000, 1, 0, 300_000)]
NOT_HERE = ContentId(5, bytes(32))


@pytest.fixture
def library():
    library = MemoryLibrary()
    for sample in FILES:
        library.add(sample)
    yield library
    assert library.open_now == 0, "a reader was left open"


def ask(library, contents, *, peer=None, most=MAX_BATCH_BYTES + MIB):
    return answer(batch_request(contents, ticket=b""), library, peer, most=most)


def body_of(found, chunk=4096):
    body, buffer = b"", memoryview(bytearray(chunk))
    while count := found.body.read_into(buffer):
        body += buffer[:count]
    found.close()
    assert len(body) == int(found.header("content-length"))
    return body


def unpack(contents, body, *, length=None):
    """The files in the body of an answer, and what was lacking."""
    reader = BatchReader(contents, "bob", len(body) if length is None else length)
    files, offset = {}, 0
    while reader.wanted:
        part = memoryview(body)[offset : offset + reader.wanted]
        offset += len(part)
        came = reader.take(part)
        if came is not None:
            files[came.content] = bytes(came.data)
    return files, reader.lacking


class TestServing:
    @pytest.mark.parametrize("chunk", [1, 7, 1000, 1 << 20])
    def test_a_missing_file_does_not_spoil_the_rest(self, library, chunk):
        asked = [FILES[0].content, NOT_HERE, *(sample.content for sample in FILES[1:])]
        body = body_of(ask(library, asked), chunk)
        files, lacking = unpack(asked, body)
        assert files == {sample.content: sample.data for sample in FILES}
        assert lacking == [NOT_HERE]

    def test_a_thousand_files_need_one_open_at_a_time(self, library):
        found, most = ask(library, [FILES[0].content] * 500), 0
        buffer = memoryview(bytearray(100))
        while found.body.read_into(buffer):
            most = max(most, library.open_now)
        found.close()
        assert most == 1

    def test_a_damaged_file_keeps_its_place_and_is_owned_up_to(self, library):
        library.damaged.add(FILES[0].content)
        asked = [sample.content for sample in FILES]
        files, lacking = unpack(asked, body_of(ask(library, asked)))
        assert lacking == [FILES[0].content]
        assert set(files) == {sample.content for sample in FILES[1:]}

    def test_a_file_that_becomes_shorter_ends_the_answer(self, library, monkeypatch):
        monkeypatch.setattr(BytesReader, "read_into", lambda *_: 0)
        found = ask(library, [FILES[0].content])
        with pytest.raises(DamagedBlobError):
            found.body.read_into(memoryview(bytearray(100)))
        found.close()

    def test_an_answer_that_is_given_up_closes_its_file(self, library):
        found = ask(library, [FILES[3].content])
        found.body.read_into(memoryview(bytearray(100)))
        assert library.open_now == 1
        found.close()

    def test_a_private_file_does_not_exist_for_others(self, library):
        secret = make_sample(77, seed="secret")
        library.add(secret, private_to=["friend"])
        asked = [secret.content]
        assert unpack(asked, body_of(ask(library, asked, peer="friend")))[1] == []
        strangers = body_of(ask(library, asked, peer="stranger"))
        assert strangers == frame(404, 0)

    def test_more_than_a_transport_takes_at_once_is_refused(self, library):
        assert ask(library, [FILES[0].content], most=1005).status == 403
        assert ask(library, [FILES[0].content], most=1006).status == 200

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"\n",
            b"nonsense\n",
            b"\xff\xfe",
            batch_body([ContentId(1, bytes(32))] * (MAX_BATCH_FILES + 1)),
            batch_body([ContentId(MAX_PIECE, bytes(32))] * 5),
            batch_body([ContentId(MAX_PIECE + 1, bytes(32))]),
        ],
        ids=["empty", "a line", "nonsense", "bytes", "files", "bytes together", "with a table"],
    )
    def test_what_is_no_list_of_small_files_is_refused(self, library, body):
        found = answer(Request("POST", "/v1/files", (), body), library, None)
        assert (found.status, found.body) == (400, b"")

    def test_the_longest_request_is_not_too_long(self):
        longest = [ContentId(MAX_PIECE, bytes(32))] * 4 + [ContentId(0, bytes(32))] * 508
        assert len(batch_body(longest)) <= MAX_BATCH_BODY
        assert parse_batch(batch_body(longest)) == tuple(longest)

    @given(st.binary(max_size=300))
    def test_any_bytes_are_a_list_or_an_error(self, body):
        with suppress(UsageError):
            assert parse_batch(body)


class TestAsking:
    SAMPLE = FILES[0].content

    @pytest.mark.parametrize(
        "body",
        [
            frame(200, 999) + bytes(999),
            frame(200, 1001) + bytes(1001),
            frame(404, 7) + bytes(7),
            frame(200, 1 << 31),
            frame(404, 0) + b"more",
            frame(200, 1000),
        ],
        ids=["shorter", "longer", "no length for none", "a gigabyte", "more after it", "no file"],
    )
    def test_an_answer_that_is_not_the_one_asked_for_is_garbage(self, body):
        with pytest.raises(GarbageError):
            unpack([self.SAMPLE], body)

    @pytest.mark.parametrize("length", [0, 5, 1007, 1 << 40])
    def test_a_length_that_cannot_be_is_garbage_before_a_byte_is_read(self, length):
        with pytest.raises(GarbageError):
            BatchReader([self.SAMPLE], "bob", length)

    @pytest.mark.parametrize("status", [400, 404, 405, 501])
    def test_a_peer_that_knows_no_such_request_is_told_from_one_that_lacks_files(self, status):
        head = Head(status, (("p2phub-error", "3; the request has a body"),))
        with pytest.raises(NotUnderstoodError):
            batch_reader(head, "bob", [self.SAMPLE])

    @given(st.binary(max_size=200), st.integers(0, 3000))
    def test_any_bytes_are_files_that_were_asked_for_or_an_error(self, body, length):
        asked = [FILES[1].content, self.SAMPLE]
        try:
            reader = BatchReader(asked, "bob", length)
            while reader.wanted and body:
                part, body = body[: reader.wanted].ljust(reader.wanted), body[reader.wanted :]
                came = reader.take(memoryview(part))
                assert came is None or len(came.data) == came.content.size
        except P2PHubError:
            pass


@given(st.lists(st.integers(0, MAX_PIECE), max_size=2000))
def test_batches_are_what_one_request_may_ask_for_and_together_all(sizes):
    contents = [ContentId(size, bytes(32)) for size in sizes]
    batches = list(batches_of(contents))
    assert [content for batch in batches for content in batch] == contents
    for batch in batches:
        assert 0 < len(batch) <= MAX_BATCH_FILES
        assert sum(content.size for content in batch) <= MAX_BATCH_BYTES
    assert FRAME == 6
