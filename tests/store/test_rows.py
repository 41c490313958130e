"""Rows of many blobs with few queries: the right ones, and nobody else's."""

from p2phub.formats.ids import ContentId
from p2phub.store import rows
from p2phub.store.rows import place_in, row_of, rows_of, stamp_in
from p2phub.store.stamp import stamp_now
from p2phub.testing.samples import make_sample

from .conftest import bring

FILES = [make_sample(10 + number, seed=number) for number in range(12)]


def test_many_have_the_rows_that_each_has(store, monkeypatch):
    monkeypatch.setattr(rows, "AT_ONCE", 5)  # more than one query
    for sample in FILES:
        bring(store, sample)
    asked = [sample.content for sample in FILES]
    found = rows_of(store.index, asked + asked[:3])
    assert found == {content: row_of(store.index, content) for content in asked}
    for content, row in found.items():
        assert stamp_in(row, content) == stamp_now(store.blobs.path(content))
        assert place_in(row) is None


def test_another_size_or_digest_has_no_row(store):
    bring(store, FILES[0])
    content = FILES[0].content
    longer, stranger = ContentId(content.size + 1, content.digest), ContentId(10, bytes(32))
    assert rows_of(store.index, [longer, stranger]) == {}
    assert list(rows_of(store.index, [longer, content, stranger])) == [content]
    assert rows_of(store.index, []) == {}


def test_a_file_in_place_has_its_place(store, tmp_path):
    path = tmp_path / "mine.txt"
    path.write_bytes(b"mine")
    content = store.blobs.ingest(path, in_place=True).content
    assert place_in(rows_of(store.index, [content])[content]) == path
