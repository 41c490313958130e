"""The end game: what to take off a run that will be long in coming, for a source that is free.

Both sources should end together, so the end of the run is cut off in proportion to their speeds.
The piece that is on its way stays with who sends it; only when nothing else is left of the run,
and somebody else would have it much sooner, is a piece worth asking for twice.

>>> from p2phub.formats.pieces import Run
>>> sizes = PieceSizes([1_000_000] * 8)
>>> slow, fast = SourceState(held=None, cursor=0), SourceState(held=None, cursor=0)
>>> slow.begin(Run(0, 8), now=0.0)
>>> slow.brought(1_000_000, now=1.0)
>>> fast.brought(1_000_000, now=0.25)
>>> slow.asked[0].at = 1
>>> seconds_left(slow.asked[0], slow, sizes, now=1.0)
7.0
>>> end_to_give(slow.asked[0], slow, fast, sizes)
(3, 8)
"""

from p2phub.protocol.piece_set import PieceSet, Stretch
from p2phub.protocol.piece_sizes import PieceSizes
from p2phub.protocol.source_state import Asked, SourceState


def seconds_left(asked: Asked, source: SourceState, sizes: PieceSizes, now: float) -> float:
    """How long `source` will need for what is left of its run."""
    rest, share = sizes.of(asked.at, asked.stop), source.share()
    if not rest:
        return 0.0
    return max(now - asked.since, rest / share if share else 0.0)


def end_to_give(
    asked: Asked, theirs: SourceState, ours: SourceState, sizes: PieceSizes
) -> Stretch | None:
    """The pieces of a run of `theirs` that `ours` should bring; None if it has none of them."""
    if ours.is_past(asked.at):
        return None
    their_share = theirs.share() or 1.0
    our_share = ours.share(more=1) or their_share
    keep = sizes.of(asked.at, asked.stop) * their_share / (their_share + our_share)
    end = (sizes.cut(asked.at, asked.stop, keep), asked.stop)
    parts = [end] if ours.held is None else list(PieceSet([end]).common(ours.held))
    return parts[-1] if parts and parts[-1][0] < parts[-1][1] else None


def is_sooner(
    asked: Asked, seconds: float, ours: SourceState, theirs: SourceState, sizes: PieceSizes
) -> bool:
    """Whether `ours` has the piece that is on its way, and would bring it in half the time."""
    share = ours.share(more=1) or theirs.share() or 1.0
    is_held = (ours.held is None or asked.at in ours.held) and not ours.is_past(asked.at)
    return is_held and seconds > 2 * sizes.of(asked.at, asked.at + 1) / share
