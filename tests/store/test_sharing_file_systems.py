"""Blocks are really shared on file systems that can: Btrfs and XFS, each in an image of its own.

What is shared the kernel itself tells, extent by extent (FIEMAP).
"""

import fcntl
import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from p2phub.errors import NoSpaceError
from p2phub.formats.manifest import FileEntry
from p2phub.formats.pieces import Run
from p2phub.store.hfcache import CachedRelease, HuggingFaceCache
from p2phub.store.layout import Layout
from p2phub.store.store import Store
from p2phub.testing.samples import make_sample

from .conftest import bring, held
from .test_linking import made_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a file system"),
]

MIB = 1 << 20
FS_IOC_FIEMAP = 0xC020660B
FLAG_SYNC, EXTENT_SHARED = 1, 0x2000
MOST_EXTENTS = 512
HEAD, EXTENT = struct.Struct("=QQIIII"), struct.Struct("=QQQ2QI3I")


@pytest.fixture(params=["btrfs", "xfs"])
def mount(request, tmp_path):
    """The root of an empty file system of 512 MiB."""
    maker = shutil.which(f"mkfs.{request.param}")
    if maker is None:
        pytest.skip(f"no mkfs.{request.param} here")
    image, place = tmp_path / "image", tmp_path / "mount"
    image.touch()
    os.truncate(image, 512 * MIB)
    place.mkdir()
    made = subprocess.run([maker, "-q", str(image)], check=False, capture_output=True)
    mounting = ["mount", "-o", "loop", str(image), str(place)]
    if made.returncode or subprocess.run(mounting, check=False, capture_output=True).returncode:
        pytest.skip(f"no {request.param} here")
    yield place
    if subprocess.run(["umount", str(place)], check=False).returncode:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
        pytest.fail("something there is still open")


@pytest.fixture
def shop(mount):
    """A store there."""
    with Store.open(Layout.of(Path(mount) / "home")) as store:
        yield store


def shared_bytes(path):
    """The bytes of a file whose blocks another file has too."""
    asked = bytearray(HEAD.pack(0, 2**64 - 1, FLAG_SYNC, 0, MOST_EXTENTS, 0))
    asked += bytes(EXTENT.size * MOST_EXTENTS)
    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, FS_IOC_FIEMAP, asked)
    finally:
        os.close(fd)
    count = HEAD.unpack_from(asked)[3]
    assert count < MOST_EXTENTS
    extents = [EXTENT.unpack_from(asked, HEAD.size + EXTENT.size * n) for n in range(count)]
    return sum(length for _, _, length, _, _, flags, *_ in extents if flags & EXTENT_SHARED)


