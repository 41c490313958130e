"""A node that is killed between any two writes of its index, while it finishes a release or joins
what another node wrote: afterwards there is the old state or the new one, and it goes on.
"""

import shutil
from contextlib import contextmanager, suppress

import pytest
import trio

from p2phub.errors import P2PHubError, UntrustedError
from p2phub.node import housekeeping
from p2phub.node.own_index import join_writers
from p2phub.node.values import FinishRequest, PublishRequest
from p2phub.store.index import Index
from p2phub.testing.publishers import FakePublisher
from tests.scenarios.nodes import model, node, publish, quiet
from tests.scenarios.test_signing_together import sign
from tests.scenarios.writers import become, index_of, services_of

pytestmark = pytest.mark.slow
MOST_WRITES = 40


class KilledError(P2PHubError):
    """Nothing that would have come after this happens; what else the node does meanwhile is
    logged.
    """


@pytest.fixture(autouse=True)
def by_hand(monkeypatch):
    async def nothing(services):
        await trio.sleep_forever()

    for name in ("follow_other_writers", "join_what_is_told", "remember_peers"):
        monkeypatch.setattr(housekeeping, name, nothing)


@contextmanager
def killed_at(write, running, monkeypatch):
    """Every transaction of this node's index from number `write` on does not happen; says whether
    there was one.
    """
    count, real, dies = 0, Index.write, services_of(running).store.index

    @contextmanager
    def dying(index):
        nonlocal count
        count += index is dies
        if index is dies and count > write:
            raise KilledError("killed")
        with real(index) as statements:
            yield statements

    with monkeypatch.context() as patched:
        patched.setattr(Index, "write", dying)
        yield lambda: count > write


async def test_a_release_is_finished_or_not(tmp_path, monkeypatch):
    lab = FakePublisher(8, writers=("one", "airgap"))
    home, folder, file = tmp_path / "home", model(tmp_path / "model"), tmp_path / "x.p2phub"
    become(home, lab, "one")
    async with node(home) as running:
        old = await publish(running, folder)
        (folder / "config.json").write_text("[]")
        new = await running.publish(PublishRequest(folder, "x", prepare=file), quiet)
    sign(file, lab, "airgap")
    seen = set()
    for write in range(MOST_WRITES):
        copy = tmp_path / f"copy{write}"
        shutil.copytree(home, copy, ignore=shutil.ignore_patterns("run", "lock"))
        async with node(copy) as running:
            with killed_at(write, running, monkeypatch) as was_killed:
                with suppress(KilledError):
                    await running.proposals.finish(FinishRequest(file), quiet)
                ended = not was_killed()
        async with node(copy) as running:
            info = await running.info("x")
            assert info.commit in (old.commit, new.commit)
            seen.add(info.commit)
            done = await running.proposals.finish(FinishRequest(file), quiet)
            assert done.commit == (await running.info("x")).commit == new.commit
            assert await running.proposals.list() == ()
            index_of(running, lab)
        shutil.rmtree(copy)
        if ended:
            break
    else:
        pytest.fail("it never ended")
    assert seen == {old.commit, new.commit}


async def test_what_another_wrote_is_joined_or_not(tmp_path, monkeypatch):
    lab = FakePublisher(7, writers=("one", "two"))
    homes = {name: become(tmp_path / name, lab, name) for name in ("one", "two")}
    folder = model(tmp_path / "model")
    async with node(homes["two"]) as two:
        await publish(two, folder, "y")
    async with node(homes["one"]) as one:
        await publish(one, folder, "x")
        await publish(one, folder, "z")
        documents = services_of(one).store.documents
        head = documents.get(documents.head(lab.publisher))
        below = [
            (digest, kind, documents.get(digest))
            for kind in ("index", "page")
            for digest in documents.of_type(kind)
        ]
    for write in range(MOST_WRITES):
        copy = tmp_path / f"copy{write}"
        shutil.copytree(homes["two"], copy, ignore=shutil.ignore_patterns("run", "lock"))
        async with node(copy) as running:
            services = services_of(running)
            services.store.documents.put_many(below)
            with killed_at(write, running, monkeypatch) as was_killed:
                with suppress(KilledError):
                    services.knowledge.learn_head(lab.publisher, head)
                    await join_writers(services)
                ended = not was_killed()
        async with node(copy) as running:
            services = services_of(running)
            with suppress(UntrustedError):  # it was joined already: the old one is older
                services.knowledge.learn_head(lab.publisher, head)
            await join_writers(services)
            entries = services.knowledge.entries(lab.publisher)
            assert [entry.name for entry in entries] == ["x", "y", "z"]
            assert not await join_writers(services)
            index_of(running, lab)
        shutil.rmtree(copy)
        if ended:
            break
    else:
        pytest.fail("it never ended")
