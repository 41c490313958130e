"""What a disk that lies, or that has not everything yet, can do to who reads it."""

import os
import random
import threading
from dataclasses import replace
from itertools import pairwise

import pytest

from p2phub.errors import DamagedBlobError, EngineError, UntrustedError, WrongBytesError
from p2phub.inference.spec import ModelFile
from p2phub.inference.worker.verified import (
    Arrivals,
    Chunk,
    VerifiedFile,
    chunks,
    in_threads,
    readers,
)
from tests.inference.worker.release_files import PIECE, model_file

DATA = random.Random(1).randbytes(3 * PIECE + (1 << 20) + 7)
PIECES = 8


@pytest.fixture
def file(tmp_path):
    return model_file(tmp_path, "model.safetensors", DATA)


def read_all(source: VerifiedFile, most: int = 2 * PIECE) -> bytes:
    out = bytearray(source.table.size)
    view = memoryview(out)
    for chunk in chunks(source.table, 0, source.table.size, most):
        source.read(chunk, view[chunk.start : chunk.stop])
    return bytes(out)


def flip(where: str, at: int) -> None:
    with open(where, "r+b") as out:
        out.seek(at)
        byte = out.read(1)[0]
        out.seek(at)
        out.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("most", [1, PIECE, 3 * PIECE, 1 << 30])
def test_every_byte_comes_whatever_the_chunks(file, most):
    with VerifiedFile(file) as source:
        assert read_all(source, most) == DATA


