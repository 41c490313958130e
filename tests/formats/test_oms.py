"""The statement of a model signature: which files, which digests, and nothing that reaches out."""

import json

import pytest

from p2phub.errors import MalformedError, UsageError
from p2phub.formats import limits
from p2phub.formats.digest import sha256
from p2phub.formats.ids import PublisherId
from p2phub.formats.oms import SignedFile, Statement, Stretch, about

A, B = sha256(b"a"), sha256(b"b")
_A = A.hex()
LAB = PublisherId(sha256(b"lab"))
STATEMENT = about(
    "minilm", [(("b", "weights é.safetensors"), B), (("a b.json",), A)], LAB, sha256(b"delegation")
)
SHARDS = Statement(
    "big",
    (
        SignedFile(("one",), (Stretch(0, 10, A), Stretch(10, 15, B))),
        SignedFile(("two",), (Stretch(0, 3, A),)),
    ),
    (),
    shard_size=10,
)


def payload(statement: Statement = STATEMENT, **predicate) -> bytes:
    """The statement with a changed predicate, and with the digest of what is listed then."""
    text = json.loads(statement.to_payload())
    text["predicate"] |= predicate
    listed = text["predicate"]["resources"]
    if isinstance(listed, list):
        digests = [each.get("digest") for each in listed if isinstance(each, dict)]
        raw = b"".join(bytes.fromhex(each) for each in digests if isinstance(each, str))
        text["subject"][0]["digest"]["sha256"] = sha256(raw).hex()
    return json.dumps(text).encode()


def resource(name="x", algorithm="sha256", digest=_A) -> dict:
    return {"name": name, "algorithm": algorithm, "digest": digest}


def how(**parts) -> dict:
    return {"method": "files", "hash_type": "sha256", "allow_symlinks": False} | parts


def refused(data: bytes, match: str | None = None) -> None:
    with pytest.raises(MalformedError, match=match):
        Statement.from_payload(data)


def test_it_is_read_as_it_was_written():
    for statement in (STATEMENT, SHARDS):
        assert Statement.from_payload(statement.to_payload()) == statement


def test_it_has_the_fields_of_version_1_and_one_digest_over_all():
    text = json.loads(STATEMENT.to_payload())
    assert text["_type"] == "https://in-toto.io/Statement/v1"
    assert text["predicateType"] == "https://model_signing/signature/v1.0"
    assert text["subject"] == [{"name": "minilm", "digest": {"sha256": sha256(A + B).hex()}}]
    assert text["predicate"]["resources"] == [
        resource("a b.json"),
        resource("b/weights é.safetensors", digest=B.hex()),
    ]
    assert text["predicate"]["serialization"] == {
        "method": "files",
        "hash_type": "sha256",
        "allow_symlinks": True,
        "ignore_paths": [".git", ".gitattributes", ".github", ".gitignore", "model.sig"],
    }
    assert text["predicate"]["p2phub"] == {
        "publisher": str(LAB),
        "delegation": sha256(b"delegation").hex(),
    }


def test_files_stand_in_the_order_of_their_parts_as_the_package_sorts_them():
    files = [(("a-b",), A), (("a", "z"), B), (("a.txt",), A)]
    names = [
        each["name"]
        for each in json.loads(about("m", files).to_payload())["predicate"]["resources"]
    ]
    assert names == ["a/z", "a-b", "a.txt"]


def test_version_control_and_the_signature_itself_are_left_out():
    left_out = [".gitattributes", ".gitignore", "model.sig"]
    files = [((name,), A) for name in left_out] + [((".github", "ci.yml"), A)]
    kept = [(("sub", ".gitattributes"), A), (("sub", "model.sig"), B)]
    assert [file.path for file in about("m", files + kept).files] == [path for path, _ in kept]
    with pytest.raises(UsageError, match="0 files to sign"):
        about("m", files)


def test_what_is_ignored_may_be_there_unlisted():
    assert STATEMENT.ignores((".git", "config"))
    assert STATEMENT.ignores(("model.sig",))
    assert not STATEMENT.ignores(("sub", "model.sig"))
    assert not STATEMENT.ignores((".gitmodules",))


