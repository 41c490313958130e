"""What a model signature says (OpenSSF Model Signing v1.0): the digest of every file of a folder.

An in-toto statement: one subject (the name of the folder, and one digest over the digests of all
files), and a predicate with the files and with how they were hashed. The statement about a release
is made from the SHA-256 values that the release has already: no file is read. Two methods exist:
`files` has one digest a file, `shards` one for each stretch of `shard_size` bytes and none for an
empty file.

p2phub adds a part of its own to the predicate, which other verifiers must ignore: the publisher
who signed, and the digest of the delegation that certified the key then. Neither is believed: who
may sign is asked of the publisher's current delegation.

Rules it keeps:
 * a path that must not reach a disk is refused, and so are two that are one where case is ignored;
 * the shards of a file leave no hole and do not overlap;
 * version control is left out, as the package `model-signing` does unless told otherwise: with its
   default options it would miss those files. They stay covered by the release itself.

It leaves the signature to `sigstore` and `p2phub.trust`, and the files to the node.

>>> files = [(("config.json",), sha256(b"{}")), ((".gitattributes",), sha256(b"*"))]
>>> statement = about("minilm", files)
>>> [file.path for file in statement.files]
[('config.json',)]
>>> Statement.from_payload(statement.to_payload()) == statement
True
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, Literal, Self, get_args

from p2phub.errors import MalformedError, UnsafePathError, UsageError
from p2phub.formats import limits
from p2phub.formats.digest import Algorithm, from_hexadecimal, sha256
from p2phub.formats.documents import has_control
from p2phub.formats.ids import PublisherId
from p2phub.formats.paths import FilePath, check_path, check_unique
from p2phub.formats.sigstore import JsonObject, read_json, shown

Method = Literal["files", "shards"]

FILE_NAME: Final = "model.sig"
"""What the signature of a folder is called in that folder."""
VERSION_CONTROL: Final = (".git", ".gitattributes", ".github", ".gitignore")
_LEFT_OUT: Final = (*VERSION_CONTROL, FILE_NAME)

_STATEMENT: Final = "https://in-toto.io/Statement/v1"
_PREDICATE: Final = "https://model_signing/signature/v1.0"
_OLD_PREDICATE: Final = "https://model_signing/Digests/v0.1"
_SIZES: Final[dict[Algorithm, int]] = {"sha256": 32, "blake2b": 64, "blake3": 32}
_SPELLINGS: Final[dict[str, Algorithm]] = {each: each for each in _SIZES} | {"blake2": "blake2b"}


@dataclass(frozen=True, slots=True, order=True)
class Stretch:
    """Bytes of a file and their digest. `end` is None where the file ends, wherever that is."""

    start: int
    end: int | None
    digest: bytes


@dataclass(frozen=True, slots=True)
class SignedFile:
    """One file, and the stretches that are all of it, in order."""

    path: FilePath
    stretches: tuple[Stretch, ...]

    @property
    def size(self) -> int | None:
        """Bytes; None if the statement does not say."""
        return self.stretches[-1].end


@dataclass(frozen=True, slots=True)
class Statement:
    """What was signed. Files are kept sorted by path, what is ignored too."""

    name: str
    """Of the folder; it binds nobody."""
    files: tuple[SignedFile, ...]
    ignored: tuple[FilePath, ...]
    """Files and folders that may be there and were not looked at."""
    algorithm: Algorithm = "sha256"
    shard_size: int = 0
    """Bytes; 0 with the method `files`."""
    publisher: PublisherId | None = None
    """Who says that they have signed it, in the part that only p2phub reads."""
    delegation: bytes = b""
    """The digest of the delegation that certified the key when it was signed; may be empty."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", tuple(sorted(self.files, key=lambda file: file.path)))
        object.__setattr__(self, "ignored", tuple(sorted(set(self.ignored))))

    @property
    def method(self) -> Method:
        return "shards" if self.shard_size else "files"

    def ignores(self, path: FilePath) -> bool:
        """Whether a file that is not listed may be there all the same."""
        return any(path[: len(each)] == each for each in self.ignored)

    def to_payload(self) -> bytes:
        """The JSON to sign. One statement has one spelling."""
        resources = [self._resource(file, each) for file in self.files for each in file.stretches]
        digests = (each.digest for file in self.files for each in file.stretches)
        predicate: JsonObject = {
            "serialization": self._serialization(),
            "resources": resources,
        }
        if self.publisher is not None:
            predicate["p2phub"] = {
                "publisher": str(self.publisher),
                "delegation": self.delegation.hex(),
            }
        statement = {
            "_type": _STATEMENT,
            "subject": [{"name": self.name, "digest": {"sha256": _over(digests)}}],
            "predicateType": _PREDICATE,
            "predicate": predicate,
        }
        return json.dumps(statement, ensure_ascii=False, separators=(",", ":")).encode()

    def _serialization(self) -> JsonObject:
        made: JsonObject = {
            "method": self.method,
            "hash_type": self.algorithm,
            "allow_symlinks": True,
            "ignore_paths": ["/".join(path) for path in self.ignored],
        }
        return made | ({"shard_size": self.shard_size} if self.shard_size else {})

    def _resource(self, file: SignedFile, each: Stretch) -> JsonObject:
        name = "/".join(file.path)
        return {
            "name": f"{name}:{each.start}:{each.end}" if self.shard_size else name,
            "algorithm": _called(self.algorithm, self.shard_size),
            "digest": each.digest.hex(),
        }

    @classmethod
    def from_payload(cls, data: bytes) -> Self:
        """Read a statement. Raises `MalformedError` for what is none, or breaks a limit."""
        text = read_json(data, limits.MAX_OMS_ITEMS, "a statement")
        _check_types(text)
        name, over = _subject(text)
        predicate = _object(text, "predicate")
        how = _object(predicate, "serialization")
        algorithm, shard_size = _algorithm(how), _shard_size(how)
        resources = predicate.get("resources")
        if not isinstance(resources, list) or not 1 <= len(resources) <= limits.MAX_OMS_RESOURCES:
            raise MalformedError("a statement without a proper list of files, or with too many")
        listed = [_listed(each, algorithm, shard_size) for each in resources]
        if _over(stretch.digest for _, stretch in listed) != over:
            raise MalformedError("the digest of a statement is not that of its files")
        publisher, delegation = _own_part(predicate.get("p2phub"))
        return cls(
            name, _files(listed), _ignored(how), algorithm, shard_size, publisher, delegation
        )


