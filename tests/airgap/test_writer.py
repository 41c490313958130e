"""A stick never claims what it does not hold, whenever it is pulled out."""

import errno
import os
from contextlib import closing

import pytest

from p2phub.airgap import writer as writer_module
from p2phub.airgap.folder import Folder
from p2phub.airgap.medium import look
from p2phub.airgap.writer import BundleWriter
from p2phub.errors import NoSpaceError, WrongBytesError
from p2phub.formats import limits
from p2phub.formats.bundle import Contents
from p2phub.formats.digest import blake3, sha256
from p2phub.store.disk import Disk
from p2phub.testing.disks import FullDisk
from p2phub.testing.samples import make_sample
from tests.airgap.conftest import LARGE, PAGE, SMALL, fill

OTHER = make_sample(1_500_000, seed="other", piece=400_000)


def names(path):
    return sorted(each.name for each in (path / "p2phub").iterdir())


def holds_all_it_claims(path):
    """How many things it claims; every one of them is what its digest says."""
    with closing(look(path)) as stick:
        assert stick.problems == {}
        for index in stick.packs["pieces"].values():
            for row in index:
                data = stick.read("pieces", row.digest, 1 << 20)
                assert row.digest in (blake3(data), sha256(data))
        return sum(len(index) for packs in stick.packs.values() for index in packs.values())


def test_names_are_those_that_fat_takes(stick):
    assert names(stick) == [
        "README.txt",
        "contents-0001.list",
        "documents-0001.index",
        "documents-0001.pack",
        "pieces-0001.index",
        "pieces-0001.pack",
    ]
    assert "p2phub bundle import" in (stick / "p2phub" / "README.txt").read_text()


def test_what_is_there_is_not_written_again(stick):
    before = names(stick)
    assert fill(stick).written == 0
    assert names(stick) == before


def test_another_export_adds_and_rewrites_nothing(stick):
    before = {each.name: each.read_bytes() for each in (stick / "p2phub").iterdir()}
    made = fill(stick, samples=(LARGE, OTHER), made=8)
    assert 1_500_000 <= made.written < 1_600_000
    after = {each.name: each.read_bytes() for each in (stick / "p2phub").iterdir()}
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {"contents-0001.list"}
    assert "pieces-0002.pack" in after
    with closing(look(stick)) as on_it:
        assert [each.made for each in on_it.contents.values()] == [8]


def test_what_is_listed_anew_has_a_list_of_its_own(stick):
    before = (stick / "p2phub" / "contents-0001.list").read_bytes()
    fill(stick, samples=(LARGE, OTHER), made=8, site=bytes(limits.KEY))
    assert (stick / "p2phub" / "contents-0001.list").read_bytes() == before
    with closing(look(stick)) as on_it:
        assert [on_it.contents[number].made for number in (1, 2)] == [7, 8]


def test_a_full_pack_is_followed_by_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "ROLL_AT", 1_000_000)
    fill(tmp_path)
    packs = [name for name in names(tmp_path) if name.startswith("pieces") and "pack" in name]
    assert len(packs) == 3
    assert holds_all_it_claims(tmp_path) == LARGE.table.count + 1 + 2


def test_an_index_is_read_once_however_many_packs_follow(tmp_path, monkeypatch):
    """Else a large export costs the square of its packs."""
    opened, honest = [], Folder.open
    monkeypatch.setattr(writer_module, "ROLL_AT", 1)
    monkeypatch.setattr(
        Folder, "open", lambda self, name: opened.append(name) or honest(self, name)
    )
    fill(tmp_path, samples=(LARGE, SMALL, OTHER))
    indexes = [name for name in opened if name.endswith(".index")]
    assert len(indexes) == len(set(indexes)) >= 9


