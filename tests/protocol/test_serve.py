"""What a node answers to requests of the data protocol."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2phub.errors import DamagedBlobError, NotFoundError
from p2phub.formats.digest import sha256
from p2phub.formats.ids import ContentId
from p2phub.protocol.ports import Holding
from p2phub.protocol.serve import (
    MAX_HAVE_RANGES,
    FileRange,
    Request,
    answer,
    have_header,
    refusal,
)
from p2phub.testing.libraries import MemoryLibrary
from p2phub.testing.samples import make_sample

SAMPLE = make_sample(1000)
EMPTY = make_sample(0)
LARGE = make_sample(3 << 20, piece=1 << 20)
PATH = f"/v1/files/{SAMPLE.content}"


@pytest.fixture
def library():
    library = MemoryLibrary()
    library.add(SAMPLE, hashed_whole=True)
    library.add(EMPTY)
    library.documents[sha256(b"a page")] = b"a page"
    yield library
    assert library.open_now == 0, "a reader was left open"


def ask(library, target, method="GET", peer=None, **headers):
    """Status, headers and the bytes that a transport would send."""
    fields = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    found = answer(Request(method, target, fields), library, peer)
    body = found.body
    if isinstance(body, FileRange):
        buffer = bytearray(body.stop - body.start)
        assert body.reader.read_into(body.start, memoryview(buffer)) == len(buffer)
        body = bytes(buffer)
    found.close()
    if method == "GET":
        assert int(found.header("content-length")) == len(body)
    return found.status, found, body


class TestFiles:
    def test_whole(self, library):
        status, found, body = ask(library, PATH)
        assert (status, body) == (200, SAMPLE.data)
        assert found.header("p2phub-content") == str(SAMPLE.content)

    @pytest.mark.parametrize(
        ("asked", "start", "stop"),
        [
            ("bytes=0-0", 0, 1),
            ("bytes=10-19", 10, 20),
            ("bytes=990-", 990, 1000),
            ("bytes=990-5000", 990, 1000),
            ("bytes=-10", 990, 1000),
            ("bytes=-5000", 0, 1000),
        ],
    )
    def test_a_range(self, library, asked, start, stop):
        status, found, body = ask(library, PATH, range=asked)
        assert (status, body) == (206, SAMPLE.data[start:stop])
        assert found.header("content-range") == f"bytes {start}-{stop - 1}/1000"

    @pytest.mark.parametrize(
        "asked",
        [
            "bytes=1000-",
            "bytes=5-4",
            "bytes=-0",
            "bytes=-",
            "bytes=0-1,5-6",
            "lines=1-2",
            "bytes=a-b",
            "bytes=0x0-0x1",
            "bytes=\uff11-\uff12",
            "bytes=" + "9" * 17 + "-",
            "",
        ],
    )
    def test_a_range_that_is_none_or_several_is_refused(self, library, asked):
        status, found, body = ask(library, PATH, range=asked)
        assert (status, body) == (416, b"")
        assert found.header("p2phub-error")

    def test_a_range_of_an_empty_file_is_refused_and_the_whole_is_not(self, library):
        assert ask(library, f"/v1/files/{EMPTY.content}", range="bytes=0-0")[0] == 416
        assert ask(library, f"/v1/files/{EMPTY.content}")[::2] == (200, b"")

    def test_head_says_what_is_held_and_opens_nothing(self, library):
        library.damaged.add(SAMPLE.content)
        status, found, body = ask(library, PATH, "HEAD")
        assert (status, body) == (200, b"")
        assert found.header("content-length") == "1000"
        assert found.header("p2phub-have") == "bytes=0-999"

    def test_unknown(self, library):
        status, found, _ = ask(library, f"/v1/files/{ContentId(5, bytes(32))}")
        assert status == 404
        assert found.header("p2phub-error").startswith("1; ")

    def test_a_private_file_does_not_exist_for_others(self, library):
        secret = make_sample(7)
        library.add(secret, private_to=["friend"])
        path = f"/v1/files/{secret.content}"
        assert ask(library, path, peer="friend")[0] == 200
        strangers = ask(library, path, peer="stranger"), ask(library, path, peer=None)
        missing = ask(library, f"/v1/files/{ContentId(7, bytes(32))}")
        assert {found[0] for found in strangers} == {404}
        assert len(strangers[0][1].headers) == len(missing[1].headers)

    def test_our_own_copy_is_damaged_and_we_say_so(self, library):
        library.damaged.add(SAMPLE.content)
        status, found, body = ask(library, PATH)
        assert (status, body) == (500, b"")
        assert found.header("p2phub-error").startswith("2; ")


class TestPartlyHeldFiles:
    @pytest.fixture
    def path(self, library):
        library.add(LARGE, ranges=((0, 1 << 20), (2 << 20, 3 << 20)))
        return f"/v1/files/{LARGE.content}"

    def test_serve_what_was_verified(self, library, path):
        status, _, body = ask(library, path, range=f"bytes={2 << 20}-{(3 << 20) - 1}")
        assert (status, body) == (206, LARGE.data[2 << 20 :])

    @pytest.mark.parametrize("asked", [None, "bytes=0-1048576", "bytes=1048576-1048577"])
    def test_refuse_the_rest_and_say_what_there_is(self, library, path, asked):
        headers = {} if asked is None else {"range": asked}
        status, found, body = ask(library, path, **headers)
        assert (status, body) == (416, b"")
        assert found.header("p2phub-have") == "bytes=0-1048575,2097152-3145727"
        assert found.header("p2phub-error").startswith("1; ")
        assert found.header("content-range") == "bytes */3145728"

    def test_the_header_of_a_file_in_a_thousand_parts_stays_short(self):
        content = ContentId(10**12, bytes(32))
        ranges = tuple((n * 10**9, n * 10**9 + n) for n in range(1, 1000))
        header = have_header(content, Holding(False, ranges))
        assert header.count("-") == MAX_HAVE_RANGES
        assert len(header) < 8 * 1024
        assert header.endswith("-999000000998")  # the largest stayed


class TestBySha256:
    def test_a_file_hashed_whole_here(self, library):
        digest = sha256(SAMPLE.data).hex()
        status, found, body = ask(library, f"/v1/sha256/{digest}", range="bytes=0-9")
        assert (status, body) == (206, SAMPLE.data[:10])
        assert found.header("p2phub-content") == str(SAMPLE.content)

    def test_a_file_not_hashed_whole_here_is_not_offered(self, library):
        library.add(LARGE)
        assert ask(library, f"/v1/sha256/{sha256(LARGE.data).hex()}")[0] == 404


class TestDocuments:
    def test_by_digest(self, library):
        path = f"/v1/documents/{sha256(b'a page').hex()}"
        assert ask(library, path)[::2] == (200, b"a page")
        status, found, body = ask(library, path, "HEAD")
        assert (status, found.header("content-length"), body) == (200, "6", b"")

    def test_a_piece_table_by_the_digest_of_its_content_id(self, library):
        library.add(LARGE)
        path = f"/v1/documents/{LARGE.content.digest.hex()}"
        assert ask(library, path)[2] == LARGE.table.pack()

    def test_unknown(self, library):
        assert ask(library, f"/v1/documents/{'0' * 64}")[0] == 404


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/", 404),
        ("", 404),
        ("/v1/files", 404),
        ("/v1/files/", 400),
        ("/v1/files/../../etc/passwd", 400),
        ("/v1/files/%2e%2e/x", 400),
        (PATH + "/", 400),
        (PATH + "?x=1", 400),
        (PATH.upper(), 404),
        ("http://other" + PATH, 404),
        ("/v1/documents/zz", 400),
        ("/v1/sha256/" + "A" * 64, 400),
        ("/" + "x" * 5000, 400),
        ("/v1/files/9999999999999999999-" + "0" * 64, 400),
    ],
)
def test_paths_that_name_nothing(library, target, status):
    assert ask(library, target)[0] == status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "get", "", "X" * 1000])
def test_methods_that_change_something_are_refused(library, method):
    assert answer(Request(method, PATH), library, None).status == 400


def test_a_transport_may_ask_for_small_ranges_only(library):
    request = Request("GET", PATH, (("range", "bytes=0-99"),))
    answer(request, library, None, most=100).close()
    refused = answer(request, library, None, most=99)
    assert (refused.status, refused.header("p2phub-error")[:2]) == (403, "5;")


def test_a_sentence_with_line_ends_or_umlauts_stays_one_plain_header():
    header = refusal(NotFoundError("größer\r\nSet-Cookie: x")).header("p2phub-error")
    assert header == "1; gr??er??Set-Cookie: x"


def test_a_refusal_takes_the_status_of_its_error():
    assert refusal(DamagedBlobError("x")).status == 500
    assert refusal(NotFoundError("x"), status=401).status == 401


TARGETS = st.text(max_size=40) | st.builds(
    "{}{}".format,
    st.sampled_from(["/v1/files/", "/v1/documents/", "/v1/sha256/"]),
    st.text(max_size=90) | st.sampled_from([str(SAMPLE.content), str(EMPTY.content)]),
)
RANGES = st.text(max_size=30) | st.from_regex(r"bytes=[0-9]*-[0-9]*", fullmatch=True)


@given(st.sampled_from(["GET", "HEAD", "POST"]), TARGETS, st.none() | RANGES)
def test_any_request_gets_an_answer_no_longer_than_what_is_held(method, target, asked):
    library = MemoryLibrary()
    library.add(SAMPLE)
    library.add(EMPTY)
    headers = () if asked is None else (("range", asked),)
    found = answer(Request(method, target, headers), library, None)
    assert found.status in (200, 206, 400, 404, 416)
    assert 0 <= int(found.header("content-length")) <= SAMPLE.content.size
    assert all(value.isascii() and value.isprintable() for _, value in found.headers)
    found.close()
    assert library.open_now == 0
