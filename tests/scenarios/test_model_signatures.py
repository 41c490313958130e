"""publish --oms on a real node: what gets into the release, what stays, and what is refused."""

import os
import time
from pathlib import Path

import pytest

from p2phub.errors import NotFoundError, UntrustedError
from p2phub.formats.digest import sha256
from p2phub.formats.manifest import Release
from p2phub.formats.notices import Withdrawal
from p2phub.formats.oms import about
from p2phub.formats.sigstore import Bundle
from p2phub.node.offline import layout_of, open_offline
from p2phub.node.values import PublishRequest, PullRequest, Warned
from p2phub.node.verify_oms import ModelCheck
from p2phub.store.keyring import OMS, Keyring
from p2phub.store.made_files import keep_made
from p2phub.store.store import Store
from p2phub.trust.changes import changed
from p2phub.trust.envelope import sign, unpack
from p2phub.trust.keys import SigningKey
from p2phub.trust.model_keys import ModelKey
from p2phub.trust.model_signatures import certified, sign_statement
from p2phub.trust.papers import Papers
from p2phub.trust.secrets import Master
from tests.scenarios.nodes import consumer, model, new_publisher, node, settings

pytestmark = pytest.mark.budget(60)


@pytest.fixture
def home(tmp_path):
    home = tmp_path / "home"
    new_publisher(home)
    return home


@pytest.fixture
def folder(tmp_path):
    return model(tmp_path / "model")


async def publish(running, folder, *, oms=True, name="x", **more):
    """The published release, and what people were told."""
    told = []
    done = await running.publish(PublishRequest(folder, name, oms=oms, **more), told.append)
    return done, [each.message for each in told if isinstance(each, Warned)]


def release_of(home, digest):
    with Store.open(layout_of(settings(), home), read_only=True) as store:
        return Release.from_payload(unpack(store.documents.get(bytes.fromhex(digest))).payload)


def signature(home, commit):
    (found,) = (home / "store" / "snapshots").glob(f"*/*/{commit}/model.sig")
    return Path(os.path.realpath(found))


def verify(home, target, **asked):
    with open_offline(settings(), home) as offline:
        return offline.verify_model(ModelCheck(str(target), **asked))


def certify(home, key):
    """What the owner of the root does: a delegation that certifies `key` alone, adopted here."""
    phrase = next(home.glob("*.phrase")).read_text()
    with Store.open(layout_of(settings(), home)) as store:
        roots, delegation = store.documents.own_documents()
        kept = store.documents.many([*roots, delegation])
        papers = Papers.of([unpack(kept[each]) for each in roots], unpack(kept[delegation]))
        wanted = certified(papers.identity.delegation, key.public, alone=True)
        after = changed(papers, wanted, [Master.from_phrase(phrase).root_key(1)]).delegation
        store.documents.put(after.digest, after.type, after.pack())
        store.documents.set_own_publisher(papers.identity.publisher, roots, after.digest)


async def test_a_release_gets_a_signature_about_all_its_files_and_no_byte_is_read_again(
    home, folder
):
    (folder / ".gitattributes").write_text("*.safetensors lfs\n")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    async with node(home) as running:
        done, told = await publish(running, folder)
        assert verify(home, "x").verdict == "verified"  # beside the node that runs
    assert told == []
    assert done.bytes_hashed == size
    assert not (folder / "model.sig").exists()
    release = release_of(home, done.digest)
    signed = Bundle.unpack(signature(home, done.commit).read_bytes())
    assert signed.payload.count(b'"algorithm":"sha256"') == len(release.files) - 2
    assert done.files == len(release.files)
    assert done.bytes == release.total_size == size + len(signed.pack())
    for target in ("x", f"lab/x@{done.commit}"):
        assert verify(home, target).verdict == "verified"
    assert verify(home, folder, signature=signature(home, done.commit)).verdict == "verified"


async def test_the_same_files_again_make_no_new_release(home, folder):
    async with node(home) as running:
        first, _ = await publish(running, folder)
        again, told = await publish(running, folder)
        assert again.commit == first.commit
        assert told == [f"nothing changed since commit {first.commit}"]
        (folder / "config.json").write_text("{}")
        changed_one, _ = await publish(running, folder)
        assert changed_one.commit != first.commit
    assert verify(home, "x").verdict == "verified"
    assert verify(home, f"x@{first.commit}").verdict == "verified"


async def test_another_delegation_with_the_same_key_makes_no_new_release(home, folder):
    async with node(home) as running:
        first, _ = await publish(running, folder)
    key = ModelKey(Keyring(layout_of(settings(), home)).load(OMS))
    certify(home, ModelKey(b"other" + bytes(27)))
    certify(home, key)
    async with node(home) as running:
        again, _ = await publish(running, folder)
        assert again.commit == first.commit