def test_a_medium_with_as_much_as_any_can_have_takes_no_more(tmp_path, monkeypatch):
    fill(tmp_path, samples=(SMALL,))
    monkeypatch.setattr(writer_module, "MOST_ROWS", limits.MAX_PACK_ROWS + 1)
    with pytest.raises(NoSpaceError, match="as many packs"):
        fill(tmp_path, samples=(LARGE,), made=8)
    assert holds_all_it_claims(tmp_path)


def test_wherever_the_stick_is_pulled_out_it_claims_only_what_it_holds(tmp_path, monkeypatch):
    """And the next export finishes it, and keeps what was whole."""
    monkeypatch.setattr(writer_module, "ROLL_AT", 1_000_000)
    fill(tmp_path / "whole")
    claims, at = holds_all_it_claims(tmp_path / "whole"), 0
    while True:
        path = tmp_path / f"at {at}"
        try:
            fill(path, FullDisk(at))
        except NoSpaceError:
            if (path / "p2phub").is_dir():
                assert holds_all_it_claims(path) <= claims
            fill(path)
            assert holds_all_it_claims(path) == claims
            at += 1
            continue
        break
    assert at > 20


def test_a_medium_that_gives_back_other_bytes_is_found_out(tmp_path, monkeypatch):
    honest, broken = os.preadv, []

    def rotten(fd, buffers, offset):
        count = honest(fd, buffers, offset)
        if os.readlink(f"/proc/self/fd/{fd}").endswith(".pack") and offset == 1 << 20:
            broken.append(fd)
            buffers[-1][-1] ^= 1
        return count

    monkeypatch.setattr(os, "preadv", rotten)
    with pytest.raises(WrongBytesError, match="does not hold"):
        fill(tmp_path)
    monkeypatch.undo()
    assert broken
    assert "pieces-0001.index" not in names(tmp_path)


def test_a_leftover_of_an_export_that_died_is_written_over(stick):
    (stick / "p2phub" / "pieces-0002.pack").write_bytes(b"half a piece")
    (stick / "p2phub" / "pieces-0002.index.new").write_bytes(b"half an index")
    fill(stick, samples=(OTHER,))
    assert holds_all_it_claims(stick) == LARGE.table.count + 1 + 2 + OTHER.table.count + 1


def test_nothing_is_said_of_what_was_not_finished(tmp_path):
    with BundleWriter(tmp_path, Disk()) as writer:
        writer.put("pieces", SMALL.content.digest, SMALL.data)
        assert writer.has("pieces", SMALL.content.digest)
    assert holds_all_it_claims(tmp_path) == 0


def test_a_stick_that_fails_again_when_it_is_closed_is_one_error_of_ours(tmp_path, monkeypatch):
    close = os.close

    def gone(fd):
        is_ours = os.readlink(f"/proc/self/fd/{fd}").endswith(".pack")
        close(fd)
        if is_ours:
            raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    monkeypatch.setattr(os, "close", gone)
    with pytest.raises(NoSpaceError):
        fill(tmp_path, FullDisk(5))
    fill(tmp_path)
    monkeypatch.undo()
    assert holds_all_it_claims(tmp_path) == LARGE.table.count + 1 + 2


def test_an_empty_thing_is_not_written(tmp_path):
    with BundleWriter(tmp_path, Disk()) as writer:
        assert not writer.put("pieces", sha256(b""), b"")
        assert writer.put("documents", sha256(PAGE), PAGE)
        writer.finish(Contents(1))
    assert holds_all_it_claims(tmp_path) == 1


def test_who_writes_is_told_of_the_pieces_that_were_read_back_and_of_nothing_else(tmp_path):
    told = []
    with BundleWriter(tmp_path, Disk(), told.append) as writer:
        writer.put("documents", sha256(PAGE), PAGE)
        for index in range(LARGE.table.count):
            writer.put("pieces", LARGE.table.digest(index), LARGE.piece(index))
        assert sum(told) < LARGE.content.size
        writer.finish(Contents(1))
    assert sum(told) == LARGE.content.size
    assert 0 in told
