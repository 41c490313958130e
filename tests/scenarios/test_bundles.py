"""Bundles between two nodes that never meet: what was signed arrives, and nothing else does."""

import os
import shutil
from dataclasses import replace

import pytest
import trio

from p2phub.airgap.folder import OpenFile
from p2phub.errors import (
    NoSourceError,
    NoSpaceError,
    NotFoundError,
    P2PHubError,
    WrongBytesError,
)
from p2phub.node.values import BundleExportRequest, BundleImportRequest
from p2phub.testing.disks import FullDisk
from p2phub.testing.files import tiny_model_folder
from tests.scenarios.nodes import (
    MIB,
    consumer,
    contents,
    flip,
    model,
    new_publisher,
    node,
    publish,
    quiet,
    running_home,
    snapshots,
)
from tests.scenarios.policy_scene import write_bundle
from tests.scenarios.policy_table import make

pytestmark = pytest.mark.slow


async def export(running, stick, *references):
    return await running.bundles.export_to(BundleExportRequest(references, stick), quiet)


async def bring(running, stick, report=quiet):
    return await running.bundles.import_from(BundleImportRequest(stick), report)


@pytest.fixture
def stick(tmp_path):
    return tmp_path / "stick"


async def publish_and_export(tmp_path, stick):
    """A publisher's `x` on a stick: the publisher's id, and its commit."""
    who = new_publisher(tmp_path / "a")
    async with node(tmp_path / "a") as lab:
        made = await publish(lab, model(tmp_path / "model"))
        await export(lab, stick, "x")
    return who, made.commit


def pack(stick, name="pieces-0001.pack"):
    return stick / "p2phub" / name


async def test_what_crosses_is_what_was_published_and_the_verdict_is_that_of_online(
    tmp_path, stick
):
    who, commit = await publish_and_export(tmp_path, stick)
    async with node(tmp_path / "b") as far:
        done = await bring(far, stick)
        (row,) = done.releases
        assert (row.outcome, row.commit, row.verdict, done.exit) == ("came", commit, "verified", 0)
        assert (done.heads, done.bytes_fetched) == (1, row.bytes)
        found = far._services.store.layout.home / "store" / "snapshots"
        (folder,) = [path.parent for path in found.rglob("config.json")]
        assert contents(folder) == contents(tmp_path / "model")
        (checked,) = await far.verify(f"{who}/x", quiet)
        assert checked.ok
        again = await bring(far, stick)
        assert (again.releases[0].outcome, again.bytes_fetched, again.exit) == ("here", 0, 0)


async def test_another_user_on_the_far_side_may_read_every_file(tmp_path, stick):
    await publish_and_export(tmp_path, stick)
    assert {path.stat().st_mode & 0o444 for path in (stick / "p2phub").iterdir()} == {0o444}


async def test_pieces_that_two_repos_share_are_on_the_stick_once(tmp_path, stick):
    new_publisher(tmp_path / "a")
    async with node(tmp_path / "a") as lab:
        await publish(lab, model(tmp_path / "one"), "one")
        await publish(lab, model(tmp_path / "two"), "two")
        first = await export(lab, stick, "one")
        second = await export(lab, stick, "two", "one")
        assert second.bytes_written < first.bytes_written / 10
    async with node(tmp_path / "b") as far:
        done = await bring(far, stick)
        assert {row.name: row.outcome for row in done.releases} == {"one": "came", "two": "came"}


