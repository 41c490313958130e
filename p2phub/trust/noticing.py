"""How a notice is taken: who may sign it, and that there is room for it.

Rules it keeps:
 * a revocation counts with the threshold of the root it names, as long as that root is in the chain
   and not too old for the delegation;
 * a withdrawal counts for each release key that has signed it and is, or was until it was revoked,
   one of this publisher's;
 * a fork proof counts by itself, until the publisher has settled the fork;
 * what was accepted before a restart is kept as it was, whether it counts at present or not: it may
   count again;
 * signatures that do not count are dropped.

What a notice then means is asked of `notices`.

>>> from p2phub.formats.notices import Withdrawal
>>> from p2phub.testing.publishers import FakePublisher
>>> from p2phub.trust.envelope import sign
>>> from p2phub.trust.records import check_head
>>> lab = FakePublisher(1)
>>> lab_history = History(check_head(lab.head_key, lab.sign_head().pack()))
>>> notice = Withdrawal(lab.publisher.digest, b"r" * 32, 5, "a mistake")
>>> taken = take_notice(
...     lab_history, sign(notice, [lab.key("release")]), notice, False, Trail("this")
... )
>>> list(lab_history.notices.withdrawn(b"r" * 32).values())
['a mistake']
"""

from p2phub.errors import UntrustedError
from p2phub.formats.notices import ForkProof, Notice, Revocation, Withdrawal
from p2phub.trust.envelope import Envelope
from p2phub.trust.forks import read_fork
from p2phub.trust.history import History
from p2phub.trust.notices import Signed, in_force
from p2phub.trust.refusals import Trail
from p2phub.trust.signers import require_signers
from p2phub.trust.verdict import Verdict


def take_notice(
    history: History, envelope: Envelope, notice: Notice, known: bool, trail: Trail
) -> Envelope:
    """Remember `notice` in the history of its publisher, or refuse it; what to keep of it.

    `known`: it was accepted before a restart.
    """
    match notice:
        case Revocation():
            kept = _revocation(history, envelope, notice, known, trail)
        case Withdrawal():
            kept = _withdrawal(history, envelope, notice, known, trail)
        case ForkProof():
            kept = _fork(history, envelope, notice, known, trail)
    history.notice_forks()
    return kept


def _revocation(
    history: History, envelope: Envelope, notice: Revocation, known: bool, trail: Trail
) -> Envelope:
    identity = history.state.identity
    # 4. The threshold of the root it names has signed it, and that root may still revoke.
    signers = require_signers(envelope, trail)
    counts = in_force(Signed(notice, signers), identity)
    detail = (
        f"{len(signers)} signatures for root {notice.root_v}; the newest is {identity.root.v},"
        f" revocations count from root {identity.delegation.revocations_from} on"
    )
    trail.require(known or counts, "signed by its root", detail, Verdict.UNTRUSTED_KEY)
    # 5. There is room for it.
    digest = envelope.digest
    _require_room(history.notices.make_room_to_revoke(digest, identity), trail)
    history.notices.revoke(digest, notice, signers)
    return envelope.only(identity.chain[notice.root_v - 1].root.keys.keys if counts else signers)


def _withdrawal(
    history: History, envelope: Envelope, notice: Withdrawal, known: bool, trail: Trail
) -> Envelope:
    identity, notices = history.state.identity, history.notices
    # 4. A release key has signed it.
    signers = require_signers(envelope, trail)
    counted = frozenset(
        key
        for key in signers
        if known
        or identity.release_key(key) is not None
        or notices.revoked_key(identity, key) is not None
    )
    detail = f"{len(counted)} of {len(signers)} signers hold one"
    trail.require(bool(counted), "signed by a release key", detail, Verdict.UNTRUSTED_KEY)
    # 5. There is room for it.
    counted = frozenset(key for key in counted if notices.has_room_to_withdraw(notice.release, key))
    _require_room(bool(counted), trail)
    for key in counted:
        notices.withdraw(notice.release, key, notice.reason)
    return envelope.only(counted)


def _fork(
    history: History, envelope: Envelope, notice: ForkProof, known: bool, trail: Trail
) -> Envelope:
    identity = history.state.identity
    # 4. It proves a fork that the publisher has not settled.
    with trail.step("a fork"):
        fork = read_fork(notice, identity)
        if not known and not fork.counts(identity):
            raise UntrustedError("its publisher has settled this one")
    # 5. There is room for it.
    _require_room(history.notices.fork(fork, identity), trail)
    return envelope.only(())


def _require_room(room: bool, trail: Trail) -> None:
    trail.require(room, "room for it", "there are as many as may be", Verdict.CORRUPT)
