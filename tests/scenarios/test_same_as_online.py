"""A release is what it is, whether a peer brought it or a stick: verdict, files and exit code."""

import json

import pytest

from p2phub.errors import P2PHubError
from p2phub.node.events import Warned
from p2phub.node.values import BundleExportRequest, BundleImportRequest, PullRequest
from p2phub.testing.files import random_bytes
from tests.scenarios.nodes import (
    MIB,
    flip,
    model,
    new_publisher,
    node,
    publish,
    quiet,
    running_home,
    snapshots,
)

pytestmark = pytest.mark.slow


def with_a_pickle(folder):
    (folder / "pytorch_model.bin").write_bytes(random_bytes("pickle", 3000))


def pickles_only(folder):
    for path in folder.iterdir():
        path.unlink()
    (folder / "pytorch_model.bin").write_bytes(random_bytes("pickle", 3000))


def no_licence(folder):
    (folder / "README.md").write_text("Nobody may use this.\n")


def strange_names(folder):
    (folder / "é" / "ф").mkdir(parents=True)
    (folder / "é" / "ф" / "模型.json").write_text(json.dumps({}))


def empty_files(folder):
    (folder / "nothing.txt").touch()
    (folder / "also nothing.txt").touch()


CASES = {
    "as usual": lambda folder: None,
    "a pickle beside weights": with_a_pickle,
    "pickles only": pickles_only,
    "no licence": no_licence,
    "names of many letters": strange_names,
    "empty files": empty_files,
}


async def what_came(running, bring):
    """Exit code, verdict, the files that can be seen, and which were left out."""
    told = []
    try:
        exit, verdict = await bring(told.append)
    except P2PHubError as error:
        exit, verdict = error.exit, ""
    seen = sorted((path.name, path.read_bytes()) for path in snapshots(running_home(running)))
    warned = [each.message for each in told if isinstance(each, Warned)]
    return exit, verdict, seen, [each for each in warned if each.startswith("left out")]


async def by_a_peer(home, lab, who, commit):
    async with node(home, lab) as reader:

        async def bring(report):
            done = await reader.pull(PullRequest(f"{who}/x@{commit}"), report)
            return 0, done.verdict

        return await what_came(reader, bring)


async def by_a_stick(home, stick):
    async with node(home) as far:

        async def bring(report):
            done = await far.bundles.import_from(BundleImportRequest(stick), report)
            (row,) = done.releases
            assert row.exit == done.exit
            return row.exit, row.verdict

        return await what_came(far, bring)


async def export(lab, stick, reference="x"):
    await lab.bundles.export_to(BundleExportRequest((reference,), stick), quiet)


@pytest.mark.parametrize("case", CASES)
async def test_a_stick_brings_what_a_peer_brings(tmp_path, case):
    who = new_publisher(tmp_path / "a")
    CASES[case](model(tmp_path / "model"))
    async with node(tmp_path / "a") as lab:
        made = await publish(lab, tmp_path / "model")
        online = await by_a_peer(tmp_path / "b", lab, who, made.commit)
        await export(lab, tmp_path / "stick")
    assert await by_a_stick(tmp_path / "c", tmp_path / "stick") == online
    assert online[:2] == ((2, "") if case == "pickles only" else (0, "verified"))
    assert bool(online[3]) is ("pickle" in case)


async def test_an_older_revision_comes_as_it_comes_from_a_peer(tmp_path):
    who = new_publisher(tmp_path / "a")
    async with node(tmp_path / "a") as lab:
        old = await publish(lab, model(tmp_path / "one"))
        await publish(lab, model(tmp_path / "two", seed="y"))
        online = await by_a_peer(tmp_path / "b", lab, who, old.commit)
        await export(lab, tmp_path / "stick", f"x@{old.commit}")
    assert online[:2] == (0, "verified")
    assert await by_a_stick(tmp_path / "c", tmp_path / "stick") == online


async def test_wrong_bytes_are_as_wrong_on_a_stick_as_at_a_peer(tmp_path):
    """What a peer has of it is wrong, and it owns up; what a stick has is found out."""
    who = new_publisher(tmp_path / "a")
    async with node(tmp_path / "a") as lab:
        made = await publish(lab, model(tmp_path / "model"))
        await export(lab, tmp_path / "stick")
    pack = tmp_path / "stick" / "p2phub" / "pieces-0001.pack"
    for blob in (each for each in (tmp_path / "a" / "store" / "blobs").rglob("*") if big(each)):
        flip(blob, MIB)
    flip(pack, MIB)
    async with node(tmp_path / "a") as lab:
        online = await by_a_peer(tmp_path / "b", lab, who, made.commit)
    offline = await by_a_stick(tmp_path / "c", tmp_path / "stick")
    assert (online[0], offline[0]) == (4, 4)
    assert (online[2], offline[2]) == ([], [])


def big(path):
    return path.is_file() and path.stat().st_size > MIB
