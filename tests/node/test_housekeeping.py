"""Hashing in the background rests before each piece while models answer, and still gets done; what
clients began to send and left is dropped.
"""

from types import SimpleNamespace

import pytest
import trio

from p2phub.errors import QuotaError
from p2phub.formats import limits
from p2phub.node import housekeeping, pressure
from p2phub.node.services import Bell
from p2phub.store import sent_parts
from p2phub.store.layout import Layout
from p2phub.store.sent_parts import InParts, SentParts
from p2phub.store.store import Store

PIECES = 6


class CountingPressure(pressure.Pressure):
    """Remembers how often somebody rested, and how many requests were under way then."""

    def __init__(self):
        super().__init__(trio.current_time)
        self.rests = []

    def wait_a_moment(self, count=0):
        self.rests.append(self.under_way)
        super().wait_a_moment(count)


async def test_hashing_rests_before_each_piece_while_models_answer(tmp_path, monkeypatch):
    monkeypatch.setattr(pressure, "MOMENT", 0.02)
    monkeypatch.setattr(limits, "MIN_BIG_FILE", 0)
    hashed = trio.Event()
    source = tmp_path / "weights"
    source.write_bytes(b"x" * (PIECES << 20))
    with Store.open(Layout.of(tmp_path / "home", "store")) as store:
        (taken,) = store.blobs.ingest_many([source])
        content, table = taken.content, store.blobs.table(taken.content)
        path = tmp_path / "again"
        path.write_bytes(source.read_bytes())
        store.blobs.remove(content)
        store.blobs.put_table(content, table.pack())
        store.blobs.adopt(path, content, table)
        assert store.blobs.unhashed() == [content]
        services = SimpleNamespace(
            store=store,
            on_disk=trio.to_thread.run_sync,
            announcer=SimpleNamespace(file=lambda sha256: hashed.set()),
            hashing_waits=Bell(),
            pressure=CountingPressure(),
        )
        with services.pressure.answering():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(housekeeping.hash_in_background, services)
                await hashed.wait()
                nursery.cancel_scope.cancel()
        assert services.pressure.rests == [1] * PIECES


async def test_the_room_of_an_upload_that_was_left_is_free_again(tmp_path, monkeypatch):
    monkeypatch.setattr(housekeeping, "IDLE", 0.03)
    now = [0.0]
    with Store.open(Layout.of(tmp_path), quota=1000) as store:
        store.sent_parts = SentParts(store.uploads, lambda: now[0])
        store.sent_parts.begin(InParts(bytes(32), 900, 100), 1)
        services = SimpleNamespace(store=store, on_disk=trio.to_thread.run_sync)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(housekeeping.drop_idle_uploads, services)
            await trio.sleep(0.1)
            with pytest.raises(QuotaError):
                store.uploads.begin(900)
            now[0] = 2 * sent_parts.IDLE
            with trio.fail_after(5):
                while list(store.layout.temp.iterdir()):  # noqa: ASYNC110 - a folder tells nobody
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
        with store.uploads.begin(900):
            pass
