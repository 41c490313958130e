"""What several indexes of one publisher say together, as the next index will say it.

Two nodes of one publisher may write at the same time; whoever comes next joins what they wrote.
A repo has every ref of all of them, each as the index set it that has the higher (seq, release
digest); kind, card and size of a repo come with the `main` that won. That nobody can tell from the
result who was joined with whom, in which order or how often, is what lets nodes that merge without
talking to each other end up with the same index:

 * the order of the indexes does not matter, nor which of them are joined first;
 * joining what is in there already changes nothing, so an older index of the same history, or one
   of which everything was taken over, is no news (`holds`).

A repo that gets more refs than one may have keeps `main` and those set last. Nothing is ever
taken out of an index, so nothing can come back by a merge that a publisher had removed.

It leaves to the caller to read the indexes and to sign the one that follows them, and to `catalog`
whether a writer might set the refs that it set.

>>> ours = RepoEntry("demo", "model", {"main": Ref(b"a" * 32, 4), "v1": Ref(b"a" * 32, 4, True)})
>>> theirs = RepoEntry("demo", "model", {"main": Ref(b"b" * 32, 5)}, size=7)
>>> (both,) = merge([[ours], [theirs]])
>>> {name: ref.seq for name, ref in both.refs.items()}, both.size
({'main': 5, 'v1': 4}, 7)
>>> holds([both], [ours]), holds([ours], [both])
(True, False)
>>> [(name, release[:1]) for name, release in outrun([both], [ours])]
[('demo', b'a')]
"""

from collections.abc import Iterable, Mapping
from typing import Final

from p2phub.formats import limits
from p2phub.formats.codec import encode
from p2phub.formats.publisher import Ref, RepoEntry

MAIN: Final = "main"


def merge(indexes: Iterable[Iterable[RepoEntry]]) -> tuple[RepoEntry, ...]:
    """The repos of all of `indexes`, by name; one index has a repo at most once."""
    merged: dict[str, RepoEntry] = {}
    for index in indexes:
        for entry in index:
            known = merged.get(entry.name)
            merged[entry.name] = entry if known is None else _joined(known, entry)
    return tuple(merged[name] for name in sorted(merged))


def holds(index: Iterable[RepoEntry], other: Iterable[RepoEntry]) -> bool:
    """Whether `index` says everything that `other` does, or newer things instead."""
    known = {entry.name: entry for entry in index}
    return all(
        entry.name in known and _joined(known[entry.name], entry) == known[entry.name]
        for entry in other
    )


def outrun(
    merged: Iterable[RepoEntry], index: Iterable[RepoEntry]
) -> tuple[tuple[str, bytes], ...]:
    """The releases that `main` of a repo names in `index` and not in `merged`: (repo, digest)."""
    now = {entry.name: entry.refs[MAIN].release for entry in merged if MAIN in entry.refs}
    return tuple(
        (entry.name, entry.refs[MAIN].release)
        for entry in index
        if MAIN in entry.refs and now.get(entry.name, b"") != entry.refs[MAIN].release
    )


def _joined(one: RepoEntry, other: RepoEntry) -> RepoEntry:
    refs = dict(one.refs)
    for name, ref in other.refs.items():
        if name not in refs or _rank(refs[name]) < _rank(ref):
            refs[name] = ref
    first = max(one, other, key=_precedence)
    return RepoEntry(
        first.name, first.kind, _bounded(refs), first.card, first.size, first.created, first.extra
    )


def _rank(ref: Ref) -> tuple[int, bytes, bool, bytes]:
    """The higher of two of one name is the one that counts."""
    return ref.seq, ref.release, ref.tag, encode(dict(ref.extra))


def _precedence(entry: RepoEntry) -> tuple[tuple[int, bytes], bytes]:
    """Whose kind and card count: who has the higher `main`; of equals any, but always the same."""
    main = entry.refs.get(MAIN)
    described = {name: value for name, value in entry.write().items() if name != "refs"}
    return (0, b"") if main is None else (main.seq, main.release), encode(described)


def _bounded(refs: Mapping[str, Ref]) -> dict[str, Ref]:
    """As many refs as a repo may have: `main`, and of the others those set last."""
    if len(refs) <= limits.MAX_REFS:
        return dict(refs)
    ordered = sorted(refs, key=lambda name: (name == MAIN, _rank(refs[name]), name), reverse=True)
    return {name: refs[name] for name in ordered[: limits.MAX_REFS]}


def merged_profile(newest: Mapping[str, str], other: Mapping[str, str]) -> dict[str, str]:
    """What a publisher says of itself in two indexes that were written at once: where both say
    something, the newest one is right.

    >>> merged_profile({"name": "Lab"}, {"name": "lab", "domain": "lab.example"})
    {'name': 'Lab', 'domain': 'lab.example'}
    """
    both = {**newest, **{key: text for key, text in other.items() if key not in newest}}
    return both if len(both) <= limits.MAX_PROFILE else dict(newest)
