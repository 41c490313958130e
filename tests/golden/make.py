"""Writes the golden documents of this version: `python tests/golden/make.py`.

Run once a version, for a new folder; it writes over nothing. Bytes that were released are law: a
test that fails because of them says that the code broke a promise, not that the bytes are to be
made again.
"""

import json
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from p2phub.formats.digest import git_blob_sha1, sha256
from p2phub.formats.documents import Document
from p2phub.formats.ids import ContentId, PublisherId, commit_id, head_key
from p2phub.formats.manifest import Card, FileEntry, Lineage, Release, Upstream
from p2phub.formats.publisher import (
    Delegation,
    Head,
    Index,
    KeySet,
    Page,
    Ref,
    ReleaseKey,
    RepoEntry,
    Root,
    build_pages,
)

FOLDER = Path(__file__).parent / "v0.1"
CREATED = 1_763_769_600
UNKNOWN = {"x-colour": "bleu clair é", "x-list": [1, {"deep": b"\x00\xff"}], "x-nothing": None}


def fixed(text: str) -> bytes:
    """32 bytes that stand for a key or a digest, the same for ever."""
    return sha256(text.encode())


def small_file(path: tuple[str, ...], data: bytes, **more: object) -> FileEntry:
    digest = sha256(data)
    content = ContentId(len(data), digest)
    return FileEntry(path, len(data), digest, content, git_blob_sha1(data), **more)


CARD = Card(
    license="apache-2.0",
    task="sentence-similarity",
    library="sentence-transformers",
    languages=("en", "no"),
    tags=("embedding", "测试"),
    base=("nreimers/MiniLM-L6-H384-uncased",),
    base_relation="finetune",
    datasets=("s2orc",),
)
WEIGHTS = FileEntry(
    ("onnx", "model.safetensors"),
    90_868_376,
    fixed("weights"),
    ContentId(90_868_376, fixed("table")),
    seeds=("https://example.org/model.safetensors",),
)
README = small_file(("README.md",), b"---\nlicense: apache-2.0\n---\n# MiniLM\n")
EMPTY = small_file(("empty é.txt",), b"", extra=UNKNOWN)


def roots() -> tuple[Root, Root, Root]:
    """A first root, a rotated one with recovery keys, and the smallest there can be."""
    second = KeySet((fixed("root 2a"), fixed("root 2b"), fixed("root 2c")), 2)
    third = KeySet((fixed("root 3"),))
    first = Root(1, b"", KeySet((fixed("root 1"),)), second.digest)
    recovery = KeySet((fixed("recovery a"), fixed("recovery b")), 2)
    rotated = Root(2, first.digest, second, third.digest, recovery, extra=UNKNOWN)
    return first, rotated, Root(1, b"", third, third.digest)


def releases() -> tuple[Release, Release]:
    publisher = roots()[0].digest
    plain = Release(
        publisher=publisher,
        name="demo",
        kind="dataset",
        created=CREATED,
        files=(README,),
        total_size=README.size,
    )
    full = Release(
        publisher=publisher,
        name="all-MiniLM-L6-v2",
        kind="model",
        parents=(plain.digest, fixed("another parent")),
        created=CREATED,
        message="First release.\n\tWith tabs and 中文.",
        files=(WEIGHTS, README, EMPTY),
        card=CARD,
        lineage=(
            Lineage("finetune", release=fixed("base"), extra=UNKNOWN),
            Lineage("quantized", upstream="org/base", revision="main"),
        ),
        upstream=Upstream("https://huggingface.co", "org/name", "0" * 40, UNKNOWN),
        total_size=WEIGHTS.size + README.size,
        extra=UNKNOWN,
    )
    return plain, full


def entries() -> tuple[RepoEntry, ...]:
    plain, full = releases()
    refs = {
        "main": Ref(full.digest, 7),
        "v1.0": Ref(plain.digest, 3, tag=True, extra=UNKNOWN),
        "refs/pr/1": Ref(plain.digest, 4),
    }
    return (
        RepoEntry("all-MiniLM-L6-v2", "model", refs, CARD, full.total_size, CREATED, UNKNOWN),
        RepoEntry("demo", "dataset", {"main": Ref(plain.digest, 1)}, size=6, created=CREATED),
    )


def documents() -> dict[str, Document]:
    """Every type of document: the smallest of it and one with everything, unknown keys too."""
    first, rotated, lone = roots()
    plain, full = releases()
    publisher = first.digest
    index = Index(publisher, fixed("writer"), 1, (), 1, CREATED, {}, build_pages([])[0])
    delegation = Delegation(publisher, 1, (ReleaseKey(fixed("release")),))
    limited = ReleaseKey(fixed("limited"), ("demo", "all-MiniLM-L6-v2"), CREATED, UNKNOWN)
    profile = {"name": "Laboratoire é", "url": "https://example.org"}
    parents = (index.digest, fixed("another index"))
    return {
        "root-first": first,
        "root-rotated": rotated,
        "root-lone": lone,
        "delegation-small": delegation,
        "delegation-full": Delegation(publisher, 9, (limited, *delegation.keys), 2, extra=UNKNOWN),
        "release-small": plain,
        "release-full": full,
        "page-empty": Page(0),
        "page-repos": Page(0, entries(), extra=UNKNOWN),
        "page-above": Page(1, children=(("a", fixed("page a")), ("m", fixed("page m")))),
        "index-first": index,
        "index-merged": Index(
            publisher, fixed("w"), 12, parents, 8, CREATED, profile, fixed("p"), extra=UNKNOWN
        ),
        "head-small": Head(publisher, index.digest, 1, 1, 1, 0, (b"root 1",), b"delegation"),
        "head-full": Head(
            publisher,
            fixed("i"),
            2,
            9,
            8,
            CREATED,
            (b"root 1", b"root 2"),
            b"delegation",
            extra=UNKNOWN,
        ),
    }


def many_repos(count: int) -> list[RepoEntry]:
    return [
        RepoEntry(f"repo-{number:05}", "model", {"main": Ref(fixed(str(number)), 1)}, CARD)
        for number in range(count)
    ]


def texts() -> dict[str, str]:
    """How ids are written."""
    publisher = PublisherId(roots()[0].digest)
    return {
        "publisher_id": str(publisher),
        "head_key": head_key(publisher),
        "commit_id": commit_id(releases()[1].digest),
        "content_id": str(WEIGHTS.content),
        "key_set": KeySet((fixed("b"), fixed("a")), 2).digest.hex(),
        "pages_of_5000_repos": build_pages(many_repos(5000))[0].hex(),
    }


def main() -> None:
    FOLDER.mkdir()
    recorded: dict[str, dict[str, str]] = {"texts": texts(), "digests": {}}
    for name, document in documents().items():
        payload = document.to_payload()
        (FOLDER / f"{name}.bin").write_bytes(payload)
        recorded["digests"][name] = sha256(payload).hex()
    text = json.dumps(recorded, indent=2, sort_keys=True)
    (FOLDER / "recorded.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
