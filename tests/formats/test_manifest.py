"""A release: every way in which its list of files can lie."""

import pytest

from p2phub.errors import MalformedError
from p2phub.formats import limits
from p2phub.formats.codec import decode, encode
from p2phub.formats.digest import git_blob_sha1, sha256
from p2phub.formats.ids import ContentId, commit_id
from p2phub.formats.manifest import Card, FileEntry, Lineage, Release, Upstream

BIG = 2 * limits.MIB


def small(path, data=b"data", **more):
    return FileEntry(path, len(data), sha256(data), ContentId(len(data), sha256(data)), **more)


def big(path, size=BIG):
    return FileEntry(path, size, sha256(b"file"), ContentId(size, sha256(b"table")))


def release(*files, **more):
    total = sum(file.size for file in files)
    fields = {"publisher": bytes(32), "name": "demo", "kind": "model", "created": 1}
    return Release(**{**fields, "files": files, "total_size": total, **more})


DEMO = release(small(("a", "b.txt")), big(("model.safetensors",)))


def changed(**changes):
    fields = decode(DEMO.to_payload(), limit=2**20) | changes
    return encode({name: value for name, value in fields.items() if value is not ...})


def changed_file(**changes):
    files = [file.write() for file in DEMO.files]
    files[0] = {name: v for name, v in ({**files[0], **changes}).items() if v is not ...}
    return changed(files=files, total_size=BIG + (files[0].get("size") or 0))


def test_everything_a_release_can_say_survives():
    full = release(
        small(("README.md",), b"# x", git_sha1=git_blob_sha1(b"# x"), extra={"new": 1}),
        parents=(b"b" * 32, b"a" * 32),
        message="first\n\tline",
        card=Card(
            "mit", "task", "lib", ("en",), ("t",), ("org/base",), "merge", ("d",), 7, {"x": 1}
        ),
        lineage=(Lineage("adapter", upstream="org/base", revision="main", extra={"x": 2}),),
        upstream=Upstream("https://hub.example", "org/x", "0" * 40, {"x": 3}),
        extra={"more": [None]},
    )
    read = Release.from_payload(full.to_payload())
    assert read == full
    assert read.files[0].extra == {"new": 1}
    assert read.lineage[0].extra == {"x": 2}
    assert read.upstream.extra == {"x": 3}
    assert read.card.extra == {"x": 1}
    assert read.parents == (b"a" * 32, b"b" * 32)


def test_the_commit_is_of_the_digest_of_the_payload():
    assert DEMO.commit == commit_id(sha256(DEMO.to_payload()))


def test_files_are_sorted_whatever_order_they_came_in():
    one, other = small(("b",)), small(("a",))
    assert release(one, other) == release(other, one)
    assert [file.path for file in release(one, other).files] == [("a",), ("b",)]


def test_a_message_in_decomposed_letters_is_signed_in_nfc():
    read = Release.from_payload(release(small(("a",)), message="e\u0301").to_payload())
    assert read.message == "\u00e9"


