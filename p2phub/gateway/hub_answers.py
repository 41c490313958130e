"""What the Hugging Face Hub says of repos, as JSON: the fields that its clients read.

The fields of a repo come from what its publisher signed; those that need a file of it (the front
matter of the README, `config.json`, the headers of the weights) are there when that file is.

>>> iso(1700000000)
'2023-11-14T22:13:20.000Z'
>>> title("first line\\nmore"), title("")
('first line', 'no message')
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import prod
from typing import Any, Final

from p2phub.errors import NoFileError
from p2phub.formats.huggingface import folder_entry, folder_ids, tree_entry
from p2phub.formats.ids import Kind, commit_id
from p2phub.formats.manifest import Card, FileEntry, Release
from p2phub.formats.paths import FilePath
from p2phub.node.headers import Described
from p2phub.node.hub import Past
from p2phub.node.locate import ResolvedRelease
from p2phub.node.values import Hit

Json = dict[str, Any]
_FULL: Final = ("author", "disabled", "gated", "lastModified", "p2phub", "sha", "usedStorage")
"""What a list tells only to who asks for everything."""
_CONFIG_KEYS: Final = ("architectures", "model_type", "auto_map", "quantization_config")


@dataclass(frozen=True, slots=True)
class About:
    """What the files of a release say of it, as far as they are here."""

    metadata: Mapping[str, Any] = field(default_factory=dict)
    """The front matter of the README."""
    described: Described | None = None


def iso(seconds: int) -> str:
    """A time as the Hub writes it."""
    moment = datetime.fromtimestamp(min(max(seconds, 0), 253402300799), UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def title(message: str) -> str:
    """The first line of what a publisher said of a release."""
    return message.partition("\n")[0] or "no message"


def repo_id(ref: str) -> str:
    """The repo of a reference: what stands before `@`."""
    return ref.partition("@")[0]


# ---------------------------------------------------------------- repos


def info(resolved: ResolvedRelease, about: About, *, blobs: bool) -> Json:
    """A repo at one of its revisions. `blobs`: with the size and digests of each file."""
    release, called = resolved.release, repo_id(resolved.called)
    card = about.metadata or _metadata_of(release.card, release.kind)
    told = _always(called, resolved.commit, release.kind, release.created) | {
        "author": called.rpartition("/")[0] or None,
        "cardData": card,
        "siblings": [_sibling(file, blobs) for file in release.files],
        "tags": tags_of(release.card, release.kind),
        "usedStorage": release.total_size,
        "p2phub": {
            "release": resolved.digest.hex(),
            "publisher": str(resolved.repo.publisher),
            "verdict": resolved.judgement.text,
        },
    }
    if release.kind == "model":
        told |= _model_fields(release.card, about)
        told["model-index"] = card.get("model-index")
    if release.kind == "space":
        told["sdk"] = card.get("sdk")
    return told


def row(hit: Hit, *, full: bool) -> Json:
    """A repo that a search found."""
    called = repo_id(hit.ref)
    card = Card(
        license=hit.license or "",
        task=hit.task or "",
        library=hit.library or "",
        languages=hit.languages,
        tags=hit.tags,
    )
    told = _always(called, hit.commit, hit.kind, hit.created) | {
        "author": called.rpartition("/")[0] or None,
        "tags": tags_of(card, hit.kind),
        "usedStorage": hit.bytes,
        "p2phub": {"publisher": hit.publisher_id, "verdict": hit.verdict},
    }
    if hit.kind == "model":
        told |= {"pipeline_tag": card.task or None, "library_name": card.library or None}
    if full and hit.parameters is not None:
        told["safetensors"] = {"parameters": {}, "total": hit.parameters}  # types: in its headers
    if full:
        return told | {"cardData": _metadata_of(card, hit.kind)}
    return {key: value for key, value in told.items() if key not in _FULL}


def _always(called: str, commit: str, kind: Kind, created: int) -> Json:
    told = {
        "_id": commit[:24],
        "id": called,
        "sha": commit,
        "lastModified": iso(created),
        "createdAt": iso(created),
        "private": False,
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
    }
    return told | {"modelId": called} if kind == "model" else told


def _model_fields(card: Card, about: About) -> Json:
    told: Json = {"pipeline_tag": card.task or None, "library_name": card.library or None}
    if about.described is None:
        return told
    config = about.described.config
    told["config"] = {key: config[key] for key in _CONFIG_KEYS if key in config}
    if parameters := parameters_of(about.described):
        told["safetensors"] = {"parameters": parameters, "total": sum(parameters.values())}
    return told


def parameters_of(described: Described) -> dict[str, int]:
    """How many parameters there are of each dtype, in the words of safetensors."""
    count: Counter[str] = Counter()
    for header in described.files.values():
        for tensor in header.tensors:
            count[tensor.dtype] += prod(tensor.shape)
    return dict(count)


def safetensors_metadata(described: Described) -> Json:
    """The headers of all shards, as the Hub tells those of a sharded model."""
    headers: dict[str, Json] = {
        name: {
            tensor.name: {
                "dtype": tensor.dtype,
                "shape": list(tensor.shape),
                "data_offsets": [tensor.start - header.length, tensor.stop - header.length],
            }
            for tensor in header.tensors
        }
        for name, header in described.files.items()
    }
    total = sum(
        tensor.stop - tensor.start for h in described.files.values() for tensor in h.tensors
    )
    return {"index": {"metadata": {"total_size": total}}, "headers": headers}


def tags_of(card: Card, kind: Kind) -> list[str]:
    """The tags of a repo: the Hub makes them of its card."""
    task = card.task if kind == "model" else f"task_categories:{card.task}"
    language = "{}" if kind == "model" else "language:{}"
    made = [
        card.library,
        task if card.task else "",
        *card.tags,
        *(language.format(each) for each in card.languages),
        f"license:{card.license}" if card.license else "",
        *(f"base_model:{each}" for each in card.base),
        *(f"dataset:{each}" for each in card.datasets),
    ]
    return list(dict.fromkeys(filter(None, made)))


def _metadata_of(card: Card, kind: Kind) -> Json:
    """The front matter that says what a card says."""
    task: Json = (
        {"pipeline_tag": card.task} if kind == "model" else {"task_categories": [card.task]}
    )
    told = {
        "license": card.license,
        **(task if card.task else {}),
        "library_name": card.library,
        "language": list(card.languages),
        "tags": list(card.tags),
        "base_model": list(card.base),
        "datasets": list(card.datasets),
    }
    return {key: value for key, value in told.items() if value}


# ---------------------------------------------------------------- files


def _sibling(file: FileEntry, blobs: bool) -> Json:
    name = "/".join(file.path)
    if not blobs:
        return {"rfilename": name}
    entry = tree_entry(file)
    told: Json = {"rfilename": name, "size": file.size, "blobId": entry["oid"]}
    if lfs := entry.get("lfs"):
        told["lfs"] = {
            "sha256": lfs["oid"],
            "size": lfs["size"],
            "pointerSize": lfs["pointerSize"],
        }
    return told


def tree(release: Release, below: FilePath, *, recursive: bool) -> list[Json]:
    """The files and folders below a folder, by their paths. Raises `NoFileError`."""
    depth = len(below)
    found = {
        path: entry
        for path, entry in _entries(release).items()
        if path[:depth] == below and len(path) > depth and (recursive or len(path) == depth + 1)
    }
    if below and not found:
        raise NoFileError(
            f"{release.name} has no folder {'/'.join(below)}", remedy="list the tree above it"
        )
    return [found[path] for path in sorted(found)]


def paths_info(release: Release, paths: Iterable[FilePath]) -> list[Json]:
    """The files and folders of these paths; those that are none are left out."""
    entries = _entries(release)
    return [entries[path] for path in dict.fromkeys(paths) if path in entries]


def _entries(release: Release) -> dict[FilePath, Json]:
    """Every file and every folder."""
    folders = folder_ids(release.files)
    return {path: folder_entry(path, oid) for path, oid in folders.items() if path} | {
        file.path: tree_entry(file) for file in release.files
    }


def with_last_commits(entries: Sequence[Json], history: Sequence[Past]) -> list[Json]:
    """Each entry with the release that changed it last, as far as the history is known."""
    versions = [
        {entry["path"]: entry["oid"] for entry in _entries(past.release).values()}
        for past in history
    ]
    told = []
    for entry in entries:
        last = 0
        while last + 1 < len(history) and versions[last + 1].get(entry["path"]) == entry["oid"]:
            last += 1
        commit = {
            "id": history[last].commit,
            "title": title(history[last].release.message),
            "date": iso(history[last].release.created),
        }
        told.append(entry | {"lastCommit": commit, "securityFileStatus": None})
    return told


# ---------------------------------------------------------------- history


def refs(resolved: ResolvedRelease, *, pull_requests: bool) -> Json:
    """The branches and tags of a repo."""
    told: Json = {"branches": [], "tags": [], "converts": []}
    if pull_requests:
        told["pullRequests"] = []
    for name, ref in sorted(resolved.refs.items()):
        if name.startswith("refs/pr/"):
            where, full = "pullRequests", name
        elif name.startswith("refs/convert/"):
            where, full = "converts", name
        elif ref.tag:
            where, full = "tags", f"refs/tags/{name}"
        else:
            where, full = "branches", f"refs/heads/{name}"
        if where in told:
            told[where].append({"name": name, "ref": full, "targetCommit": commit_id(ref.release)})
    return told


def commits(history: Sequence[Past], author: str) -> list[Json]:
    """A history, the newest first."""
    return [
        {
            "id": past.commit,
            "title": title(past.release.message),
            "message": past.release.message.partition("\n")[2].strip(),
            "date": iso(past.release.created),
            "authors": [{"user": author}],
        }
        for past in history
    ]
