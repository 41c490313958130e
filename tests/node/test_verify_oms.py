"""Checking a folder or a release against its model signature: what passes, and every way to fail.

The signatures are made here by hand from bytes and digests, so that a fault of the publishing side
cannot hide one of the checking side.
"""

import hashlib
import os
import time
from dataclasses import replace

import blake3
import pytest

from p2phub.errors import NotFoundError, UsageError
from p2phub.formats.digest import sha256
from p2phub.formats.ids import commit_id
from p2phub.formats.manifest import Release
from p2phub.formats.notices import Revocation, RevokedFile, RevokedRelease
from p2phub.formats.oms import SignedFile, Statement, Stretch, about
from p2phub.formats.publisher import Delegation
from p2phub.node.compare_signed import MOST_NAMED
from p2phub.node.knowledge import Knowledge
from p2phub.node.offline import Offline, layout_of
from p2phub.node.verify_oms import ModelCheck
from p2phub.store.keyring import Keyring
from p2phub.store.store import Store
from p2phub.testing.publishers import FakePublisher
from p2phub.trust.catalog import TrustedCatalog
from p2phub.trust.envelope import sign, unpack
from p2phub.trust.forks import prove
from p2phub.trust.model_keys import ModelKey, to_pem
from p2phub.trust.model_signatures import sign_statement
from p2phub.trust.policy import Rule
from tests.scenarios.nodes import settings, stock

KEY, THIEF = ModelKey(b"k" * 32), ModelKey(b"t" * 32)
FILES = {
    "README.md": b"# a model\n",
    "weights é 1.safetensors": b"w" * 3000,
    "onnx/deep/model.onnx": b"o" * 100,
    "empty.txt": b"",
    ".gitattributes": b"*.onnx lfs\n",
}


def certify(lab, *keys):
    """The same delegation with these keys of model signatures, one version up."""
    given = Delegation.from_payload(lab.delegation.payload)
    points = tuple(key.public for key in keys)
    document = replace(given, version=given.version + 1, oms_keys=points)
    lab.delegation = sign(document, lab.root_signers(1))
    lab.delegation_version = document.version


def statement(publisher, files=FILES, name="x"):
    listed = [(tuple(path.split("/")), sha256(data)) for path, data in files.items()]
    return about(name, listed, publisher, sha256(b"some delegation"))


def write(folder, files=FILES, signature=b""):
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    if signature:
        (folder / "model.sig").write_bytes(signature)
    return folder


@pytest.fixture
def lab():
    lab = FakePublisher(1)
    certify(lab, KEY)
    return lab


@pytest.fixture
def signed(lab):
    return sign_statement(statement(lab.publisher), KEY)


@pytest.fixture
def folder(tmp_path, signed):
    """A folder that p2phub never saw, signed as it should be."""
    return write(tmp_path / "model", FILES, signed)


@pytest.fixture
def verify(tmp_path, lab, signed):
    """Checks a target with a fresh look at the store, which knows lab and its release x."""
    home = tmp_path / "home"
    lab.publish("x", FILES | {"model.sig": signed})
    stock(home, lab)
    with Store.open(layout_of(settings(), home)) as store:
        store.documents.save_alias("lab", lab.publisher, 1)

    def run(target, **asked):
        with Store.open(layout_of(settings(), home), read_only=True) as store:
            knowledge = Knowledge(store, TrustedCatalog(), lambda: int(time.time()))
            offline = Offline(store, knowledge, Keyring(layout_of(settings(), home)), Rule())
            return offline.verify_model(ModelCheck(str(target), **asked))

    run.home = home
    return run


def wrong(found):
    return [(step.name, step.detail) for step in found.steps if not step.ok]


def only(found, verdict, name, text):
    """It failed in this one step, with this verdict."""
    failed = wrong(found)
    assert found.verdict == verdict, failed
    assert any(step == name and text in detail for step, detail in failed), failed
    return failed


