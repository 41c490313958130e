"""What lies on a stick is read as it was written, or not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2phub.errors import MalformedError, NewerVersionError, P2PHubError
from p2phub.formats import bundle, limits
from p2phub.formats.bundle import CONTENTS, INDEX, Contents, Meant, PackIndex, Row, write_index
from p2phub.formats.codec import encode
from p2phub.formats.digest import sha256

ROWS = [Row(bytes([number] * 32), number * 10, 10) for number in range(20)]
MADE = write_index(ROWS)
MEANT = Meant(b"p" * 32, "minilm", "model", b"d" * 32, 5)
SAID = Contents(7, (b"head",), (b"notice", b"other"), (MEANT,))
ONE = SAID.to_bytes()


def read(data, pack=200, longest=10):
    return PackIndex.read(data, pack=pack, longest=longest)


def sealed(start, body):
    return start + body + sha256(start + body)


class TestIndex:
    @given(
        st.lists(
            st.tuples(st.binary(min_size=32, max_size=32), st.integers(1, 99)),
            unique_by=lambda each: each[0],
        )
    )
    def test_finds_what_was_put_in_and_nothing_else(self, things):
        rows, at = [], 0
        for digest, length in things:
            rows.append(Row(digest, at, length))
            at += length
        found = read(write_index(rows), pack=at, longest=99)
        assert sorted(found, key=lambda row: row.offset) == rows
        assert all(found.find(row.digest) == row for row in rows)
        assert found.find(b"?" * 32) is None or b"?" * 32 in {row.digest for row in rows}
        assert len(found) == len(rows)

    @given(st.binary(max_size=300))
    def test_any_bytes_are_one_or_our_error(self, data):
        try:
            found = read(data)
        except MalformedError:
            return
        assert write_index(found) == data

    @pytest.mark.parametrize("at", [0, len(INDEX), len(MADE) // 2, len(MADE) - 1])
    def test_one_changed_byte_is_refused(self, at):
        data = bytearray(MADE)
        data[at] ^= 1
        with pytest.raises(MalformedError):
            read(bytes(data))

    @pytest.mark.parametrize("length", [0, 1, len(INDEX), len(MADE) // 2, len(MADE) - 1])
    def test_one_that_was_cut_off_is_refused(self, length):
        with pytest.raises(MalformedError):
            read(MADE[:length])

    def test_a_pack_that_was_cut_off_is_refused_with_it(self):
        with pytest.raises(MalformedError, match="not in its pack"):
            read(MADE, pack=199)

    @pytest.mark.parametrize(
        "rows",
        [
            [Row(b"b" * 32, 0, 1), Row(b"a" * 32, 1, 1)],
            [Row(b"a" * 32, 0, 1), Row(b"a" * 32, 1, 1)],
            [Row(b"a" * 32, 0, 0)],
            [Row(b"a" * 32, 0, 11)],
            [Row(b"a" * 32, 2**32 - 1, 2**32 - 1)],
        ],
    )
    def test_rows_that_cannot_be_are_refused(self, rows):
        body = b"".join(bundle._ROW.pack(row.digest, row.offset, row.length) for row in rows)
        with pytest.raises(MalformedError):
            read(sealed(INDEX, body))

    def test_more_rows_than_a_pack_may_have_are_refused(self, monkeypatch):
        monkeypatch.setattr(limits, "MAX_PACK_ROWS", 19)
        with pytest.raises(MalformedError, match="20 rows"):
            read(MADE)


class TestContents:
    def test_are_read_as_they_were_written(self):
        assert Contents.from_bytes(ONE) == SAID
        assert Contents.from_bytes(Contents(0).to_bytes()) == Contents(0)

    @given(st.integers(0, len(ONE) - 1), st.integers(1, 255))
    def test_one_changed_byte_is_refused(self, at, change):
        data = bytearray(ONE)
        data[at] ^= change
        with pytest.raises(MalformedError):
            Contents.from_bytes(bytes(data))

    @given(st.integers(0, len(ONE) - 1))
    def test_a_part_is_refused(self, length):
        with pytest.raises(MalformedError):
            Contents.from_bytes(ONE[:length])

    @given(st.binary(max_size=200))
    def test_any_bytes_are_contents_or_our_error(self, data):
        for body in (data, sealed(CONTENTS, data)):
            try:
                found = Contents.from_bytes(body)
            except P2PHubError:
                continue
            assert found.to_bytes() == body

    @pytest.mark.parametrize(
        "told",
        [
            {},
            {"made": -1},
            {"made": 1, "heads": []},
            {"made": 1, "heads": [b""]},
            {"made": 1, "heads": [bytes(limits.MAX_HEAD + 1)]},
            {"made": 1, "releases": [{"name": "x"}]},
            [],
        ],
    )
    def test_what_makes_no_sense_is_refused(self, told):
        with pytest.raises(MalformedError):
            Contents.from_bytes(sealed(CONTENTS, encode(told)))

    def test_a_key_of_a_later_version_is_refused_as_such(self):
        with pytest.raises(NewerVersionError):
            Contents.from_bytes(sealed(CONTENTS, encode({"made": 1, "sealed_for": b"x"})))


def test_the_largest_proof_of_a_fork_may_be_carried():
    proof = bytes(limits.MAX_FORK + limits.MAX_ENVELOPE_OVERHEAD)
    assert Contents.from_bytes(Contents(1, notices=(proof,)).to_bytes()).notices == (proof,)