def about(
    name: str,
    files: Iterable[tuple[FilePath, bytes]],
    publisher: PublisherId | None = None,
    delegation: bytes = b"",
) -> Statement:
    """The statement that these files have these SHA-256 values.

    Raises `UsageError` if none of them is left to sign, or if they are too many.
    """
    ignored = tuple((each,) for each in _LEFT_OUT)
    signed = to_sign(files)
    if not 1 <= len(signed) <= limits.MAX_OMS_RESOURCES:
        raise UsageError(
            f"{len(signed)} files to sign; a model signature covers 1 to"
            f" {limits.MAX_OMS_RESOURCES}, without those of version control",
            remedy="publish without --oms: the release itself is signed anyway",
        )
    return Statement(name, signed, ignored, publisher=publisher, delegation=delegation)


def to_sign(files: Iterable[tuple[FilePath, bytes]]) -> tuple[SignedFile, ...]:
    """Those of these files, with their SHA-256, that a statement about them lists; in order."""
    return tuple(
        SignedFile(path, (Stretch(0, None, digest),))
        for path, digest in sorted(files)
        if path[0] not in _LEFT_OUT
    )


def _over(digests: Iterable[bytes]) -> str:
    return sha256(b"".join(digests)).hex()


def _called(algorithm: str, shard_size: int) -> str:
    return f"{algorithm}-sharded-{shard_size}" if shard_size else algorithm


def _object(fields: Any, key: str) -> JsonObject:
    found = fields.get(key) if isinstance(fields, dict) else None
    if not isinstance(found, dict):
        raise MalformedError(f"a statement without a proper {key}")
    return found


def _check_types(text: JsonObject) -> None:
    if text.get("_type") != _STATEMENT:
        raise MalformedError(f"a statement of the type {shown(text.get('_type'))}")
    kind = text.get("predicateType")
    if kind == _OLD_PREDICATE:
        raise MalformedError(
            "a model signature of the experimental format v0.1",
            remedy="ask its maker for one of model-signing 1.0 or newer",
        )
    if kind != _PREDICATE:
        raise MalformedError(f"a statement that is no model signature, but {shown(kind)}")


def _subject(text: JsonObject) -> tuple[str, str]:
    subjects = text.get("subject")
    if not isinstance(subjects, list) or len(subjects) != 1:
        raise MalformedError("a model signature is about one subject")
    subject = subjects[0]
    digest = _object(subject, "digest").get("sha256")
    name = subject.get("name", "")
    if not isinstance(name, str) or len(name) > limits.MAX_PATH or has_control(name):
        raise MalformedError(f"a statement about {shown(name)}")
    if not isinstance(digest, str):
        raise MalformedError("a statement whose subject has no sha256")
    return name, digest


