"""Sticks that are hostile, worn out or used by two at once, as a person meets them: every command
ends with the exit code that is documented, says what to do, and leaves nothing half-done in sight.
"""

import os
import shutil
from dataclasses import replace

import pytest
import trio

from p2phub.airgap.medium import MOST_NAMES
from p2phub.airgap.turns import reading, writing
from p2phub.airgap.writer import BundleWriter
from p2phub.errors import BusyError, NotFoundError, RefusedError
from p2phub.formats.bundle import Contents, Meant
from p2phub.formats.ids import ContentId
from p2phub.formats.limits import MAX_FILE
from p2phub.node import bring as bring_files
from p2phub.node.values import SwapRequest
from p2phub.store.disk import Disk
from p2phub.testing.disks import ReadOnlyDisk
from p2phub.testing.files import tiny_model_folder
from p2phub.testing.publishers import CREATED, FakePublisher, fake_file
from tests.scenarios.gate_scene import bring, export, publish_and_export
from tests.scenarios.nodes import (
    MIB,
    model,
    new_publisher,
    node,
    publish,
    quiet,
    running_home,
    snapshots,
)
from tests.scenarios.processes import ended, machines

pytestmark = pytest.mark.slow


@pytest.fixture
def stick(tmp_path):
    return tmp_path / "stick"


async def swap(running, stick, **more):
    return await running.bundles.swap(SwapRequest(stick, **more), quiet)


def bytes_below(folder):
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


# ---------------------------------------------------------------- what it claims


async def test_ten_terabytes_that_somebody_signed_are_refused_before_a_byte_is_written(
    tmp_path, stick
):
    lab = FakePublisher(1)
    small = fake_file("config.json", b"{}").entry
    huge = [
        replace(
            small,
            path=(f"model-{number:05}.safetensors",),
            size=MAX_FILE,
            content=ContentId(MAX_FILE, bytes([number]) * 32),
            git_sha1=None,
        )
        for number in range(10)
    ]
    made = lab.publish("x", [small, *huge])
    stick.mkdir()
    with BundleWriter(stick, Disk()) as into:
        for digest, data in lab.documents.items():
            into.put("documents", digest, data)
        meant = Meant(lab.publisher.digest, "x", "model", made.release.digest, 10 * MAX_FILE)
        into.finish(Contents(CREATED, (lab.head.pack(),), (), (meant,)))
    async with node(tmp_path / "b") as far:
        before = bytes_below(running_home(far))
        with trio.fail_after(30):
            done = await bring(far, stick)
        (row,) = done.releases
        assert (done.exit, row.outcome) == (5, "refused"), row
        assert row.reason
        assert not snapshots(running_home(far))
        assert bytes_below(running_home(far)) - before < MIB


async def test_sizes_that_only_the_list_claims_are_not_believed(tmp_path, stick):
    """Nobody signs the list of contents; what it says is shown, and decides nothing."""
    await publish_and_export(tmp_path, stick)
    (path,) = stick.glob("p2phub/contents-*.list")
    told = Contents.from_bytes(path.read_bytes())
    (meant,) = told.releases
    path.write_bytes(replace(told, releases=(replace(meant, size=10 << 40),)).to_bytes())
    async with node(tmp_path / "b") as far:
        (row,) = (await bring(far, stick)).releases
        assert row.outcome == "came"
        assert row.bytes < 10 * MIB


@pytest.mark.parametrize("quarantine", ["false", "true"])
async def test_nobody_waits_for_what_it_lists_and_does_not_hold(
    tmp_path, stick, monkeypatch, quarantine
):
    """It may list 100,000 releases; to wait a second for each would take a day."""
    lab = FakePublisher(1)
    made = [lab.publish(f"r{number}", {"a": b"%d" % number}) for number in range(3)]
    stick.mkdir()
    with BundleWriter(stick, Disk()) as into:
        for digest, data in lab.documents.items():
            into.put("documents", digest, data)
        meant = [
            Meant(lab.publisher.digest, f"r{number}", "model", each.release.digest, 1)
            for number, each in enumerate(made)
        ]
        into.finish(Contents(CREATED, (lab.head.pack(),), (), tuple(meant)))
    monkeypatch.setattr(bring_files, "ATTEMPT_PAUSE", 1000.0)
    async with node(tmp_path / "b", AIRGAP_QUARANTINE=quarantine) as far:
        with trio.fail_after(60):
            done = await bring(far, stick)
        assert [(row.outcome, row.exit) for row in done.releases] == [("refused", 6)] * 3
        assert await far.quarantine.waiting() == ()


