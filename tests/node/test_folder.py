import os
import unicodedata

import pytest

from p2phub.errors import UnsafePathError, UsageError
from p2phub.node.folder import files_in


def paths(folder):
    return ["/".join(file.path) for file in files_in(folder)]


def test_a_missing_folder(tmp_path):
    with pytest.raises(UsageError, match="no folder"):
        files_in(tmp_path / "nowhere")


def test_an_empty_folder(tmp_path):
    with pytest.raises(UsageError, match="no files"):
        files_in(tmp_path)


def test_a_file_where_a_folder_is_meant(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"x")
    with pytest.raises(UsageError, match="not a folder"):
        files_in(tmp_path / "model.safetensors")


def test_a_folder_of_nothing_but_version_control_is_empty(tmp_path):
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("ref")
    (tmp_path / ".DS_Store").write_text("x")
    with pytest.raises(UsageError, match="no files"):
        files_in(tmp_path)


def test_files_come_in_the_order_of_their_paths_and_caches_are_left_out(tmp_path):
    for name in ("b.json", "a/z.txt", "a/b/c.txt", ".cache/huggingface/lock", "a/__pycache__/x"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    assert paths(tmp_path) == ["a/b/c.txt", "a/z.txt", "b.json"]


def test_a_link_to_a_file_of_the_folder_is_that_file_and_a_link_to_a_folder_is_an_error(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "abc").write_bytes(b"12345")
    (tmp_path / "config.json").symlink_to("deep/abc")
    only, _ = files_in(tmp_path)
    assert (only.path, only.size) == (("config.json",), 5)
    (tmp_path / "more").symlink_to("deep")
    with pytest.raises(UsageError, match="link to a folder"):
        files_in(tmp_path)


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("hops", [1, 2])
def test_a_link_that_leads_out_of_the_folder_is_named_and_refused(tmp_path, absolute, hops):
    model, secret = tmp_path / "model", tmp_path / "secret"
    model.mkdir()
    secret.write_text("secret")
    target = secret if absolute else "../secret"
    if hops == 2:
        (model / "a.json").symlink_to("b.json")
        (model / "b.json").symlink_to(target)
    else:
        (model / "a.json").symlink_to(target)
    with pytest.raises(UsageError, match=r"a\.json is a link that leads out"):
        files_in(model)


def test_a_folder_that_is_itself_reached_by_a_link_is_no_way_out(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "a").write_text("x")
    (tmp_path / "model" / "b").symlink_to("a")
    (tmp_path / "link").symlink_to("model")
    assert paths(tmp_path / "link") == ["a", "b"]


def test_a_snapshot_of_this_nodes_own_store_also_of_files_in_place(tmp_path):
    blobs, snapshot = tmp_path / "blobs" / "ab", tmp_path / "snapshots" / "x"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    (tmp_path / "elsewhere").write_bytes(b"in place")
    (blobs / "one").write_bytes(b"ours")
    (blobs / "two").symlink_to(tmp_path / "elsewhere")
    for name in ("one", "two"):
        (snapshot / name).symlink_to(f"../../blobs/ab/{name}")
    assert [file.size for file in files_in(snapshot, tmp_path / "blobs")] == [4, 8]
    with pytest.raises(UsageError, match="leads out"):
        files_in(snapshot)


def test_a_link_to_nothing(tmp_path):
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="link to nothing"):
        files_in(tmp_path)


def test_a_pipe_is_never_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="not a plain file"):
        files_in(tmp_path)


@pytest.mark.parametrize("name", ["aux.txt", "a:b", "end.", "new\nline", "back\\slash"])
def test_a_name_that_no_receiver_would_take(tmp_path, name):
    (tmp_path / name).write_text("x")
    with pytest.raises(UnsafePathError):
        files_in(tmp_path)


def test_two_names_that_are_one_where_case_does_not_count(tmp_path):
    (tmp_path / "Model.json").write_text("x")
    (tmp_path / "model.json").write_text("x")
    with pytest.raises(UnsafePathError):
        files_in(tmp_path)


def test_a_name_that_is_not_utf_8(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9")).write_text("x")
    with pytest.raises(UnsafePathError, match="UTF-8"):
        files_in(tmp_path)


def test_a_decomposed_name_is_published_in_its_composed_form(tmp_path):
    (tmp_path / unicodedata.normalize("NFD", "café.txt")).write_text("x")
    assert paths(tmp_path) == [unicodedata.normalize("NFC", "café.txt")]
