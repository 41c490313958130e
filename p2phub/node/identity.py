"""Who we are, changed: papers and notices that were signed elsewhere become those of this store.

The root's secrets never reach a running node. Whoever holds them signs public documents beside it
and hands them over as one parcel; the release key that lives here then tells of the change.

Rules it keeps:
 * only our own publisher's papers are taken, or, where there is none yet, those that name a release
   key of this machine;
 * they hold by themselves, are newer than ours, and pass a gate that knows all we know;
 * everything is kept in one transaction: after a crash it is the old identity or the new one.
"""

from collections.abc import Sequence
from contextlib import suppress

from p2phub.errors import (
    ForkedError,
    NotFoundError,
    RefusedError,
    RolledBackError,
    UntrustedError,
    UsageError,
)
from p2phub.formats.manifest import Release
from p2phub.formats.notices import NOTICES
from p2phub.formats.parcel import Parcel
from p2phub.formats.publisher import Head, Index, Page, Root
from p2phub.key_results import Adopted
from p2phub.node.cosigning import require_signed
from p2phub.node.desk import Desk, heard_papers, key_in_force, own_papers
from p2phub.node.reissue import Change, Reissued, primed_gate, rehearse, reissue
from p2phub.store.tips import MAX_TIPS
from p2phub.store.turnover import NewHead, Row, Turnover, turn_over
from p2phub.trust.envelope import Envelope
from p2phub.trust.identity import Comparison, compare
from p2phub.trust.keys import SigningKey
from p2phub.trust.notices import Notices
from p2phub.trust.papers import Papers, find_papers
from p2phub.trust.parcels import envelopes


def adopt(desk: Desk, parcel: Parcel) -> Adopted:
    """Be who the papers in `parcel` say, and tell of it.

    The notices in it are kept, and a head is heard of; other documents in it are not looked at.
    Whoever runs a node holds `Services.signing`. Raises `UntrustedError` or a child for papers that
    do not hold or are not newer, `RefusedError` for those of somebody else or where no key here may
    tell of it.
    """
    try:
        return _adopt(desk, parcel)
    except (UntrustedError, UsageError):
        require_signed(desk, parcel)
        raise


def _adopt(desk: Desk, parcel: Parcel) -> Adopted:
    found = envelopes(parcel)
    before = own_papers(desk.store.documents)
    if before is not None and not any(each.type in (Root.TYPE, Head.TYPE) for each in found):
        after = before
    else:
        after = find_papers(found, before.publisher if before is not None else None)
    notices = tuple(each for each in found if each.type in NOTICES)
    if before is not None and after.envelopes == before.envelopes:
        return _take_back(desk, after, notices)
    if before is None:
        _hear(desk, after, found)
        before = heard_papers(desk.store.documents, after.publisher)
        _require_key_here(desk, after)
    if before is not None:
        require_newer(before, after)
    held = key_in_force(desk.keyring, after.identity, desk.now())
    key = held[1] if held is not None else None
    _count_from(desk, after, key)
    change = Change(before or after, after, notices, key)
    gate = primed_gate(desk, change.before)
    history = gate.history(after.publisher)
    made = reissue(desk, change, history.notices if history is not None else Notices())
    if made is not None:
        rehearse(gate, made, change.notices, desk.now())
    elif change.notices:
        raise RefusedError(
            "nothing was published yet, so nothing can be taken back",
            remedy="to use another release key, run `p2phub key allow` and `p2phub key remove`",
        )
    _keep(desk, change, made)
    _learn(desk, change, made)
    return _told(change, made)


def _take_back(desk: Desk, papers: Papers, notices: Sequence[Envelope]) -> Adopted:
    """Keep notices that change nothing of who we are."""
    if not notices:
        raise UsageError(
            "there is nothing new in this file: these are our papers as they are",
            remedy="`p2phub key ls` shows what is in force",
        )
    for notice in notices:
        desk.knowledge.learn_notice(notice.pack())
    state = desk.knowledge.state(papers.publisher)
    held = key_in_force(desk.keyring, papers.identity, desk.now())
    return Adopted(
        publisher_id=str(papers.publisher),
        root_v=papers.identity.root.v,
        delegation_version=papers.identity.delegation.version,
        release_key=held[1].public.hex() if held is not None else None,
        seq=state.seq if state is not None else None,
        notices=len(notices),
    )


