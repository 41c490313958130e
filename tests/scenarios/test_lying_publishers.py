"""What a publisher may sign and nobody else has to believe: correctly signed lies."""

from dataclasses import replace

from p2phub.formats.codec import decode, encode
from p2phub.formats.digest import sha256
from p2phub.formats.manifest import FileEntry
from p2phub.formats.publisher import Ref
from p2phub.testing.files import random_bytes
from p2phub.testing.publishers import FakePublisher, fake_file
from p2phub.trust.envelope import sign_payload
from tests.scenarios.nodes import (
    MIB,
    consumer,
    node,
    pull,
    quiet,
    refused,
    stock,
)


async def test_a_poisoned_sha256(tmp_path, here):
    """A liar's release claims the SHA-256 of an honest file for its own bytes."""
    honest, liar = FakePublisher(1), FakePublisher(2)
    good, bad = random_bytes("good", 2 * MIB), random_bytes("bad", 2 * MIB)
    honest.publish("x", {"weights.safetensors": good})
    lie = fake_file("weights.safetensors", bad)
    entry = FileEntry(lie.entry.path, len(bad), sha256(good), lie.entry.content, None)
    liar.publish("x", [entry])
    assert lie.table is not None
    liar.contents[lie.entry.content] = bad
    liar.tables[lie.entry.content] = lie.table.pack()
    stock(tmp_path / "liar", liar)
    stock(tmp_path / "honest", honest)
    async with (
        node(tmp_path / "liar") as one,
        node(tmp_path / "honest", one) as two,
        consumer(here, two, honest.publisher) as pulling,
    ):
        await pulling.trust.add("liar", str(liar.publisher))
        await pulling.connect(one.identity.addresses[0])
        store = pulling._services.store
        await pull(pulling, "liar/x")
        (found,) = await pulling.verify("liar/x", quiet)
        assert (found.ok, found.verdict) == (False, "corrupt")
        assert any("weights.safetensors" in step.detail for step in found.steps if not step.ok)
        assert store.blobs.by_sha256(sha256(good)) == []
        assert store.blobs.by_sha256(sha256(bad)) == [lie.entry.content]
        done = await pull(pulling)
        assert (done.path / "weights.safetensors").read_bytes() == good
        assert done.bytes_linked == 0
        (found,) = await pulling.verify("lab/x", quiet)
        assert (found.ok, found.verdict) == (True, "verified")
        assert store.blobs.by_sha256(sha256(good)) == [
            fake_file("weights.safetensors", good).entry.content
        ]


async def test_a_listed_release_that_is_no_release(tmp_path, here):
    """A publisher may sign any digest as a release; what lies under it is told to be none."""
    theirs = FakePublisher(1).publish("x", {"a": b"1"})
    for number in range(3):
        liar = FakePublisher(2 + number)
        ours = liar.publish("x", {"a": b"1"})
        named = [theirs.head.pack(), ours.index.pack(), ours.pages[0]][number]
        digest = [theirs.head.digest, ours.index.digest, sha256(named)][number]
        misled(liar, digest)
        stock(tmp_path / str(number), liar, {digest: named})
        async with (
            node(tmp_path / str(number)) as serving,
            consumer(here / str(number), serving, liar.publisher) as pulling,
        ):
            await refused(4, pulling)
            await refused(4, pulling, f"{liar.publisher}/x")


def misled(lab, digest):
    """A new index of `lab` whose repo x names `digest` as its release."""
    entry = lab.entries["x"]
    lab.entries["x"] = replace(entry, refs={"main": Ref(digest, lab.seq + 1, False)})
    lab.sign_index()
    lab.sign_head()


async def test_a_path_that_leads_out_of_the_folder(tmp_path, here):
    """Correctly signed by its publisher, and refused before a byte is fetched."""
    for number, parts in enumerate((["..", "ab"], ["/a", "ab"], ["a\\", "ab"], ["C:", "ab"])):
        liar = FakePublisher(3 + number)
        made = liar.publish("x", {"zz/ab": b"1", "config.json": b"2"})
        payload = decode(made.release.payload, limit=MIB)
        for file in payload["files"]:
            if file["path"] == ["zz", "ab"]:
                file["path"] = parts
        payload["files"].sort(key=lambda file: file["path"])
        signed = sign_payload("release", encode(payload), [liar.key("release")])
        misled(liar, signed.digest)
        stock(tmp_path / str(number), liar, {signed.digest: signed.pack()})
        async with (
            node(tmp_path / str(number)) as serving,
            consumer(here / str(number), serving, liar.publisher) as pulling,
        ):
            error = await refused(4, pulling)
            assert "path" in error.message


async def test_a_head_that_nobody_renewed_is_stale_and_no_error(tmp_path, here):
    lab = FakePublisher(4, not_after=1_700_000_100)
    lab.publish("x", {"config.json": b"{}"})
    stock(tmp_path / "lab", lab)
    async with (
        node(tmp_path / "lab") as serving,
        consumer(here, serving, lab.publisher) as pulling,
    ):
        done = await pull(pulling)
        assert done.verdict.startswith("verified, stale since")
        (found,) = await pulling.verify("lab/x", quiet)
        assert found.ok
        assert found.stale_since == 1_700_000_100
