"""Keys that must not be lost, overwritten or read by others."""

import json
import stat

import pytest

from p2phub.errors import NoSpaceError, NotFoundError, P2PHubError, RefusedError, UsageError
from p2phub.formats.ids import PublisherId
from p2phub.store.disk import Disk
from p2phub.store.keyring import MAX_BACKUP, Backup, Keyring, read_backup
from p2phub.store.layout import Layout
from p2phub.testing.disks import CountingDisk, FullDisk, PowerCut, PowerCutError

SEED = bytes(range(32))
BACKUP = Backup(PublisherId(b"\7" * 32), SEED, (b"\1" * 32, b"\2" * 32), b"\3" * 32)


@pytest.fixture
def layout(tmp_path):
    layout = Layout.of(tmp_path / "home")
    layout.make(Disk())
    return layout


@pytest.fixture
def keyring(layout):
    return Keyring(layout)


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


def test_a_backup_comes_back_whole(keyring, tmp_path):
    path = tmp_path / "backup.json"
    keyring.write_backup(path, BACKUP)
    assert read_backup(path) == BACKUP
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_backup_tells_a_person_what_it_is(keyring, tmp_path):
    keyring.write_backup(tmp_path / "b", BACKUP)
    found = json.loads((tmp_path / "b").read_text())
    assert next(iter(found)) == "what_this_is"
    assert "secret" in found["what_this_is"]


def test_a_backup_overwrites_nothing(keyring, tmp_path):
    path = tmp_path / "thesis.txt"
    path.write_text("ten years")
    with pytest.raises(RefusedError, match="never overwritten"):
        keyring.write_backup(path, BACKUP)
    assert path.read_text() == "ten years"


def test_a_backup_into_a_folder_that_is_not_there_names_it(keyring, tmp_path):
    with pytest.raises(P2PHubError, match="nowhere"):
        keyring.write_backup(tmp_path / "nowhere" / "b.json", BACKUP)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "null",
        "not json",
        "[" * 60_000,
        '{"version": 1, "next": 5}',
        '{"version": 2, "next": []}',
        '{"version": 1, "next": [], "publisher_id": "x"}',
        " " * (MAX_BACKUP + 1),
    ],
)
def test_a_file_that_is_no_backup_is_refused_without_a_traceback(tmp_path, text):
    (tmp_path / "b").write_text(text)
    with pytest.raises(UsageError):
        read_backup(tmp_path / "b")


def test_a_backup_with_a_shortened_seed_is_refused(keyring, tmp_path):
    keyring.write_backup(tmp_path / "b", BACKUP)
    text = (tmp_path / "b").read_text().replace(SEED.hex(), SEED.hex()[:-2])
    (tmp_path / "b").write_text(text)
    with pytest.raises(P2PHubError, match="does not hold a key"):
        read_backup(tmp_path / "b")


def test_a_backup_that_is_not_there_is_not_found(tmp_path):
    with pytest.raises(NotFoundError):
        read_backup(tmp_path / "b")
