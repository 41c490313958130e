"""The keys of this machine and of our publisher: what is told of them, and what never is."""

import json

import pytest

from p2phub.config import load
from p2phub.errors import RefusedError, UsageError
from p2phub.formats.notices import RevokedKey
from p2phub.formats.publisher import ReleaseKey
from p2phub.node.own_keys import SOON, list_keys, new_key
from p2phub.node.values import as_json
from p2phub.store.keyring import Keyring
from p2phub.store.layout import Layout
from p2phub.testing.identities import open_home, own_desk, publish
from p2phub.testing.notices import revoke
from p2phub.testing.publishers import CREATED, FakePublisher
from p2phub.trust.keys import SigningKey

PASSPHRASE = "correct horse battery staple"


def make(home, name, passphrase=None):
    return new_key(load("", {}), home, name, passphrase)


def rows(desk):
    return {row.name: row for row in list_keys(desk).keys if row.name}


def test_a_new_key_is_kept_and_only_its_public_half_is_told(tmp_path):
    made = make(tmp_path, "recovery")
    seed = Keyring(Layout.of(tmp_path)).load("recovery")
    assert made.key == SigningKey(seed).public.hex()
    assert seed.hex() not in json.dumps(as_json(made))
    with pytest.raises(RefusedError, match="never overwritten"):
        make(tmp_path, "recovery")


def test_a_locked_key_opens_with_its_passphrase_only(tmp_path):
    made = make(tmp_path, "recovery", PASSPHRASE)
    keyring = Keyring(Layout.of(tmp_path))
    assert made.locked
    assert SigningKey(keyring.load_locked("recovery", PASSPHRASE)).public.hex() == made.key
    with pytest.raises(RefusedError):
        keyring.load("recovery")


@pytest.mark.parametrize("name", ["root", "node", "oms", "../x", "a b", ""])
def test_a_key_cannot_have_a_name_that_means_something_else(tmp_path, name):
    with pytest.raises(UsageError):
        make(tmp_path, name)


def test_before_there_is_a_publisher_the_keys_of_the_machine_are_told(tmp_path):
    make(tmp_path, "recovery")
    with open_home(tmp_path) as desk:
        found = list_keys(desk)
    assert found.publisher_id is None
    assert [row.name for row in found.keys] == ["recovery"]


def test_every_key_of_the_papers_is_told_with_its_limits_and_where_it_is(tmp_path):
    lab = FakePublisher(1)
    bob = ReleaseKey(lab.key("bob").public, ("demo",), CREATED + SOON)
    lab.delegate("release", bob)
    with own_desk(tmp_path, lab) as desk:
        found = list_keys(desk)
    by_role = {(row.roles, row.key): row for row in found.keys}
    release = by_role[("release",), lab.key("release").public.hex()]
    assert (release.name, release.locked, release.expires) == ("release", False, None)
    other = by_role[("release",), bob.key.hex()]
    assert (other.name, other.repos, other.expires) == (None, ("demo",), CREATED + SOON)
    assert (("recovery",), lab.key("recovery").public.hex()) in by_role
    assert (found.root_v, found.delegation_version, found.threshold) == (1, 2, 1)
    assert (found.recovery_threshold, found.next_committed) == (1, True)


@pytest.mark.parametrize(
    ("left", "said"), [(SOON, ""), (SOON - 1, "expires 2"), (0, "expires 2"), (-1, "expired 2")]
)
def test_a_key_that_expires_within_two_weeks_is_warned_of(tmp_path, left, said):
    lab = FakePublisher(1)
    lab.delegate(ReleaseKey(lab.key("release").public, (), CREATED + left))
    with own_desk(tmp_path, lab) as desk:
        warnings = [each for each in list_keys(desk).warnings if "expire" in each]
    assert len(warnings) == bool(said)
    assert said in "".join(warnings)


def test_a_recovery_key_beside_the_release_key_is_warned_of(tmp_path):
    lab = FakePublisher(1)
    with own_desk(tmp_path, lab) as desk:
        assert not any("recovery key" in each for each in list_keys(desk).warnings)
        desk.keyring.save("helper", lab.key("recovery").seed)
        assert any("recovery key helper lies beside" in each for each in list_keys(desk).warnings)


def test_a_machine_without_a_release_key_says_that_it_cannot_publish(tmp_path):
    lab = FakePublisher(1)
    with own_desk(tmp_path, lab, "stranger") as desk:
        assert any("no release key" in each for each in list_keys(desk).warnings)


def test_a_revoked_key_says_why(tmp_path):
    lab = FakePublisher(1, writers=("release", "bob"))
    with own_desk(tmp_path, lab) as desk:
        publish(desk, lab, "demo")
        notice = revoke(lab, RevokedKey(lab.key("release").public), reason="stolen")
        desk.knowledge.learn_notice(notice.pack())
        assert rows(desk)["release"].revoked == "stolen"


def test_no_secret_is_in_what_is_told(tmp_path):
    lab = FakePublisher(1)
    with own_desk(tmp_path, lab) as desk:
        desk.keyring.save_locked("helper", lab.key("recovery").seed, PASSPHRASE)
        told = json.dumps(as_json(list_keys(desk)))
        assert rows(desk)["helper"].locked
        for name in ("release", "recovery"):
            assert lab.key(name).seed.hex() not in told
        assert PASSPHRASE not in told