@pytest.mark.parametrize("what", ["pieces-0001.pack", "pieces-0001.index", "documents-0001.pack"])
async def test_a_flipped_bit_brings_nothing_half(tmp_path, stick, what):
    await publish_and_export(tmp_path, stick)
    flip(pack(stick, what), pack(stick, what).stat().st_size // 2)
    async with node(tmp_path / "b") as far:
        done = await bring(far, stick)
        assert done.releases[0].outcome == "refused"
        assert done.exit in (4, 6)
        assert done.releases[0].reason
        assert not snapshots(running_home(far))


async def test_contents_with_a_flipped_bit_are_damaged_and_not_absent(tmp_path, stick):
    await publish_and_export(tmp_path, stick)
    flip(pack(stick, "contents-0001.list"))
    async with node(tmp_path / "b") as far:
        with pytest.raises(WrongBytesError):
            await bring(far, stick)


async def test_a_truncated_pack_is_made_good_by_the_next_export(tmp_path, stick):
    await publish_and_export(tmp_path, stick)
    with pack(stick).open("r+b") as file:
        file.truncate(MIB)
    async with node(tmp_path / "b") as far:
        done = await bring(far, stick)
        assert done.exit == 6
        assert not snapshots(running_home(far))
        async with node(tmp_path / "a") as lab:
            await export(lab, stick, "x")
        assert (await bring(far, stick)).exit == 0


@pytest.mark.parametrize("kind", ["symlink", "fifo", "folder"])
async def test_what_is_no_plain_file_is_not_read(tmp_path, stick, kind):
    await publish_and_export(tmp_path, stick)
    path = pack(stick)
    path.rename(tmp_path / "real.pack")
    match kind:
        case "symlink":
            path.symlink_to(tmp_path / "real.pack")
        case "fifo":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
    async with node(tmp_path / "b") as far:
        with trio.fail_after(60):
            assert (await bring(far, stick)).exit == 6
        assert not snapshots(running_home(far))


async def test_packs_that_changed_places_bring_nothing_wrong(tmp_path, stick):
    new_publisher(tmp_path / "a")
    async with node(tmp_path / "a") as lab:
        for name in ("one", "two"):
            await publish(lab, model(tmp_path / name, seed=name), name)
            await export(lab, stick, name)
    first, second = pack(stick), pack(stick, "pieces-0002.pack")
    first.rename(tmp_path / "swap")
    second.rename(first)
    (tmp_path / "swap").rename(second)
    async with node(tmp_path / "b") as far:
        done = await bring(far, stick)
        assert all(row.outcome == "refused" for row in done.releases)
        assert not snapshots(running_home(far))


async def test_a_replayed_bundle_rolls_nothing_back(tmp_path, stick):
    who = new_publisher(tmp_path / "a")
    async with node(tmp_path / "a") as lab:
        old = await publish(lab, model(tmp_path / "v1"))
        await export(lab, tmp_path / "old", "x")
        new = await publish(lab, model(tmp_path / "v2", seed="y"))
        await export(lab, stick, "x")
    told = []
    async with node(tmp_path / "b") as far:
        await bring(far, stick)
        done = await bring(far, tmp_path / "old", told.append)
        assert done.heads == 0
        assert any("older" in getattr(each, "message", "") for each in told)
        assert (await far.info(f"{who}/x")).commit == new.commit
        assert done.releases[0].commit == old.commit


async def test_a_stick_that_is_pulled_out_ends_the_import_at_once_and_tells_what_came(
    tmp_path, stick, monkeypatch
):
    """Nobody looks for each of the other releases again and again."""
    new_publisher(tmp_path / "a")
    async with node(tmp_path / "a") as lab:
        for name in ("one", "two", "three", "four"):
            await publish(lab, model(tmp_path / name, seed=name), name)
        await export(lab, stick, "one", "two", "three", "four")
    shutil.copytree(stick, tmp_path / "copy")
    told, honest = [], OpenFile.pread

    def pread(file, length, offset):
        if snapshots(running_home(far)):  # one is there whole
            shutil.rmtree(stick / "p2phub", ignore_errors=True)
        return honest(file, length, offset)

    async with node(tmp_path / "b") as far:
        with monkeypatch.context() as patched, trio.fail_after(20):
            patched.setattr(OpenFile, "pread", pread)
            with pytest.raises(NoSourceError, match="1 of its 4 releases came") as caught:
                await bring(far, stick, told.append)
        assert "put it back in" in caught.value.remedy
        assert not [each for each in told if "did not come" in getattr(each, "message", "")]
        done = await bring(far, tmp_path / "copy")
        outcomes = sorted(row.outcome for row in done.releases)
        assert outcomes == ["came", "came", "came", "here"]


@pytest.mark.parametrize("wrong", ["revoked", "withdrawn"])
async def test_what_was_taken_back_is_carried_inwards(tmp_path, stick, wrong):
    """The far side has the release already, and hears of it from the stick alone."""
    case = make(wrong)
    write_bundle(tmp_path / "before", replace(case, notices=()))
    write_bundle(stick, case)
    async with consumer(tmp_path / "b", None, case.lab.publisher) as far:
        (row,) = (await bring(far, tmp_path / "before")).releases
        assert (row.outcome, row.verdict) == ("came", "verified")
        done = await bring(far, stick)
        assert (done.notices, done.exit, done.releases[0].verdict) == (1, 4, wrong)
        (checked,) = await far.verify("lab/x", quiet)
        assert (checked.ok, checked.verdict) == (False, wrong)


async def test_a_far_side_without_room_keeps_nothing_half_and_goes_on_later(tmp_path, stick):
    await publish_and_export(tmp_path, stick)
    async with node(tmp_path / "b", STORE_QUOTA="1MB") as far:
        done = await bring(far, stick)
        assert (done.exit, done.releases[0].outcome) == (5, "refused")
        assert not snapshots(running_home(far))
    async with node(tmp_path / "b") as far:
        assert (await bring(far, stick)).exit == 0


@pytest.mark.parametrize("at", [1, 2, 4, 6, 9, 12])
async def test_a_stick_that_is_full_midway_claims_nothing_and_the_next_export_goes_on(
    tmp_path, stick, at
):
    new_publisher(tmp_path / "a")
    async with node(tmp_path / "a") as lab, node(tmp_path / "b") as far:
        await publish(lab, model(tmp_path / "model"))
        disk, lab._services.store.disk = lab._services.store.disk, FullDisk(at)
        with pytest.raises(NoSpaceError):
            await export(lab, stick, "x")
        with pytest.raises(NotFoundError):
            await bring(far, stick)
        lab._services.store.disk = disk
        await export(lab, stick, "x")
        assert (await bring(far, stick)).releases[0].outcome == "came"


async def test_a_release_that_is_not_whole_here_is_not_exported(tmp_path, stick):
    who = new_publisher(tmp_path / "a")
    async with node(tmp_path / "a") as lab:
        await publish(lab, tiny_model_folder(tmp_path / "model"), "x")
        with pytest.raises(NotFoundError):
            await export(lab, stick, f"{who}/y")
    assert not (stick / "p2phub").exists()


async def test_a_stick_that_holds_no_bundle_is_not_found(tmp_path, stick):
    stick.mkdir()
    async with node(tmp_path / "b") as far:
        with pytest.raises(P2PHubError) as caught:
            await bring(far, stick)
        assert caught.value.exit == 3
