"""Keys that must not be lost, overwritten or read by others."""

import os
import stat

import pytest

from p2phub.errors import (
    MalformedError,
    NoSpaceError,
    NotFoundError,
    P2PHubError,
    RefusedError,
    UsageError,
)
from p2phub.store.disk import Disk
from p2phub.store.keyring import Keyring
from p2phub.store.layout import Layout
from p2phub.testing.disks import CountingDisk, FullDisk, PowerCut, PowerCutError
from p2phub.trust import sealing
from p2phub.trust.secrets import Master, RootSecret

SEED = bytes(range(32))
PASSPHRASE = "correct horse battery"
ROOT = RootSecret(Master(bytes(range(100, 132))))


@pytest.fixture
def layout(tmp_path):
    layout = Layout.of(tmp_path / "home")
    layout.make(Disk())
    return layout


@pytest.fixture
def keyring(layout):
    return Keyring(layout)


@pytest.fixture
def cheap(monkeypatch):
    """Scrypt with the least memory: what is locked here is told by the numbers in the file."""
    monkeypatch.setattr(sealing, "N", 2)


def nobody():
    raise AssertionError("nobody is to be asked")


def test_a_key_that_was_never_saved_is_none(keyring):
    assert keyring.load("root") is None


def test_a_key_comes_back_and_only_its_owner_can_read_it(keyring):
    keyring.save("root", SEED)
    assert keyring.load("root") == SEED
    assert stat.S_IMODE(keyring.path("root").stat().st_mode) == 0o600


def test_a_key_is_never_overwritten(keyring):
    keyring.save("root", SEED)
    with pytest.raises(RefusedError, match=r"root\.key exists"):
        keyring.save("root", bytes(32))
    assert keyring.load("root") == SEED
    assert [path.name for path in keyring.path("root").parent.iterdir()] == ["root.key"]


def test_a_key_that_others_can_read_is_not_used(keyring):
    keyring.save("root", SEED)
    keyring.path("root").chmod(0o644)
    with pytest.raises(RefusedError, match="can be read by other users") as caught:
        keyring.load("root")
    assert "chmod 600" in caught.value.remedy


@pytest.mark.parametrize("data", [b"", b"00ff", b"zz" * 32, bytes(range(200, 232)), b"00" * 33])
def test_a_damaged_key_file_is_said_to_be_damaged(keyring, data):
    keyring.save("node", SEED)
    keyring.path("node").write_bytes(data)
    with pytest.raises(P2PHubError, match="does not hold a key"):
        keyring.load("node")


@pytest.mark.parametrize("name", ["", "../root", "a/b", "a.b", "ключ"])
def test_a_key_name_cannot_leave_the_folder(keyring, name):
    with pytest.raises(UsageError):
        keyring.save(name, SEED)


def test_a_seed_of_the_wrong_length_is_not_written(keyring):
    with pytest.raises(ValueError, match="32 bytes"):
        keyring.save("root", b"short")
    assert keyring.load("root") is None


def test_a_power_cut_at_any_point_leaves_a_whole_key_or_none(layout):
    honest = CountingDisk()
    Keyring(layout, honest).save("count", SEED)
    for at in range(len(honest.changes)):
        with pytest.raises(PowerCutError):
            Keyring(layout, PowerCut(at)).save(f"key-{at}", SEED)
        assert Keyring(layout).load(f"key-{at}") in (None, SEED)
        if Keyring(layout).load(f"key-{at}") is None:
            Keyring(layout).save(f"key-{at}", SEED)


def test_a_full_disk_leaves_no_key_and_says_so(layout):
    with pytest.raises(NoSpaceError):
        Keyring(layout, FullDisk(2)).save("root", SEED)
    assert list(layout.keys.iterdir()) == []


def test_a_folder_of_keys_that_others_can_write_to_is_not_used(keyring, layout):
    """Whoever can write there can put a key of theirs in place of ours."""
    keyring.save("release", SEED)
    for mode in (0o720, 0o702, 0o777, 0o1777):
        layout.keys.chmod(mode)
        with pytest.raises(RefusedError, match="others can put keys") as caught:
            keyring.load("release")
        assert "chmod 700" in caught.value.remedy