class TestWhatPasses:
    def test_a_folder_that_p2phub_never_saw(self, verify, folder, lab):
        found = verify(folder)
        assert (found.verdict, wrong(found)) == ("verified", [])
        assert found.publisher_id == str(lab.publisher)
        assert found.signed_by == (KEY.public.hex(),)
        assert [step.number for step in found.steps] == list(range(1, len(found.steps) + 1))
        assert [step.name for step in found.steps if step.name != "file"] == [
            "model.sig",
            "publisher",
            "key",
            "signature",
            "taken back",
            "no others",
            "files",
        ]
        assert sum(step.name == "file" for step in found.steps) == 4

    @pytest.mark.parametrize("asked", [{}, {"publisher": "lab"}, {"key": to_pem(KEY.public)}])
    def test_a_release_on_this_disk(self, verify, asked):
        found = verify("lab/x", **asked)
        assert (found.verdict, wrong(found)) == ("verified", [])

    def test_with_a_key_nothing_else_is_asked(self, verify, folder, tmp_path):
        stranger = sign_statement(statement(None), THIEF)
        write(folder, {}, stranger)
        assert verify(folder, key=to_pem(THIEF.public)).verdict == "verified"

    def test_version_control_may_come_and_go(self, verify, folder):
        (folder / ".gitattributes").unlink()
        write(folder, {".git/config": b"x", ".github/ci.yml": b"x", ".gitignore": b"x"})
        assert verify(folder).verdict == "verified"

    def test_a_signature_that_lies_elsewhere(self, verify, folder, tmp_path):
        (folder / "model.sig").rename(tmp_path / "other.sig")
        assert verify(folder, signature=tmp_path / "other.sig").verdict == "verified"
        assert verify("lab/x", signature=tmp_path / "other.sig").verdict == "verified"

    def test_another_name_for_the_signature_is_no_file_too_many(self, verify, folder):
        (folder / "model.sig").rename(folder / "lab.sig")
        assert verify(folder, signature=folder / "lab.sig").verdict == "verified"

    def test_what_is_ignored_may_lie_there_unsigned(self, verify, folder):
        write(folder, {"cache/a": b"x", "onnx/notes": b"x", "notes.txt": b"x"})
        assert verify(folder).verdict == "corrupt"
        for ignore in (("cache", "onnx/notes", "./notes.txt"), ("cache/", "onnx", "notes.txt")):
            assert verify(folder, ignore=ignore).verdict == "verified"
        assert verify(folder, ignore=("cache", "onnx")).verdict == "corrupt"

    def test_a_stale_publisher_is_told_and_no_failure(self, tmp_path, lab, signed, folder, verify):
        lab.sign_head(not_after=1)
        stock(verify.home, lab)
        found = verify(folder)
        assert found.verdict == "verified, stale since 1970-01-01T00:00:01Z"
        assert (found.stale_since, wrong(found)) == (1, [])

    def test_a_hugging_face_snapshot_of_links(self, verify, tmp_path, signed):
        repo = tmp_path / "models--lab--x"
        commit = "a" * 40
        snapshot, blobs = repo / "snapshots" / commit, repo / "blobs"
        snapshot.mkdir(parents=True)
        blobs.mkdir()
        (repo / "refs").mkdir()
        (repo / "refs" / "main").write_text(commit)
        for path, data in (FILES | {"model.sig": signed}).items():
            blob = blobs / hashlib.sha256(data + path.encode()).hexdigest()
            blob.write_bytes(data)
            (snapshot / path).parent.mkdir(parents=True, exist_ok=True)
            (snapshot / path).symlink_to(os.path.relpath(blob, (snapshot / path).parent))
        for target in (repo, snapshot):
            assert verify(target, allow_symlinks=True).verdict == "verified"
            failed = only(verify(target), "corrupt", "file", "--allow-symlinks")
            assert len(failed) == 4


class TestEveryWayOfHashing:
    """What the package makes by other methods than ours."""

    @staticmethod
    def signed(folder, algorithm, made, shard_size, files):
        def stretches(data):
            if not shard_size:
                return (Stretch(0, None, made(data).digest()),)
            starts = range(0, len(data), shard_size)
            parts = [(at, min(at + shard_size, len(data))) for at in starts]
            return tuple(Stretch(at, end, made(data[at:end]).digest()) for at, end in parts)

        listed = [
            SignedFile(tuple(path.split("/")), stretches(data))
            for path, data in files.items()
            if data or not shard_size
        ]
        made_of = Statement("x", tuple(listed), ((".git",),), algorithm, shard_size)
        return write(folder, files, sign_statement(made_of, KEY))

    @pytest.mark.parametrize("shard_size", [0, 1000, 3000, 1_000_000_000])
    @pytest.mark.parametrize(
        ("algorithm", "made"),
        [("sha256", hashlib.sha256), ("blake2b", hashlib.blake2b), ("blake3", blake3.blake3)],
    )
    def test_right_bytes_pass_and_one_changed_byte_does_not(
        self, tmp_path, verify, algorithm, made, shard_size
    ):
        files = {path: data for path, data in FILES.items() if path[0] != "."}
        folder = self.signed(tmp_path / "m", algorithm, made, shard_size, files)
        found = verify(folder, publisher="lab", ignore=("model.sig",))
        assert (found.verdict, wrong(found)) == ("verified", [])
        (folder / "weights é 1.safetensors").write_bytes(b"w" * 1500 + b"v" + b"w" * 1499)
        only(
            verify(folder, publisher="lab"),
            "corrupt",
            "file",
            f"weights é 1.safetensors: {algorithm}",
        )

    @pytest.mark.parametrize("change", [b"w" * 2999, b"w" * 3001, b"w" * 2000, b""])
    def test_shards_of_a_file_that_grew_or_shrank(self, tmp_path, verify, change):
        files = {"weights": b"w" * 3000}
        folder = self.signed(tmp_path / "m", "sha256", hashlib.sha256, 1000, files)
        (folder / "weights").write_bytes(change)
        only(
            verify(folder, publisher="lab"),
            "corrupt",
            "file",
            f"3000 bytes were signed, it has {len(change)}",
        )

    def test_shards_say_nothing_of_empty_files(self, tmp_path, verify):
        folder = self.signed(tmp_path / "m", "sha256", hashlib.sha256, 1000, {"a": b"1", "e": b""})
        assert verify(folder, publisher="lab").verdict == "verified"
        (folder / "e").unlink()
        assert verify(folder, publisher="lab").verdict == "verified"
        (folder / "full").write_bytes(b"x")
        only(verify(folder, publisher="lab"), "corrupt", "no others", "full")


