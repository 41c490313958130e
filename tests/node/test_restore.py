"""A publisher on a new machine: nothing there is lost, nothing wrong is taken."""

import json
from dataclasses import replace

import pytest

from p2phub import config
from p2phub.errors import (
    MalformedError,
    NotFoundError,
    P2PHubError,
    RefusedError,
    UntrustedError,
    UsageError,
)
from p2phub.formats.ids import PublisherId
from p2phub.formats.parcel import Parcel
from p2phub.formats.publisher import KeySet
from p2phub.node.backups import OwnSecrets
from p2phub.node.initialise import Wishes, first_documents, initialise
from p2phub.node.restore import restore
from p2phub.store.backup import backup_text, read_backup
from p2phub.store.keyring import Keyring
from p2phub.store.layout import Layout
from p2phub.store.store import Store
from p2phub.testing.disks import CountingDisk, FullDisk, PowerCut, PowerCutError
from p2phub.trust import sealing
from p2phub.trust.keys import SigningKey
from p2phub.trust.secrets import Master, RootSecret

NOW = 1_800_000_000
PASSPHRASE = "correct horse battery"


@pytest.fixture(autouse=True)
def cheap(monkeypatch):
    monkeypatch.setattr(sealing, "N", 2)


@pytest.fixture
def first(tmp_path):
    """A publisher, and what its owner kept of it."""
    home = tmp_path / "first"
    return initialise(config.load("", {}), home, None, None, NOW, Wishes(passphrase=PASSPHRASE))


@pytest.fixture
def home(tmp_path):
    return tmp_path / "second"


def nobody():
    raise AssertionError("nobody is to be asked")


def restored(home, backup, ask, passphrase=None, disk=None):
    return restore(config.load("", {}), home, backup, ask, lambda: passphrase, None, NOW, disk)


def documents(home):
    with Store.open(Layout.of(home), read_only=True) as store:
        roots, delegation = store.documents.own_documents()
        kept = [store.documents.get(digest) for digest in (*roots, delegation)]
        return store.documents.own_publisher(), kept


def forged(found, **changes):
    return backup_text(replace(found, **changes), bytes(12))


def test_the_publisher_is_the_same_with_the_same_keys_and_documents(first, home, tmp_path):
    told = restored(home, first.backup, first.phrase_file.read_text)
    assert (told.publisher_id, told.created) == (first.publisher_id, True)
    assert documents(home) == documents(tmp_path / "first")
    there, here = (Keyring(Layout.of(folder)) for folder in (tmp_path / "first", home))
    assert here.load("release") == there.load("release")
    assert here.load("node") != there.load("node")
    assert here.names() == ("node", "oms", "release")


def test_with_a_passphrase_the_root_is_here_too(first, home, tmp_path):
    told = restored(home, first.backup, first.phrase_file.read_text, "another passphrase")
    assert told.root_kept
    there = Keyring(Layout.of(tmp_path / "first")).root(lambda: PASSPHRASE)
    assert Keyring(Layout.of(home)).root(lambda: "another passphrase") == there


def test_a_second_restore_changes_nothing_and_asks_for_no_passphrase(first, home):
    restored(home, first.backup, first.phrase_file.read_text, PASSPHRASE)
    before = documents(home)
    told = restore(
        config.load("", {}), home, first.backup, first.phrase_file.read_text, nobody, None, NOW
    )
    assert not told.created
    assert documents(home) == before


def test_a_lost_release_key_comes_back_beside_the_documents_that_are_there(first, tmp_path):
    home = tmp_path / "first"
    path = Keyring(Layout.of(home)).path("release")
    seed = path.read_text()
    path.unlink()
    restored(home, first.backup, first.phrase_file.read_text)
    assert path.read_text() == seed


def test_another_publisher_of_this_machine_is_not_replaced(first, home):
    other = initialise(config.load("", {}), home, None, None, NOW)
    before = {path: path.read_bytes() for path in (home / "keys").iterdir()}
    with pytest.raises(RefusedError, match=other.publisher_id):
        restored(home, first.backup, first.phrase_file.read_text)
    assert {path: path.read_bytes() for path in (home / "keys").iterdir()} == before


