"""Making a publisher: what lies where afterwards, and after everything that can go wrong."""

import stat

import pytest

from p2phub import config
from p2phub.errors import P2PHubError, RefusedError, UsageError
from p2phub.formats import limits
from p2phub.formats.publisher import KeySet
from p2phub.node.initialise import Wishes, initialise
from p2phub.node.restore import restore
from p2phub.store.backup import read_backup
from p2phub.store.keyring import Keyring
from p2phub.store.layout import Layout
from p2phub.store.store import Store
from p2phub.testing.disks import CountingDisk, FailingDisk, FullDisk, PowerCut, PowerCutError
from p2phub.trust import sealing
from p2phub.trust.envelope import unpack
from p2phub.trust.identity import verify_chain, verify_identity
from p2phub.trust.keys import SigningKey
from p2phub.trust.model_keys import ModelKey
from p2phub.trust.secrets import Master, RootSecret

NOW = 1_800_000_000
PASSPHRASE = "correct horse battery"
KEYS = [SigningKey(bytes([n]) * 32).public for n in range(1, 8)]


@pytest.fixture(autouse=True)
def cheap(monkeypatch):
    monkeypatch.setattr(sealing, "N", 2)


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


def made(home, wishes=None, *, backup=None, disk=None, alias=None):
    return initialise(config.load("", {}), home, alias, backup, NOW, wishes, disk)


def master_in(path):
    return Master.from_phrase(path.read_text())


def own_root(home):
    with Store.open(Layout.of(home), read_only=True) as store:
        roots, delegation = store.documents.own_documents()
        kept = [unpack(store.documents.get(digest)) for digest in (*roots, delegation)]
    return verify_identity(verify_chain(kept[:-1]), kept[-1])


def test_the_phrase_makes_root_1_and_the_key_that_root_1_commits_to(home):
    told = made(home)
    master, identity = master_in(told.phrase_file), own_root(home)
    assert str(identity.publisher) == told.publisher_id
    assert identity.root.keys == KeySet((master.root_key(1).public,))
    assert identity.root.next == KeySet((master.root_key(2).public,)).digest
    assert identity.root.recovery is None
    release = SigningKey(Keyring(Layout.of(home)).load("release"))
    assert identity.release_keys == {release.public}


def test_without_a_passphrase_nothing_that_makes_root_keys_is_under_the_keys(home):
    told = made(home)
    assert not told.root_kept
    assert Keyring(Layout.of(home)).names() == ("node", "oms", "release")
    master = master_in(told.phrase_file)
    secrets = [bytes(master.secret), *(bytes(master.root_key(v).seed) for v in (1, 2))]
    for path in home.rglob("*"):
        data = path.read_bytes() if path.is_file() and path != told.phrase_file else b""
        for secret in secrets:
            assert secret not in data, path
            assert secret.hex().encode() not in data, path


def test_with_a_passphrase_the_master_is_here_and_locked(home):
    told = made(home, Wishes(passphrase=PASSPHRASE))
    assert told.root_kept
    secret = Keyring(Layout.of(home)).root(lambda: PASSPHRASE)
    assert secret == RootSecret(master_in(told.phrase_file))


def test_phrase_and_backup_are_for_their_owner_only_and_open_together(home, tmp_path):
    wishes = Wishes(phrase_file=tmp_path / "words")
    told = made(home, wishes, backup=tmp_path / "backup")
    assert (told.phrase_file, told.backup) == (tmp_path / "words", tmp_path / "backup")
    for path in (told.phrase_file, told.backup):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = read_backup(told.backup, told.phrase_file.read_text)
    assert str(found.publisher) == told.publisher_id
    assert set(found.release) == {"oms", "release"}
    assert found.created == NOW


def test_a_person_who_is_told_the_phrase_gets_no_file_of_it(home):
    heard = []

    def tell(phrase):
        heard.append(phrase)
        return PASSPHRASE

    told = made(home, Wishes(tell=tell))
    assert told.phrase_file is None
    assert not list(home.glob("*.phrase"))
    assert Keyring(Layout.of(home)).root(lambda: PASSPHRASE).master == Master.from_phrase(heard[0])