class TestWrongFiles:
    @pytest.mark.parametrize("path", [path for path in FILES if path[0] != "."])
    def test_one_changed_byte(self, verify, folder, path):
        (folder / path).write_bytes(FILES[path][:-1] + b"X")
        assert len(only(verify(folder), "corrupt", "file", path)) == 1

    def test_a_file_that_was_added(self, verify, folder):
        write(folder, {"pickle.bin": b"evil", "onnx/more": b"x"})
        assert len(only(verify(folder), "corrupt", "no others", "onnx/more, pickle.bin")) == 1

    def test_many_files_that_were_added_are_counted(self, verify, folder):
        write(folder, {f"more/{number:03}": b"" for number in range(MOST_NAMED + 5)})
        only(verify(folder), "corrupt", "no others", " and 5 more")

    @pytest.mark.parametrize("over", [0, 1])
    def test_so_many_files_that_were_added_are_named(self, verify, folder, over):
        names = [f"more/{number:03}" for number in range(MOST_NAMED + over)]
        write(folder, dict.fromkeys(names, b""))
        (said,) = only(verify(folder), "corrupt", "no others", names[MOST_NAMED - 1])
        assert (" and " in str(said)) == (" and 1 more" in str(said)) == bool(over)
        assert names[-1] in str(said) or over

    def test_a_file_that_was_removed(self, verify, folder):
        (folder / "README.md").unlink()
        only(verify(folder), "corrupt", "files", "3 of 4")

    def test_a_file_that_was_renamed(self, verify, folder):
        (folder / "README.md").rename(folder / "readme.md")
        failed = only(verify(folder), "corrupt", "no others", "readme.md")
        assert [name for name, _ in failed] == ["file", "no others", "files"]

    def test_what_is_signed_is_compared_although_it_is_ignored(self, verify, folder):
        (folder / "onnx/deep/model.onnx").write_bytes(b"other")
        for ignore in (("onnx",), (".",), ("onnx/deep/model.onnx",)):
            only(verify(folder, ignore=ignore), "corrupt", "file", "onnx/deep/model.onnx")

    def test_pipes_broken_links_and_links_to_folders_are_no_files(self, verify, folder, tmp_path):
        (tmp_path / "other").mkdir()
        os.mkfifo(folder / "pipe")
        (folder / "broken").symlink_to("nothing")
        (folder / "linked").symlink_to(tmp_path / "other")
        found = verify(folder, allow_symlinks=True)
        for name in ("broken (a link to nothing", "linked (a link to a folder", "pipe (no plain"):
            only(found, "corrupt", "no others", name)

    def test_a_listed_file_that_is_a_pipe_now(self, verify, folder):
        (folder / "README.md").unlink()
        os.mkfifo(folder / "README.md")
        only(verify(folder), "corrupt", "file", "no plain file")

    def test_two_names_that_are_one_in_nfc(self, verify, folder):
        write(folder, {"weights e\u0301 1.safetensors": b"other"})
        only(verify(folder), "corrupt", "file", "two files")


