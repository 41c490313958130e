"""The base of a release is signed by its digest, and nothing is signed that nobody named."""

from contextlib import asynccontextmanager

import pytest

from p2phub.errors import NotFoundError, UsageError
from p2phub.formats.manifest import Lineage, Release
from p2phub.node.events import Warned
from p2phub.node.parcel_files import read_parcel_file
from p2phub.node.values import PublishRequest, as_json
from p2phub.trust.parcels import envelopes
from tests.node.adapter_folders import adapter_folder, model_folder
from tests.scenarios.nodes import new_publisher, node


@asynccontextmanager
async def publisher(home):
    """A node with a publisher of its own."""
    new_publisher(home)
    async with node(home) as running:
        yield running


async def put(running, folder, name, **more):
    """What was published, and the warnings on the way."""
    warned = []

    def report(event):
        if isinstance(event, Warned):
            warned.append(f"{event.message} {event.remedy}")

    return await running.publish(PublishRequest(folder, name, **more), report), warned


async def test_an_adapter_names_its_base_for_good(tmp_path):
    model, adapter = model_folder(tmp_path / "m"), adapter_folder(tmp_path / "a")
    async with publisher(tmp_path / "home") as running:
        base, _ = await put(running, model, "base")
        first, warned = await put(running, adapter, "lora")
        assert len(warned) == 1
        assert "does not name its base" in warned[0]
        assert f"p2phub publish {adapter} lora --base REF" in warned[0]
        assert (await running.info("lora")).lineage == ()

        made, warned = await put(running, adapter, "lora", base="base")
        assert made.commit != first.commit
        assert warned == []
        (model / "config.json").write_text('{"architectures": []}')
        await put(running, model, "base")
        (told,) = (await running.info("lora")).lineage
        assert (told.relation, told.release) == ("adapter", base.digest)
        assert told.ref == f"lab/base@{base.commit}"
        assert as_json(await running.info("lora"))["lineage"][0]["release"] == base.digest

        again, _ = await put(running, adapter, "lora")
        assert again.commit == made.commit
        moved, _ = await put(running, adapter, "lora", base="base")
        assert moved.commit != made.commit
        assert (await running.info("lora")).lineage[0].ref == "lab/base@main"


async def test_how_it_was_made_is_said_or_follows_from_its_files(tmp_path):
    model, tuned = model_folder(tmp_path / "m"), model_folder(tmp_path / "t", seed=2)
    async with publisher(tmp_path / "home") as running:
        await put(running, model, "base")
        await put(running, tuned, "tuned", base="base")
        assert (await running.info("tuned")).lineage[0].relation == "finetune"
        await put(running, tuned, "small", base="lab/base@main", relation="quantized")
        assert (await running.info("small")).lineage[0].relation == "quantized"


async def test_what_makes_no_sense_is_refused_before_anything_is_signed(tmp_path):
    model, adapter = model_folder(tmp_path / "m"), adapter_folder(tmp_path / "a")
    async with publisher(tmp_path / "home") as running:
        await put(running, model, "base")
        await put(running, adapter, "lora", base="base")
        with pytest.raises(UsageError, match="is an adapter itself"):
            await put(running, adapter, "second", base="lora")
        with pytest.raises(UsageError, match="no relation"):
            await put(running, adapter, "second", base="base", relation="sister")
        with pytest.raises(UsageError, match="of what"):
            await put(running, adapter, "second", relation="adapter")
        with pytest.raises(NotFoundError):
            await put(running, adapter, "second", base="nothing")
        with pytest.raises(NotFoundError):
            await running.info("second")


async def test_what_is_signed_elsewhere_says_it_too(tmp_path):
    model, adapter = model_folder(tmp_path / "m"), adapter_folder(tmp_path / "a")
    async with publisher(tmp_path / "home") as running:
        base, _ = await put(running, model, "base")
        file = tmp_path / "lora.p2phub"
        made, _ = await put(running, adapter, "lora", base="base", prepare=file)
        assert made.pending is not None
        (signed,) = envelopes(read_parcel_file(file), "release")
        release = Release.from_payload(signed.payload)
        assert release.lineage == (Lineage("adapter", bytes.fromhex(base.digest)),)
        other, _ = await put(running, model_folder(tmp_path / "n", seed=3), "base")
        file.unlink()
        later, _ = await put(running, adapter, "lora", base="base", prepare=file)
        assert later.commit != made.commit
        assert other.digest != base.digest