def test_a_person_who_does_not_write_the_phrase_down_gets_no_publisher(home):
    def tell(phrase):
        raise UsageError("no pen")

    with pytest.raises(UsageError, match="no pen"):
        made(home, Wishes(tell=tell))
    assert Keyring(Layout.of(home)).names() == ("node",)
    assert not list(home.glob("*backup*"))
    assert made(home).created


@pytest.mark.parametrize("name", ["p2phub-backup.json", "p2phub-backup.json.phrase"])
def test_a_file_in_the_way_is_told_before_anything_is_made(home, name):
    home.mkdir()
    (home / name).write_text("my thesis")
    with pytest.raises(RefusedError, match="never overwritten") as caught:
        made(home)
    assert "--backup" in caught.value.remedy
    assert (home / name).read_text() == "my thesis"
    assert Keyring(Layout.of(home)).names() == ("node",)
    assert len(list(home.glob("*backup*"))) == 1


def test_phrase_and_backup_do_not_go_into_one_file(home, tmp_path):
    with pytest.raises(UsageError, match="one file"):
        made(home, Wishes(phrase_file=tmp_path / "both"), backup=tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_a_bad_passphrase_leaves_nothing_that_is_in_the_way(home):
    with pytest.raises(UsageError, match="passphrase"):
        made(home, Wishes(passphrase="short"))
    assert made(home, Wishes(passphrase=PASSPHRASE)).created


def test_keys_of_another_publisher_are_not_taken_over(home):
    layout = Layout.of(home)
    for name in ("root", "release", "oms"):
        Keyring(layout).save(name, bytes(32))
        with pytest.raises(RefusedError, match=rf"{name}\.key exists"):
            made(home)
        Keyring(layout).path(name).unlink()


def test_recovery_keys_are_part_of_root_1(home):
    recovery = KeySet(tuple(KEYS[:3]), 2)
    made(home, Wishes(recovery=recovery))
    assert own_root(home).root.recovery == recovery


def test_as_many_recovery_keys_as_allowed_fit_in_a_root(home):
    recovery = KeySet(tuple(KEYS[: limits.MAX_ROLE_KEYS]), limits.MAX_ROLE_KEYS)
    made(home, Wishes(recovery=recovery))
    assert own_root(home).root.recovery == recovery


class TestInterrupted:
    """Wherever it stops, the next `init`, or `init --restore`, makes a publisher."""

    def count(self, tmp_path):
        honest = CountingDisk()
        made(tmp_path / "count", Wishes(passphrase=PASSPHRASE), disk=honest)
        return len(honest.changes)

    def go_on(self, home, tmp_path, at):
        layout, backup = Layout.of(home), home / "p2phub-backup.json"
        keyring = Keyring(layout)
        if {"release", "root", "oms"} & set(keyring.names()):
            phrase = backup.with_name(backup.name + ".phrase")
            told = restore(
                config.load("", {}), home, backup, phrase.read_text, lambda: PASSPHRASE, None, NOW
            )
        else:
            told = made(home, backup=tmp_path / f"second-{at}")
        with Store.open(layout, read_only=True) as store:
            assert str(store.documents.own_publisher()) == told.publisher_id
        identity, model_key = own_root(home), ModelKey(keyring.load("oms"))
        assert identity.release_keys == {SigningKey(keyring.load("release")).public}
        assert identity.delegation.oms_keys == (model_key.public,)

    def test_by_a_power_cut_at_any_change_of_the_disk(self, tmp_path):
        for at in range(self.count(tmp_path)):
            home = tmp_path / f"home-{at}"
            with pytest.raises(PowerCutError):
                made(home, Wishes(passphrase=PASSPHRASE), disk=PowerCut(at))
            self.go_on(home, tmp_path, at)

    @pytest.mark.parametrize("kind", [FullDisk, FailingDisk])
    def test_by_a_disk_that_fails_from_any_change_on(self, tmp_path, kind):
        for at in range(self.count(tmp_path)):
            home = tmp_path / f"home-{at}"
            try:
                made(home, Wishes(passphrase=PASSPHRASE), disk=kind(at))
            except P2PHubError:
                self.go_on(home, tmp_path, at)
            else:
                assert own_root(home)