def require_newer(before: Papers, after: Papers) -> None:
    """What `after` says became of `before`, or is the same. Raises what a gate would."""
    known, other = before.identity, after.identity
    match compare(known.chain, other.chain):
        case Comparison.EXTENDED | Comparison.OVERRULES:
            return
        case Comparison.FORKED:
            raise ForkedError(
                f"these papers have another root {_first_difference(before, after)} than ours",
                remedy="if neither was stolen, recover the publisher: `p2phub key recover --help`",
            )
        case Comparison.OVERRULED:
            raise RolledBackError("a recovery has overruled the roots of these papers")
        case Comparison.SHORTENED:
            raise RolledBackError(
                f"these papers end at root {other.root.v}; ours are at root {known.root.v}",
                remedy="begin with the newest papers: `p2phub key export FILE` writes them",
            )
    mine, theirs = known.delegation.version, other.delegation.version
    if theirs < mine:
        raise RolledBackError(
            f"these papers have delegation {theirs}; ours is delegation {mine}",
            remedy="make the change again, beginning with the newest papers",
        )
    if theirs == mine and known.delegation_digest != other.delegation_digest:
        raise ForkedError(
            f"these papers have another delegation {theirs} than ours: both together would prove"
            " that this publisher forked",
            remedy="make the change again, beginning with the newest papers",
        )


def _first_difference(before: Papers, after: Papers) -> int:
    pairs = zip(before.identity.chain, after.identity.chain, strict=False)
    return next(one.root.v for one, other in pairs if one.digest != other.digest)


def _count_from(desk: Desk, papers: Papers, key: SigningKey | None) -> None:
    """After a fork our key goes on with the number from which its papers let it count."""
    known = papers.identity.release_key(key.public) if key is not None else None
    if known is not None and known.numbers_from > 1:
        desk.store.documents.saw_writer_seq(known.key, known.numbers_from - 1)


def _hear(desk: Desk, papers: Papers, found: Sequence[Envelope]) -> None:
    """Let our gate take a head that came along: it says what there was to publish so far."""
    for each in found:
        if each.type == Head.TYPE:
            with suppress(UntrustedError):
                desk.knowledge.learn_head(papers.publisher, each.pack())


def _require_key_here(desk: Desk, papers: Papers) -> None:
    if key_in_force(desk.keyring, papers.identity, desk.now()) is None:
        raise NotFoundError(
            f"{papers.publisher} names no release key that is on this machine",
            remedy="make one with `p2phub key new release`, and let whoever holds the root key run"
            " `p2phub key allow PUBKEY`",
        )


def _keep(desk: Desk, change: Change, made: Reissued | None) -> None:
    after = change.after
    rows = [_row(each) for each in after.envelopes]
    head = None
    if made is not None:
        rows += _rows_of(made)
        order = (len(after.roots), after.identity.delegation.version, made.seq)
        head = NewHead(made.head.digest, made.index, order)
    turn_over(
        desk.store.index,
        Turnover(
            after.publisher,
            [root.digest for root in after.roots],
            after.delegation.digest,
            rows,
            [_row(each) for each in change.notices],
            head,
            _tips(desk, change, made),
        ),
        desk.now(),
    )


def _tips(desk: Desk, change: Change, made: Reissued | None) -> list[bytes] | None:
    """The ends of our history after a new index: the one it takes the place of is none any more."""
    if made is None or made.new_index is None:
        return None
    past = {desk.store.documents.newest_index(change.after.publisher), made.index}
    past.update(Index.from_payload(made.new_index.payload).parents)
    left = [each for each in desk.store.tips.all() if each not in past]
    return [*left, made.index][-MAX_TIPS:]


def _rows_of(made: Reissued) -> list[Row]:
    rows = [_row(made.head), *(_row(each) for each in made.releases)]
    if made.new_index is not None:
        rows.append(_row(made.new_index))
    return rows + [(digest, Page.TYPE, page) for digest, page in made.pages]


def _row(document: Envelope) -> Row:
    return document.digest, document.type, document.pack()


def _learn(desk: Desk, change: Change, made: Reissued | None) -> None:
    """Let this process know too; after a restart it is read from the disk."""
    if made is None:
        return
    knowledge = desk.knowledge
    knowledge.learn_head(change.after.publisher, made.head.pack())
    for notice in change.notices:
        knowledge.learn_notice(notice.pack())
    if made.new_index is not None:
        knowledge.learn(made.new_index.pack(), made.index, Index)
    for digest, page in made.pages:
        knowledge.learn(page, digest, Page)
    for release in made.releases if made.new_index is not None else ():
        knowledge.learn(release.pack(), release.digest, Release)


def _told(change: Change, made: Reissued | None) -> Adopted:
    identity = change.after.identity
    return Adopted(
        publisher_id=str(identity.publisher),
        root_v=identity.root.v,
        delegation_version=identity.delegation.version,
        release_key=change.key.public.hex() if change.key is not None else None,
        seq=made.seq if made is not None else None,
        notices=len(change.notices),
        signed_again=len(made.releases) if made is not None else 0,
        dropped=made.dropped if made is not None else (),
        lacking=made.lacking if made is not None else (),
    )
