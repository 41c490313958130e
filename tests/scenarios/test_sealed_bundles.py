"""Sealed sticks between nodes: who they are for takes all with nothing set up, others nothing."""

from contextlib import closing

import pytest

from p2phub.airgap.medium import look
from p2phub.errors import NotFoundError, RefusedError, UsageError
from p2phub.formats.bech32 import encode
from p2phub.node.unbundling import inspect_bundle
from p2phub.node.values import (
    BundleExportRequest,
    BundleImportRequest,
    InventoryRequest,
    SwapRequest,
)
from p2phub.testing.files import random_bytes
from p2phub.trust.age import Identity, recipient_text
from tests.scenarios.nodes import MIB, flip, model, new_publisher, node, publish, quiet

pytestmark = pytest.mark.slow


@pytest.fixture
def stick(tmp_path):
    return tmp_path / "stick"


async def export(running, stick, *references, **more):
    return await running.bundles.export_to(BundleExportRequest(references, stick, **more), quiet)


async def bring(running, stick, **more):
    return await running.bundles.import_from(BundleImportRequest(stick, **more), quiet)


async def swap(running, stick, report=quiet, **more):
    return await running.bundles.swap(SwapRequest(stick, **more), report)


def site(tmp_path, name):
    new_publisher(tmp_path / name)
    return tmp_path / name


def plain_names(stick):
    """What of a stick is not sealed."""
    found = (stick / "p2phub").iterdir()
    return {each.name for each in found if not each.name.endswith(".age")}


def held(running):
    rows = running._services.store.repos.local()
    return {row.commit for row in rows if row.done and row.complete}


async def test_who_it_is_for_takes_it_and_a_finder_gets_nothing(tmp_path, stick):
    async with (
        node(site(tmp_path, "a")) as lab,
        node(tmp_path / "b") as far,
        node(tmp_path / "c") as finder,
    ):
        made = await publish(lab, model(tmp_path / "model"))
        await export(lab, stick, "x", recipients=(far.identity.recipient,))
        assert plain_names(stick) == {"README.txt"}
        there = b"".join(each.read_bytes() for each in (stick / "p2phub").iterdir())
        assert bytes.fromhex(made.commit)[:8] not in there
        with pytest.raises(RefusedError, match="sealed") as refused:
            await bring(finder, stick)
        assert (refused.value.exit, "p2phub id" in refused.value.remedy) == (7, True)
        assert not held(finder)
        done = await bring(far, stick)
        (row,) = done.releases
        assert (row.outcome, row.verdict, done.exit) == ("came", "verified", 0)
        again = await export(lab, stick, "x", recipients=(far.identity.recipient,))
        assert again.bytes_written == 0


async def test_a_key_of_age_in_a_file_opens_it(tmp_path, stick):
    secret = bytes(range(32))
    file = tmp_path / "key.txt"
    file.write_text(f"# mine\n{encode('age-secret-key-', secret).upper()}\n")
    recipient = recipient_text(Identity(secret).recipient)
    async with node(site(tmp_path, "a")) as lab, node(tmp_path / "b") as far:
        await publish(lab, model(tmp_path / "model"))
        await export(lab, stick, "x", recipients=(recipient,))
        seen = inspect_bundle(stick)
        assert (seen.made, seen.releases, seen.sealed) == (None, (), True)
        assert inspect_bundle(stick, [Identity(secret)]).releases[0].name == "x"
        with pytest.raises(NotFoundError):
            await bring(far, stick, identities=(tmp_path / "nothing",))
        done = await bring(far, stick, identities=(file,))
        assert done.releases[0].outcome == "came"


