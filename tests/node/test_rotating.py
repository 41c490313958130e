"""The next roots of our own publisher, made beside the store that adopts them."""

import pytest

from p2phub.errors import NotFoundError, RefusedError, UsageError
from p2phub.formats.publisher import KeySet
from p2phub.node import rotating
from p2phub.node.changing import root_signers
from p2phub.node.desk import own_papers
from p2phub.node.identity import adopt
from p2phub.node.rotating import Step
from p2phub.testing.identities import lone_secret, own_desk, publish, told_by
from p2phub.testing.publishers import FakePublisher
from p2phub.trust.keys import SigningKey
from p2phub.trust.secrets import Master, RootSecret


def one(key):
    return KeySet((key.public,))


@pytest.fixture
def lab():
    return FakePublisher(1)


@pytest.fixture
def desk(tmp_path, lab):
    with own_desk(tmp_path, lab) as desk:
        yield desk


def test_a_secret_that_lacks_the_next_key_says_where_it_is(desk, lab):
    secret = RootSecret(lone=((1, lab.root_signers(1)[0].seed),))
    with pytest.raises(NotFoundError):
        secret.root_key(2)
    with pytest.raises(UsageError, match="committed to"):
        rotating.require_committed(own_papers(desk.store.documents), SigningKey(b"x" * 32))


def test_an_old_home_rotates_to_a_master_and_the_phrase_alone_makes_the_newest_root(desk, lab):
    publish(desk, lab, "demo")
    old, master = lone_secret(lab), Master(b"m" * 32)
    steps = [Step.of(old.root_key(2)), Step.of(master.root_key(3))]
    parcel = rotating.rotate(desk, steps, one(master.root_key(4)), lab.recovery, None)
    made = adopt(desk, parcel)
    assert (made.root_v, made.delegation_version) == (3, 2)
    papers = own_papers(desk.store.documents)
    assert root_signers(papers, RootSecret(master))[0].public == master.root_key(3).public
    assert told_by(desk, lab.publisher) == {"demo@main": "verified"}


def test_after_a_theft_somebody_must_be_left_to_publish(tmp_path, lab):
    with own_desk(tmp_path, lab, "stranger") as desk:
        old, master = lone_secret(lab), Master(b"m" * 32)
        with pytest.raises(RefusedError, match="no release key would be left"):
            rotating.rotate(
                desk,
                [Step.of(old.root_key(2))],
                one(master.root_key(3)),
                None,
                rotating.Keep(),
            )