def test_another_key_of_that_name_is_not_replaced(first, home):
    keyring = Keyring(Layout.of(home))
    keyring.save("release", bytes(32))
    with pytest.raises(RefusedError, match="another key"):
        restored(home, first.backup, first.phrase_file.read_text)
    assert keyring.load("release") == bytes(32)
    with Store.open(Layout.of(home), read_only=True) as store:
        assert store.documents.own_publisher() is None


def test_a_wrong_phrase_leaves_nothing(first, home):
    with pytest.raises(MalformedError, match="does not open"):
        restored(home, first.backup, Master(bytes(32)).phrase)
    with pytest.raises(UsageError, match="word 1 "):
        restored(
            home, first.backup, lambda: "qqq " + first.phrase_file.read_text().split(" ", 1)[1]
        )
    assert Keyring(Layout.of(home)).names() == ()


def test_a_backup_that_is_not_there(home, tmp_path):
    with pytest.raises(NotFoundError, match="no backup file"):
        restored(home, tmp_path / "nothing", nobody)


class TestForgedDocuments:
    """Whoever has the phrase can seal anything: what is inside must still make the publisher."""

    @pytest.fixture
    def found(self, first):
        return read_backup(first.backup, first.phrase_file.read_text)

    def refused(self, home, tmp_path, found, match, **changes):
        path = tmp_path / "forged.json"
        path.write_bytes(forged(found, **changes))
        with pytest.raises(UntrustedError, match=match):
            restored(home, path, found.root.master.phrase)
        assert Keyring(Layout.of(home)).names() == ()

    def test_of_another_publisher(self, home, tmp_path, found):
        other = PublisherId(b"\7" * 32)
        self.refused(home, tmp_path, found, "its documents make publisher", publisher=other)

    def test_a_delegation_that_no_root_signed(self, home, tmp_path, found):
        thief = SigningKey(b"\1" * 32)
        _, delegation = first_documents(thief, thief.public, thief.public)
        self.refused(home, tmp_path, found, "delegation", delegation=delegation.pack())

    def test_bytes_that_are_no_documents(self, home, tmp_path, found):
        self.refused(home, tmp_path, found, "forged.json", roots=(b"no root",))


class TestWithoutBackup:
    """The phrase alone, and what everybody knows."""

    @pytest.fixture
    def papers(self, tmp_path, first):
        _, kept = documents(tmp_path / "first")
        path = tmp_path / "papers"
        path.write_bytes(Parcel(tuple(kept)).to_bytes())
        return path

    def test_the_root_comes_back_and_no_release_key(self, first, home, papers, tmp_path):
        told = restored(home, papers, first.phrase_file.read_text, PASSPHRASE)
        assert told.publisher_id == first.publisher_id
        assert documents(home) == documents(tmp_path / "first")
        keyring = Keyring(Layout.of(home))
        assert keyring.names() == ("node", "root")
        master = Master.from_phrase(first.phrase_file.read_text())
        assert keyring.root(lambda: PASSPHRASE) == RootSecret(master)

    def test_the_documents_of_another_publisher_are_not_ours_to_take(self, home, papers):
        with pytest.raises(UntrustedError, match="not the recovery phrase"):
            restored(home, papers, Master(bytes(32)).phrase)
        assert Keyring(Layout.of(home)).names() == ()

    @pytest.mark.parametrize("end", [1, 50, -1])
    def test_a_truncated_file_is_refused(self, first, home, papers, end):
        papers.write_bytes(papers.read_bytes()[:end])
        with pytest.raises(UntrustedError):
            restored(home, papers, nobody)