# ---------------------------------------------------------------- its names


def test_more_names_than_any_bundle_has_end_every_command_soon(tmp_path, stick):
    with machines(tmp_path) as made:
        lab, far = made.publisher("lab"), made.home("far")
        lab.done("publish", tiny_model_folder(tmp_path / "m"), "x")
        lab.done("bundle", "export", "x", "--to", stick)
        for number in range(MOST_NAMES):
            (stick / "p2phub" / f"{number:07}").touch()
        for words in (
            ("bundle", "inspect", stick),
            ("bundle", "import", stick),
            ("swap", stick),
        ):
            told = far.refused(6, *words)
            assert "more names than any bundle" in told["message"]
        lab.refused(6, "bundle", "export", "x", "--to", stick)
        assert far.run("ls").objects == []


def test_names_in_another_encoding_are_passed_over_and_one_that_is_typed_is_refused(
    tmp_path, stick
):
    latin = os.fsdecode("clé USB".encode("latin-1"))
    with machines(tmp_path) as made:
        lab, far = made.publisher("lab"), made.home("far")
        lab.done("publish", tiny_model_folder(tmp_path / "m"), "x")
        lab.done("bundle", "export", "x", "--to", stick)
        for folder in (stick, stick / "p2phub"):
            (folder / latin).write_bytes(b"from another system")
            (folder / os.fsdecode(b"\xff\xfep\0i\0e\0c\0e\0s\0".replace(b"\0", b"\x01"))).touch()
        done = far.done("bundle", "import", stick)
        assert [row["outcome"] for row in done["releases"]] == ["came"]
        japanese = tmp_path / "日本語 \u202e stick"
        for folder in (latin, japanese):
            shutil.copytree(stick / "p2phub", tmp_path / folder / "p2phub")
        far.done("swap", stick)
        for words in (("bundle", "import"), ("bundle", "inspect"), ("swap",)):
            assert "UTF-8" in far.refused(2, *words, tmp_path / latin)["message"]
        assert far.done("bundle", "import", japanese)["releases"][0]["outcome"] == "here"
        assert far.done("audit", "verify")["ok"]
        process = far.start("audit", "ls", json=False, stderr=-1)
        out, _ = process.communicate(timeout=60)
        assert "\u202e" not in out.decode()


# ---------------------------------------------------------------- it is worn out


@pytest.mark.parametrize("at", [0, 1, 3, 6, 9, 12, 15])
async def test_a_stick_that_turns_read_only_midway_claims_nothing_and_is_gone_on_with(
    tmp_path, stick, at
):
    new_publisher(tmp_path / "a")
    async with node(tmp_path / "a") as lab, node(tmp_path / "b") as far:
        await publish(lab, model(tmp_path / "model"))
        honest, lab._services.store.disk = lab._services.store.disk, ReadOnlyDisk(at)
        with pytest.raises(RefusedError) as caught:
            await export(lab, stick, "x")
        assert caught.value.exit == 7
        with pytest.raises(NotFoundError):
            await bring(far, stick)
        lab._services.store.disk = honest
        await export(lab, stick, "x")
        assert (await bring(far, stick)).releases[0].outcome == "came"


@pytest.mark.parametrize("at", [0, 2, 9, 16, 22, 25, 28, 32, 41, 46, 55, 66, 74, 79])
async def test_a_swap_on_a_stick_that_turns_read_only_midway_loses_nothing(tmp_path, stick, at):
    """What was on the stick has come; what was to go there goes with the next swap."""
    for name in ("a", "b"):
        new_publisher(tmp_path / name)
    async with node(tmp_path / "a") as one, node(tmp_path / "b") as two:
        await publish(one, model(tmp_path / "m1", seed="1"), "one")
        await publish(two, model(tmp_path / "m2", seed="2"), "two")
        await swap(two, stick)
        await swap(one, stick)
        honest, two._services.store.disk = two._services.store.disk, ReadOnlyDisk(at)
        with pytest.raises(RefusedError):
            await swap(two, stick)
        two._services.store.disk = honest
        await swap(two, stick)
        await swap(one, stick)
        for running in (one, two):
            assert len({repo.commit for repo in await running.ls(None)}) == 2


