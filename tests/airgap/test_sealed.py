"""A sealed stick: who it is for has all of it, nobody else has any, and nothing changed passes."""

import os
import shutil
from contextlib import closing

import pytest

from p2phub.airgap import writer as writer_module
from p2phub.airgap.medium import look
from p2phub.airgap.sealed import Seal
from p2phub.airgap.writer import BundleWriter
from p2phub.errors import GarbageError, NoSpaceError, P2PHubError
from p2phub.formats import limits
from p2phub.formats.bech32 import encode
from p2phub.formats.bundle import Contents
from p2phub.store.disk import Disk
from p2phub.testing.disks import FullDisk
from p2phub.testing.samples import make_sample
from p2phub.trust.age import CHUNK, Identity
from tests.airgap.conftest import LARGE, PAGE, SMALL, fill

ANN, BOB, EVE = (Identity(bytes([at]) * 32) for at in (1, 2, 3))
TO_BOB = Seal(ANN, (BOB.recipient,))
OTHER = make_sample(1_500_000, seed="other", piece=400_000)


def names(path):
    return sorted(each.name for each in (path / "p2phub").iterdir())


def read_all(path, identity, samples=(LARGE, SMALL)):
    """Whether the stick gives back every piece to this identity."""
    with closing(look(path, [identity])) as medium:
        assert medium.problems == {}
        for sample in samples:
            for index in range(sample.table.count):
                data = medium.read("pieces", sample.table.digest(index), limits.MAX_PIECE)
                assert data == sample.piece(index)
        return [medium.contents[number] for number in sorted(medium.contents)]


def holdings(path, identity):
    """How many things it claims to have for this identity."""
    with closing(look(path, [identity] if identity else [])) as medium:
        packs = [index for kind in medium.packs.values() for index in kind.values()]
        return sum(map(len, packs)) + len(medium.contents)


@pytest.fixture
def sealed(tmp_path):
    fill(tmp_path / "stick", seal=TO_BOB)
    return tmp_path / "stick"


def test_who_it_is_for_and_who_made_it_read_all_of_it(sealed):
    assert read_all(sealed, BOB) == read_all(sealed, ANN) == [Contents(7)]


@pytest.mark.parametrize("who", [EVE, None])
def test_nobody_else_reads_anything(sealed, who):
    assert holdings(sealed, who) == 0
    with closing(look(sealed, [who] if who else [])) as medium:
        assert (medium.sealed, medium.problems) == (
            {"pieces": 1, "documents": 1, "contents": 1},
            {},
        )


def test_nothing_that_was_put_there_is_seen(sealed):
    there = b"".join(each.read_bytes() for each in (sealed / "p2phub").iterdir())
    for known in (PAGE[:64], LARGE.piece(0)[:64], LARGE.content.digest, SMALL.content.digest):
        assert known not in there
    assert {each for each in names(sealed) if not each.endswith(".age")} == {"README.txt"}


def test_another_program_opens_it(sealed):
    pyrage = pytest.importorskip("pyrage")
    text = encode("age-secret-key-", bytes([2]) * 32).upper()
    identity = pyrage.x25519.Identity.from_str(text)
    data = pyrage.decrypt((sealed / "p2phub" / "contents-0001.list.age").read_bytes(), [identity])
    assert Contents.from_bytes(data) == Contents(7)


def test_what_is_there_for_the_same_is_not_written_again(sealed):
    before = names(sealed)
    assert fill(sealed, seal=TO_BOB).written == 0
    assert names(sealed) == before


@pytest.mark.parametrize("seal", [None, Seal(ANN, (EVE.recipient,)), Seal(EVE, (BOB.recipient,))])
def test_what_others_can_open_is_not_theirs_and_is_written_again(sealed, seal):
    before = {each.name: each.read_bytes() for each in (sealed / "p2phub").iterdir()}
    assert fill(sealed, seal=seal).written >= LARGE.content.size
    after = {each.name: each.read_bytes() for each in (sealed / "p2phub").iterdir()}
    assert {name: after[name] for name in before} == before
    if seal is not None:
        read_all(sealed, EVE)
    assert len(read_all(sealed, ANN if seal is None else BOB)) >= 1


def test_what_is_not_sealed_is_not_reused_for_what_is(tmp_path):
    fill(tmp_path, made=5)
    assert fill(tmp_path, seal=TO_BOB).written >= LARGE.content.size
    for each in names(tmp_path):
        if not each.endswith((".age", "README.txt")):
            (tmp_path / "p2phub" / each).unlink()
    read_all(tmp_path, BOB)


@pytest.mark.parametrize("what", ["pieces-0001.pack", "pieces-0001.index", "contents-0001.list"])
def test_any_bit_that_changes_is_found_out(sealed, what):
    file = sealed / "p2phub" / f"{what}.age"
    data = bytearray(file.read_bytes())
    for at in range(0, len(data), max(1, len(data) // 40)):
        data[at] ^= 1
        file.write_bytes(data)
        data[at] ^= 1
        with closing(look(sealed, [BOB])) as medium:
            is_told = bool(medium.problems or medium.sealed)
            assert is_told or _is_refused(medium)


def _is_refused(medium):
    """A piece of it cannot be read."""
    try:
        for index in range(LARGE.table.count):
            medium.read("pieces", LARGE.table.digest(index), limits.MAX_PIECE)
        medium.read("pieces", SMALL.content.digest, limits.MAX_PIECE)
    except GarbageError:
        return True
    return False


@pytest.mark.parametrize("left", [0, 10, 200, 5000, CHUNK + 300])
def test_a_pack_that_was_cut_short_counts_for_nothing(sealed, left):
    os.truncate(sealed / "p2phub" / "pieces-0001.pack.age", left)
    with closing(look(sealed, [BOB])) as medium:
        assert 1 not in medium.packs["pieces"] or _is_refused(medium)
        assert medium.problems or medium.sealed or _is_refused(medium)


@pytest.mark.parametrize("plant", ["fifo", "link", "folder"])
def test_what_is_no_file_is_left_alone(sealed, plant):
    at = sealed / "p2phub" / "pieces-0002.index.age"
    if plant == "fifo":
        os.mkfifo(at)
    elif plant == "link":
        at.symlink_to("/etc/passwd")
    else:
        at.mkdir()
    with closing(look(sealed, [BOB])) as medium:
        assert medium.sealed == {"pieces": 2}
    read_all(sealed, BOB)


def test_wherever_the_stick_is_full_the_rest_is_written_later(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "ROLL_AT", 1_000_000)
    at = 0
    while True:
        stick = tmp_path / f"at {at}"
        try:
            fill(stick, FullDisk(at), seal=TO_BOB)
        except NoSpaceError:
            fill(stick, Disk(), seal=TO_BOB)
            read_all(stick, BOB)
            at += 1
            continue
        break
    assert at > 20


def test_who_writes_is_told_of_every_byte_once(tmp_path):
    told = []
    with BundleWriter(tmp_path, Disk(), told.append, TO_BOB) as writer:
        for index in range(LARGE.table.count):
            writer.put("pieces", LARGE.table.digest(index), LARGE.piece(index))
        writer.finish(Contents(7))
    assert sum(told) == LARGE.content.size
    assert min(told) >= 0


def test_an_error_of_a_stick_that_is_gone_is_ours(sealed):
    with closing(look(sealed, [BOB])) as medium:
        shutil.rmtree(sealed)
        with pytest.raises(P2PHubError):
            medium.read("pieces", LARGE.table.digest(0), limits.MAX_PIECE)
