"""List a release that was prepared or proposed, once enough keys have signed it.

Whatever brought the signatures, the release passes our own gate like any other, and its files must
be on this disk: whoever lists a release gives it out. The index and the head are signed by the
release key of this node.

What becomes of it:
 * listed already: it is announced again, and tagged if a tag is asked for;
 * `main` has moved on since it was made: refused, for it would take back what came after;
 * too few signatures: kept as a proposal, and the error says how many are missing;
 * files that are gone: the error names them.
"""

import contextlib
from functools import partial

from p2phub.errors import NotFoundError, RefusedError, UntrustedError
from p2phub.formats.ids import PublisherId, commit_id
from p2phub.formats.publisher import Delegation, RepoEntry
from p2phub.node.author import Author, author_of, own_delegation, require_may_write
from p2phub.node.events import Report, Warned
from p2phub.node.listing import list_release
from p2phub.node.own_history import base_of, follows
from p2phub.node.own_index import on_newest
from p2phub.node.proposals import (
    Proposed,
    keep,
    missing_files,
    proposed,
    read_release,
    with_known_signatures,
)
from p2phub.node.publish import Outcome, announce, check_tag, come_up_to_date, published
from p2phub.node.services import Services
from p2phub.node.values import FinishRequest, Published
from p2phub.trust import envelope
from p2phub.trust.envelope import Envelope
from p2phub.trust.merging import MAIN
from p2phub.trust.signers import objection


async def finish(services: Services, request: FinishRequest, report: Report) -> Published:
    """List the release in a file.

    Raises `NotFoundError` (no such file, files of the release that are gone, no release key here),
    `MalformedError`, `UntrustedError` (too few signatures, another publisher's, revoked),
    `RefusedError` (`main` has moved on).
    """
    check_tag(request.tag)
    signed = await services.on_disk(read_release, request.file)
    made = await services.on_disk(_checked, services, signed)
    return await finish_proposal(
        services, made, sign_with=request.sign_with, tag=request.tag, report=report
    )


def _checked(services: Services, signed: Envelope) -> Proposed:
    return proposed(own_delegation(services), signed)


async def finish_proposal(
    services: Services, made: Proposed, *, sign_with: str | None, tag: str | None, report: Report
) -> Published:
    """The same for a release that was read already."""
    own = PublisherId(made.release.publisher)
    author = await services.on_disk(author_of, services, sign_with)
    async with services.signing:
        await come_up_to_date(services, own, made.release.name)
        finish = partial(_finish, services, author, made, tag, report)
        outcome, tag = await on_newest(services, own, finish)
    await announce(services, own, outcome.digest, outcome.release)
    return await services.on_disk(published, services, outcome, tag)


def _finish(
    services: Services, author: Author, made: Proposed, tag: str | None, report: Report
) -> tuple[Outcome, str | None]:
    delegation = own_delegation(services)
    release, known = made.release, services.store.proposals.get(made.digest)
    require_may_write(delegation, author.key, services.now(), release.name)
    base = base_of(services, author.publisher)
    is_new = not _listed(services, base.entry(release.name), made)
    tag = tag or (known.tag if known is not None else "") or None
    if is_new:
        _require_next(base.entry(release.name), made)
        made = proposed(delegation, with_known_signatures(services, made.signed))
        made = _with_own(delegation, author, made)
        _require_enough(services, made, tag)
    else:
        report(Warned(f"commit {commit_id(made.digest)} of {release.name} is listed already"))
    _require_files(services, made)
    signed = made.signed if is_new else None
    list_release(services, author, base, made.digest, release, tag, signed)
    services.store.proposals.drop(made.digest)
    return Outcome(made.digest, release), tag


def _listed(services: Services, entry: RepoEntry | None, made: Proposed) -> bool:
    """Whether `main` names it. Raises `RefusedError` if it did once, and moved on."""
    main = entry.refs.get(MAIN) if entry is not None else None
    if main is None or entry is None:
        return False
    if main.release == made.digest:
        return True
    was = any(ref.release == made.digest for ref in entry.refs.values())
    if was or follows(services, main.release, made.digest):
        raise RefusedError(
            f"commit {commit_id(made.digest)} of {entry.name} was finished before, and main is"
            f" commit {commit_id(main.release)} by now",
            remedy="nothing is left to do; publish its folder again to go back to it",
        )
    return False


def _require_next(entry: RepoEntry | None, made: Proposed) -> None:
    """`main` is what it was when the release was made."""
    main = entry.refs.get(MAIN) if entry is not None else None
    parents = made.release.parents
    if main is None or main.release in parents:
        return
    raise RefusedError(
        f"main of {made.release.name} is commit {commit_id(main.release)} by now, which this"
        " release does not follow",
        remedy="prepare it again: publish --prepare with the same folder; its files are not read"
        " again",
    )


def _with_own(delegation: Delegation, author: Author, made: Proposed) -> Proposed:
    """With the signature of this node, where others have begun and more are needed."""
    release, key = made.release, author.key
    may = not objection(delegation.find(key.public), release.name, release.created)
    if made.is_enough or not made.counted or not may:
        return made
    added = envelope.sign_payload(made.signed.type, made.signed.payload, [key])
    return proposed(delegation, envelope.merge(made.signed, added))


def _require_enough(services: Services, made: Proposed, tag: str | None) -> None:
    if made.is_enough:
        return
    with contextlib.suppress(RefusedError):  # there is no room for it, and the file is there
        keep(services, made, tag=tag, ours=False)
    raise UntrustedError(
        f"commit {commit_id(made.digest)} of {made.release.name} has {made}",
        remedy="run `p2phub key sign FILE` where the keys are that must sign, then finish it again",
    )


def _require_files(services: Services, made: Proposed) -> None:
    gone = missing_files(services, made.release)
    if gone:
        more = f" and {len(gone) - 3} more" if len(gone) > 3 else ""
        raise NotFoundError(
            f"files of {made.release.name} are not on this disk: {', '.join(gone[:3])}{more}",
            remedy="finish it on the node that prepared it, or prepare it again from its folder",
        )
