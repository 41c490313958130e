"""Publishing from a Hugging Face cache: its links are followed into its blobs, and nowhere else."""

import os
from pathlib import Path

import pytest

from p2phub.errors import NotFoundError, UsageError
from p2phub.node.folder import files_in
from p2phub.node.huggingface_cache import SHARED, CachedBlob, OddBlob, blobs_in, repos_in

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ETAG = "ab" * 32


@pytest.fixture
def repo(tmp_path):
    repo = tmp_path / "hub" / "models--org--name"
    snapshot = repo / "snapshots" / COMMIT
    (snapshot / "deep").mkdir(parents=True)
    (repo / "blobs").mkdir()
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(COMMIT)
    (repo / "blobs" / ETAG).write_bytes(b"weights")
    (snapshot / "model.safetensors").symlink_to(f"../../blobs/{ETAG}")
    (snapshot / "deep" / "again").symlink_to(f"../../../blobs/{ETAG}")
    return repo


def test_links_into_the_blobs_are_the_files(repo):
    found = files_in(repo / "snapshots" / COMMIT)
    assert ["/".join(file.path) for file in found] == ["deep/again", "model.safetensors"]
    assert {file.source for file in found} == {repo / "blobs" / ETAG}


def test_the_folder_of_the_repo_stands_for_its_main_branch(repo):
    assert files_in(repo) == files_in(repo / "snapshots" / COMMIT)


@pytest.mark.parametrize("said", ["", "f" * 40, "../../..", "x" * 40, None])
def test_a_repo_without_a_snapshot_of_its_main_branch(repo, said):
    if said is None:
        (repo / "refs" / "main").unlink()
    else:
        (repo / "refs" / "main").write_text(said)
    with pytest.raises(NotFoundError, match="main branch"):
        files_in(repo)


def test_blobs_that_several_repos_share(repo):
    shared = repo.parent / "blobs" / "cd"
    shared.mkdir(parents=True)
    (repo.parent / "blobs" / SHARED).write_text("1")
    (repo / "blobs" / ETAG).rename(shared / "hash")
    (repo / "blobs" / ETAG).symlink_to("../../blobs/cd/hash")
    assert {file.source for file in files_in(repo)} == {shared / "hash"}
    (repo.parent / "blobs" / SHARED).unlink()
    with pytest.raises(UsageError, match="leads out"):
        files_in(repo)


@pytest.mark.parametrize("target", ["../../../../secret", "../../refs/main", "/etc/hostname"])
def test_a_link_to_anything_else_is_refused(repo, tmp_path, target):
    (tmp_path / "secret").write_text("secret")
    (repo.parent / "secret").write_text("secret")
    (repo / "snapshots" / COMMIT / "config.json").symlink_to(target)
    with pytest.raises(UsageError, match=r"leads out|link to nothing"):
        files_in(repo)


def test_a_blob_that_is_itself_a_link_to_elsewhere_is_refused(repo, tmp_path):
    (tmp_path / "secret").write_text("secret")
    (repo / "blobs" / ETAG).unlink()
    (repo / "blobs" / ETAG).symlink_to(tmp_path / "secret")
    with pytest.raises(UsageError, match="leads out"):
        files_in(repo)


def test_a_folder_of_blobs_that_is_a_link_to_elsewhere_is_refused(repo, tmp_path):
    (repo / "blobs").rename(tmp_path / "elsewhere")
    (repo / "blobs").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="leads out"):
        files_in(repo)


def test_a_folder_that_only_looks_a_little_like_a_cache_gets_no_licence(tmp_path):
    snapshot = tmp_path / "work" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (tmp_path / "work" / "blobs").mkdir()
    (tmp_path / "work" / "blobs" / ETAG).write_text("x")
    (snapshot / "a").symlink_to(f"../../blobs/{ETAG}")
    with pytest.raises(UsageError, match="leads out"):
        files_in(snapshot)


def test_real_files_where_a_system_has_no_links(repo):
    link = repo / "snapshots" / COMMIT / "model.safetensors"
    link.unlink()
    link.write_bytes(b"real")
    assert [file.size for file in files_in(repo)] == [7, 4]


