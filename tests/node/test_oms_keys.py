"""Keys of model signatures: made, certified by the root, exchanged, shown."""

import stat
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from p2phub.errors import NotFoundError, RefusedError, UsageError
from p2phub.formats import limits
from p2phub.node.desk import open_desk, require_own_papers
from p2phub.node.identity import adopt
from p2phub.node.initialise import initialise
from p2phub.node.oms_keys import certify, export, held, write_pem
from p2phub.store.keyring import OMS, Keyring
from p2phub.store.layout import Layout
from p2phub.testing.publishers import FakePublisher
from p2phub.trust.model_keys import ModelKey, from_pem, hint
from p2phub.trust.secrets import Master, RootSecret
from tests.node.test_verify_oms import certify as certified_by
from tests.scenarios.nodes import settings, stock

OTHER = ModelKey(b"o" * 32)


@pytest.fixture
def home(tmp_path):
    initialise(settings(), tmp_path / "home", "me", None, int(time.time()))
    return tmp_path / "home"


@pytest.fixture
def secret(home):
    (phrase,) = home.glob("*.phrase")
    return RootSecret(Master.from_phrase(phrase.read_text()))


def keys_in_force(home):
    with open_desk(settings(), home, read_only=True) as desk:
        return set(require_own_papers(desk.store.documents).identity.delegation.oms_keys)


def change(home, secret, key=None, *, alone=False):
    with open_desk(settings(), home) as desk:
        return adopt(desk, certify(desk, secret, key, alone=alone))


def key_here(home):
    return ModelKey(Keyring(Layout.of(home)).load(OMS)).public


def test_init_makes_one_that_is_certified_and_private(home):
    assert keys_in_force(home) == {key_here(home)}
    path = Layout.of(home).keys / "oms.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_one_that_others_can_read_is_not_used(home):
    (Layout.of(home).keys / "oms.key").chmod(0o644)
    with pytest.raises(RefusedError, match="other users"):
        held(Keyring(Layout.of(home)))


def test_a_publisher_without_one_gets_one(home, secret):
    (Layout.of(home).keys / "oms.key").unlink()
    with pytest.raises(NotFoundError, match="no key of model signatures"):
        held(Keyring(Layout.of(home)))
    before = keys_in_force(home)
    made = change(home, secret)
    assert made.delegation_version == 2
    assert keys_in_force(home) == before | {key_here(home)}
    assert len(before | {key_here(home)}) == 2


def test_another_machines_key_is_certified_beside_ours_or_instead(home, secret):
    mine = key_here(home)
    change(home, secret, OTHER.public)
    assert keys_in_force(home) == {mine, OTHER.public}
    with pytest.raises(RefusedError, match="no more are allowed"):
        change(home, secret, ModelKey(b"3" * 32).public)
    change(home, secret, OTHER.public, alone=True)
    assert keys_in_force(home) == {OTHER.public}


def test_what_is_certified_already_changes_nothing(home, secret):
    with pytest.raises(UsageError, match="already"):
        change(home, secret)
    assert len(keys_in_force(home)) == 1


def test_another_root_certifies_nothing(home):
    with pytest.raises(UsageError, match="does not make the key of root"):
        change(home, RootSecret(Master(bytes(32))), OTHER.public)
    assert OTHER.public not in keys_in_force(home)


def test_a_forked_publisher_settles_that_first(home, secret):
    class Knows:
        def state(self, publisher):
            return SimpleNamespace(forked="two indexes with number 5")

    with open_desk(settings(), home) as desk:
        forked = replace(desk, knowledge=Knows())
        with pytest.raises(RefusedError, match="two indexes with number 5"):
            certify(forked, secret, OTHER.public, alone=False)


def test_a_wrong_root_makes_no_key_file(home):
    (Layout.of(home).keys / "oms.key").unlink()
    with pytest.raises(UsageError, match="does not make the key of root"):
        change(home, RootSecret(Master(bytes(32))))
    assert not (Layout.of(home).keys / "oms.key").exists()


class TestExport:
    def exported(self, home, who=None, which=None, **more):
        with open_desk(settings(), home, read_only=True) as desk:
            return export(desk, who, which, **more)

    def test_our_own_key_and_whether_it_counts(self, home):
        found = self.exported(home)
        assert (found.key, found.certified) == (key_here(home), True)
        (Layout.of(home).keys / "oms.key").unlink()
        new = self.exported(home, make=True)
        assert (new.key, new.certified) == (key_here(home), False)
        with pytest.raises(NotFoundError):
            self.exported(home, "nobody")

    def test_the_keys_that_the_root_certified(self, home, secret):
        mine = key_here(home)
        assert self.exported(home, "me").key == mine
        change(home, secret, OTHER.public)
        with pytest.raises(UsageError, match="several keys fit") as caught:
            self.exported(home, "me")
        assert hint(mine)[:16] in caught.value.message
        assert self.exported(home, "me", hint(OTHER.public)[:8].upper()).key == OTHER.public
        assert self.exported(home, None, hint(OTHER.public)[:8]).key == OTHER.public
        with pytest.raises(NotFoundError, match="no such key"):
            self.exported(home, "me", "zz")

    def test_the_key_of_somebody_else(self, home):
        lab = FakePublisher(1)
        certified_by(lab, OTHER)
        lab.publish("x", {"a": b"1"})
        stock(home, lab)
        found = self.exported(home, str(lab.publisher))
        assert (found.key, found.publisher_id) == (OTHER.public, str(lab.publisher))
        certified_by(lab)
        lab.sign_head()
        stock(home, lab)
        with pytest.raises(NotFoundError, match="certified no key"):
            self.exported(home, str(lab.publisher))

    def test_a_file_that_everybody_may_read_and_nothing_overwrites(self, tmp_path):
        path = tmp_path / "oms.pem"
        write_pem(path, OTHER.public)
        assert from_pem(path.read_bytes()) == OTHER.public
        assert len(path.read_bytes()) < limits.MAX_OMS_PEM
        with pytest.raises(RefusedError, match="never overwritten"):
            write_pem(path, ModelKey(bytes(32)).public)
        assert from_pem(path.read_bytes()) == OTHER.public
