"""How things are called: content ids, publisher ids, repo names, commit ids, and the references
people type.

An id has exactly one spelling: what `parse` accepts, `str` gives back. Whether a publisher is
trusted, and what an alias stands for, is `p2phub.trust.aliases`' business.

>>> content = ContentId.parse("5-" + "ab" * 32)
>>> content.size, content.has_table
(5, False)
>>> Reference.parse("p2p://lab/minilm@main")
Reference(publisher='lab', name='minilm', revision='main')
"""

import re
from base64 import b32decode, b32encode
from binascii import Error as Base32Error
from dataclasses import dataclass
from typing import Final, Literal, Self, get_args

from p2phub.errors import UsageError
from p2phub.formats.digest import from_hexadecimal, hexadecimal
from p2phub.formats.limits import DIGEST, MAX_ALIAS, MAX_FILE, MAX_NAME, MAX_PIECE, MAX_REF

Kind = Literal["model", "dataset", "space"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

PUBLISHER_ID_LENGTH: Final = 52
COMMIT_ID_LENGTH: Final = 40
MIN_COMMIT_PREFIX: Final = 8
SCHEME: Final = "p2p://"

_NAME = re.compile(rf"[A-Za-z0-9._-]{{1,{MAX_NAME}}}", re.ASCII)
_ALIAS = re.compile(rf"[a-z0-9-]{{1,{MAX_ALIAS}}}", re.ASCII)
_REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*(/[A-Za-z0-9_][A-Za-z0-9._+-]*)*", re.ASCII)
_COMMIT = re.compile(rf"[0-9a-f]{{{COMMIT_ID_LENGTH}}}", re.ASCII)
_PREFIX = re.compile(rf"[0-9a-f]{{{MIN_COMMIT_PREFIX},{COMMIT_ID_LENGTH}}}", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class ContentId:
    """Names every byte of a file: its size, and the digest of its table or, if small, of itself."""

    size: int
    digest: bytes

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `{size}-{hex}`. Raises `UsageError`."""
        size, _, digest = text.partition("-")
        value = from_hexadecimal(digest)
        if value is None or not re.fullmatch(r"0|[1-9][0-9]{0,15}", size, re.ASCII):
            raise UsageError(f"not a content id: {text[:100]!r}", remedy=_CONTENT_REMEDY)
        if int(size) > MAX_FILE:
            raise UsageError(f"a content id of a file over {MAX_FILE} bytes: {text[:100]!r}")
        return cls(int(size), value)

    @property
    def has_table(self) -> bool:
        """Whether `digest` is that of a piece table, not of the file."""
        return self.size > MAX_PIECE

    def __str__(self) -> str:
        return f"{self.size}-{hexadecimal(self.digest)}"


_CONTENT_REMEDY = "A content id is a size, a dash and 64 lower-case hexadecimal digits."


@dataclass(frozen=True, slots=True, order=True)
class PublisherId:
    """The SHA-256 of a publisher's first root: the same for ever, whatever keys it rotates to."""

    digest: bytes

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read 52 characters of lower-case base32. Raises `UsageError`."""
        try:
            made = cls(b32decode(text.upper() + "===="))
        except (Base32Error, ValueError):
            made = cls(b"")
        if len(made.digest) != DIGEST or str(made) != text:
            raise UsageError(
                f"not a publisher id: {text[:100]!r}",
                remedy="A publisher id has 52 characters of a-z and 2-7; `p2phub id` prints it.",
            )
        return made

    @property
    def short(self) -> str:
        """The first 8 characters: for people to look at, never to decide by."""
        return str(self)[:8]

    def __str__(self) -> str:
        return b32encode(self.digest).decode("ascii").lower().rstrip("=")


@dataclass(frozen=True, slots=True, order=True)
class RepoId:
    publisher: PublisherId
    name: str

    def __str__(self) -> str:
        return f"{self.publisher}/{self.name}"


@dataclass(frozen=True, slots=True)
class Reference:
    """What a person typed: `[publisher/]name[@revision]`; `publisher` is an alias or a full id."""

    publisher: str | None
    name: str
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a reference, with or without `p2p://`. Raises `UsageError`."""
        repo, at, revision = text.removeprefix(SCHEME).partition("@")
        publisher, slash, name = repo.rpartition("/")
        if slash:
            check_publisher(publisher)
        check_name(name)
        if at:
            check_ref(revision)
        return cls(publisher if slash else None, name, revision if at else None)

    @property
    def publisher_id(self) -> PublisherId | None:
        """The publisher id that was typed in full; None for an alias or for no publisher."""
        if self.publisher is None or len(self.publisher) != PUBLISHER_ID_LENGTH:
            return None
        return PublisherId.parse(self.publisher)

    def __str__(self) -> str:
        repo = self.name if self.publisher is None else f"{self.publisher}/{self.name}"
        return repo if self.revision is None else f"{repo}@{self.revision}"


def commit_id(release_digest: bytes) -> str:
    """The 40 hexadecimal digits that Hugging Face clients take for an immutable commit."""
    return hexadecimal(release_digest)[:COMMIT_ID_LENGTH]


def is_commit_id(text: str) -> bool:
    return _COMMIT.fullmatch(text) is not None


def is_commit_prefix(text: str) -> bool:
    """Whether `text` can stand for a commit: at least 8 of its digits."""
    return _PREFIX.fullmatch(text) is not None


def head_key(publisher: PublisherId) -> str:
    """The DHT key of a publisher's head: under 50 bytes, else look-ups of it are refused.

    >>> head_key(PublisherId(bytes(32)))
    '/p2phub/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'
    """
    return f"/p2phub/{str(publisher)[:40]}"


def check_name(name: str) -> str:
    """`name` if a repo may be called so (Hugging Face's rules). Raises `UsageError`."""
    wrong = (
        _NAME.fullmatch(name) is None
        or "--" in name
        or ".." in name
        or name[0] in ".-"
        or name[-1] in ".-"
        or name.endswith(".git")
    )
    if wrong:
        raise UsageError(f"not a repo name: {name[:100]!r}", remedy=_NAME_REMEDY)
    return name


_NAME_REMEDY = (
    f"Use 1 to {MAX_NAME} letters, digits, dots, underscores and dashes; no double dash or dot, "
    "no dot or dash at either end, no .git at the end."
)


def check_alias(alias: str) -> str:
    """`alias` if a publisher may be called so on this node. Raises `UsageError`."""
    if _ALIAS.fullmatch(alias) is None:
        raise UsageError(
            f"not an alias: {alias[:100]!r}",
            remedy=f"Use 1 to {MAX_ALIAS} lower-case letters, digits and dashes.",
        )
    return alias


def check_publisher(text: str) -> str:
    """`text` if it is an alias or a full publisher id. Raises `UsageError`."""
    if len(text) == PUBLISHER_ID_LENGTH:
        return str(PublisherId.parse(text))
    return check_alias(text)


def check_ref(ref: str) -> str:
    """`ref` if it may be typed as a revision: a branch, a tag, a commit id or a prefix of one.

    Raises `UsageError`.
    """
    if len(ref) > MAX_REF or _REF.fullmatch(ref) is None or ".." in ref:
        raise UsageError(
            f"not a revision: {ref[:120]!r}",
            remedy=f"Use up to {MAX_REF} letters, digits and . _ + - / as in v1.0 or refs/pr/1.",
        )
    return ref


def check_new_ref(ref: str) -> str:
    """`ref` if a branch or tag may be called so: nobody can take it for a commit.

    Raises `UsageError`.
    """
    if is_commit_id(check_ref(ref)):
        raise UsageError(
            f"a ref that looks like a commit id: {ref}", remedy="Choose another name for it."
        )
    return ref