@pytest.mark.parametrize("size", [0, 1, 1 << 20])
def test_a_small_file_is_checked_by_its_own_digest(tmp_path, size):
    file = model_file(tmp_path, "config.json", DATA[:size])
    with VerifiedFile(file) as source:
        assert read_all(source) == DATA[:size]
    if size:
        flip(file.where, size // 2)
        with VerifiedFile(file) as source, pytest.raises(DamagedBlobError, match=r"config\.json"):
            read_all(source)


@pytest.mark.parametrize("piece", range(PIECES))
@pytest.mark.parametrize("at", [0, -1])
def test_a_flipped_bit_is_found_in_its_piece(file, piece, at):
    table = file.table()
    assert table.count == PIECES
    flip(file.where, table.offset(piece) if at == 0 else table.offset(piece + 1) - 1)
    with VerifiedFile(file) as source, pytest.raises(DamagedBlobError) as caught:
        read_all(source)
    assert "model.safetensors" in caught.value.message
    assert f"piece {piece} is wrong" in caught.value.message
    assert "p2phub verify" in caught.value.remedy


@pytest.mark.parametrize("size", [0, 5, len(DATA) - 1, len(DATA) + 1])
def test_a_file_of_another_size_is_not_opened(file, size):
    os.truncate(file.where, size)
    with pytest.raises(DamagedBlobError, match=f"{size} bytes instead of {len(DATA)}"):
        VerifiedFile(file)


def test_a_file_that_shrinks_after_it_was_opened_is_an_error(file):
    with VerifiedFile(file) as source:
        os.truncate(file.where, 2 * PIECE + 3)
        with pytest.raises(DamagedBlobError, match=f"ends at byte {2 * PIECE + 3}"):
            read_all(source)


def test_a_file_that_changes_after_it_was_read_does_not_change_what_was_read(file):
    with VerifiedFile(file) as source:
        read = read_all(source)
        flip(file.where, 0)
        assert read == DATA
        with pytest.raises(DamagedBlobError):
            read_all(source)


def test_a_file_that_is_gone_is_named(file):
    os.unlink(file.where)
    with pytest.raises(DamagedBlobError, match=r"model\.safetensors cannot be read"):
        VerifiedFile(file)


def test_a_folder_in_place_of_a_file_is_an_error(file, tmp_path):
    (tmp_path / "folder").mkdir()
    other = ModelFile(file.path, file.content, str(tmp_path / "folder"), file.packed_table)
    with pytest.raises(DamagedBlobError):
        VerifiedFile(other)


def test_a_table_of_another_file_is_refused(file, tmp_path):
    other = model_file(tmp_path, "other", DATA[:-1] + b"x")
    with pytest.raises(UntrustedError):
        VerifiedFile(ModelFile(file.path, file.content, file.where, other.packed_table))


def test_a_prefix_ends_with_a_piece(file):
    with VerifiedFile(file) as source:
        assert source.prefix(9) == DATA[:PIECE]
        assert source.prefix(PIECE + 1) == DATA[: 2 * PIECE]
        assert source.prefix(1 << 40) == DATA


def test_a_chunk_longer_than_asked_is_one_piece_at_least(file):
    table = file.table()
    assert list(chunks(table, PIECE, PIECE + 1, most=1)) == [Chunk(1, 1, PIECE, 2 * PIECE)]


class TestArrivals:
    """The file is fetched while it is read. The reader is a thread that must not wait for ever."""

    @pytest.fixture
    def arriving(self, tmp_path):
        file = model_file(tmp_path, "model.safetensors", DATA, complete=False)
        os.truncate(file.where, 0)
        return file

    @pytest.fixture
    def arrivals(self):
        made = Arrivals()
        yield made
        made.fail(EngineError("the test is over"))

    def start(self, file: ModelFile, arrivals: Arrivals):
        outcome = []

        def run():
            try:
                with VerifiedFile(file, arrivals) as source:
                    outcome.append(read_all(source))
            except (EngineError, UntrustedError) as error:
                outcome.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        return thread, outcome

    def put(self, file: ModelFile, start: int, stop: int, data: bytes = DATA) -> None:
        with open(file.where, "r+b") as out:
            out.seek(start)
            out.write(data[start:stop])

    @pytest.mark.parametrize("seed", range(4))
    def test_ranges_may_come_in_any_order(self, arriving, arrivals, seed):
        thread, outcome = self.start(arriving, arrivals)
        bounds = [*range(0, len(DATA), PIECE // 3), len(DATA)]
        parts = list(pairwise(bounds))
        if seed:
            random.Random(seed).shuffle(parts)
        for start, stop in parts:
            assert not outcome
            self.put(arriving, start, stop)
            arrivals.ready("model.safetensors", start, stop)
        thread.join()
        assert outcome == [DATA]

    def test_a_piece_table_that_comes_late_is_waited_for(self, arriving, arrivals):
        thread, outcome = self.start(replace(arriving, packed_table=b""), arrivals)
        self.put(arriving, 0, len(DATA))
        arrivals.ready("model.safetensors", 0, len(DATA))
        arrivals.tabled("model.safetensors", arriving.packed_table)
        thread.join()
        assert outcome == [DATA]

    def test_a_piece_table_that_comes_late_and_is_another_ends_the_load(self, arriving, arrivals):
        thread, outcome = self.start(replace(arriving, packed_table=b""), arrivals)
        packed = arriving.packed_table
        arrivals.tabled("model.safetensors", packed[:-1] + bytes([packed[-1] ^ 1]))
        thread.join()
        assert type(outcome[0]) is WrongBytesError

    def test_ranges_of_another_file_wake_nobody(self, arrivals):
        arrivals.ready("other.safetensors", 0, len(DATA))
        assert not arrivals.has("model.safetensors", 0, 1)

    def test_what_never_comes_can_be_cancelled(self, arriving, arrivals):
        thread, outcome = self.start(arriving, arrivals)
        self.put(arriving, 0, PIECE)
        arrivals.ready("model.safetensors", 0, PIECE)
        arrivals.fail(EngineError("the fetch was cancelled"))
        thread.join()
        assert str(outcome[0]) == "the fetch was cancelled"

    def test_the_first_reason_counts(self):
        arrivals = Arrivals()
        arrivals.fail(EngineError("first"))
        arrivals.fail(EngineError("second"))
        with pytest.raises(EngineError, match="first"):
            arrivals.wait("a", 0, 1)

    def test_what_has_come_is_read_although_the_rest_will_not(self):
        arrivals = Arrivals()
        arrivals.ready("a", 0, 5)
        arrivals.fail(EngineError("gone"))
        arrivals.wait("a", 1, 5)

    def test_bytes_that_are_said_to_be_ready_and_are_wrong_are_an_error(self, arriving, arrivals):
        thread, outcome = self.start(arriving, arrivals)
        self.put(arriving, 0, len(DATA), bytes(len(DATA)))
        arrivals.ready("model.safetensors", 0, len(DATA))
        thread.join()
        assert type(outcome[0]) is WrongBytesError
        assert "piece 0" in str(outcome[0])

    def test_bytes_that_are_said_to_be_ready_and_are_not_there_are_an_error(
        self, arriving, arrivals
    ):
        thread, outcome = self.start(arriving, arrivals)
        arrivals.ready("model.safetensors", 0, len(DATA))
        thread.join()
        assert "ends at byte 0" in str(outcome[0])

    def test_a_file_may_move_before_it_was_opened(self, arriving, arrivals):
        os.rename(arriving.where, arriving.where + "-done")
        thread, outcome = self.start(arriving, arrivals)
        moved = ModelFile(arriving.path, arriving.content, arriving.where + "-done")
        self.put(moved, 0, len(DATA))
        arrivals.moved("model.safetensors", moved.where)
        arrivals.ready("model.safetensors", 0, len(DATA))
        thread.join()
        assert outcome == [DATA]

    def test_a_file_may_move_after_it_was_opened(self, arriving, arrivals):
        self.put(arriving, 0, len(DATA))
        with VerifiedFile(arriving, arrivals) as source:
            os.rename(arriving.where, arriving.where + "-done")
            arrivals.moved("model.safetensors", arriving.where + "-done")
            arrivals.ready("model.safetensors", 0, len(DATA))
            assert read_all(source) == DATA

    def test_a_file_that_is_not_complete_is_not_read_without_them(self, arriving, arrivals):
        with pytest.raises(EngineError, match="not complete"):
            VerifiedFile(arriving)


class TestThreads:
    @pytest.mark.parametrize("threads", [1, 3])
    def test_every_item_is_worked_at_once(self, threads):
        seen = []
        in_threads(range(50), seen.append, threads)
        assert sorted(seen) == list(range(50))

    @pytest.mark.parametrize("threads", [1, 3])
    def test_the_first_error_ends_it(self, threads):
        begun = []

        def work(item: int) -> None:
            begun.append(item)
            if item == 2:
                raise WrongBytesError("piece 2")

        with pytest.raises(WrongBytesError, match="piece 2"):
            in_threads(range(100_000), work, threads)
        assert len(begun) < 100_000

    def test_a_machine_has_readers(self):
        assert 1 <= readers() <= 4