@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "/etc/passwd",
        "a//b",
        "a/./b",
        "",
        "a:b",
        "a\\b",
        "nul",
        "a\x1b",
        ".git/config",
        "e\u0301",
    ],
)
def test_a_path_that_must_not_reach_a_disk_is_refused(path):
    refused(payload(resources=[resource(path)]), "unsafe path")


def test_two_files_that_are_one_somewhere_are_refused():
    refused(payload(resources=[resource("A.txt"), resource("a.txt")]), "same file")
    refused(payload(resources=[resource("a"), resource("a/b")]), "not a folder")


@pytest.mark.parametrize("resources", [None, {}, "x", [], [None], [{}], ["a"], [[]]])
def test_what_is_no_list_of_files_is_refused(resources):
    refused(payload(resources=resources))


@pytest.mark.parametrize(
    "each",
    [
        resource(digest="zz" * 32),
        resource(digest=A.hex().upper()),
        resource(digest="00" * 31),
        resource(digest="00" * 64),
        resource(name=5),
        resource(digest=5),
    ],
)
def test_what_is_no_digest_of_a_file_is_refused(each):
    text = json.loads(STATEMENT.to_payload())
    text["predicate"]["resources"] = [each]
    refused(json.dumps(text).encode())


@pytest.mark.parametrize("algorithm", ["md5", "blake3", "blake2b", "sha256-sharded-10", None, 5])
def test_a_digest_of_another_kind_than_the_statement_says_is_refused(algorithm):
    refused(payload(resources=[resource(algorithm=algorithm)]), "is one of")


@pytest.mark.parametrize(
    ("hash_type", "size", "called"),
    [("sha256", 32, "sha256"), ("blake2b", 64, "blake2b"), ("blake3", 32, "blake3")],
)
def test_each_algorithm_of_the_package_is_read(hash_type, size, called):
    each = resource("x", hash_type, "ab" * size)
    found = Statement.from_payload(
        payload(resources=[each], serialization=how(hash_type=hash_type))
    )
    assert (found.algorithm, found.method) == (called, "files")


@pytest.mark.parametrize(
    "serialization",
    [
        None,
        {},
        how(hash_type="md5"),
        how(hash_type=None),
        how(hash_type=["sha256"]),
        how(method="tensors"),
        how(method=None),
        how(method=["files"]),
        how(ignore_paths="x"),
    ],
)
def test_an_unknown_way_of_hashing_is_refused(serialization):
    refused(payload(serialization=serialization))


@pytest.mark.parametrize("size", [None, 0, -1, 1.5, "10", True, 1e999, limits.MAX_FILE + 1])
def test_a_shard_size_that_is_none_is_refused(size):
    data = payload(SHARDS, serialization=how(method="shards", shard_size=size))
    refused(data.replace(b"Infinity", b"1e999"), "shards of")


def test_the_largest_shard_size_and_one_written_as_a_float_are_read():
    for size in (limits.MAX_FILE, 1e9):
        each = resource("x:0:5", f"sha256-sharded-{int(size)}")
        data = payload(serialization=how(method="shards", shard_size=size), resources=[each])
        assert Statement.from_payload(data).shard_size == size


@pytest.mark.parametrize(
    "names",
    [
        ["x"],
        ["x:0"],
        ["x:a:b"],
        ["x:-1:5"],
        ["x:0:5", "x:6:9"],
        ["x:0:5", "x:4:9"],
        ["x:1:5"],
        ["x:0:0"],
        ["x:5:0"],
        ["x:0:5", "x:0:5"],
        ["x:0:99999999999999999999"],
        ["x:0:\u0665"],
    ],
)
def test_shards_that_leave_a_hole_or_overlap_are_refused(names):
    listed = [resource(name, "sha256-sharded-10") for name in names]
    refused(payload(SHARDS, resources=listed))