def test_a_folder_that_others_can_read_shows_no_key(keyring, layout):
    keyring.save("release", SEED)
    layout.keys.chmod(0o755)
    assert keyring.load("release") == SEED


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601])
def test_not_even_one_bit_of_a_key_is_for_others(keyring, mode):
    keyring.save("release", SEED)
    keyring.path("release").chmod(mode)
    with pytest.raises(RefusedError, match="can be read by other users"):
        keyring.load("release")


def test_a_key_that_only_its_owner_can_read_and_nobody_can_write_is_used(keyring):
    keyring.save("release", SEED)
    keyring.path("release").chmod(0o400)
    assert keyring.load("release") == SEED


def test_a_link_in_place_of_a_key_is_not_followed(keyring, tmp_path):
    keyring.save("other", SEED)
    keyring.path("release").symlink_to(keyring.path("other"))
    keyring.path("gone").symlink_to(tmp_path / "nowhere")
    for name in ("release", "gone"):
        with pytest.raises(RefusedError, match="is a link"):
            keyring.load(name)


def test_a_folder_or_a_pipe_in_place_of_a_key_is_refused_and_does_not_hang(keyring):
    keyring.path("a").mkdir(mode=0o700)
    os.mkfifo(keyring.path("b"), 0o600)
    for name in ("a", "b"):
        with pytest.raises(UsageError, match="no plain file"):
            keyring.load(name)


def test_a_key_that_is_swapped_while_it_is_read_is_the_one_that_was_checked(
    keyring, layout, monkeypatch
):
    """Between the check of its mode and the reading, another file gets its name."""
    keyring.save("release", SEED)
    swapped = []

    def read_late(fd, count, read=os.read):
        if not swapped:
            swapped.append(fd)
            aside = layout.keys / "aside"
            aside.write_text((b"\x66" * 32).hex())
            aside.replace(keyring.path("release"))
        return read(fd, count)

    monkeypatch.setattr(os, "read", read_late)
    assert keyring.load("release") == SEED
    with pytest.raises(RefusedError, match="can be read by other users"):
        keyring.load("release")


def test_the_names_of_the_keys_are_told_without_what_was_left_behind(keyring, layout):
    assert Keyring(Layout.of(layout.home / "nowhere")).names() == ()
    for name in ("release", "node", "a-b"):
        keyring.save(name, SEED)
    (layout.keys / ".release.key.5.new").write_text("")
    (layout.keys / "notes.txt").write_text("")
    assert keyring.names() == ("a-b", "node", "release")