async def test_a_bit_that_changed_brings_nothing_half(tmp_path, stick):
    async with node(site(tmp_path, "a")) as lab, node(tmp_path / "b") as far:
        await publish(lab, model(tmp_path / "model"))
        whom = (far.identity.recipient,)
        await export(lab, stick, "x", recipients=whom)
        pack = stick / "p2phub" / "pieces-0001.pack.age"
        flip(pack, pack.stat().st_size // 2)
        done = await bring(far, stick)
        assert (done.releases[0].outcome, done.exit) == ("refused", 6)
        assert not held(far)


async def test_it_is_sealed_to_the_site_that_asked(tmp_path, stick):
    said = tmp_path / "inventory"
    async with node(site(tmp_path, "a")) as lab, node(tmp_path / "b") as far:
        await publish(lab, model(tmp_path / "model"))
        said.write_text((await far.bundles.inventory(InventoryRequest())).text)
        await export(lab, stick, since=said, seal=True)
        assert plain_names(stick) == {"README.txt"}
        assert (await bring(far, stick)).releases[0].outcome == "came"
        with pytest.raises(UsageError, match="whom"):
            await export(lab, stick, "x", seal=True)
        with pytest.raises(UsageError, match="recipient"):
            await export(lab, stick, "x", recipients=("age1",))


async def test_sites_swap_by_a_stick_that_only_they_can_read(tmp_path, stick):
    async with (
        node(site(tmp_path, "a")) as lab,
        node(site(tmp_path, "b")) as far,
        node(tmp_path / "c") as finder,
    ):
        await publish(lab, model(tmp_path / "one"), "one")
        await publish(far, model(tmp_path / "two"), "two")
        for running in (lab, far, lab, far):
            await swap(running, stick, seal=True)
        assert held(lab) == held(far)
        assert len(held(lab)) == 2
        told = []
        with closing(look(stick)) as medium:
            assert not medium.contents
        done = await swap(finder, stick, told.append, seal=True)
        assert not done.came
        assert any("sealed" in event.message for event in told if event.event == "warning")
        for running in (lab, finder):
            await swap(running, stick, seal=True)
        assert held(finder) == held(lab)
        with pytest.raises(UsageError, match="anybody"):
            await swap(lab, stick, seal=True, to_anybody=True)


async def test_sealed_and_plain_exports_share_a_stick(tmp_path, stick):
    async with node(site(tmp_path, "a")) as lab, node(tmp_path / "b") as far:
        await publish(lab, model(tmp_path / "one"), "one")
        folder = model(tmp_path / "two")
        (folder / "config.json").write_text('{"model_type": "llama", "other": 1}')
        await publish(lab, folder, "two")
        await export(lab, stick, "one", recipients=(far.identity.recipient,))
        await export(lab, stick, "two")
        async with node(tmp_path / "c") as anybody:
            rows = (await bring(anybody, stick)).releases
            assert [(row.name, row.outcome) for row in rows] == [("two", "came")]
        rows = (await bring(far, stick)).releases
        assert {row.name: row.outcome for row in rows} == {"one": "came", "two": "came"}


@pytest.mark.parametrize("is_sealed", [False, True])
async def test_one_file_crosses_like_a_folder(tmp_path, is_sealed):
    file = tmp_path / "out" / "x.tar"
    async with node(site(tmp_path, "a")) as lab, node(tmp_path / "b") as far:
        await publish(lab, model(tmp_path / "model"))
        whom = (far.identity.recipient,) if is_sealed else ()
        done = await export(lab, file, "x", recipients=whom)
        assert (done.path, done.bytes_written > done.bytes_total) == (file, True)
        assert [each.name for each in file.parent.iterdir()] == ["x.tar"]
        row = (await bring(far, file)).releases[0]
        assert (row.outcome, row.verdict) == ("came", "verified")
        with pytest.raises(RefusedError, match="already"):
            await export(lab, file, "x")
        with pytest.raises(UsageError, match="one file"):
            await swap(lab, file)


async def test_one_file_is_split_by_a_limit(tmp_path):
    async with node(site(tmp_path, "a")) as lab, node(tmp_path / "b") as far:
        folder = model(tmp_path / "model")
        (folder / "large.safetensors").write_bytes(random_bytes("large", 12 * MIB))
        await publish(lab, folder)
        first = await export(lab, tmp_path / "1.tar", "x", size_limit=8 * MIB)
        assert first.parts > 1
        for part in range(2, first.parts + 1):
            await export(lab, tmp_path / f"{part}.tar", "x", size_limit=8 * MIB, part=part)
        for part in range(1, first.parts + 1):
            assert (tmp_path / f"{part}.tar").stat().st_size <= 8 * MIB
            done = await bring(far, tmp_path / f"{part}.tar")
        assert (done.releases[0].outcome, done.exit) == ("came", 0)
