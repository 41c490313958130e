"""Every call of the control API, as a value: what to send, and how to read the answer.

`Hub` and `AsyncHub` differ only in how they wait; what they ask stands here, once.

>>> call = pull("lab/minilm", include=["*.json"])
>>> call.name, call.body
('pull', {'reference': 'lab/minilm', 'include': ['*.json']})
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from p2phub.bundle_results import BundleExported, BundleImported, InventoryMade, Sites, Swapped
from p2phub.cache_results import CacheAdopted
from p2phub.client import huggingface, ollama
from p2phub.client.results import (
    FileRow,
    Hit,
    Identity,
    Named,
    PartHere,
    PeerInfo,
    Pin,
    Proposal,
    Published,
    Pulled,
    Removed,
    RepoInfo,
    RepoRow,
    Status,
    Verification,
    read,
    read_list,
)
from p2phub.inference_results import FitReport, LoadedRow, ModelRow
from p2phub.key_results import Adopted
from p2phub.trust_results import (
    Candidate,
    DomainLook,
    DomainSays,
    Imported,
    Profile,
    RuleSet,
    Trusted,
    TrustList,
)

T = TypeVar("T")
Answer = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request to a node."""

    name: str
    """The path below `/control/v1/`."""
    read: Callable[[Answer], T]
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    """None makes it a GET."""
    streams: bool = False
    raw: bool = False
    """Whether the answer is just bytes: `read` is given them as `content`."""

    @property
    def path(self) -> str:
        return f"/control/v1/{self.name}"


def _one(shape: type[T]) -> Callable[[Answer], T]:
    return lambda answer: read(shape, answer)


def _many(key: str, shape: type[T]) -> Callable[[Answer], list[T]]:
    return lambda answer: read_list(shape, answer.get(key))


def _given(**arguments: Any) -> dict[str, Any]:
    """The arguments that say something."""
    return {
        key: list(value) if isinstance(value, tuple | list) else value
        for key, value in arguments.items()
        if value not in (None, (), [])
    }


def identity() -> Call[Identity]:
    return Call("id", _one(Identity))


def status() -> Call[Status]:
    return Call("status", _one(Status))


def peers() -> Call[list[PeerInfo]]:
    return Call("peers", _many("peers", PeerInfo))


def connect(address: str) -> Call[PeerInfo]:
    return Call("connect", _one(PeerInfo), body={"address": address})


def publish(
    folder: Path,
    name: str,
    *,
    message: str = "",
    tag: str | None = None,
    kind: str = "model",
    sign_with: str | None = None,
    in_place: bool = False,
    rehash: bool = False,
    seeds: Sequence[str] = (),
    oms: bool = False,
    base: str | None = None,
    relation: str | None = None,
    prepare: Path | None = None,
    proposal_file: Path | None = None,
) -> Call[Published]:
    options = _given(
        message=message or None,
        tag=tag,
        kind=kind,
        sign_with=sign_with,
        in_place=in_place or None,
        rehash=rehash or None,
        seeds=seeds,
        oms=oms or None,
        base=base,
        relation=relation,
        prepare=_path(prepare),
        proposal_file=_path(proposal_file),
    )
    body = {"folder": str(_absolute(ollama.resolve(folder))), "name": name} | options
    return Call("publish", _one(Published), body=body, streams=True)


def finish(file: Path, *, tag: str | None = None, sign_with: str | None = None) -> Call[Published]:
    body: dict[str, Any] = {"file": _path(file)} | _given(tag=tag, sign_with=sign_with)
    return Call("publish/finish", _one(Published), body=body, streams=True)


def proposals() -> Call[list[Proposal]]:
    return Call("proposals", _many("proposals", Proposal))


def sign_proposal(commit: str, *, sign_with: str | None = None) -> Call[Proposal]:
    body = {"commit": commit} | _given(sign_with=sign_with)
    return Call("proposals/sign", _one(Proposal), body=body, streams=True)


def fetch_proposal(commit: str, *, to: Path | None = None) -> Call[Proposal]:
    body = {"commit": commit} | _given(to=_path(to))
    return Call("proposals/fetch", _one(Proposal), body=body, streams=True)


def drop_proposal(commit: str) -> Call[Proposal]:
    return Call("proposals/rm", _one(Proposal), body={"commit": commit})


def pull(
    reference: str,
    *,
    to: Path | None = None,
    layout: str | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
) -> Call[Pulled]:
    if layout == "hf":
        to = to or huggingface.own_cache()
    if layout == "ollama":
        to = to or ollama.own_models()
    body = {"reference": reference} | _given(
        to=_path(to), layout=layout, include=include, exclude=exclude
    )
    return Call("pull", _one(Pulled), body=body, streams=True)


def adopt(
    cache: Path | None = None,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    dry_run: bool = False,
    forget: bool = False,
) -> Call[CacheAdopted]:
    body = {"cache": _path(cache or huggingface.own_cache())} | _given(
        include=include, exclude=exclude, dry_run=dry_run or None, forget=forget or None
    )
    return Call("adopt", _one(CacheAdopted), body=body, streams=True)


def bundle_export(
    references: Sequence[str],
    to: Path,
    *,
    since: Path | None = None,
    size_limit: int | None = None,
    part: int | None = None,
    recipients: Sequence[str] = (),
    seal: bool = False,
) -> Call[BundleExported]:
    body = {"references": list(references), "to": _path(to)} | _given(
        since=_path(since) if since else None,
        size_limit=size_limit,
        part=part,
        recipients=recipients,
        seal=seal or None,
    )
    return Call("bundle/export", _one(BundleExported), body=body, streams=True)