class TestFilesThatAreNotHere:
    def test_a_folder_is_a_pass_only_as_far_as_it_goes(self, verify, folder):
        (folder / "README.md").unlink()
        found = verify(folder, partial=True)
        assert (found.verdict, wrong(found)) == ("verified, 3 of 4 files", [])
        assert any("3 of 4" in step.detail for step in found.steps)

    def test_a_release_of_which_some_files_were_left_out(self, verify, lab):
        for path in verify.home.glob("store/blobs/*/*"):
            if path.stat().st_size == 3000:
                path.unlink()
        only(verify("lab/x"), "corrupt", "files", "3 of 4")
        assert verify("lab/x", partial=True).verdict == "verified, 3 of 4 files"

    def test_nothing_at_all_is_no_pass(self, verify, folder):
        for path in FILES:
            (folder / path).unlink()
        only(verify(folder, partial=True), "corrupt", "files", "0 of 4")

    def test_what_is_here_is_compared_all_the_same(self, verify, folder):
        (folder / "README.md").unlink()
        (folder / "empty.txt").write_bytes(b"not empty")
        assert verify(folder, partial=True).verdict == "corrupt"


class TestWhoseSignature:
    def test_a_key_that_is_not_certified(self, verify, folder, lab):
        write(folder, {}, sign_statement(statement(lab.publisher), THIEF))
        only(verify(folder), "untrusted key", "key", "does not count here")

    def test_a_key_that_was_certified_once(self, verify, folder, lab):
        certify(lab, THIEF)
        lab.sign_head()
        stock(verify.home, lab)
        only(verify(folder), "untrusted key", "key", "does not count here")
        only(verify("lab/x"), "untrusted key", "key", "does not count here")

    def test_a_publisher_whose_root_certified_none(self, verify, folder, lab):
        certify(lab)
        lab.sign_head()
        stock(verify.home, lab)
        only(verify(folder), "untrusted key", "key", "does not count here")

    def test_the_key_that_was_given_is_the_only_one(self, verify, folder):
        found = verify(folder, key=to_pem(THIEF.public))
        only(found, "untrusted key", "key", "does not count here")

    def test_a_publisher_that_nobody_pinned_is_not_believed_on_its_word(self, verify, folder):
        other = FakePublisher(2)
        write(folder, {}, sign_statement(statement(other.publisher), THIEF))
        only(verify(folder), "untrusted key", "publisher", "not pinned here")
        only(verify(folder, publisher="lab"), "untrusted key", "publisher", "not lab's")

    def test_a_publisher_of_whom_nothing_is_here(self, verify, folder):
        other = FakePublisher(2)
        write(folder, {}, sign_statement(statement(other.publisher), THIEF))
        found = verify(folder, publisher=str(other.publisher))
        only(found, "untrusted key", "publisher", "nothing of")

    def test_a_signature_that_names_nobody(self, verify, folder):
        write(folder, {}, sign_statement(statement(None), KEY))
        only(verify(folder), "untrusted key", "publisher", "names no publisher")
        assert verify(folder, publisher="lab").verdict == "verified"

    def test_the_files_of_one_publisher_signed_by_another(self, verify, lab, folder):
        other = FakePublisher(2)
        certify(other, THIEF)
        other.publish("y", FILES | {"model.sig": sign_statement(statement(lab.publisher), THIEF)})
        stock(verify.home, other)
        found = verify(f"{other.publisher}/y")
        only(found, "untrusted key", "publisher", "it says that it is")

    def test_a_forked_publisher(self, verify, folder, lab):
        one, _ = lab.sign_index(writer_seq=50)
        other, _ = lab.sign_index(writer_seq=50, created=5)
        lab.sign_head(index=one.digest)
        stock(verify.home, lab)
        with Store.open(layout_of(settings(), verify.home)) as store:
            knowledge = Knowledge(store, TrustedCatalog(), lambda: 1)
            knowledge.state(lab.publisher)
            _learn_fork(knowledge, lab, one, other)
        only(verify(folder), "forked", "publisher", "forked")


def _learn_fork(knowledge, lab, one, other):
    proof = prove(lab.publisher, one.pack(), other.pack())
    knowledge.learn_notice(sign(proof, []).pack())


