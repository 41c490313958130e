"""What lies on a stick is hostile until shown otherwise."""

import errno
import os
import re
from contextlib import closing

import pytest

from p2phub.airgap import medium
from p2phub.airgap.medium import look
from p2phub.errors import GarbageError, NoSourceError, NotFoundError
from p2phub.formats.bundle import PackIndex
from p2phub.formats.digest import sha256
from p2phub.testing.samples import make_sample
from tests.airgap.conftest import LARGE, PAGE, SMALL, fill

PIECE = LARGE.table.digest(0)


def found(path):
    with closing(look(path)) as stick:
        return stick.has("pieces", PIECE), stick.has("documents", sha256(PAGE)), stick.problems


def test_what_was_written_is_found(stick):
    assert found(stick) == (True, True, {})
    with closing(look(stick)) as on_it:
        assert on_it.read("documents", sha256(PAGE), len(PAGE)) == PAGE
        assert on_it.read("pieces", SMALL.content.digest, 1000) == SMALL.data
        assert [contents.made for contents in on_it.contents.values()] == [7]
        with pytest.raises(GarbageError):
            on_it.read("documents", sha256(PAGE), len(PAGE) - 1)
        with pytest.raises(NotFoundError):
            on_it.read("pieces", bytes(32), 9)


@pytest.mark.parametrize("name", ["pieces-0001.index", "pieces-0001.pack"])
def test_a_file_that_was_cut_short_counts_for_nothing(stick, name):
    path = stick / "p2phub" / name
    os.truncate(path, path.stat().st_size - 1)
    here, page, problems = found(stick)
    assert (here, page) == (False, True)
    assert list(problems) == ["pieces-0001.index"]


@pytest.mark.parametrize("name", ["pieces-0001.index", "contents-0001.list"])
def test_one_changed_bit_is_a_problem_that_is_told(stick, name):
    path = stick / "p2phub" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    assert list(found(stick)[2]) == [name]


def test_packs_that_changed_places_are_found_out_or_give_what_fails_its_check(stick):
    folder = stick / "p2phub"
    pieces, documents = folder / "pieces-0001.pack", folder / "documents-0001.pack"
    pieces.rename(folder / "x")
    documents.rename(pieces)
    (folder / "x").rename(documents)
    here, _, problems = found(stick)
    assert not here
    assert list(problems) == ["pieces-0001.index"]


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "device"])
@pytest.mark.parametrize("name", ["pieces-0001.pack", "pieces-0001.index", "contents-0001.list"])
def test_what_is_no_plain_file_is_not_opened(stick, tmp_path, kind, name):
    path = stick / "p2phub" / name
    data = path.read_bytes()
    path.unlink()
    if kind == "link":
        (tmp_path / "elsewhere").write_bytes(data)
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        try:
            os.mknod(path, 0o020666, os.makedev(1, 5))
        except PermissionError:
            pytest.skip("only root makes devices")
    here, _, problems = found(stick)
    assert here is (name == "contents-0001.list")
    assert len(problems) == 1


def test_an_index_without_its_pack_is_a_problem(stick):
    (stick / "p2phub" / "pieces-0001.pack").unlink()
    assert found(stick)[0] is False


def test_a_file_that_claims_ten_terabytes_is_not_read(stick):
    path = stick / "p2phub" / "pieces-0001.index"
    os.truncate(path, 10 << 40)  # a hole
    here, _, problems = found(stick)
    assert not here
    assert "is the most" in problems["pieces-0001.index"]
    pack = stick / "p2phub" / "documents-0001.pack"
    os.truncate(pack, 10 << 40)
    assert "larger than any pack" in found(stick)[2]["documents-0001.index"]


def test_more_names_than_any_bundle_has_are_refused(stick, monkeypatch):
    monkeypatch.setattr(medium, "MOST_NAMES", 20)
    for number in range(30):
        (stick / "p2phub" / f"junk {number}").touch()
    with pytest.raises(NoSourceError, match="more names"):
        look(stick)