@pytest.mark.parametrize(
    "changes",
    [
        {"publisher": bytes(31)},
        {"name": "../x"},
        {"name": ""},
        {"kind": "virus"},
        {"kind": ...},
        {"created": -1},
        {"created": limits.MAX_TIME + 1},
        {"message": ""},
        {"message": "x" * (limits.MAX_MESSAGE_TEXT + 1)},
        {"message": "\x1b[2J"},
        {"parents": [b"b" * 32, b"a" * 32]},
        {"files": []},
        {"files": {}},
        {"total_size": BIG + 5},
        {"total_size": 0},
        {"total_size": ...},
        {"card": {}},
        {"card": {"license": ""}},
        {"card": {"license": "x" * 97}},
        {"card": {"tags": ["x"] * (limits.MAX_TAGS + 1)}},
        {"card": {"languages": []}},
        {"card": []},
        {"lineage": []},
        {"lineage": [{"relation": "merge"}]},
        {"lineage": [{"relation": "merge", "release": bytes(32), "upstream": "x"}]},
        {"lineage": [{"relation": "", "upstream": "x"}]},
        {"upstream": {"endpoint": "file:///etc", "repo": "x", "commit": "y"}},
        {"upstream": {"endpoint": "https://x"}},
    ],
    ids=repr,
)
def test_a_release_is_refused_with(changes):
    with pytest.raises(MalformedError):
        Release.from_payload(changed(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"path": ["..", "x"]},
        {"path": []},
        {"path": "a/b"},
        {"path": ["a/b"]},
        {"path": ["MODEL.safetensors"]},
        {"path": ["model.safetensors", "x"]},
        {"path": ["z"]},
        {"size": -1},
        {"size": 5.0},
        {"size": ...},
        {"size": limits.MAX_FILE + 1},
        {"sha256": bytes(32)},
        {"sha256": ...},
        {"content": bytes(32)},
        {"content": ...},
        {"content": bytes(31)},
        {"git_sha1": b""},
        {"git_sha1": bytes(32)},
        {"seeds": []},
        {"seeds": ["ftp://x/y"]},
        {"seeds": ["file:///etc/passwd"]},
        {"seeds": ["https://x/a b"]},
        {"seeds": ["https://me:secret@x/y"]},
        {"seeds": ["https://me@x/y"]},
        {"seeds": ["https://x/y"] * 2},
        {"seeds": [f"https://x/{n}" for n in range(9)]},
        {"seeds": ["https://" + "x" * limits.MAX_SEED]},
    ],
    ids=repr,
)
def test_a_file_is_refused_with(changes):
    try:
        data = changed_file(**changes)
    except MalformedError:
        return
    with pytest.raises(MalformedError):
        Release.from_payload(data)


def test_a_hostile_path_is_named_in_the_error():
    with pytest.raises(MalformedError, match=r"unsafe path '\.\./x'"):
        Release.from_payload(changed_file(path=["..", "x"]))


def test_files_out_of_order_are_refused():
    files = [file.write() for file in DEMO.files][::-1]
    with pytest.raises(MalformedError, match="not sorted"):
        Release.from_payload(changed(files=files))


@pytest.mark.parametrize("size", [0, 1, limits.MIB])
def test_a_small_file_has_one_digest_under_two_names(size):
    entry = FileEntry(("a",), size, sha256(b"x"), ContentId(size, sha256(b"y")))
    with pytest.raises(MalformedError, match="a small file"):
        release(entry).to_payload()


def test_from_one_byte_over_a_mebibyte_the_content_id_names_a_table():
    assert release(big(("a",), limits.MIB + 1)).to_payload()


@pytest.mark.parametrize(
    "wrong",
    [
        release(),
        release(small(("a",)), total_size=5),
        release(small(("a",)), small(("A",))),
        release(small(("a",)), small(("a",), b"other")),
        release(small(("a\\b",))),
        release(FileEntry(("a",), 4, sha256(b"data"), ContentId(5, sha256(b"data")))),
        release(small(("a",)), message="x\r\n"),
        release(small(("a",), git_sha1=b"short")),
        release(small(("a",)), card=Card(tags=("x\ny",))),
        release(small(("a",)), extra={"files": []}),
    ],
)
def test_what_others_would_refuse_is_not_signed(wrong):
    with pytest.raises(MalformedError):
        wrong.to_payload()


def test_unknown_keys_of_files_survive():
    data = changed_file(stored={"scheme": "x", "size": 5}, also=None)
    read = Release.from_payload(data)
    assert read.files[0].extra == {"stored": {"scheme": "x", "size": 5}, "also": None}
    assert read.to_payload() == data


def test_a_release_of_many_files_is_read_in_seconds():
    files = tuple(small(("part", f"{number:06}")) for number in range(20_000))
    payload = release(*files).to_payload()
    assert len(payload) < limits.MAX_RELEASE // 5
    assert len(Release.from_payload(payload).files) == 20_000


def test_one_file_too_many_is_refused():
    entry = small(("a",)).write()
    files = [{**entry, "path": [f"{number:06}"]} for number in range(limits.MAX_FILES + 1)]
    with pytest.raises(MalformedError, match="at most 100000"):
        Release.from_payload(changed(files=files, total_size=4 * len(files)))
