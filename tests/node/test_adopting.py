"""What of a cache is read at a time."""

from pathlib import Path

from p2phub.formats.huggingface_cache import Etag
from p2phub.node import adopting
from p2phub.node.adopting import BATCH_BYTES, _batches
from p2phub.node.huggingface_cache import CachedBlob


def blob(number, size):
    etag = Etag("git", bytes([number]) * 20)
    return CachedBlob(Path(str(etag)), Path(f"/{etag}"), etag, size)


def test_large_files_are_batches_of_their_own_and_none_is_left_out():
    blobs = [blob(number, size) for number, size in enumerate((1, 2 * BATCH_BYTES, 3, 4, 0))]
    batches = list(_batches(blobs))
    assert [len(batch) for batch in batches] == [1, 1, 3]
    assert [each for batch in batches for each in batch] == blobs


def test_many_small_files_are_no_endless_batch(monkeypatch):
    monkeypatch.setattr(adopting, "BATCH_FILES", 2)
    assert [len(batch) for batch in _batches([blob(number, 1) for number in range(5)])] == [2, 2, 1]


def test_no_file_is_no_batch():
    assert list(_batches([])) == []
