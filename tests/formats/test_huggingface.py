import pytest

from p2phub.formats.digest import git_blob_sha1, sha256
from p2phub.formats.huggingface import (
    blob_id,
    etag_of,
    folder_entry,
    folder_ids,
    is_lfs,
    tree_cache_entry,
    tree_entry,
)
from p2phub.formats.ids import ContentId
from p2phub.formats.manifest import FileEntry

TEXT, WEIGHTS = b"hello\n", b"\x08" * 100

FROM_GIT = {
    (): "bb8fa3e94896da1e34c6da3ae4751c432e1778c9",
    ("a",): "67783573e767ca132bde9c25043c74b0843547d7",
    ("a", "b"): "435927d2fe872add393f6b83553075ffeb232cba",
    ("é",): "51e0685749d287ff6c410ec1324a61666c8d5b88",
}
"""As `git write-tree` and `git ls-tree -rt` (2.39) say it; the LFS file is its pointer."""


def plain(path: str, data: bytes = TEXT) -> FileEntry:
    digest = sha256(data)
    size = len(data)
    return FileEntry(
        tuple(path.split("/")), size, digest, ContentId(size, digest), git_blob_sha1(data)
    )


def large(path: str, data: bytes = WEIGHTS) -> FileEntry:
    digest = sha256(data)
    return FileEntry(tuple(path.split("/")), len(data), digest, ContentId(len(data), digest))


class TestEtag:
    def test_of_a_file_with_a_git_digest_is_that_digest(self):
        assert etag_of(plain("README.md")) == "ce013625030ba8dba906f756967f9e9ca394464a"

    def test_of_any_other_file_is_its_sha256(self):
        assert etag_of(large("model.safetensors")) == sha256(WEIGHTS).hex()

    def test_of_an_empty_file_is_gits_empty_blob(self):
        assert etag_of(plain("__init__.py", b"")) == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"


class TestTreeEntry:
    def test_of_a_plain_file_names_no_lfs(self):
        assert tree_entry(plain("a/README.md")) == {
            "type": "file",
            "path": "a/README.md",
            "size": 6,
            "oid": "ce013625030ba8dba906f756967f9e9ca394464a",
        }

    def test_of_an_lfs_file_has_the_pointers_digest_and_the_files_own(self):
        pointer = (
            "version https://git-lfs.github.com/spec/v1\n"
            f"oid sha256:{sha256(WEIGHTS).hex()}\nsize 100\n"
        ).encode()
        assert tree_entry(large("w.bin")) == {
            "type": "file",
            "path": "w.bin",
            "size": 100,
            "oid": git_blob_sha1(pointer).hex(),
            "lfs": {"oid": sha256(WEIGHTS).hex(), "size": 100, "pointerSize": len(pointer)},
        }

    def test_is_read_by_the_real_client(self):
        hf_api = pytest.importorskip("huggingface_hub.hf_api")
        found = hf_api.RepoFile(**tree_entry(large("w.bin")))
        assert (found.path, found.size, found.lfs.sha256) == ("w.bin", 100, sha256(WEIGHTS).hex())
        folder = hf_api.RepoFolder(**folder_entry(("a", "b"), bytes(20)))
        assert (folder.path, folder.tree_id) == ("a/b", "00" * 20)


class TestTreeCacheEntry:
    @pytest.mark.parametrize("file", [plain("README.md"), large("w.bin")])
    def test_is_what_the_real_client_keeps_of_the_tree(self, file):
        hf_api = pytest.importorskip("huggingface_hub.hf_api")
        cache = pytest.importorskip("huggingface_hub._tree_cache")
        found = hf_api.RepoFile(**tree_entry(file))
        kept = cache.TreeCacheEntry(
            size=found.size,
            blob_id=found.blob_id,
            lfs_sha256=found.lfs.sha256 if found.lfs else None,
            lfs_size=found.lfs.size if found.lfs else None,
            xet_hash=found.xet_hash,
        )
        assert kept.to_json() == tree_cache_entry(file)
        assert is_lfs(file) == (found.lfs is not None)


class TestFolderIds:
    def test_are_what_git_gives_the_same_tree(self):
        # "a.txt" sorts before "a", which git compares as "a/"; "a0" after it.
        files = [plain("a/b/c"), plain("a.txt"), plain("a0"), plain("a/z", b"z"), large("é/w")]
        assert {path: oid.hex() for path, oid in folder_ids(files).items()} == FROM_GIT

    def test_change_up_to_the_root_and_nowhere_else(self):
        before = folder_ids([plain("a/b/c"), plain("d/e")])
        after = folder_ids([plain("a/b/c", b"new"), plain("d/e")])
        changed = {path for path in before if before[path] != after[path]}
        assert changed == {(), ("a",), ("a", "b")}

    def test_of_no_file_is_gits_empty_tree(self):
        assert folder_ids([])[()].hex() == "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


def test_a_plain_file_is_held_by_git_itself():
    assert blob_id(plain("x")) == git_blob_sha1(TEXT)
