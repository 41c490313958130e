"""Bundles on real FAT32 and exFAT, which are pulled out at twenty random points of an export and of
an import, put in again, and gone on with.
"""

import os
import random
import shutil
from contextlib import closing, contextmanager

import pytest
import trio

from p2phub.airgap.folder import OpenFile
from p2phub.airgap.medium import look
from p2phub.errors import NoSourceError, P2PHubError
from p2phub.formats.digest import blake3, sha256
from p2phub.formats.limits import MAX_PIECE
from p2phub.node.values import BundleExportRequest, BundleImportRequest
from p2phub.store.disk import Disk
from p2phub.testing.files import tiny_model_folder
from tests.scenarios.nodes import (
    MIB,
    contents,
    model,
    new_publisher,
    node,
    publish,
    quiet,
    running_home,
    snapshots,
)
from tests.scenarios.sticks import missing, stick

pytestmark = pytest.mark.slow

POINTS = 20
SEED = int(os.environ.get("P2PHUB_TEST_SEED", random.randrange(1 << 32)))
"""Told by a test that fails; the same again with this environment variable."""


@pytest.fixture(params=["fat32", "exfat"])
def kind(request):
    if why := missing(request.param):
        pytest.skip(why)
    return request.param


class Yanked(Disk):
    """The stick is pulled out within change `at` to it, or not at all; the changes are counted."""

    def __init__(self, pulled, at=None):
        self.count, self._at, self._stick = 0, at, pulled

    def _about_to(self, action, path):
        if str(path).startswith(str(self._stick.at)):
            if self.count == self._at:
                self._stick.pull_out()
            self.count += 1


async def export(running, pulled, *references):
    return await running.bundles.export_to(BundleExportRequest(references, pulled.at), quiet)


async def bring(running, pulled):
    return await running.bundles.import_from(BundleImportRequest(pulled.at), quiet)


@contextmanager
def written_by(running, disk):
    """The disk that a node writes to."""
    store = running._services.store
    before, store.disk = store.disk, disk
    try:
        yield
    finally:
        store.disk = before


@contextmanager
def told(where):
    """What fails says where, and how to try that again."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"{where}; P2PHUB_TEST_SEED={SEED}")
        raise


def what_it_claims(pulled):
    """How many things it claims, each of which is what its digest says, and how many releases."""
    if not (pulled.at / "p2phub").is_dir():
        return 0, 0
    with closing(look(pulled.at)) as medium:
        for index in medium.packs["pieces"].values():
            for row in index:
                data = medium.read("pieces", row.digest, MAX_PIECE)
                assert row.digest in (blake3(data), sha256(data))
        return (
            sum(len(index) for packs in medium.packs.values() for index in packs.values()),
            sum(len(each.releases) for each in medium.contents.values()),
        )


def came_to(running):
    """The folder of a release that came."""
    found = running_home(running) / "store" / "snapshots"
    (folder,) = [path.parent for path in found.rglob("config.json")]
    return contents(folder)


async def test_a_stick_that_is_pulled_out_of_an_export_claims_what_it_holds_and_is_gone_on_with(
    tmp_path, kind
):
    new_publisher(tmp_path / "lab")
    chance = random.Random(f"{SEED} {kind} export")
    with stick(kind, tmp_path / "s") as pulled:
        empty = shutil.copyfile(pulled.image, tmp_path / "empty.image")
        async with node(tmp_path / "lab") as lab:
            await publish(lab, model(tmp_path / "model"))
            pulled.put_in()
            whole = Yanked(pulled)
            with written_by(lab, whole):
                await export(lab, pulled, "x")
            claims = what_it_claims(pulled)
            pulled.take_out()
            points = [chance.randrange(whole.count) for _ in range(POINTS)]
            for number, at in enumerate(points):
                with told(f"change {at} of {whole.count}"):
                    shutil.copyfile(empty, pulled.image)
                    await export_twice(lab, pulled, at, claims)
                    async with node(tmp_path / f"far {number}") as far:
                        assert (await bring(far, pulled)).releases[0].outcome == "came"
                        assert came_to(far) == contents(tmp_path / "model")
                    pulled.take_out()


async def export_twice(lab, pulled, at, claims):
    """Pulled out at change `at`, and then once more in peace."""
    pulled.put_in()
    with written_by(lab, Yanked(pulled, at)), pytest.raises(P2PHubError):
        await export(lab, pulled, "x")
    pulled.clear()
    pulled.mend()
    pulled.put_in()
    things, releases = what_it_claims(pulled)
    assert releases == 0 or things == claims[0]
    await export(lab, pulled, "x")
    assert what_it_claims(pulled) == claims


class Reads:
    """Counts what is read from sticks; one is pulled out at read `at`, or none."""

    def __init__(self, monkeypatch, pulled):
        self.count = self.bytes = 0
        self.at, honest = None, OpenFile.pread

        def pread(file, length, offset):
            if self.count == self.at:
                pulled.pull_out()
            self.count += 1
            data = honest(file, length, offset)
            self.bytes += len(data)
            return data

        monkeypatch.setattr(OpenFile, "pread", pread)

    def begin(self, at=None):
        self.count = self.bytes = 0
        self.at = at


async def test_a_stick_that_is_pulled_out_of_an_import_leaves_nothing_half_and_is_gone_on_with(
    tmp_path, kind, monkeypatch
):
    new_publisher(tmp_path / "lab")
    folder = tiny_model_folder(tmp_path / "model", shards=4, shard_bytes=4 * MIB)
    chance, ended_early = random.Random(f"{SEED} {kind} import"), 0
    with stick(kind, tmp_path / "s") as pulled:
        reads = Reads(monkeypatch, pulled)
        pulled.put_in()
        async with node(tmp_path / "lab") as lab:
            await publish(lab, folder)
            await export(lab, pulled, "x")
        async with node(tmp_path / "far") as far:
            reads.begin()
            await bring(far, pulled)
            count, whole = reads.count, reads.bytes
        for number in range(POINTS):
            at = chance.randrange(count)
            with told(f"read {at} of {count}"):
                async with node(tmp_path / f"far {number}") as far:
                    reads.begin(at)
                    ended_early += await is_ended_by_it(far, pulled)
                    pulled.clear()
                    pulled.mend()
                    pulled.put_in()
                    reads.at = None
                    (row,) = (await bring(far, pulled)).releases
                    assert row.outcome in ("came", "here")
                    assert came_to(far) == contents(folder)
                    assert reads.bytes <= whole + 2 * MAX_PIECE
        pulled.take_out()
    assert ended_early > POINTS // 2


async def is_ended_by_it(far, pulled):
    """Whether an import fails, then at once: the page cache may outlive a stick."""
    try:
        with trio.fail_after(3):
            await bring(far, pulled)
    except NoSourceError as error:
        failed = error
    else:
        return False
    assert "put it back in" in failed.remedy
    assert not snapshots(running_home(far))
    return True
