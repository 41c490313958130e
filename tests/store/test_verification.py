"""Reading files against their tables: every kind of damage, named by piece."""

import os

import pytest

from p2phub.store import verification
from p2phub.store.verification import bad_pieces
from p2phub.testing.samples import make_sample

SAMPLE = make_sample(1_200_000, piece=100_000)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(SAMPLE.data)
    return path


def check(path, sample=SAMPLE, **options):
    fd = os.open(path, os.O_RDONLY)
    try:
        return bad_pieces(fd, sample.table, path, **options)
    finally:
        os.close(fd)


def test_the_right_bytes_have_no_bad_piece(path):
    assert check(path) == []


@pytest.mark.parametrize("offset", [0, 99_999, 100_000, 1_199_999])
def test_one_flipped_bit_is_found_in_its_piece_and_no_other(path, offset):
    data = bytearray(SAMPLE.data)
    data[offset] ^= 1
    path.write_bytes(data)
    assert check(path) == [offset // 100_000]


def test_a_file_that_was_cut_off_has_bad_pieces_at_its_end(path):
    os.truncate(path, 1_050_000)
    assert check(path) == [10, 11]


def test_only_the_pieces_that_were_asked_for_are_read(path):
    path.write_bytes(bytes(len(SAMPLE.data)))
    seen = []
    assert check(path, indexes=[3, 5], progress=seen.append) == [3, 5]
    assert seen == [100_000, 100_000]


def test_only_right_pieces_are_handed_on(path):
    data = bytearray(SAMPLE.data)
    data[250_000] ^= 1
    path.write_bytes(data)
    taken = {}
    check(path, take=lambda index, piece: taken.__setitem__(index, bytes(piece)))
    assert taken == {n: SAMPLE.piece(n) for n in range(12) if n != 2}


def test_a_disk_that_cannot_be_read_counts_as_wrong_bytes(path, monkeypatch):
    real = os.preadv

    def failing(fd, buffers, offset):
        if offset == 500_000:
            raise OSError(5, "Input/output error")
        return real(fd, buffers, offset)

    monkeypatch.setattr(os, "preadv", failing)
    assert check(path) == [5]


def test_small_and_empty_files_are_one_piece_or_none(tmp_path):
    for size, broken in ((0, []), (1, [0]), (5000, [0])):
        sample = make_sample(size)
        path = tmp_path / str(size)
        path.write_bytes(sample.data)
        assert check(path, sample) == []
        path.write_bytes(bytes(size))
        assert check(path, sample) == broken


def test_memory_does_not_grow_with_the_file(path, monkeypatch):
    made = []
    real = bytearray
    monkeypatch.setattr(
        verification, "bytearray", lambda n: made.append(n) or real(n), raising=False
    )
    check(path)
    assert made == [1 << 20]
