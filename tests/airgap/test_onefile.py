"""A bundle in one file: read where it lies, unpacked by any tar; nothing planted is followed."""

import io
import os
import subprocess
import tarfile
from contextlib import closing

import pytest

from p2phub.airgap import onefile
from p2phub.airgap.medium import look
from p2phub.airgap.onefile import BLOCK, read_header, write_header
from p2phub.airgap.sealed import Seal
from p2phub.errors import (
    GarbageError,
    NoSourceError,
    NoSpaceError,
    NotFoundError,
    RefusedError,
    WrongBytesError,
)
from p2phub.formats import limits
from p2phub.formats.bundle import Contents
from p2phub.testing.disks import FullDisk
from p2phub.trust.age import Identity
from tests.airgap.conftest import LARGE, SMALL, fill
from tests.airgap.test_sealed import read_all

ANN = Identity(bytes([1]) * 32)


@pytest.fixture
def archive(tmp_path):
    fill(tmp_path / "out" / "lab.tar")
    return tmp_path / "out" / "lab.tar"


def test_all_of_it_is_read_where_it_lies(archive):
    assert read_all(archive, ANN) == [Contents(7)]
    assert [each.name for each in archive.parent.iterdir()] == ["lab.tar"]


def test_a_tar_of_the_system_unpacks_it_to_a_bundle(archive, tmp_path):
    subprocess.run(["tar", "-xf", archive, "-C", tmp_path], check=True)
    assert read_all(tmp_path, ANN) == [Contents(7)]
    told = subprocess.run(["tar", "-tvf", archive], check=True, capture_output=True, text=True)
    assert (told.stderr, len(told.stdout.splitlines())) == ("", 8)


@pytest.mark.parametrize("form", ["gnu", "ustar", "pax", "v7"])
@pytest.mark.parametrize("name", ["p2phub", "./p2phub"])
def test_what_a_tar_of_the_system_packed_is_read(tmp_path, form, name):
    fill(tmp_path)
    made = tmp_path / "made.tar"
    subprocess.run(["tar", f"--format={form}", "-C", tmp_path, "-cf", made, name], check=True)
    if form == "v7":  # older than ustar: told as what it is not
        with closing(look(made)) as medium:
            assert not medium.contents
        return
    assert read_all(made, ANN) == [Contents(7)]


def test_the_same_is_written_as_the_same_bytes(archive, tmp_path):
    fill(tmp_path / "again.tar")
    assert (tmp_path / "again.tar").read_bytes() == archive.read_bytes()
    assert archive.stat().st_size % (20 * BLOCK) == 0


def test_it_is_sealed_like_a_folder(tmp_path):
    fill(tmp_path / "lab.tar", seal=Seal(ANN, ()))
    assert read_all(tmp_path / "lab.tar", ANN) == [Contents(7)]
    with closing(look(tmp_path / "lab.tar")) as medium:
        assert (medium.contents, medium.problems) == ({}, {})
        assert medium.sealed == {"pieces": 1, "documents": 2, "contents": 1}


def test_a_file_that_is_there_is_not_written_over(archive):
    before = archive.read_bytes()
    with pytest.raises(RefusedError, match="already"):
        fill(archive)
    assert archive.read_bytes() == before


def test_one_that_was_not_finished_has_no_name(tmp_path):
    at = 0
    while True:
        path = tmp_path / f"{at}.tar"
        try:
            fill(path, FullDisk(at))
        except NoSpaceError:
            assert not path.exists()
            fill(path)
            read_all(path, ANN)
            at += 1
            continue
        break
    assert at > 10


def test_what_a_killed_export_left_is_written_over(archive):
    part = archive.with_name("new.tar.part")
    part.write_bytes(b"rest of another" * 1_000_000)
    fill(archive.with_name("new.tar"))
    assert archive.with_name("new.tar").read_bytes() == archive.read_bytes()
    assert not part.exists()


def test_a_medium_that_lost_a_header_is_found_out(tmp_path, monkeypatch):
    written = onefile.write_header
    monkeypatch.setattr(
        onefile,
        "write_header",
        lambda name, size: written(name.replace("0001.index", "0001.indeX"), size),
    )
    with pytest.raises((WrongBytesError, NoSourceError)):
        fill(tmp_path / "lab.tar")
    assert not (tmp_path / "lab.tar").exists()


@pytest.mark.parametrize("left", [0, 100, 512, 5000, 1_000_000, 3_000_500, 3_010_000])
def test_one_that_was_cut_short_claims_only_what_is_there(archive, left):
    os.truncate(archive, left)
    with closing(look(archive)) as medium:
        for index in medium.packs["pieces"].values():
            for row in index:
                assert len(medium.read("pieces", row.digest, limits.MAX_PIECE)) == row.length