class TestLocked:
    def test_a_locked_key_comes_back_with_its_passphrase_only(self, keyring, cheap):
        keyring.save_locked("spare", SEED, PASSPHRASE)
        assert keyring.is_locked("spare")
        assert keyring.load_locked("spare", PASSPHRASE) == SEED
        with pytest.raises(RefusedError, match="passphrase is wrong") as caught:
            keyring.load_locked("spare", PASSPHRASE.upper())
        assert caught.value.exit == 7
        assert stat.S_IMODE(keyring.path("spare").stat().st_mode) == 0o600
        assert SEED.hex() not in keyring.path("spare").read_text()

    def test_two_locks_of_one_secret_have_nothing_in_common(self, keyring, cheap):
        keyring.save_locked("a", SEED, PASSPHRASE)
        keyring.save_locked("b", SEED, PASSPHRASE)
        one, other = (sealing._read(keyring.path(name).read_bytes()) for name in "ab")
        assert one.salt != other.salt
        assert one.nonce != other.nonce
        assert one.sealed != other.sealed

    def test_a_locked_key_is_never_overwritten_and_overwrites_none(self, keyring, cheap):
        keyring.save("a", SEED)
        keyring.save_locked("b", SEED, PASSPHRASE)
        for name in "ab":
            with pytest.raises(RefusedError, match="never overwritten"):
                keyring.save_locked(name, bytes(32), PASSPHRASE)
        with pytest.raises(RefusedError, match="never overwritten"):
            keyring.save("b", bytes(32))
        assert keyring.load_locked("b", PASSPHRASE) == SEED

    def test_a_locked_key_is_not_taken_for_a_damaged_one(self, keyring, cheap):
        keyring.save_locked("a", SEED, PASSPHRASE)
        with pytest.raises(RefusedError, match="locked with a passphrase"):
            keyring.load("a")

    def test_plain_and_absent_keys_are_not_locked(self, keyring):
        keyring.save("a", SEED)
        assert not keyring.is_locked("a")
        assert not keyring.is_locked("b")
        with pytest.raises(NotFoundError):
            keyring.load_locked("b", PASSPHRASE)
        with pytest.raises(MalformedError, match=r"a\.key"):
            keyring.load_locked("a", PASSPHRASE)

    def test_a_short_passphrase_locks_nothing(self, keyring, layout):
        with pytest.raises(UsageError, match="passphrase"):
            keyring.save_locked("a", SEED, "short")
        assert list(layout.keys.iterdir()) == []

    def test_a_locked_key_that_others_can_read_is_not_used(self, keyring, cheap):
        keyring.save_locked("a", SEED, PASSPHRASE)
        keyring.path("a").chmod(0o644)
        with pytest.raises(RefusedError, match="can be read by other users"):
            keyring.load_locked("a", PASSPHRASE)

    def test_a_truncated_locked_key_is_damaged_whatever_the_passphrase(self, keyring, cheap):
        keyring.save_locked("a", SEED, PASSPHRASE)
        text = keyring.path("a").read_bytes()
        for end in (1, len(text) // 2, len(text) - 3):
            keyring.path("a").write_bytes(text[:end])
            with pytest.raises(MalformedError, match=r"a\.key"):
                keyring.load_locked("a", PASSPHRASE)

    def test_a_file_that_is_far_too_large_is_not_read(self, keyring):
        keyring.path("a").touch(mode=0o600)
        os.truncate(keyring.path("a"), 1 << 40)
        with pytest.raises(UsageError, match="larger than"):
            keyring.is_locked("a")

    def test_a_power_cut_at_any_point_leaves_a_whole_lock_or_none(self, layout, cheap):
        honest = CountingDisk()
        Keyring(layout, honest).save_locked("count", SEED, PASSPHRASE)
        for at in range(len(honest.changes)):
            with pytest.raises(PowerCutError):
                Keyring(layout, PowerCut(at)).save_locked(f"key-{at}", SEED, PASSPHRASE)
            keyring = Keyring(layout)
            if not keyring.is_locked(f"key-{at}"):
                keyring.save_locked(f"key-{at}", SEED, PASSPHRASE)
            assert keyring.load_locked(f"key-{at}", PASSPHRASE) == SEED


class TestRoot:
    def test_a_machine_without_a_root_asks_for_nothing(self, keyring):
        assert keyring.root(nobody) is None

    def test_the_plain_root_of_an_older_p2phub_is_the_key_of_root_1(self, keyring):
        keyring.save("root", SEED)
        assert keyring.root(nobody) == RootSecret(lone=((1, SEED),))

    def test_a_locked_root_comes_back(self, keyring, cheap):
        keyring.keep_root(ROOT, PASSPHRASE)
        assert keyring.root(lambda: PASSPHRASE) == ROOT
        with pytest.raises(RefusedError, match="never overwritten"):
            keyring.keep_root(ROOT, PASSPHRASE)

    def test_a_plain_root_can_be_locked_in_its_place(self, keyring, cheap):
        keyring.save("root", SEED)
        keyring.keep_root_instead(RootSecret(lone=((1, SEED),)), PASSPHRASE)
        assert keyring.root(lambda: PASSPHRASE) == RootSecret(lone=((1, SEED),))
        assert SEED.hex() not in keyring.path("root").read_text()

    def test_a_power_cut_or_a_full_disk_while_a_lock_is_replaced_leaves_one_of_them(
        self, layout, cheap
    ):
        later = RootSecret(ROOT.master, ((1, SEED),))
        honest = CountingDisk()
        Keyring(layout, honest).keep_root(ROOT, PASSPHRASE)
        Keyring(layout, honest).keep_root_instead(ROOT, PASSPHRASE)
        for kind, error in ((PowerCut, PowerCutError), (FullDisk, NoSpaceError)):
            for at in range(len(honest.changes)):
                Keyring(layout).keep_root_instead(ROOT, PASSPHRASE)
                try:
                    Keyring(layout, kind(at)).keep_root_instead(later, PASSPHRASE)
                except error:
                    assert Keyring(layout).root(lambda: PASSPHRASE) in (ROOT, later)
                else:
                    assert Keyring(layout).root(lambda: PASSPHRASE) == later
