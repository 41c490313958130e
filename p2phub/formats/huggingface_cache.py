"""How a Hugging Face cache is laid out: names, links and texts, for whoever writes or reads one.

    <cache>/CACHEDIR.TAG                      so that backups leave it out
    <cache>/.locks/models--org--name/<etag>.lock        held (flock) while a blob is put there
    <cache>/models--org--name/
      blobs/<etag>                            the bytes; the name is `huggingface.etag_of`
      snapshots/<commit>/a/config.json        -> ../../../blobs/<etag>
      refs/main                               the commit, 40 hexadecimal digits, nothing else
      trees/<commit>.json                     every file of the commit, whether it is here or not
      .no_exist/<commit>/<path>               empty: the server once said that there is no such file
    <cache>/blobs/<xx>/<xet hash>             blobs that several repos share: only of downloads
    <cache>/blobs/.huggingface-shared-blobs     through Xet; `blobs/<etag>` is then a link to one

Format: huggingface_hub 2.4.0, `file_download` (`_hf_hub_download_to_cache_dir`,
`repo_folder_name`), `_tree_cache`, `_local_folder` (the tag), `utils/_shared_blobs` and
`utils/_validators` (repo ids).

>>> repo_folder("dataset", "lab/texts")
'datasets--lab--texts'
>>> link_target(("onnx", "model.onnx"), "ab" * 20)[:20]
'../../../blobs/ababa'
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from p2phub.errors import MalformedError, UsageError
from p2phub.formats.huggingface import etag_of, tree_cache_entry
from p2phub.formats.ids import KINDS, ContentId, Kind
from p2phub.formats.limits import MAX_NAME
from p2phub.formats.manifest import FileEntry
from p2phub.formats.paths import FilePath

TAG_NAME: Final = "CACHEDIR.TAG"
TAG_TEXT: Final = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# This file is a cache directory tag created by huggingface_hub.\n"
    "# For information about cache directory tags, see:\n"
    "#\thttps://bford.info/cachedir/\n"
)
LOCKS: Final = ".locks"
TREE_VERSION: Final = 1
_PART = re.compile(rf"\b[\w.-]{{1,{MAX_NAME}}}\b", re.ASCII)
_ETAG = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}", re.ASCII)
_FOLDER = re.compile(r"(model|dataset|space)s--([\w.-]+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Etag:
    """What the name of a blob says of its bytes."""

    algorithm: Literal["sha256", "git"]
    """`git`: SHA-1 of `blob <size>`, a zero byte, and the bytes."""
    digest: bytes

    @classmethod
    def parse(cls, text: str) -> "Etag | None":
        """None for a name that says nothing: 40 or 64 lower-case hexadecimal digits do.

        >>> Etag.parse("ce013625030ba8dba906f756967f9e9ca394464a").algorithm
        'git'
        >>> Etag.parse("x" * 40) is None
        True
        """
        if _ETAG.fullmatch(text) is None:
            return None
        return cls("git" if len(text) == 40 else "sha256", bytes.fromhex(text))

    def __str__(self) -> str:
        return self.digest.hex()


def check_repo_id(repo_id: str) -> str:
    """`repo_id` if Hugging Face's clients take it: `name` or `namespace/name`.

    Raises `UsageError`.
    """
    parts = repo_id.split("/")
    right = len(parts) <= 2 and all(map(_PART.fullmatch, parts))
    if not right or "--" in repo_id or ".." in repo_id or repo_id.endswith(".git"):
        raise UsageError(
            f"Hugging Face's tools take no repo that is called {repo_id[:120]!r}",
            remedy="write the full id of the publisher before the name, or pin it under an alias"
            " without dashes at an end or two in a row: `p2phub trust add ALIAS ID`",
        )
    return repo_id


def repo_folder(kind: Kind, repo_id: str) -> str:
    """The folder of a repo in a cache."""
    return "--".join([f"{kind}s", *repo_id.split("/")])


def repo_of(folder: str) -> tuple[Kind, str] | None:
    """What a folder of a cache is of; None if it is no repo's.

    >>> repo_of("models--lab--minilm"), repo_of("models--gpt2"), repo_of("blobs")
    (('model', 'lab/minilm'), ('model', 'gpt2'), None)
    """
    found = _FOLDER.fullmatch(folder)
    kind = next((each for each in KINDS if found and each == found[1]), None)
    return None if found is None or kind is None else (kind, found[2].replace("--", "/"))


def link_target(path: FilePath, etag: str) -> str:
    """What the link of a file says, as it lies in its snapshot."""
    return "../" * (len(path) + 1) + f"blobs/{etag}"


def tree_text(files: Iterable[FileEntry]) -> str:
    """What `trees/<commit>.json` holds of all files of a release."""
    listed = {"/".join(file.path): tree_cache_entry(file) for file in files}
    in_order = {path: listed[path] for path in sorted(listed)}
    return json.dumps({"format_version": TREE_VERSION, "files": in_order}, indent=1)


def blobs_of(files: Iterable[FileEntry]) -> dict[str, FileEntry]:
    """The blobs that files need, by etag. Two files of the same bytes need one.

    Raises `MalformedError` where different bytes are to have one name: a release whose signer named
    wrong digests.
    """
    found: dict[str, FileEntry] = {}
    contents: dict[str, ContentId] = {}
    for file in files:
        etag = etag_of(file)
        if contents.setdefault(etag, file.content) != file.content:
            names = f"{'/'.join(found[etag].path)} and {'/'.join(file.path)}"
            raise MalformedError(
                f"{names} are different files, and the release gives both the digest {etag}",
                remedy="pull it without a Hugging Face cache, and tell its publisher",
            )
        found.setdefault(etag, file)
    return found