@pytest.mark.parametrize("name", [b"\xff\xfe.pack", b"pieces-0001.pack\n", b"PIECES~1.PAC"])
def test_names_of_others_are_not_looked_at(stick, name):
    (stick / "p2phub" / os.fsdecode(name)).write_bytes(b"junk")
    assert found(stick) == (True, True, {})


@pytest.mark.parametrize("made", ["nothing", "a file", "a link"])
def test_where_there_is_no_bundle_it_is_said(tmp_path, made, stick):
    if made == "a file":
        (tmp_path / "p2phub").write_text("x")
    elif made == "a link":
        (tmp_path / "p2phub").symlink_to(stick / "p2phub")
    with pytest.raises(NotFoundError, match=re.escape(str(tmp_path))):
        look(tmp_path)


def test_a_stick_that_is_pulled_out_is_an_error_of_the_source(stick):
    with closing(look(stick)) as on_it:
        for path in (stick / "p2phub").iterdir():
            path.unlink()
        with pytest.raises(NoSourceError, match="cannot be read"):
            on_it.read("pieces", PIECE, 1 << 20)
        assert on_it.is_gone()


def test_a_bad_place_is_not_a_stick_that_is_gone(stick):
    with closing(look(stick)) as on_it:
        (stick / "p2phub" / "pieces-0001.pack").unlink()
        with pytest.raises(NoSourceError):
            on_it.read("pieces", PIECE, 1 << 20)
        assert not on_it.is_gone()


@pytest.mark.parametrize("call", ["open", "fstat", "pread"])
def test_a_stick_that_is_pulled_out_while_it_is_looked_at_is_not_damaged_but_gone(
    stick, monkeypatch, call
):
    """Every file fails, and closing what was open fails too."""
    honest, close = getattr(os, call), os.close

    def gone(what, *words, **more):
        if call != "open" or medium.NAME.fullmatch(str(what)):
            raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")
        return honest(what, *words, **more)

    def closed(fd):
        close(fd)
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    with monkeypatch.context() as pulled_out:
        pulled_out.setattr(os, call, gone)
        pulled_out.setattr(os, "close", closed)
        with pytest.raises(NoSourceError) as caught:
            look(stick)
    assert "taken out" in caught.value.message
    assert "put it back in" in caught.value.remedy


@pytest.mark.parametrize("most", ["MOST_ROWS", "MOST_LISTED"])
def test_a_stick_full_of_lists_takes_no_more_memory_than_is_set_and_the_newest_count(
    stick, monkeypatch, most
):
    for made in (8, 9, 10):
        sample = make_sample(900, seed=str(made))
        fill(stick, samples=(LARGE, sample), made=made, notices=(b"%d" % made,))
    sizes = [path.stat().st_size for path in (stick / "p2phub").glob("contents-*.list")]
    limit = 2 * max(sizes) if most == "MOST_LISTED" else 5
    monkeypatch.setattr(medium, most, limit)
    with closing(look(stick)) as on_it:
        assert on_it.problems
        assert all("is the most" in told for told in on_it.problems.values())
        if most == "MOST_LISTED":
            assert list(on_it.contents) == [3, 4]
            assert on_it.listed <= limit
        else:
            assert list(on_it.packs["pieces"]) == [2, 3, 4]
            assert on_it.rows <= limit


def test_a_look_up_costs_the_same_however_many_packs_there_are(stick, monkeypatch):
    """Neither what is nowhere nor what lies beside the last one is looked for in every pack."""
    for number in range(30):
        fill(stick, samples=(make_sample(900, seed=str(number)),), made=number)
    looks = []
    honest = PackIndex.find
    monkeypatch.setattr(
        PackIndex, "find", lambda self, digest: looks.append(digest) or honest(self, digest)
    )
    with closing(look(stick)) as on_it:
        for number in range(1000):
            assert not on_it.has("pieces", sha256(b"nowhere %d" % number))
        assert len(looks) < 10
        looks.clear()
        for index in range(LARGE.table.count):
            assert on_it.has("pieces", LARGE.table.digest(index))
        assert len(looks) < 31 + LARGE.table.count
