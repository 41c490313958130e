"""What a node makes of the heads of answers before it reads a byte of body."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2phub.errors import (
    DamagedBlobError,
    GarbageError,
    NoSpaceError,
    NotFoundError,
    P2PHubError,
    RefusedError,
    RemoteError,
    WrongBytesError,
)
from p2phub.formats.digest import sha256
from p2phub.formats.documents import has_control
from p2phub.formats.ids import ContentId
from p2phub.protocol.ask import (
    Head,
    UnknownTicketError,
    content_of,
    content_request,
    document_length,
    document_request,
    file_length,
    file_request,
    holding_of,
    holding_request,
    ticket_of,
)
from p2phub.protocol.ports import Holding
from p2phub.protocol.serve import Request, answer, refusal
from p2phub.testing.libraries import MemoryLibrary
from p2phub.testing.samples import make_sample

CONTENT = ContentId(1000, bytes(32))
TICKET = bytes(range(32))


def head(status=206, **fields):
    return Head(status, tuple((name.replace("_", "-"), value) for name, value in fields.items()))


def heard(found):
    """The head as it arrives on the other side."""
    return Head(found.status, tuple((name.lower(), value) for name, value in found.headers))


class TestBothHalvesTogether:
    @pytest.fixture
    def library(self):
        library = MemoryLibrary()
        library.add(make_sample(0))
        library.documents[bytes(32)] = b"a page"
        return library

    def exchange(self, library, request):
        found = answer(request, library, None)
        found.close()
        return heard(found)

    def test_a_file(self, library):
        sample = make_sample(500)
        library.add(sample)
        request = file_request(sample.content, 20, 120, ticket=TICKET)
        assert file_length(self.exchange(library, request), "bob", 20, 120) == 100
        assert ticket_of(request) == TICKET

    def test_a_document(self, library):
        request = document_request(bytes(32), ticket=b"")
        assert document_length(self.exchange(library, request), "bob", 6) == 6
        assert ticket_of(request) is None

    @pytest.mark.parametrize("ranges", [None, ((0, 9),), ((0, 9), (20, 500)), ((0, 9), (9, 20))])
    def test_what_is_held(self, library, ranges):
        sample = make_sample(500)
        library.add(sample, ranges=ranges)
        found = self.exchange(library, holding_request(sample.content, ticket=b""))
        expected = Holding(True) if ranges is None else Holding(False, ranges)
        assert holding_of(found, "bob", sample.content) == expected

    def test_an_empty_file_is_held_whole(self, library):
        content = make_sample(0).content
        found = self.exchange(library, holding_request(content, ticket=b""))
        assert holding_of(found, "bob", content) == Holding(complete=True)

    def test_a_sha256_names_a_file(self, library):
        sample = make_sample(3000)
        library.add(sample, hashed_whole=True)
        found = self.exchange(library, content_request(sha256(sample.data), ticket=b""))
        assert content_of(found, "bob") == sample.content
        found = self.exchange(library, content_request(bytes(32), ticket=b""))
        assert content_of(found, "bob") is None

    @pytest.mark.parametrize("named", [None, "", "5-x", "99999999999999999-" + "0" * 64])
    def test_a_sha256_that_names_no_file_is_garbage(self, named):
        said = {} if named is None else {"p2phub_content": named}
        with pytest.raises(GarbageError):
            content_of(head(200, **said), "bob")

    def test_nothing_is_held(self, library):
        found = self.exchange(library, holding_request(CONTENT, ticket=b""))
        assert holding_of(found, "bob", CONTENT) is None


class TestWhatThePeerSaysOfItself:
    @pytest.mark.parametrize(
        ("error", "status", "raised"),
        [
            (NotFoundError("gone"), None, NotFoundError),
            (NotFoundError("not these bytes"), 416, NotFoundError),
            (DamagedBlobError("rotten"), None, WrongBytesError),
            (RefusedError("no"), None, RemoteError),
            (RefusedError("who?"), 401, UnknownTicketError),
            (NoSpaceError("its disk is its own business"), None, RemoteError),
        ],
    )
    def test_becomes_our_error(self, error, status, raised):
        with pytest.raises(P2PHubError) as caught:
            file_length(heard(refusal(error, status=status)), "bob", 0, 10)
        assert type(caught.value) is raised
        assert "bob" in caught.value.message
        assert error.message in caught.value.message

    def test_cannot_move_our_cursor(self):
        said = head(404, p2phub_error="1; \x1b[2Jgone", content_length="0")
        with pytest.raises(NotFoundError, match=r"bob:  ?\[2Jgone"):
            document_length(said, "bob", 10)


@pytest.mark.parametrize(
    "said",
    [
        head(200, content_length="10"),
        head(206, content_length="10"),
        head(206, content_length="11", content_range="bytes 0-9/1000"),
        head(206, content_length="9", content_range="bytes 0-9/1000"),
        head(206, content_length="10", content_range="bytes 1-10/1000"),
        head(206, content_range="bytes 0-9/1000"),
        head(206, content_length="-10", content_range="bytes 0-9/1000"),
        head(206, content_length="1" * 30, content_range="bytes 0-9/1000"),
        head(206, content_length="10", content_range="bytes 0-9/9", content_encoding="gzip"),
        head(206, content_length="10", content_range="bytes 0-9/9", transfer_encoding="chunked"),
        Head(206, (("content-length", "10"),) * 2 + (("content-range", "bytes 0-9/1000"),)),
        head(302, location="http://elsewhere/"),
        head(500),
    ],
)
def test_an_answer_that_was_not_asked_for_is_garbage(said):
    with pytest.raises(GarbageError):
        file_length(said, "bob", 0, 10)


def test_a_gigabyte_claimed_for_a_document_of_ten_bytes_is_refused_before_it_is_read():
    with pytest.raises(GarbageError, match="claims a document of 1000000000 bytes; at most 10"):
        document_length(head(200, content_length="1000000000"), "bob", 10)


@pytest.mark.parametrize(
    "have",
    [
        None,
        "",
        "0-9",
        "all",
        "bytes=5-4",
        "bytes=0-1000",
        "bytes=0-9,5-20",
        "bytes=20-30,0-9",
        "bytes=-1-5",
        "bytes=1",
        "bytes=0-9,",
        "bytes=" + ",".join(f"{2 * n}-{2 * n}" for n in range(201)),
    ],
)
def test_a_holding_that_cannot_be_is_garbage(have):
    fields = {} if have is None else {"p2phub_have": have}
    with pytest.raises(GarbageError):
        holding_of(head(200, content_length="1000", **fields), "bob", CONTENT)


def test_a_holding_of_nothing_yet_is_a_holding():
    said = head(200, content_length="1000", p2phub_have="bytes=")
    assert holding_of(said, "bob", CONTENT) == Holding(complete=False)


def test_a_holding_of_a_file_of_another_size_is_garbage():
    with pytest.raises(GarbageError):
        holding_of(head(200, content_length="999", p2phub_have="bytes=0-9"), "bob", CONTENT)


@pytest.mark.parametrize(
    "shown", ["Bearer", "Bearer x", "Basic 00", "Bearer 0", "Bearer " + "0" * 999]
)
def test_what_cannot_be_a_ticket_is_a_ticket_that_nobody_has(shown):
    assert ticket_of(Request("GET", "/", (("authorization", shown),))) == b""


@given(
    st.integers(0, 999),
    st.dictionaries(
        st.sampled_from(["content-length", "content-range", "p2phub-have", "p2phub-error"]),
        st.text(max_size=40),
    ),
)
def test_any_head_is_believed_within_what_was_asked_or_refused(status, fields):
    said = Head(status, tuple(fields.items()))
    for check in (
        lambda: file_length(said, "bob", 0, 10) == 10,
        lambda: document_length(said, "bob", 10) <= 10,
        lambda: holding_of(said, "bob", CONTENT) is not False,
    ):
        problem = ""
        try:
            assert check()
        except (RemoteError, NotFoundError, WrongBytesError) as error:
            problem = error.message
        assert not has_control(problem)