class TestBlobs:
    """What `adopt` looks at."""

    def found(self, repo, ours="/nowhere"):
        found = list(blobs_in(repo, Path(ours)))
        good = {blob.name.name: blob.path for blob in found if isinstance(blob, CachedBlob)}
        odd = {blob.name.name: blob.reason for blob in found if isinstance(blob, OddBlob)}
        return good, odd

    def test_are_the_files_with_a_digest_for_a_name(self, repo):
        for name in (f"{ETAG}.0a1b2c3d.incomplete", "notes.txt", "AB" * 20):
            (repo / "blobs" / name).touch()
        assert self.found(repo) == ({ETAG: repo / "blobs" / ETAG}, {})

    def test_that_repos_share_are_followed_where_the_cache_says_so(self, repo):
        shared = repo.parent / "blobs" / "cd"
        shared.mkdir(parents=True)
        (shared / ("cd" * 32)).write_bytes(b"shared")
        (repo / "blobs" / ("e" * 64)).symlink_to(f"../../blobs/cd/{'cd' * 32}")
        _, odd = self.found(repo)
        assert "leads out of the cache" in odd["e" * 64]
        (repo.parent / "blobs" / SHARED).write_text("1\n")
        good, odd = self.found(repo)
        assert (good["e" * 64], odd) == (shared / ("cd" * 32), {})

    def test_that_lead_elsewhere_or_nowhere_are_not_followed(self, repo, tmp_path):
        (tmp_path / "secret").write_text("secret")
        (repo / "blobs" / ("1" * 40)).symlink_to(tmp_path / "secret")
        (repo / "blobs" / ("2" * 40)).symlink_to("nothing")
        (repo / "blobs" / ("3" * 40)).mkdir()
        good, odd = self.found(repo)
        assert set(good) == {ETAG}
        assert set(odd) == {"1" * 40, "2" * 40, "3" * 40}

    def test_that_are_our_own_are_not_looked_at(self, repo, tmp_path):
        (tmp_path / "store").mkdir()
        (tmp_path / "store" / "blob").write_text("ours")
        (repo / "blobs" / ("1" * 40)).symlink_to(tmp_path / "store" / "blob")
        assert self.found(repo, tmp_path / "store") == ({ETAG: repo / "blobs" / ETAG}, {})

    def test_that_lead_through_our_store_to_a_file_in_place_are_not_looked_at(self, repo, tmp_path):
        (tmp_path / "store").mkdir()
        (tmp_path / "store" / "blob").symlink_to(repo / "blobs" / ETAG)
        other = repo.parent / "models--lab--y" / "blobs"
        other.mkdir(parents=True)
        (other / ETAG).symlink_to(tmp_path / "store" / "blob")
        assert self.found(other.parent, tmp_path / "store") == ({}, {})

    def test_of_a_repo_without_any_are_told_of(self, repo):
        (repo / "blobs").rename(repo / "gone")
        _, odd = self.found(repo)
        assert list(odd) == ["blobs"]


class TestRepos:
    def test_have_names_that_the_real_client_could_have_given_them(self, repo):
        (repo.parent / os.fsdecode(b"models--\xff--x")).mkdir()
        (repo.parent / "models--a b").mkdir()
        assert repos_in(repo.parent, lambda each: True) == (repo,)

    def test_are_asked_for_by_their_ids(self, repo):
        (repo.parent / "datasets--org--texts").mkdir()
        (repo.parent / "version.txt").touch()
        asked = []
        found = repos_in(repo.parent, lambda each: asked.append(each) or each == "org/name")
        assert asked == ["org/texts", "org/name"]
        assert found == (repo,)

    @pytest.mark.parametrize("inside", ["", "models--org--name"])
    def test_a_folder_beside_the_cache_is_told_where_it_is(self, repo, tmp_path, inside):
        wrong = repo.parent / inside if inside else tmp_path
        with pytest.raises(UsageError) as caught:
            repos_in(wrong, lambda each: True)
        assert caught.value.remedy == f"name {repo.parent}"

    def test_a_folder_that_is_nowhere_is_not_found(self, tmp_path):
        with pytest.raises(NotFoundError):
            repos_in(tmp_path / "nowhere", lambda each: True)