def test_shards_in_another_order_are_the_same_file():
    text = json.loads(SHARDS.to_payload())
    mixed = text["predicate"]["resources"][::-1]
    assert Statement.from_payload(payload(SHARDS, resources=mixed)) == SHARDS
    assert [file.size for file in SHARDS.files] == [15, 3]


def test_one_digest_over_all_that_is_not_theirs_is_refused():
    refused(STATEMENT.to_payload().replace(sha256(A + B).hex().encode(), b"00" * 32), "not that of")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("_type", "https://in-toto.io/Statement/v0.1"),
        ("predicateType", "https://slsa.dev/provenance/v1"),
        ("subject", []),
        ("subject", [{}, {}]),
        ("subject", [5]),
        ("subject", [{"name": "x", "digest": {}}]),
        ("subject", [{"name": "\x1b[2J", "digest": {"sha256": "00"}}]),
        ("subject", [{"name": "x" * 1001, "digest": {"sha256": "00"}}]),
        ("predicate", None),
    ],
)
def test_what_is_no_statement_of_version_1_is_refused(key, value):
    refused(json.dumps(json.loads(STATEMENT.to_payload()) | {key: value}).encode())


def test_the_experimental_format_is_named():
    text = json.loads(STATEMENT.to_payload()) | {
        "predicateType": "https://model_signing/Digests/v0.1"
    }
    refused(json.dumps(text).encode(), "experimental")


@pytest.mark.parametrize(
    "part", [None, 5, {}, {"publisher": 5}, {"publisher": "x"}, {"delegation": "00"}]
)
def test_a_foreign_part_under_our_name_is_passed_over(part):
    found = Statement.from_payload(payload(p2phub=part))
    assert (found.publisher, found.delegation) == (None, b"")


def test_an_ignored_path_that_leads_out_ignores_nothing():
    paths = ["/etc", "../up", "", ".", "a/../..", "./x", 5, "x" * 2000, "\x1b", "docs/"]
    found = Statement.from_payload(payload(serialization=how(ignore_paths=paths)))
    assert found.ignored == (("docs",),)


def test_who_says_nothing_of_ignored_paths_left_version_control_out():
    found = Statement.from_payload(payload(serialization=how()))
    assert found.ignores((".gitattributes",))
    assert not found.ignores(("model.sig",))


def test_ignored_paths_are_bounded_on_both_sides():
    most = [f"p{number}" for number in range(limits.MAX_OMS_IGNORED)]
    assert (
        len(Statement.from_payload(payload(serialization=how(ignore_paths=most))).ignored) == 1024
    )
    refused(payload(serialization=how(ignore_paths=[*most, "x"])), "ignored")


def test_files_are_bounded_on_both_sides(monkeypatch):
    monkeypatch.setattr(limits, "MAX_OMS_RESOURCES", 3)
    files = [((f"f{number}",), A) for number in range(4)]
    most = about("m", files[:3])
    assert Statement.from_payload(most.to_payload()) == most
    with pytest.raises(UsageError, match="4 files to sign"):
        about("m", files)
    monkeypatch.setattr(limits, "MAX_OMS_RESOURCES", 4)
    over = about("m", files).to_payload()
    monkeypatch.setattr(limits, "MAX_OMS_RESOURCES", 3)
    refused(over, "too many")


def test_the_items_of_a_release_of_the_largest_size_are_within_the_limit():
    """Four commas, one brace each; names may hold a few more."""
    assert limits.MAX_OMS_RESOURCES == limits.MAX_FILES
    assert limits.MAX_OMS_ITEMS >= 6 * limits.MAX_FILES
    here = sum(STATEMENT.to_payload().count(each) for each in (b",", b"[", b"{"))
    room = limits.MAX_OMS_ITEMS - here - 1
    assert Statement.from_payload(payload(more=[0] * room)) == STATEMENT
    refused(payload(more=[0] * (room + 1)), "more than")


def test_the_name_of_the_folder_is_bounded_on_both_sides():
    files = [(("a",), A)]
    most = about("x" * limits.MAX_PATH, files)
    assert Statement.from_payload(most.to_payload()) == most
    refused(about("x" * (limits.MAX_PATH + 1), files).to_payload(), "about")