def fill(mount, left):
    """Leave about `left` bytes free."""
    os.sync()
    found = os.statvfs(mount)
    with (mount / "filler").open("wb") as file:
        rest = found.f_bavail * found.f_frsize - left
        for _ in range(rest // MIB):
            file.write(os.urandom(MIB))
    os.sync()


def linked(store, new):
    partial = store.partials.open(new.content, new.table, part=0)
    try:
        store.link_pieces(partial)
        missing = [n for run in partial.missing() for n in range(run.first, run.first + run.count)]
        for index in missing:
            partial.accept(index, memoryview(new.piece(index)))
        partial.commit()
    finally:
        store.partials.close(partial)
    assert held(store, new.content) == new.data
    return missing


def test_the_same_tensors_behind_a_header_of_the_same_length_take_no_room(shop):
    old = make_sample(64 * MIB, piece=1 * MIB - 8)  # no bound is a block's, like in safetensors
    bring(shop, old)
    header = os.urandom(MIB - 8)
    new = made_of(header, *(old.piece(n) for n in range(1, old.table.count)))
    assert linked(shop, new) == [0]
    unshared = new.table.size - shared_bytes(shop.blobs.path(new.content))
    assert len(header) - 4096 <= unshared <= len(header) + 3 * 4096


def test_a_part_in_the_middle_is_shared_but_for_the_edges_of_its_blocks(shop):
    old = make_sample(32 * MIB, piece=1_000_001)
    bring(shop, old)
    kept = range(5, 20)
    new = made_of(
        *(old.piece(n) if n in kept else os.urandom(len(old.piece(n))) for n in range(33)),
        *(old.piece(n) for n in range(33, old.table.count)),
    )
    linked(shop, new)
    assert shared_bytes(shop.blobs.path(new.content)) > 15 * 1_000_001 - 2 * 4096


def test_pieces_that_moved_by_no_whole_block_are_copied_and_right(shop):
    old = make_sample(16 * MIB, piece=MIB)
    bring(shop, old)
    new = made_of(os.urandom(MIB - 8), *(old.piece(n) for n in range(1, 16)))
    assert linked(shop, new) == [0]
    assert shared_bytes(shop.blobs.path(new.content)) == 0


def test_a_changed_copy_never_changes_what_it_shares_with(shop):
    old = make_sample(8 * MIB, piece=MIB)
    bring(shop, old)
    new = made_of(os.urandom(MIB), *(old.piece(n) for n in range(1, 8)))
    linked(shop, new)
    path = shop.blobs.path(new.content)
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(4 * MIB)
        file.write(b"overwritten")
    assert held(shop, old.content) == old.data
    assert shop.blobs.verify(old.content) == []


def test_what_is_published_shares_its_blocks_with_the_folder(shop, mount):
    data = os.urandom(40 * MIB)
    (mount / "model.bin").write_bytes(data)
    content = shop.blobs.ingest(mount / "model.bin").content
    path = shop.blobs.path(content)
    assert shared_bytes(path) == shared_bytes(mount / "model.bin") == 40 * MIB
    with (mount / "model.bin").open("r+b") as file:
        file.write(b"edited")
    assert held(shop, content) == data


def test_a_file_is_published_on_a_disk_that_has_no_room_for_a_copy(shop, mount):
    (mount / "model.bin").write_bytes(os.urandom(200 * MIB))
    fill(mount, 80 * MIB)
    content = shop.blobs.ingest(mount / "model.bin").content
    assert shared_bytes(shop.blobs.path(content)) == 200 * MIB


def test_tensors_are_taken_over_on_a_disk_that_has_no_room_for_a_copy(shop, mount):
    old = make_sample(160 * MIB, piece=MIB)
    bring(shop, old)
    fill(mount, 80 * MIB)
    new = made_of(os.urandom(MIB), *(old.piece(n) for n in range(1, 160)))
    assert linked(shop, new) == [0]


def test_what_must_be_copied_is_refused_on_such_a_disk_and_nothing_is_lost(shop, mount):
    old = make_sample(160 * MIB, piece=MIB)
    bring(shop, old)
    fill(mount, 80 * MIB)
    new = made_of(os.urandom(MIB - 8), *(old.piece(n) for n in range(1, 160)))
    with pytest.raises(NoSpaceError):
        linked(shop, new)
    (mount / "other.bin").write_bytes(b"there is room for a little")
    assert shop.blobs.verify(old.content) == []


def test_a_disk_that_others_fill_meanwhile_keeps_what_was_linked(shop, mount, monkeypatch):
    old = make_sample(160 * MIB, piece=MIB)
    bring(shop, old)
    fill(mount, 40 * MIB)
    monkeypatch.setattr(shop.disk, "free_bytes", lambda folder: 1 << 40)
    new = made_of(os.urandom(MIB - 8), *(old.piece(n) for n in range(1, 160)))
    partial = shop.partials.open(new.content, new.table, part=0)
    with pytest.raises(NoSpaceError):
        shop.link_pieces(partial)
    done = partial.count_done
    shop.partials.close(partial)
    assert 0 < done < 159
    (mount / "filler").unlink()
    os.sync()
    partial = shop.partials.open(new.content, new.table, part=0)
    assert partial.count_done == done
    shop.link_pieces(partial)
    assert partial.missing() == [Run(0, 1)]
    shop.partials.close(partial)


def test_copies_for_people_share_blocks_and_may_be_changed(shop, mount):
    old = make_sample(16 * MIB, piece=MIB)
    bring(shop, old)
    shop.export([(("model.bin",), old.content)], mount / "out")
    copy = mount / "out" / "model.bin"
    assert shared_bytes(copy) == 16 * MIB
    copy.write_bytes(b"mine")
    assert held(shop, old.content) == old.data


def test_a_hugging_face_cache_shares_the_blocks_and_its_owner_may_do_what_he_likes(shop, mount):
    new = make_sample(8 * MIB, piece=MIB)
    bring(shop, new)
    digest = shop.blobs.hash_whole(new.content)
    file = FileEntry(("weights.dat",), new.content.size, digest, new.content)
    release = CachedRelease("model", "lab/x", "c" * 40, "main", (file,), (file,))
    fill(mount, 4 * MIB)  # less than a copy takes
    blob = HuggingFaceCache(mount / "hub", shop.blobs, shop.disk).write(release) / "weights.dat"
    blob = blob.resolve()
    assert blob == mount / "hub" / "models--lab--x" / "blobs" / digest.hex()
    assert shared_bytes(blob) == new.content.size
    with blob.open("r+b") as theirs:
        theirs.write(b"edited in the cache")
    assert held(shop, new.content) == new.data
    blob.unlink()
    assert held(shop, new.content) == new.data
