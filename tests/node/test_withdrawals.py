"""A release that is taken back while it is here: whoever serves it is told, once, and obeys."""

import pytest
import trio

from p2phub.errors import RevokedError
from p2phub.formats.digest import sha256
from p2phub.formats.manifest import Release
from p2phub.node.withdrawals import Withdrawals
from p2phub.testing.notices import (
    fork_proof,
    revoke_file,
    revoke_key,
    revoke_release,
    withdraw,
)
from p2phub.testing.publishers import FakePublisher
from tests.node.test_knowledge import FILES, Home


class Shop:
    """A node's knowledge with some releases on its disk."""

    def __init__(self, path):
        self.home = Home(path)
        self.lab = FakePublisher(1)
        self.unsaid = []

    def stock(self, name="demo", files=FILES):
        made = self.lab.publish(name, files)
        self.home.learn(self.lab, made)
        self.home.store.repos.pulling(made.release.digest, "main", 5)
        return made

    def begin(self):
        home = self.home
        self.withdrawals = Withdrawals(home.store, home.knowledge, self.unsaid.append)
        return self.withdrawals

    async def check(self, notice=None):
        if notice is not None:
            self.home.knowledge.learn_notice(notice.pack())
        return await self.withdrawals.check(self.lab.publisher)


@pytest.fixture
def shop(tmp_path):
    made = Shop(tmp_path)
    yield made
    made.home.store.close()


@pytest.mark.parametrize(
    ("take_back", "verdict"),
    [
        (lambda lab, made: revoke_release(lab, made.release.digest), "revoked"),
        (lambda lab, made: revoke_file(lab, sha256(b"hello")), "revoked"),
        (lambda lab, made: revoke_key(lab, "release"), "revoked"),
        (lambda lab, made: withdraw(lab, made.release.digest), "withdrawn"),
        (
            lambda lab, made: fork_proof(
                lab,
                lab.sign_index(writer_seq=7, parents=(), seq=1)[0],
                lab.sign_index(writer_seq=7, parents=(), seq=1, created=5)[0],
            ),
            "forked",
        ),
    ],
    ids=["release", "file", "key", "withdrawal", "fork"],
)
async def test_whoever_listens_is_told_why_and_once(shop, take_back, verdict):
    made = shop.stock()
    withdrawals = shop.begin()
    with withdrawals.listen() as news:
        assert await shop.check() == ()
        (said,) = await shop.check(take_back(shop.lab, made))
        assert await shop.check() == ()
        assert news.receive_nowait() == said
        with pytest.raises(trio.WouldBlock):
            news.receive_nowait()
    assert (said.digest, said.verdict) == (made.release.digest.hex(), verdict)
    assert said.reason
    assert shop.unsaid == [made.release.digest]


async def test_other_releases_go_on(shop):
    made, other = shop.stock(), shop.stock("other", {"x.txt": b"x"})
    withdrawals = shop.begin()
    async with withdrawals.obeyed(other.release.digest):
        (said,) = await shop.check(revoke_release(shop.lab, made.release.digest))
        await trio.testing.wait_all_tasks_blocked()
    assert said.digest == made.release.digest.hex()


async def test_work_on_a_release_that_is_taken_back_ends(shop):
    made = shop.stock()
    withdrawals = shop.begin()

    async def serve():
        async with withdrawals.obeyed(made.release.digest):
            await shop.check(withdraw(shop.lab, made.release.digest))
            await trio.sleep_forever()

    with pytest.raises(RevokedError, match="mistake"):
        await serve()


async def test_work_that_ends_by_itself_leaves_no_listener(shop):
    made = shop.stock()
    withdrawals = shop.begin()
    for _ in range(3):
        async with withdrawals.obeyed(made.release.digest):
            pass
    assert withdrawals._listeners == []


async def test_a_restart_tells_again_of_what_is_still_here(shop):
    made = shop.stock()
    shop.begin()
    await shop.check(revoke_release(shop.lab, made.release.digest))
    shop.home.restart()
    shop.begin()
    (said,) = await shop.check()
    assert said.digest == made.release.digest.hex()


async def test_a_release_that_became_good_again_can_be_taken_back_again(shop):
    shop.lab = FakePublisher(1, writers=("release", "other"))
    made = shop.stock()
    shop.begin()
    assert len(await shop.check(withdraw(shop.lab, made.release.digest))) == 1
    second = shop.lab.release("demo", FILES, signers=("other",))
    shop.home.knowledge.learn(second.pack(), second.digest, Release)
    assert await shop.check() == ()
    again = withdraw(shop.lab, made.release.digest, signers=["other"])
    assert len(await shop.check(again)) == 1