async def test_a_key_that_the_root_no_longer_certifies_signs_nothing_more(home, folder):
    async with node(home) as running:
        first, _ = await publish(running, folder)
    other = ModelKey(b"other" + bytes(27))
    certify(home, other)
    async with node(home) as running:
        with pytest.raises(UntrustedError, match="has not certified") as caught:
            await publish(running, folder)
        assert "key certify-oms" in caught.value.remedy
        await publish(running, folder, oms=False, name="y")  # its head tells of the change
    found = verify(home, f"x@{first.commit}")
    assert found.verdict == "untrusted key"
    (layout_of(settings(), home).keys / "oms.key").unlink()
    Keyring(layout_of(settings(), home)).save(OMS, other.seed)
    async with node(home) as running:
        again, _ = await publish(running, folder)
    assert again.commit != first.commit
    assert verify(home, "x").verdict == "verified"


async def test_a_machine_without_the_key_is_told_where_to_get_one(home, folder):
    (layout_of(settings(), home).keys / "oms.key").unlink()
    async with node(home) as running:
        with pytest.raises(NotFoundError, match="no key of model signatures") as caught:
            await publish(running, folder)
    assert "key certify-oms" in caught.value.remedy


async def test_a_foreign_signature_in_the_folder_is_a_file_or_gives_way(home, folder):
    (folder / "model.sig").write_bytes(b"somebody else's")
    async with node(home) as running:
        as_it_is, told = await publish(running, folder, oms=False)
        assert told == []
        assert signature(home, as_it_is.commit).read_bytes() == b"somebody else's"
        ours, told = await publish(running, folder)
        assert any("gives way" in each for each in told)
    assert verify(home, "x").verdict == "verified"
    assert verify(home, f"x@{as_it_is.commit}").verdict == "corrupt"
    assert (folder / "model.sig").read_bytes() == b"somebody else's"
    assert release_of(home, ours.digest).files != release_of(home, as_it_is.digest).files


async def test_a_signature_that_came_with_a_pull_is_kept_when_its_folder_is_published(
    home, folder, tmp_path
):
    async with node(home) as running:
        first, _ = await publish(running, folder)
        out = await running.pull(PullRequest("x", tmp_path / "out"), lambda event: None)
        assert (out.path / "model.sig").exists()
        again, told = await publish(running, out.path)
        assert again.commit == first.commit
        assert not any("gives way" in each for each in told)
        plain, _ = await publish(running, out.path, oms=False)
        assert plain.commit == first.commit


async def test_who_pulls_it_can_check_it_offline(home, folder, tmp_path):
    async with node(home) as running:
        done, _ = await publish(running, folder)
        async with consumer(tmp_path / "far", running, done.publisher_id) as far:
            pulled = await far.pull(PullRequest("lab/x", tmp_path / "out"), lambda event: None)
    for target in ("lab/x", pulled.path):
        found = verify(tmp_path / "far", target)
        assert (found.verdict, found.publisher_id) == ("verified", done.publisher_id)
    (pulled.path / "config.json").write_text("poisoned")
    assert verify(tmp_path / "far", pulled.path).verdict == "corrupt"


async def test_a_withdrawal_is_told_wherever_the_files_lie(home, folder, tmp_path):
    """The gate knows; a copy of the folder does not."""
    async with node(home) as running:
        done, _ = await publish(running, folder)
        out = await running.pull(PullRequest("x", tmp_path / "out"), lambda event: None)
        digest = bytes.fromhex(done.digest)
        publisher = release_of(home, done.digest).publisher
        key = SigningKey(Keyring(layout_of(settings(), home)).load("release"))
        notice = Withdrawal(publisher, digest, int(time.time()), "wrong licence")
        running._services.knowledge.learn_notice(sign(notice, [key]).pack())
    found = verify(home, out.path)
    assert found.verdict == "withdrawn"
    assert any("wrong licence" in step.detail for step in found.steps if not step.ok)


def test_a_statement_of_many_files_is_a_file_of_many_pieces(home):
    """Over 1 MiB a file has a piece table, also one that was made here."""
    listed = [((f"part-{number:05}.bin",), sha256(b"%d" % number)) for number in range(8000)]
    data = sign_statement(about("x", listed), ModelKey(bytes(32)))
    assert len(data) > 1 << 20
    with Store.open(layout_of(settings(), home)) as store:
        found = keep_made(data, store.layout, store.disk, store.blobs)
        assert found.content.has_table
        assert store.blobs.verify(found.content) == []
