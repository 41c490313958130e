"""What becomes a blob while models answer leaves them half of the time."""

from types import SimpleNamespace

import trio

from p2phub.node import ingesting
from p2phub.node.folder import files_in
from p2phub.store.layout import Layout
from p2phub.store.store import Store


class Pressure:
    """Counts the bytes of which it is asked whether to rest."""

    def __init__(self):
        self.told = 0

    def shared(self, progress):
        def told(count):
            progress(count)
            self.told += count

        return told


async def test_every_byte_that_is_hashed_is_one_after_which_models_may_be_yielded_to(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(b"x" * (3 << 20))
    pressure, seen = Pressure(), []
    with Store.open(Layout.of(tmp_path / "home", "store")) as store:
        services = SimpleNamespace(
            store=store,
            pressure=pressure,
            on_disk=lambda work, *more, **named: trio.to_thread.run_sync(
                lambda: work(*more, **named)
            ),
        )
        folder = files_in(tmp_path / "model")
        await ingesting.ingest(services, folder, seen.append)
    assert pressure.told == 3 << 20
    assert seen[-2].bytes_done == 3 << 20
