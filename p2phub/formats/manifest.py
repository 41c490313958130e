"""The release: the signed list of a repo's files, immutable, and what is said about them.

A release names every byte of every file by a content id, says each file's SHA-256 (a claim of the
signer until a node has hashed the whole file), and carries what search needs. `from_payload`
refuses paths that must not reach a disk, two paths that are one where case is ignored, sizes that
do not add up, and a small file whose two digests differ. Whether a release counts is decided by the
publisher's index, not here.

>>> from p2phub.formats.digest import sha256
>>> digest = sha256(b"hello\\n")
>>> readme = FileEntry(("README.md",), 6, digest, ContentId(6, digest))
>>> release = Release(
...     publisher=bytes(32), name="demo", kind="model", created=0, files=(readme,), total_size=6
... )
>>> Release.from_payload(release.to_payload()) == release
True
>>> release.commit
'a9b56a6992aa6de62a8d466044196c7a6524c377'
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self

from p2phub.errors import MalformedError, UnsafePathError
from p2phub.formats import limits
from p2phub.formats.codec import Value
from p2phub.formats.documents import Document, Extra, Fields, joined
from p2phub.formats.ids import KINDS, ContentId, Kind, commit_id
from p2phub.formats.paths import FilePath, check_path, check_unique
from p2phub.formats.urls import is_url

_URL = re.compile(r"https?://[!-~]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Card:
    """What search needs to know of a repo, as its README says it. Empty means: not said."""

    license: str = ""
    task: str = ""
    library: str = ""
    languages: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    base: tuple[str, ...] = ()
    """The models this one was made from, as Hugging Face names them."""
    base_relation: str = ""
    datasets: tuple[str, ...] = ()
    parameters: int = 0
    """Numbers in the tensors of a model, as the headers of its safetensors files count them."""
    extra: Extra = field(default_factory=dict, hash=False)

    @classmethod
    def read(cls, fields: Fields | None) -> Self:
        """The card in a document; an empty one if it is left out. Raises `MalformedError`."""
        if fields is None:
            return cls()
        card = cls(
            fields.text("license", limits.MAX_WORD, default=""),
            fields.text("task", limits.MAX_WORD, default=""),
            fields.text("library", limits.MAX_WORD, default=""),
            fields.texts("languages", limits.MAX_LANGUAGES, limits.MAX_LANGUAGE, optional=True),
            fields.texts("tags", limits.MAX_TAGS, limits.MAX_WORD, optional=True),
            fields.texts("base", limits.MAX_BASES, limits.MAX_FOREIGN_NAME, optional=True),
            fields.text("base_relation", limits.MAX_WORD, default=""),
            fields.texts("datasets", limits.MAX_DATASETS, limits.MAX_FOREIGN_NAME, optional=True),
            fields.number("parameters", default=0),
            fields.rest(),
        )
        if card == cls():
            raise fields.wrong("card", "is empty; it must be left out")
        return card

    def write(self) -> Mapping[str, Value] | None:
        """The card as a document holds it; None if it is empty."""
        fields: dict[str, Value] = {
            "license": self.license or None,
            "task": self.task or None,
            "library": self.library or None,
            "languages": self.languages or None,
            "tags": self.tags or None,
            "base": self.base or None,
            "base_relation": self.base_relation or None,
            "datasets": self.datasets or None,
            "parameters": self.parameters or None,
        }
        return joined(fields, self.extra) or None


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a release. `content.size` is `size`; a payload holds it once."""

    path: FilePath
    size: int
    sha256: bytes
    """A claim of the signer, until this node has hashed the whole file."""
    content: ContentId
    git_sha1: bytes | None = None
    """Hugging Face's etag of a small file."""
    seeds: tuple[str, ...] = ()
    """URLs that serve this file; none with a user or a password in it."""
    extra: Extra = field(default_factory=dict, hash=False)

    @classmethod
    def read(cls, fields: Fields) -> Self:
        path = fields.texts("path", limits.MAX_PATH_PARTS, limits.MAX_PATH_PART)
        try:
            check_path(path)
        except UnsafePathError as error:
            raise fields.wrong("path", f"is refused: {error.message}") from error
        size = fields.number("size", 0, limits.MAX_FILE)
        digest, content = fields.digest("sha256"), fields.digest("content")
        if size <= limits.MAX_PIECE and content != digest:
            raise fields.wrong("content", f"is not the SHA-256 of {'/'.join(path)!r}, a small file")
        git_sha1 = fields.data("git_sha1", limits.GIT_DIGEST, limits.GIT_DIGEST, default=b"")
        seeds = fields.texts("seeds", limits.MAX_SEEDS, limits.MAX_SEED, optional=True)
        if not all(map(is_url, seeds)) or len(set(seeds)) != len(seeds):
            raise fields.wrong("seeds", "has something that is not a URL of http(s), or one twice")
        return cls(
            path, size, digest, ContentId(size, content), git_sha1 or None, seeds, fields.rest()
        )

    def write(self) -> Mapping[str, Value]:
        if self.content.size != self.size:
            raise MalformedError(f"{'/'.join(self.path)!r}: its content id is of another size")
        fields: dict[str, Value] = {
            "path": self.path,
            "size": self.size,
            "sha256": self.sha256,
            "content": self.content.digest,
            "git_sha1": self.git_sha1,
            "seeds": self.seeds or None,
        }
        return joined(fields, self.extra)


