"""Notes that sites leave: only what can be one is read, and nothing is written over."""

import os

import pytest

from p2phub.airgap import notes
from p2phub.airgap.notes import leave_note, read_notes, remove_note
from p2phub.errors import NoSourceError
from p2phub.store.disk import Disk


@pytest.fixture
def stick(tmp_path):
    leave_note(tmp_path, Disk(), "inventory", b"one")
    leave_note(tmp_path, Disk(), "inventory", b"two")
    leave_note(tmp_path, Disk(), "receipt", b"three")
    return tmp_path


def found(stick):
    return [(note.kind, note.data) for note in read_notes(stick)]


def test_what_was_left_is_read_and_each_has_a_name_of_its_own(stick):
    assert found(stick) == [("inventory", b"one"), ("inventory", b"two"), ("receipt", b"three")]


def test_a_newer_one_takes_the_place_of_the_older(stick):
    leave_note(stick, Disk(), "inventory", b"2", "inventory-0002.list")
    assert found(stick) == [("inventory", b"one"), ("inventory", b"2"), ("receipt", b"three")]
    remove_note(stick, Disk(), "inventory-0001.list")
    leave_note(stick, Disk(), "inventory", b"again")
    assert found(stick)[0] == ("inventory", b"again")


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "long"])
def test_what_is_no_note_is_not_read(stick, tmp_path, kind):
    path = stick / "p2phub" / "inventory-0003.list"
    match kind:
        case "link":
            (tmp_path / "elsewhere").write_bytes(b"x")
            path.symlink_to(tmp_path / "elsewhere")
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "long":
            path.touch()
            os.truncate(path, 10 << 40)
    assert len(found(stick)) == 3


@pytest.mark.parametrize("name", ["inventory-1.list", "INVENT~1.LIS", "inventory-0001.list.new"])
def test_names_of_others_are_not_looked_at(stick, name):
    (stick / "p2phub" / name).write_bytes(b"x")
    assert len(found(stick)) == 3


def test_more_names_than_any_bundle_has_are_refused(stick, monkeypatch):
    monkeypatch.setattr(notes, "MOST_NAMES", 2)
    with pytest.raises(NoSourceError, match="more names"):
        read_notes(stick)


def test_a_fresh_stick_has_none_and_a_folder_that_is_a_link_is_not_followed(tmp_path, stick):
    assert read_notes(tmp_path / "fresh") == ()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "p2phub").symlink_to(stick / "p2phub")
    with pytest.raises(NoSourceError):
        read_notes(tmp_path / "other")
