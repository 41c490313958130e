"""Roots of several holders as files on a disk: what is written, and what is never overwritten."""

import errno
import os

import pytest

from p2phub.config import load
from p2phub.errors import NoSpaceError, NotFoundError, RefusedError, UsageError
from p2phub.formats.ids import PublisherId
from p2phub.formats.publisher import KeySet
from p2phub.node.desk import open_desk, own_papers
from p2phub.node.holders import (
    begin,
    kept_holder,
    next_steps,
    read_holder_file,
    require_free,
    write_holder_file,
)
from p2phub.node.parcel_files import read_parcel_file
from p2phub.store.keyring import Keyring
from p2phub.store.layout import Layout
from p2phub.testing.identities import lone_secret, own_desk, papers_of
from p2phub.testing.publishers import CREATED, FakePublisher
from p2phub.trust import sealing
from p2phub.trust.holders import MAX_FILE, Holder, key_set
from p2phub.trust.parcels import envelopes
from p2phub.trust.secrets import Master

MASTERS = [Master(bytes([number]) * 32) for number in range(1, 5)]
BOARD = [Holder.of(f"h{number}", master) for number, master in enumerate(MASTERS)]


def begun(tmp_path, *, recovery=None, alias=None, file="lab.p2phub"):
    return begin(
        load("", {}), tmp_path / "home", BOARD[:3], None, recovery, alias, tmp_path / file, CREATED
    )


def test_a_file_of_a_holder_comes_back_and_is_never_overwritten(tmp_path):
    path = tmp_path / "ann.holder"
    write_holder_file(path, BOARD[0])
    assert read_holder_file(path) == BOARD[0]
    with pytest.raises(RefusedError):
        write_holder_file(path, BOARD[1])
    assert read_holder_file(path) == BOARD[0]


def test_a_full_disk_leaves_no_half_file_that_would_be_in_the_way(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "ann.holder"
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NoSpaceError):
        write_holder_file(path, BOARD[0])
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    write_holder_file(path, BOARD[0])
    assert read_holder_file(path) == BOARD[0]


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"{}", b"x" * (MAX_FILE + 1), b"[" * MAX_FILE]
)
def test_what_is_no_file_of_a_holder_is_refused_by_its_name(tmp_path, content):
    path = tmp_path / "ann.holder"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="ann"):
        read_holder_file(path)


def test_a_missing_file_and_a_folder_are_errors_of_ours(tmp_path):
    with pytest.raises(NotFoundError):
        read_holder_file(tmp_path / "none")
    with pytest.raises(UsageError, match="folder"):
        read_holder_file(tmp_path)


def test_nothing_secret_is_in_what_the_holders_get(tmp_path):
    made = begun(tmp_path)
    data = made.file.read_bytes()
    keyring = Keyring(Layout.of(tmp_path / "home"))
    for name in ("release", "oms", "node"):
        assert bytes(keyring.load(name)) not in data
    assert "root" not in keyring.names()
    assert made.needed == 2
    assert made.holders[0] == f"h0: {BOARD[0].fingerprint}"


def test_the_machine_is_no_publisher_until_the_holders_have_signed(tmp_path):
    begun(tmp_path, alias="lab")
    with open_desk(load("", {}), tmp_path / "home", read_only=True) as desk:
        assert own_papers(desk.store.documents) is None


def test_the_id_is_that_of_the_root_in_the_file(tmp_path):
    made = begun(tmp_path)
    root = envelopes(read_parcel_file(made.file), "root")[0]
    assert root.signed_by() == frozenset()
    assert made.publisher_id == str(PublisherId(root.digest))


@pytest.mark.parametrize("v", [1, 2])
def test_who_holds_the_root_does_not_recover_it_too(tmp_path, v):
    with pytest.raises(UsageError, match="recovery key"):
        begun(tmp_path, recovery=KeySet((BOARD[2].keys[v - 1],)))
    assert not (tmp_path / "lab.p2phub").exists()


def test_a_share_comes_out_with_its_passphrase_only(tmp_path, monkeypatch):
    monkeypatch.setattr(sealing, "N", 2)
    keyring = Keyring(Layout.of(tmp_path))
    assert kept_holder(keyring, "board", lambda: "never asked") is None
    keyring.save_locked("board", MASTERS[0].secret, "correct horse battery")
    assert kept_holder(keyring, "board", lambda: "correct horse battery") == MASTERS[0]
    with pytest.raises(RefusedError):
        kept_holder(keyring, "board", lambda: "another one, wrong")


@pytest.mark.parametrize("name", ["root", "node", "oms", "release", "release-7", "../x", ""])
def test_a_share_has_a_name_of_its_own(tmp_path, name):
    with pytest.raises(UsageError):
        require_free(Keyring(Layout.of(tmp_path)), name)


def test_an_owner_who_cannot_make_the_committed_key_prepares_nothing():
    lab = FakePublisher(1)
    with pytest.raises(UsageError, match="committed to"):
        next_steps(papers_of(lab), BOARD[:3], BOARD[:3], None, lambda: MASTERS[0].root_key(2))


def test_a_lone_owner_reveals_one_key_and_commits_to_those_of_the_holders(tmp_path):
    lab = FakePublisher(1)
    with own_desk(tmp_path, lab):
        own = lone_secret(lab).root_key(2)
        steps, following = next_steps(papers_of(lab), BOARD[:3], BOARD[:3], 3, lambda: own)
    assert [step.keys for step in steps] == [KeySet((own.public,)), key_set(BOARD[:3], 3, 3)]
    assert [len(step.signers) for step in steps] == [1, 0]
    assert following == key_set(BOARD[:3], 4, 3)