@dataclass(frozen=True, slots=True)
class Lineage:
    """What a release was made from: a release by its digest, or a repo of another hub."""

    relation: str
    """As Hugging Face says it: finetune, adapter, merge, quantized; or another word."""
    release: bytes = b""
    upstream: str = ""
    revision: str = ""
    extra: Extra = field(default_factory=dict, hash=False)

    @classmethod
    def read(cls, fields: Fields) -> Self:
        made = cls(
            fields.text("relation", limits.MAX_WORD),
            fields.digest("release", default=b""),
            fields.text("upstream", limits.MAX_FOREIGN_NAME, default=""),
            fields.text("revision", limits.MAX_REVISION, default=""),
            fields.rest(),
        )
        if bool(made.release) == bool(made.upstream):
            raise fields.wrong("lineage", "names both a release and an upstream, or neither")
        return made

    def write(self) -> Mapping[str, Value]:
        fields: dict[str, Value] = {
            "relation": self.relation,
            "release": self.release or None,
            "upstream": self.upstream or None,
            "revision": self.revision or None,
        }
        return joined(fields, self.extra)


@dataclass(frozen=True, slots=True)
class Upstream:
    """The repo and commit of another hub that this release is a copy of."""

    endpoint: str
    repo: str
    commit: str
    extra: Extra = field(default_factory=dict, hash=False)

    @classmethod
    def read(cls, fields: Fields) -> Self:
        endpoint = fields.text("endpoint", limits.MAX_ENDPOINT)
        if _URL.fullmatch(endpoint) is None:
            raise fields.wrong("endpoint", "is not a URL of http(s)")
        return cls(
            endpoint,
            fields.text("repo", limits.MAX_FOREIGN_NAME),
            fields.text("commit", limits.MAX_REVISION),
            fields.rest(),
        )

    def write(self) -> Mapping[str, Value]:
        fields: dict[str, Value] = {
            "endpoint": self.endpoint,
            "repo": self.repo,
            "commit": self.commit,
        }
        return joined(fields, self.extra)


@dataclass(frozen=True, slots=True, kw_only=True)
class Release(Document):
    """An immutable list of files. Files are kept sorted by path, parents by digest."""

    TYPE: ClassVar[str] = "release"

    publisher: bytes
    name: str
    kind: Kind
    parents: tuple[bytes, ...] = ()
    """Digests of the releases this one follows."""
    created: int
    """Unix seconds, as the signer's clock had it."""
    message: str = ""
    files: tuple[FileEntry, ...]
    card: Card = field(default_factory=Card)
    lineage: tuple[Lineage, ...] = ()
    upstream: Upstream | None = None
    total_size: int
    """Bytes of all files together."""
    requires: tuple[str, ...] = ()
    extra: Extra = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", tuple(sorted(self.files, key=lambda file: file.path)))
        object.__setattr__(self, "parents", tuple(sorted(self.parents)))

    @property
    def commit(self) -> str:
        """The 40 hexadecimal digits that this release is known by."""
        return commit_id(self.digest)

    @classmethod
    def _read(cls, fields: Fields, requires: tuple[str, ...]) -> Self:
        files, total_size = _read_files(fields)
        upstream = fields.part("upstream")
        return cls(
            publisher=fields.digest("publisher"),
            name=fields.name(),
            kind=read_kind(fields),
            parents=fields.digests("parents", limits.MAX_PARENTS),
            created=fields.time("created"),
            message=fields.text("message", limits.MAX_MESSAGE_TEXT, default="", lines=True),
            files=files,
            card=Card.read(fields.part("card")),
            lineage=tuple(
                map(Lineage.read, fields.parts("lineage", limits.MAX_LINEAGE, optional=True))
            ),
            upstream=None if upstream is None else Upstream.read(upstream),
            total_size=total_size,
            requires=requires,
            extra=fields.rest(),
        )

    def _write(self) -> Mapping[str, Value]:
        return {
            "publisher": self.publisher,
            "name": self.name,
            "kind": self.kind,
            "created": self.created,
            "files": [file.write() for file in self.files],
            "total_size": self.total_size,
            "message": self.message or None,
            "parents": self.parents or None,
            "card": self.card.write(),
            "lineage": [made.write() for made in self.lineage] or None,
            "upstream": None if self.upstream is None else self.upstream.write(),
        }


def read_kind(fields: Fields) -> Kind:
    """The kind of a repo. Raises `MalformedError`."""
    found = fields.text("kind", limits.MAX_WORD)
    for kind in KINDS:
        if kind == found:
            return kind
    raise fields.wrong("kind", f"is {found!r}; it must be one of {', '.join(KINDS)}")


def _read_files(fields: Fields) -> tuple[tuple[FileEntry, ...], int]:
    files = tuple(map(FileEntry.read, fields.parts("files", limits.MAX_FILES)))
    paths = [file.path for file in files]
    if not paths:
        raise fields.wrong("files", "is empty")
    if paths != sorted(paths):
        raise fields.wrong("files", "is not sorted by path")
    try:
        check_unique(paths)
    except UnsafePathError as error:
        raise fields.wrong("files", f"is refused: {error.message}") from error
    total = fields.number("total_size")
    added = sum(file.size for file in files)
    if added != total:
        raise fields.wrong("total_size", f"is {total}, but the files add up to {added}")
    return files, total