def test_what_cannot_be_written_to_at_all_is_refused_and_nothing_hangs(tmp_path):
    """A device, a pipe and the node’s own store are no sticks."""
    with machines(tmp_path) as made:
        lab = made.publisher("lab")
        lab.done("publish", tiny_model_folder(tmp_path / "m"), "x")
        lab.refused(2, "bundle", "export", "x", "--to", lab.store / "stick")
        lab.refused(2, "swap", lab.store)
        lab.refused(2, "bundle", "export", "x", "--to", "/dev/null")
        lab.refused(2, "swap", "/dev/null")
        lab.refused(3, "bundle", "import", "/dev")
        os.mkfifo(tmp_path / "pipe")
        assert lab.run("bundle", "import", tmp_path / "pipe", seconds=20).code in (2, 3, 6)


# ---------------------------------------------------------------- two at once


def test_two_exports_at_once_lose_nothing_that_one_of_them_claims(tmp_path, stick):
    with machines(tmp_path) as made:
        homes = [made.home(name) for name in ("a", "b")]
        far = made.home("far")
        for home in homes:
            name = home.folder.name
            home.done("init", "--name", name, "--backup", tmp_path / f"{name}.backup")
            folder = tiny_model_folder(
                tmp_path / f"model {name}", seed=name, shards=2, shard_bytes=32 * MIB
            )
            home.done("publish", folder, name)
        words = [("bundle", "export", home.folder.name, "--to", stick) for home in homes]
        begun = [home.start(*each) for home, each in zip(homes, words, strict=True)]
        ends = [ended(process) for process in begun]
        assert 0 in [told.code for told in ends]
        for home, told, each in zip(homes, ends, words, strict=True):
            if told.code:
                assert (told.code, told.error["code"]) == (7, "busy"), told
                home.done(*each)
        done = far.done("bundle", "import", stick)
        assert sorted((row["name"], row["outcome"]) for row in done["releases"]) == [
            ("a", "came"),
            ("b", "came"),
        ]


async def test_who_comes_while_somebody_writes_is_told_to_wait(tmp_path, stick):
    await publish_and_export(tmp_path, stick)
    async with node(tmp_path / "a") as lab:
        with writing(stick):
            for act in (bring(lab, stick), export(lab, stick, "x"), swap(lab, stick)):
                with pytest.raises(BusyError) as caught:
                    await act
                assert caught.value.exit == 7
                assert "wait" in caught.value.remedy
        with reading(stick):
            assert (await bring(lab, stick)).exit == 0
            with pytest.raises(BusyError):
                await export(lab, stick, "x")
        assert (await swap(lab, stick)).exit == 0


# ---------------------------------------------------------------- what is hard to carry


async def test_a_model_of_pickles_alone_crosses_and_is_never_brought_unasked(tmp_path, stick):
    """A pull leaves pickles out unless they are asked for; so does whoever imports."""
    who = new_publisher(tmp_path / "a")
    folder = tmp_path / "pickles"
    folder.mkdir()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x02" + b"x" * 3 * MIB)
    (folder / "config.json").write_text("{}")
    async with node(tmp_path / "a") as lab:
        await publish(lab, folder)
        await export(lab, stick, "x")
    async with node(tmp_path / "b") as far:
        done = await bring(far, stick)
        assert done.releases[0].outcome == "came"
        (shown,) = snapshots(running_home(far))
        assert shown.name == "config.json", shown
        assert (await far.info(f"{who}/x")).commit == done.releases[0].commit


async def test_a_stick_that_vanished_before_the_command_is_not_made_anew(tmp_path):
    """A name that was mistyped makes no folder when something is to be read from it."""
    async with node(tmp_path / "b") as far:
        with pytest.raises(NotFoundError) as caught:
            await bring(far, tmp_path / "media" / "stcik")
        assert caught.value.exit == 3
        assert not (tmp_path / "media").exists()