def bundle_import(path: Path, identities: Sequence[Path] = ()) -> Call[BundleImported]:
    body = {"path": _path(path)} | _given(identities=[_path(each) for each in identities])
    return Call("bundle/import", _one(BundleImported), body=body, streams=True)


def swap(
    path: Path,
    *,
    wants: Sequence[str] = (),
    name: str | None = None,
    inventories: Sequence[Path] = (),
    size_limit: int | None = None,
    to_anybody: bool = False,
    seal: bool = False,
) -> Call[Swapped]:
    body = {"path": _path(path)} | _given(
        wants=wants,
        name=name,
        inventories=[_path(each) for each in inventories],
        size_limit=size_limit,
        to_anybody=to_anybody or None,
        seal=seal or None,
    )
    return Call("bundle/swap", _one(Swapped), body=body, streams=True)


def inventory(wants: Sequence[str] = (), name: str | None = None) -> Call[InventoryMade]:
    return Call("bundle/inventory", _one(InventoryMade), body=_given(wants=wants, name=name))


def sites() -> Call[Sites]:
    return Call("bundle/sites", _one(Sites))


def resolve(reference: str) -> Call[Named]:
    return Call("resolve", _one(Named), body={"reference": reference})


def ranges(reference: str, path: str, ranges: Sequence[tuple[int, int]]) -> Call[PartHere]:
    return Call("ranges", _one(PartHere), body=_part(reference, path, ranges), streams=True)


def read_ranges(reference: str, path: str, ranges: Sequence[tuple[int, int]]) -> Call[bytes]:
    return Call(
        "read", lambda answer: answer["content"], body=_part(reference, path, ranges), raw=True
    )


def _part(reference: str, path: str, ranges: Sequence[tuple[int, int]]) -> dict[str, Any]:
    return {"reference": reference, "path": path, "ranges": [list(each) for each in ranges]}


def search(text: str = "", **filters: Any) -> Call[list[Hit]]:
    return Call("search", _many("hits", Hit), query=_given(text=text or None, **filters))


def info(reference: str) -> Call[RepoInfo]:
    return Call("info", _one(RepoInfo), query={"reference": reference})


def repos() -> Call[list[RepoRow]]:
    return Call("repos", _many("repos", RepoRow))


def files(reference: str) -> Call[list[FileRow]]:
    return Call("files", _many("files", FileRow), query={"reference": reference})


def verify(reference: str | None = None) -> Call[list[Verification]]:
    body = _given(reference=reference)
    return Call("verify", _many("results", Verification), body=body, streams=True)


def remove(reference: str) -> Call[Removed]:
    return Call("rm", _one(Removed), body={"reference": reference})


def models() -> Call[list[ModelRow]]:
    return Call("models", _many("models", ModelRow))


def loaded() -> Call[list[LoadedRow]]:
    return Call("models/loaded", _many("models", LoadedRow))


def load_model(
    reference: str,
    *,
    keep_alive: int | None = None,
    keep: bool = False,
    adapters: Sequence[str] = (),
    task: str | None = None,
) -> Call[LoadedRow]:
    options = _given(keep_alive=keep_alive, keep=keep or None, adapters=adapters, task=task)
    body = {"reference": reference} | options
    return Call("models/load", _one(LoadedRow), body=body, streams=True)


def unload(reference: str) -> Call[LoadedRow]:
    return Call("models/unload", _one(LoadedRow), body={"reference": reference})


def fit(reference: str) -> Call[FitReport]:
    return Call("models/fit", _one(FitReport), body={"reference": reference})


def trust_list() -> Call[list[Trusted]]:
    return Call("trust", _many("pins", Trusted))


def trust_add(alias: str, publisher_id: str) -> Call[Pin]:
    return Call("trust/add", _one(Pin), body={"alias": alias, "publisher_id": publisher_id})


def trust_remove(alias: str) -> Call[Pin]:
    return Call("trust/rm", _one(Pin), body={"alias": alias})


def trust_policy(
    publisher: str, policy: str | None = None, stale: str | None = None, code: str | None = None
) -> Call[RuleSet]:
    body = {"publisher": publisher} | _given(policy=policy, stale=stale, code=code)
    return Call("trust/policy", _one(RuleSet), body=body)


def trust_export() -> Call[TrustList]:
    return Call("trust/export", _one(TrustList))


def trust_import(text: str, *, confirmed: bool = False) -> Call[Imported]:
    return Call("trust/import", _one(Imported), body={"text": text, "confirmed": confirmed})


def trust_candidates(alias: str) -> Call[list[Candidate]]:
    return Call("trust/candidates", _many("candidates", Candidate), query={"alias": alias})


def trust_check(publisher: str | None = None) -> Call[list[DomainLook]]:
    body = _given(publisher=publisher)
    return Call("trust/check", _many("looks", DomainLook), body=body, streams=True)


def profile(name: str | None = None, domain: str | None = None) -> Call[Profile]:
    given = {"name": name, "domain": domain}
    said = {key: text for key, text in given.items() if text is not None}
    return Call("profile", _one(Profile), body=said)


def trust_domain(domain: str) -> Call[DomainSays]:
    return Call("trust/domain", _one(DomainSays), body={"domain": domain})


def identity_adopt(parcel: str) -> Call[Adopted]:
    return Call("identity/adopt", _one(Adopted), body={"parcel": parcel})


def identity_join(publisher_id: str) -> Call[Adopted]:
    return Call("identity/join", _one(Adopted), body={"publisher_id": publisher_id})


def _absolute(path: Path) -> Path:
    """The node has a working directory of its own."""
    return Path(path).expanduser().absolute()


def _path(path: Path | None) -> str | None:
    return str(_absolute(path)) if path is not None else None
