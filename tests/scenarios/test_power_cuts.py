"""The power goes at every single change of the index, in a publish and in a pull; then again.

Nothing after the cut happens, not even cleaning up. What is there after a start must verify, and
the same command must work.
"""

from contextlib import asynccontextmanager
from itertools import count

import pytest

from p2phub.node import housekeeping
from p2phub.node.values import SearchQuery
from p2phub.store.index import Index
from p2phub.testing.disks import PowerCutError
from tests.scenarios.nodes import (
    consumer,
    contents,
    model,
    new_publisher,
    node,
    publish,
    pull,
    quiet,
    snapshots,
)

# A machine that is off closes nothing.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@asynccontextmanager
async def power_cut(home, at):
    """The body up to change `at` of the index of `home`; gives a list that the cut is noted in."""
    changes, noted, write = count(), [], Index.write

    def counted(index):
        if home not in index._path.parents:
            return write(index)
        if next(changes) >= at:
            noted.append(at)
            raise PowerCutError(at)
        return write(index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Index, "write", counted)
        try:
            yield noted
        except BaseException as error:
            if not noted or not _only_cuts(error):
                raise


def _only_cuts(error):
    if isinstance(error, BaseExceptionGroup):
        return all(map(_only_cuts, error.exceptions))
    return isinstance(error, PowerCutError)


async def test_a_power_cut_in_a_publish_shows_the_old_release_or_the_new(tmp_path):
    here, folder = tmp_path / "publisher", model(tmp_path / "model")
    new_publisher(here)
    async with node(here) as running:
        await publish(running, folder)
    for at in count():
        before = contents(folder)
        (folder / "config.json").write_text(f"[{at}]")
        async with power_cut(here, at) as noted, node(here) as running:
            await publish(running, folder)
        async with node(here) as running:
            shown = await running.info("x")
            seen = contents((await pull(running, "x")).path)
            assert seen == contents(folder) or (noted and seen == before)
            assert shown.here == "complete"
            assert all(found.ok for found in await running.verify(None, quiet))
            again = await publish(running, folder)
            shown = await running.info("x")
            assert shown.commit == again.commit
            assert contents(shown.path) == contents(folder)
            (hit,) = await running.search(SearchQuery("x"))
            assert hit.commit == again.commit
        if not noted:
            assert at > 5
            return


async def test_a_power_cut_in_a_pull_leaves_what_came_or_nothing(tmp_path):
    here, there, folder = tmp_path / "here", tmp_path / "there", model(tmp_path / "model")
    publisher = new_publisher(there)
    async with node(there) as serving:
        await publish(serving, folder)
        for at in count():
            home = here / str(at)
            async with consumer(home, serving, publisher):
                pass
            async with power_cut(home, at) as noted, node(home, serving) as pulling:
                await pull(pulling)
            async with node(home, serving) as pulling:
                for path in snapshots(home):
                    assert path.read_bytes() == (folder / path.name).read_bytes()
                done = await pull(pulling)
                assert contents(done.path) == contents(folder)
                assert all(found.ok for found in await pulling.verify(None, quiet))
                assert not list((home / "store" / "partial").iterdir())
            if not noted:
                assert at > 5
                return


async def test_what_fails_at_the_very_end_leaves_no_connection_open(tmp_path, monkeypatch):
    async def cut(services):
        raise PowerCutError(0)

    async def pulled_and_cut():
        async with consumer(here, serving, publisher) as pulling:
            await pull(pulling)
            monkeypatch.setattr(housekeeping, "remember_now", cut)
            left.append(pulling._services.neighbours._sources)
            assert left[0]

    here, there, folder = tmp_path / "here", tmp_path / "there", model(tmp_path / "model")
    publisher, left = new_publisher(there), []
    async with node(there) as serving:
        await publish(serving, folder)
        with pytest.raises((PowerCutError, BaseExceptionGroup)):
            await pulled_and_cut()
        monkeypatch.undo()
    assert left == [{}]