class TestTheSignatureFile:
    def test_none_is_unsigned(self, verify, folder, lab):
        (folder / "model.sig").unlink()
        only(verify(folder), "unsigned", "model.sig", "there is no file")
        lab.publish("z", FILES)
        stock(verify.home, lab)
        only(verify("lab/z"), "unsigned", "model.sig", "has no model.sig")

    def test_one_that_was_not_fetched_is_no_pass(self, verify, signed):
        for path in verify.home.glob(f"store/blobs/*/{len(signed)}-*"):
            path.unlink()
        only(verify("lab/x"), "unsigned", "model.sig", "is not on this disk")

    def test_one_changed_byte_anywhere_is_never_a_pass(self, verify, folder, signed):
        for at in range(0, len(signed), 41):
            data = bytearray(signed)
            data[at] ^= 1
            (folder / "model.sig").write_bytes(data)
            found = verify(folder)
            assert found.verdict != "verified" or at > signed.index(b'"keyid"'), at

    def test_one_that_is_too_long_is_not_read(self, verify, folder, monkeypatch):
        monkeypatch.setattr("p2phub.formats.limits.MAX_OMS", 100)
        only(verify(folder), "corrupt", "model.sig", "more than 100 bytes")

    def test_noise(self, verify, folder):
        (folder / "model.sig").write_bytes(b"\x00\xff")
        only(verify(folder), "corrupt", "model.sig", "JSON")

    def test_a_damaged_blob(self, verify, signed):
        for path in verify.home.glob(f"store/blobs/*/{len(signed)}-*"):
            path.chmod(0o644)
            path.write_bytes(signed[:-1] + b" ")
        only(verify("lab/x"), "corrupt", "model.sig", "does not match its digest")

    def test_it_lists_a_path_that_leads_out(self, verify, folder, lab):
        evil = Statement("x", (SignedFile(("..", "evil"), (Stretch(0, None, sha256(b"")),)),), ())
        write(folder, {}, sign_statement(evil, KEY))
        only(verify(folder, publisher="lab"), "corrupt", "model.sig", "unsafe path")


class TestWhatWasTakenBack:
    def revoke(self, verify, lab, what):
        notice = Revocation(lab.publisher.digest, 1, what, 5, "it was poisoned")
        with Store.open(layout_of(settings(), verify.home)) as store:
            knowledge = Knowledge(store, TrustedCatalog(), lambda: 10)
            knowledge.learn_notice(sign(notice, lab.root_signers(1)).pack())

    def test_a_revoked_release_is_known_again_in_any_folder(self, verify, folder, lab):
        self.revoke(verify, lab, RevokedRelease(lab.entries["x"].refs["main"].release))
        only(verify(folder), "revoked", "taken back", "it was poisoned")
        only(verify("lab/x"), "revoked", "release", "it was poisoned")

    def test_a_revoked_file_is_known_again_in_any_folder(self, verify, folder, lab):
        self.revoke(verify, lab, RevokedFile(sha256(FILES["README.md"])))
        only(verify(folder), "revoked", "taken back", "it was poisoned")

    def test_the_same_files_released_again_are_good(self, verify, folder, lab, signed):
        old = lab.entries["x"].refs["main"].release
        lab.publish("x", FILES | {"model.sig": signed}, message="with the right licence")
        stock(verify.home, lab)
        new = lab.entries["x"].refs["main"].release
        with Store.open(layout_of(settings(), verify.home)) as store:
            for digest in (old, new):
                release = Release.from_payload(unpack(lab.documents[digest]).payload)
                store.repos.record_release(digest, release)
        self.revoke(verify, lab, RevokedRelease(old))
        assert verify(folder).verdict == "verified"
        assert verify("lab/x").verdict == "verified"
        only(verify(f"lab/x@{commit_id(old)}"), "revoked", "release", "it was poisoned")
        self.revoke(verify, lab, RevokedRelease(new))
        only(verify(folder), "revoked", "taken back", "it was poisoned")

    def test_another_release_or_file_does_not_matter(self, verify, folder, lab):
        lab.publish("y", {"other": b"y"})
        stock(verify.home, lab)
        self.revoke(verify, lab, RevokedRelease(lab.entries["y"].refs["main"].release))
        self.revoke(verify, lab, RevokedRelease(bytes(32)))
        self.revoke(verify, lab, RevokedFile(bytes(32)))
        assert verify(folder).verdict == "verified"


class TestWhatIsAskedWrongly:
    def test_a_target_that_is_not_there(self, verify, tmp_path):
        for target in (tmp_path / "nothing", "./nothing", "~/nothing"):
            with pytest.raises(NotFoundError, match="no folder"):
                verify(target)
        with pytest.raises(NotFoundError):
            verify("lab/nothing")

    def test_a_signature_file_that_is_not_there(self, verify, folder, tmp_path):
        with pytest.raises(NotFoundError):
            verify(folder, signature=tmp_path / "nothing")

    def test_an_alias_that_is_not_pinned(self, verify, folder):
        with pytest.raises(NotFoundError, match="nobody is called"):
            verify(folder, publisher="nobody")

    def test_a_key_that_is_none(self, verify, folder):
        with pytest.raises(UsageError, match="public key"):
            verify(folder, key=b"-----BEGIN")
