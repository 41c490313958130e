"""What clients send becomes a blob if it is what was promised, and else leaves nothing."""

import hashlib

import pytest

from p2phub.errors import QuotaError, WrongBytesError
from p2phub.store.layout import Layout
from p2phub.store.store import Store
from p2phub.testing.files import random_bytes

DATA = random_bytes("upload", 3_000_000)


@pytest.fixture
def store(tmp_path):
    with Store.open(Layout.of(tmp_path)) as store:
        yield store


def left(store):
    """What lies in the folder for what has no name yet."""
    return sorted(path.name for path in store.layout.temp.rglob("*"))


def send(store, data, *, size=None, sha256=None):
    with store.uploads.begin(len(data) if size is None else size) as upload:
        for at in range(0, len(data), 1 << 20):
            upload.write(data[at : at + (1 << 20)])
        return upload.keep(sha256)


class TestAnUpload:
    @pytest.mark.parametrize("data", [b"", b"small", DATA], ids=len)
    def test_is_a_blob_and_is_found(self, store, data):
        digest = hashlib.sha256(data).digest()
        kept = send(store, data, sha256=digest)
        assert store.blobs.path(kept.content).read_bytes() == data
        assert store.uploads.find(digest, len(data)).content == kept.content
        assert send(store, data).content == kept.content  # a second time
        assert left(store) == []

    @pytest.mark.parametrize(
        "wrong", [{"sha256": bytes(32)}, {"size": len(DATA) + 1}, {"size": len(DATA) - 1}]
    )
    def test_that_is_not_what_was_promised_leaves_nothing(self, store, wrong):
        with pytest.raises(WrongBytesError):
            send(store, DATA, **wrong)
        assert left(store) == []
        assert store.blobs.every() == []

    def test_that_breaks_off_leaves_nothing(self, store):
        def breaking():
            with store.uploads.begin(100) as upload:
                upload.write(b"x")
                raise OSError("gone")

        with pytest.raises(OSError, match="gone"):
            breaking()
        assert left(store) == []

    def test_without_room_is_refused_before_a_byte_comes(self, tmp_path):
        with Store.open(Layout.of(tmp_path), quota=1_000_000) as store:
            with pytest.raises(QuotaError):
                store.uploads.begin(2_000_000)
            for _ in range(5):  # what was given back is free again
                with pytest.raises(WrongBytesError):
                    send(store, b"x" * 600_000, sha256=bytes(32))
            send(store, b"x" * 600_000)

    def test_of_a_killed_process_is_gone_when_the_store_opens(self, tmp_path):
        layout = Layout.of(tmp_path)
        with Store.open(layout) as store:
            upload = store.uploads.begin(100)
            upload.write(b"x")
            assert left(store)
        with Store.open(layout) as store:
            assert left(store) == []