def _algorithm(how: JsonObject) -> Algorithm:
    found = _SPELLINGS.get(str(how.get("hash_type")))
    if found is None:
        raise MalformedError(
            f"a model signature with digests of {shown(how.get('hash_type'))}",
            remedy=f"this p2phub knows {', '.join(_SIZES)}",
        )
    return found


def _shard_size(how: JsonObject) -> int:
    method = how.get("method")
    if method not in get_args(Method):
        raise MalformedError(f"a model signature by the unknown method {shown(method)}")
    if method == "files":
        return 0
    size = how.get("shard_size")
    whole = int(size) if isinstance(size, float) and size.is_integer() else size
    if type(whole) is not int or not 1 <= whole <= limits.MAX_FILE:
        raise MalformedError(f"a model signature with shards of {shown(size)} bytes")
    return whole


def _listed(resource: object, algorithm: Algorithm, shard_size: int) -> tuple[FilePath, Stretch]:
    """One entry: which file, and what of it."""
    fields = resource if isinstance(resource, dict) else {}
    name, digest = fields.get("name"), fields.get("digest")
    if not isinstance(name, str) or not isinstance(digest, str):
        raise MalformedError("a statement about a file without a name or a digest")
    kind = fields.get("algorithm")
    if kind != _called(algorithm, shard_size):
        raise MalformedError(f"the digest of {shown(name)} is one of {shown(kind)}")
    raw = from_hexadecimal(digest, _SIZES[algorithm])
    if raw is None:
        raise MalformedError(f"the digest of {shown(name)} is none of {algorithm}")
    if not shard_size:
        return _path(name), Stretch(0, None, raw)
    file, *bounds = name.rsplit(":", 2)
    if len(bounds) != 2 or not all(map(_is_offset, bounds)):
        raise MalformedError(f"{shown(name)} is no shard of a file")
    return _path(file), Stretch(int(bounds[0]), int(bounds[1]), raw)


def _is_offset(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 16


def _path(name: str) -> FilePath:
    path = tuple(name.split("/"))
    try:
        check_path(path)
    except UnsafePathError as error:
        raise MalformedError(f"a statement about an {error.message}") from error
    return path


def _files(listed: list[tuple[FilePath, Stretch]]) -> tuple[SignedFile, ...]:
    """The files, each with all its stretches. Raises `MalformedError` if they do not fit."""
    found = []
    for path, group in groupby(sorted(listed, key=_place), key=lambda each: each[0]):
        stretches = tuple(stretch for _, stretch in group)
        end: int | None = 0
        for stretch in stretches:
            if stretch.start != end or (stretch.end is not None and stretch.end <= stretch.start):
                raise MalformedError(f"the shards of {shown('/'.join(path))} do not fit together")
            end = stretch.end
        found.append(SignedFile(path, stretches))
    try:
        check_unique([file.path for file in found])
    except UnsafePathError as error:
        raise MalformedError(f"a statement about an {error.message}") from error
    return tuple(found)


def _place(listed: tuple[FilePath, Stretch]) -> tuple[FilePath, int]:
    return listed[0], listed[1].start


def _ignored(how: JsonObject) -> tuple[FilePath, ...]:
    """What may be there unlisted; an entry that leads nowhere inside the folder ignores nothing.

    The first releases of the package ignored version control and did not say so.
    """
    found = how.get("ignore_paths")
    if found is None:
        return tuple((each,) for each in VERSION_CONTROL)
    if not isinstance(found, list) or len(found) > limits.MAX_OMS_IGNORED:
        raise MalformedError("a statement without a proper list of ignored paths")
    texts = [each for each in found if isinstance(each, str) and len(each) <= limits.MAX_PATH]
    paths = [tuple(text.rstrip("/").split("/")) for text in texts if not has_control(text)]
    return tuple(path for path in paths if not {"", ".", ".."} & set(path))


def _own_part(fields: object) -> tuple[PublisherId | None, bytes]:
    """What p2phub added; nothing if somebody else signed, or something else has that name."""
    if not isinstance(fields, dict):
        return None, b""
    publisher, delegation = fields.get("publisher"), fields.get("delegation")
    try:
        known = PublisherId.parse(publisher) if isinstance(publisher, str) else None
    except UsageError:
        known = None
    digest = from_hexadecimal(delegation) if isinstance(delegation, str) else None
    return known, digest or b"" if known is not None else b""