def test_a_flipped_bit_is_passed_over_or_found_out(archive):
    data = bytearray(archive.read_bytes())
    for at in range(0, len(data), len(data) // 60):
        data[at] ^= 1
        archive.write_bytes(data)
        data[at] ^= 1
        with closing(look(archive)) as medium:
            for index in medium.packs["pieces"].values():
                for row in index:
                    medium.read("pieces", row.digest, limits.MAX_PIECE)


def planted(path, *members):
    """An archive with these members: (name, kind, data, link)."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as made:
        for name, kind, data, link in members:
            member = tarfile.TarInfo(name)
            member.type, member.size, member.linkname = kind, len(data), link
            made.addfile(member, io.BytesIO(data))


@pytest.mark.parametrize(
    ("name", "kind", "link"),
    [
        ("p2phub/contents-0001.list", tarfile.SYMTYPE, "/etc/passwd"),
        ("p2phub/contents-0001.list", tarfile.LNKTYPE, "/etc/passwd"),
        ("p2phub/contents-0001.list", tarfile.CHRTYPE, ""),
        ("p2phub/contents-0001.list", tarfile.FIFOTYPE, ""),
        ("p2phub/contents-0001.list", tarfile.DIRTYPE, ""),
        ("/p2phub/contents-0001.list", tarfile.REGTYPE, ""),
        ("../p2phub/contents-0001.list", tarfile.REGTYPE, ""),
        ("p2phub/../contents-0001.list", tarfile.REGTYPE, ""),
        ("contents-0001.list", tarfile.REGTYPE, ""),
    ],
)
def test_what_is_no_plain_file_of_a_bundle_is_passed_over(tmp_path, name, kind, link):
    made = tmp_path / "x.tar"
    data = Contents(7).to_bytes() if kind == tarfile.REGTYPE else b""
    planted(
        made,
        (name, kind, data, link),
        ("p2phub/contents-0002.list", tarfile.REGTYPE, Contents(9).to_bytes(), ""),
    )
    with closing(look(made)) as medium:
        assert medium.contents == {2: Contents(9)}


def test_a_member_that_claims_more_than_is_there_ends_it(tmp_path):
    made = tmp_path / "x.tar"
    whole = Contents(9).to_bytes()
    fill_up = bytes(-len(whole) % BLOCK)
    made.write_bytes(
        write_header("p2phub/contents-0001.list", len(whole))
        + whole
        + fill_up
        + write_header("p2phub/pieces-0001.pack", 8 << 30 - 1)
        + bytes(5000)
    )
    with closing(look(made)) as medium:
        assert (medium.contents, medium.packs["pieces"]) == ({1: Contents(9)}, {})


def test_ten_million_empty_members_end_soon(tmp_path, monkeypatch):
    monkeypatch.setattr(onefile, "MOST_MEMBERS", 100)
    (tmp_path / "x.tar").write_bytes(write_header("p2phub/README.txt", 0) * 101)
    with pytest.raises(NoSourceError, match="more files"):
        look(tmp_path / "x.tar")


@pytest.mark.parametrize("kind", ["fifo", "empty", "text"])
def test_what_is_no_archive_has_nothing(tmp_path, kind):
    path = tmp_path / "x.tar"
    if kind == "fifo":
        os.mkfifo(path)
        with pytest.raises(NotFoundError):
            look(path)
        return
    path.write_bytes(b"" if kind == "empty" else b"hello" * 1000)
    with closing(look(path)) as medium:
        assert (medium.contents, medium.problems) == ({}, {})


class TestHeaders:
    def test_any_bit_that_changes_is_found(self):
        made = write_header("p2phub/pieces-0001.pack", 12345)
        assert read_header(made) == ("p2phub/pieces-0001.pack", b"0", 12345)
        for at in range(0, BLOCK, 7):
            changed = made[:at] + bytes([made[at] ^ 1]) + made[at + 1 :]
            with pytest.raises(GarbageError):
                read_header(changed)

    def test_a_size_in_binary_is_refused(self):
        made = bytearray(write_header("p2phub/pieces-0001.pack", 12345))
        made[124] = 0x80
        made[148:156] = b"%06o\0 " % (sum(made[:148]) + 8 * 32 + sum(made[156:]))
        with pytest.raises(GarbageError, match="octal"):
            read_header(bytes(made))

    def test_are_those_of_another_program(self):
        member = tarfile.TarInfo("p2phub/README.txt")
        member.size = 7
        theirs = member.tobuf(tarfile.USTAR_FORMAT)
        assert read_header(theirs) == read_header(write_header("p2phub/README.txt", 7))


def test_large_things_are_all_there(archive):
    assert SMALL.content.size + LARGE.content.size < archive.stat().st_size