class TestFirstVersion:
    """A backup that an older p2phub wrote."""

    SEEDS = tuple(bytes([n]) * 32 for n in (1, 2, 3))

    @pytest.fixture
    def old(self, tmp_path):
        root, later, release = map(SigningKey, self.SEEDS)
        signed, delegation = first_documents(root, later.public, release.public)
        path = tmp_path / "old.json"
        path.write_text(
            json.dumps(
                {
                    "version": 1,
                    "publisher_id": str(PublisherId(signed.digest)),
                    "root": root.seed.hex(),
                    "next": [later.seed.hex()],
                    "release": release.seed.hex(),
                }
            )
        )
        return path, [signed.pack(), delegation.pack()]

    def test_makes_the_very_documents_it_had(self, home, old):
        path, packed = old
        restored(home, path, nobody, PASSPHRASE)
        own, kept = documents(home)
        assert kept == packed
        assert Keyring(Layout.of(home)).load("release") == self.SEEDS[2]
        secret = Keyring(Layout.of(home)).root(lambda: PASSPHRASE)
        assert secret == RootSecret(lone=((1, self.SEEDS[0]), (2, self.SEEDS[1])))
        assert str(own) in path.read_text()

    def test_with_another_id_in_it_is_refused(self, home, old):
        path, _ = old
        found = json.loads(path.read_text())
        path.write_text(json.dumps(found | {"publisher_id": str(PublisherId(b"\7" * 32))}))
        with pytest.raises(UntrustedError, match="make publisher"):
            restored(home, path, nobody)

    def test_without_the_next_key_it_cannot_make_root_1_again(self, home, old):
        path, _ = old
        found = json.loads(path.read_text())
        path.write_text(json.dumps(found | {"next": []}))
        with pytest.raises(P2PHubError):
            restored(home, path, nobody)
        assert Keyring(Layout.of(home)).names() == ()


class TestInterrupted:
    @pytest.mark.slow
    def test_by_a_power_cut_or_a_full_disk_it_goes_on_the_next_time(self, first, tmp_path):
        honest = CountingDisk()
        ask = first.phrase_file.read_text
        restored(tmp_path / "count", first.backup, ask, PASSPHRASE, honest)
        for kind, error in ((PowerCut, PowerCutError), (FullDisk, P2PHubError)):
            for at in range(len(honest.changes)):
                home = tmp_path / f"{kind.__name__}-{at}"
                try:
                    restored(home, first.backup, ask, PASSPHRASE, kind(at))
                except error:
                    restored(home, first.backup, ask, PASSPHRASE)
                assert documents(home) == documents(tmp_path / "first")
                assert Keyring(Layout.of(home)).names() == ("node", "oms", "release", "root")


class TestBackUp:
    def written(self, home, path, root):
        layout = Layout.of(home)
        with Store.open(layout, read_only=True) as store:
            return OwnSecrets(store, Keyring(layout)).back_up(root, path, NOW + 1)

    @pytest.fixture
    def root(self, first):
        return RootSecret(Master.from_phrase(first.phrase_file.read_text()))

    def test_a_fresh_backup_has_the_keys_of_today_and_restores(self, first, home, tmp_path, root):
        keyring = Keyring(Layout.of(tmp_path / "first"))
        keyring.save("second-writer", bytes(range(32)))
        keyring.save_locked("friend", bytes(32), PASSPHRASE)
        told = self.written(tmp_path / "first", tmp_path / "fresh", root)
        assert told.keys == ("oms", "release", "second-writer")
        restored(home, tmp_path / "fresh", root.master.phrase)
        assert Keyring(Layout.of(home)).load("second-writer") == bytes(range(32))
        assert documents(home) == documents(tmp_path / "first")

    def test_recovery_keys_of_this_publisher_do_not_lie_where_its_root_does(self, tmp_path):
        key = SigningKey(b"\5" * 32)
        home, recovery = tmp_path / "third", KeySet((key.public,), 1)
        told = initialise(config.load("", {}), home, None, None, NOW, Wishes(recovery=recovery))
        Keyring(Layout.of(home)).save("recovery", key.seed)
        master = Master.from_phrase(told.phrase_file.read_text())
        written = self.written(home, tmp_path / "fresh", RootSecret(master))
        assert written.keys == ("oms", "release")

    def test_the_phrase_of_another_publisher_makes_no_backup(self, first, tmp_path):
        with pytest.raises(UntrustedError, match="not the secret of"):
            self.written(tmp_path / "first", tmp_path / "fresh", RootSecret(Master(bytes(32))))
        assert not (tmp_path / "fresh").exists()

    def test_a_backup_overwrites_nothing(self, first, tmp_path, root):
        with pytest.raises(RefusedError, match="never overwritten"):
            self.written(tmp_path / "first", first.backup, root)

    def test_a_machine_without_a_publisher_has_nothing_to_back_up(self, home, tmp_path, root):
        with pytest.raises(NotFoundError, match="no publisher"):
            self.written(home, tmp_path / "fresh", root)
