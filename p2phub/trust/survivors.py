"""What is left of an index when a key is revoked that may have written in it.

What the last good index says is right. What was set after it counts only if enough other keys have
signed it; and what the thief took away or moved is put back to where it was.

Rules it keeps:
 * that a ref says by its own number that it is old proves nothing: the thief wrote that number;
 * a ref that stays does not claim to be younger than the index it now stands in.

It leaves to the caller which releases others have signed, and to sign what comes out.

>>> good = [RepoEntry("demo", "model", {"main": Ref(b"g" * 32, 4)})]
>>> evil = [RepoEntry("demo", "model", {"main": Ref(b"e" * 32, 2), "v9": Ref(b"e" * 32, 9)})]
>>> found = survivors(good, evil, seq=5, counts=lambda repo, release: False)
>>> found.entries == tuple(good), found.dropped
(True, ('demo@main', 'demo@v9'))
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from p2phub.formats import limits
from p2phub.formats.publisher import Ref, RepoEntry
from p2phub.trust.merging import MAIN

Counts = Callable[[str, bytes], bool]
"""Whether a release (repo, digest) is signed by enough keys that are still trusted."""


@dataclass(frozen=True, slots=True)
class Survivors:
    """What the next index lists."""

    entries: tuple[RepoEntry, ...]
    """By name."""
    dropped: tuple[str, ...]
    """The refs that were set by nobody who may, as `repo@ref`."""


def survivors(
    good: Iterable[RepoEntry], newest: Iterable[RepoEntry], *, seq: int, counts: Counts
) -> Survivors:
    """What of `newest` may stand in an index with number `seq` that follows the last `good` one."""
    before = {entry.name: entry for entry in good}
    now = {entry.name: entry for entry in newest}
    entries: list[RepoEntry] = []
    dropped: list[str] = []
    for name in sorted(before.keys() | now.keys()):
        left, lost = _of_repo(before.get(name), now.get(name), seq, counts)
        dropped += (f"{name}@{ref}" for ref in lost)
        if left is not None:
            entries.append(left)
    return Survivors(tuple(entries), tuple(dropped))


def _of_repo(
    good: RepoEntry | None, newest: RepoEntry | None, seq: int, counts: Counts
) -> tuple[RepoEntry | None, list[str]]:
    """What is left of one repo, and the refs that are not."""
    refs = dict(good.refs) if good is not None else {}
    lost = []
    set_since = newest.refs if newest is not None else {}
    for name, ref in sorted(set_since.items()):
        if name in refs and refs[name].release == ref.release:
            continue
        assert newest is not None
        room = name in refs or len(refs) < limits.MAX_REFS
        if room and counts(newest.name, ref.release):
            refs[name] = Ref(ref.release, min(ref.seq, seq), ref.tag, ref.extra)
        else:
            lost.append(name)
    if not refs:
        return None, lost
    described = good if good is not None and _is_of(good, refs) else newest or good
    assert described is not None
    return replace(described, refs=refs), lost


def _is_of(entry: RepoEntry, refs: dict[str, Ref]) -> bool:
    """Whether the card of `entry` is still that of what `main` names."""
    was, now = entry.refs.get(MAIN), refs.get(MAIN)
    return was is None or now is None or was.release == now.release
