import json
import os
from pathlib import Path

import pytest

from p2phub.errors import MalformedError, UsageError
from p2phub.formats.huggingface_cache import (
    TAG_TEXT,
    Etag,
    blobs_of,
    check_repo_id,
    link_target,
    repo_folder,
    repo_of,
    tree_text,
)
from p2phub.formats.ids import ContentId
from p2phub.formats.manifest import FileEntry

from .test_huggingface import large, plain

PUBLISHER = "a" * 52
ODD = ("lab/mini_LM.v1-x", "_", f"{PUBLISHER}/" + "n" * 96, "0/0")
REFUSED = ("lab--x/minilm", "-lab/minilm", "lab-/minilm", "a/b/c", "lab/x.git", "lab/..", "", "/x")


class TestRepoId:
    @pytest.mark.parametrize("repo_id", ODD)
    def test_odd_ones_are_taken_as_the_real_client_takes_them(self, repo_id):
        validators = pytest.importorskip("huggingface_hub.utils._validators")
        assert check_repo_id(repo_id) == repo_id
        validators.validate_repo_id(repo_id)

    @pytest.mark.parametrize("repo_id", [*REFUSED, "lab/" + "n" * 97, "café/x"])
    def test_what_the_real_client_refuses_is_refused(self, repo_id):
        validators = pytest.importorskip("huggingface_hub.utils._validators")
        with pytest.raises(UsageError):
            check_repo_id(repo_id)
        with pytest.raises(ValueError, match=r"Repo|Cannot"):
            validators.validate_repo_id(repo_id)


class TestNames:
    @pytest.mark.parametrize("kind", ["model", "dataset", "space"])
    def test_of_a_repo_are_the_real_clients_and_can_be_read_back(self, kind):
        download = pytest.importorskip("huggingface_hub.file_download")
        folder = repo_folder(kind, "lab/mini-lm")
        assert folder == download.repo_folder_name(repo_id="lab/mini-lm", repo_type=kind)
        assert repo_of(folder) == (kind, "lab/mini-lm")

    @pytest.mark.parametrize("folder", [".locks", "blobs", "kernels--a--b", "models--", "version"])
    def test_of_other_folders_are_no_repos(self, folder):
        assert repo_of(folder) is None

    @pytest.mark.parametrize("path", [("a",), ("a", "b"), ("a", "b", "c")])
    def test_a_link_leads_to_its_blob(self, path):
        place = Path("/c/models--x/snapshots/0", *path)
        led = os.path.normpath(place.parent / link_target(path, "e" * 40))
        assert led == "/c/models--x/blobs/" + "e" * 40

    @pytest.mark.parametrize("name", ["e" * 39, "E" * 40, "e" * 40 + ".incomplete", "e" * 63, ""])
    def test_a_blob_of_another_name_says_nothing_of_its_bytes(self, name):
        assert Etag.parse(name) is None

    def test_the_tag_is_the_real_clients(self):
        local = pytest.importorskip("huggingface_hub._local_folder")
        assert local.CACHEDIR_TAG_CONTENT == TAG_TEXT


class TestTreeText:
    def test_is_what_the_real_client_writes_of_the_same_tree(self):
        files = [plain("z/a"), large("a/w.bin"), plain("é"), plain("README.md", b"")]
        assert json.loads(tree_text(files)) == {
            "format_version": 1,
            "files": {
                "README.md": {"size": 0, "blob_id": "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"},
                "a/w.bin": {
                    "size": 100,
                    "blob_id": json.loads(tree_text(files))["files"]["a/w.bin"]["blob_id"],
                    "lfs_sha256": large("w").sha256.hex(),
                    "lfs_size": 100,
                },
                "z/a": {"size": 6, "blob_id": "ce013625030ba8dba906f756967f9e9ca394464a"},
                "é": {"size": 6, "blob_id": "ce013625030ba8dba906f756967f9e9ca394464a"},
            },
        }
        assert list(json.loads(tree_text(files))["files"]) == ["README.md", "a/w.bin", "z/a", "é"]


class TestBlobs:
    def test_two_files_of_the_same_bytes_share_one(self):
        assert len(blobs_of([plain("a"), plain("b"), large("c")])) == 2

    def test_different_bytes_under_one_digest_are_refused(self):
        honest = plain("a")
        content = ContentId(7, bytes(32))
        lying = FileEntry(("b",), 7, bytes(32), content, honest.git_sha1)
        with pytest.raises(MalformedError, match="a and b are different files"):
            blobs_of([honest, lying])
