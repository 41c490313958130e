"""Recover a publisher whose root was lost or stolen: a new root, signed by its recovery keys.

Somebody prepares the new root in a file; the helpers sign it, each on a machine of their own; who
has the new recovery phrase finishes. The file is public, and all that travels.

Rules it keeps:
 * a recovered root has fresh keys, from a new master secret;
 * until the threshold of recovery keys has signed, nothing anywhere changes;
 * the release key of the machine that finishes is let in; after a theft, only what is named stays
   of the old delegation and revocations.
"""

import secrets
from collections.abc import Sequence

from p2phub.errors import RefusedError, UntrustedError, UsageError
from p2phub.formats.notices import Revocation, Withdrawal
from p2phub.formats.parcel import Parcel
from p2phub.formats.publisher import Head, KeySet, ReleaseKey, Root
from p2phub.node.desk import Desk, free_key_name, heard_papers, is_newer, release_keys
from p2phub.node.rotating import Keep, redelegated
from p2phub.trust import changes
from p2phub.trust.envelope import Envelope, sign
from p2phub.trust.hidden import SecretBytes
from p2phub.trust.identity import Identity, reached, verify_chain
from p2phub.trust.keys import SEED_SIZE, SigningKey
from p2phub.trust.notices import Signed, in_force
from p2phub.trust.papers import Papers, find_chain, find_papers
from p2phub.trust.parcels import envelopes, merged, packed
from p2phub.trust.secrets import Master


def prepare(public: Parcel, master: Master, recovery: KeySet | None, after: int | None) -> Parcel:
    """The public documents of a publisher, and beside them the new root that nobody has signed yet.

    It follows root `after`, or the newest; `recovery`: the keys that can recover it again, or None
    for those there were. Raises `RefusedError` if that root names no recovery keys, `UsageError`.
    """
    papers = find_papers(envelopes(public))
    count = len(papers.roots)
    last = count if after is None else after
    if not 1 <= last <= count:
        raise UsageError(f"there is no root {last}; the newest is root {count}")
    chain = papers.identity.chain[:last]
    before = chain[-1].root.recovery
    root = changes.recovery(
        chain,
        KeySet((master.root_key(last + 1).public,)),
        KeySet((master.root_key(last + 2).public,)),
        recovery or before,
    )
    return merged([public, packed([sign(root, [])])])


def finish(desk: Desk, files: Sequence[Parcel], master: Master, keep: Keep | None) -> Parcel:
    """The papers after the recovery that these files have signed; `master` makes the new root.

    Makes a release key here if there is none. Raises `UsageError` if no new root in the files is of
    that master, `UntrustedError` if too few recovery keys have signed it.
    """
    found = envelopes(merged(files))
    root = _new_root(found, master)
    others = [each for each in found if each.digest != root.digest]
    old = _newest(desk, find_papers(others))
    roots = (*_chain_before(others, root), root)
    link = verify_chain(roots)[-1]
    key = _release_key(desk)
    extra = () if old.identity.release_key(key) is not None else (ReleaseKey(key),)
    signer = master.root_key(link.root.v)
    notices = [each for each in found if each.type in (Revocation.TYPE, Withdrawal.TYPE)]
    parcel = redelegated(desk, old, roots, [signer], keep, extra, notices)
    after = find_papers(envelopes(parcel))
    heads = [each for each in found if each.type == Head.TYPE]
    valid = [each for each in notices if _counts(each, after.identity)]
    return merged([parcel, *(packed([each]) for each in (*heads, *valid))])


def _new_root(found: Sequence[Envelope], master: Master) -> Envelope:
    """The root among these that recovers another, and that the phrase makes."""
    roots = {each.digest: Root.from_payload(each.payload) for each in found if _is_root(each)}
    for each in filter(_is_root, found):
        root, before = roots[each.digest], roots.get(roots[each.digest].previous)
        rotates = before is not None and before.next == root.keys.digest
        if root.v > 1 and not rotates and root.keys.keys == (master.root_key(root.v).public,):
            return each
    raise UsageError(
        "no root in this file belongs to this recovery phrase",
        remedy="give the phrase that `p2phub key recover --prepare` showed",
    )


def _is_root(envelope: Envelope) -> bool:
    return envelope.type == Root.TYPE


def _chain_before(others: Sequence[Envelope], new: Envelope) -> tuple[Envelope, ...]:
    """The roots before the new one. Raises `UntrustedError` unless enough helpers signed it."""
    root = Root.from_payload(new.payload)
    chain = find_chain(others)
    place = next((at for at, each in enumerate(chain, 1) if each.digest == root.previous), None)
    if place is None:
        raise UsageError(
            f"the root that root {root.v} follows is not in this file",
            remedy="use the file that `p2phub key recover --prepare` wrote",
        )
    before = Root.from_payload(chain[place - 1].payload)
    if before.recovery is not None:
        signed = reached(before.recovery, new.signed_by())
        if not signed.enough:
            raise UntrustedError(
                f"the new root is signed by {signed} recovery keys",
                remedy="let another helper run `p2phub key sign` on the file",
            )
    return chain[:place]


def _newest(desk: Desk, papers: Papers) -> Papers:
    """The same papers, or newer ones that came here since."""
    heard = heard_papers(desk.store.documents, papers.publisher)
    return heard if heard is not None and is_newer(papers.identity, heard.identity) else papers


def _release_key(desk: Desk) -> bytes:
    """A release key of this machine, which is made if there is none."""
    here = release_keys(desk.keyring)
    if here:
        return here[-1][1].public
    key = SigningKey(SecretBytes(secrets.token_bytes(SEED_SIZE)))
    desk.keyring.save(free_key_name(desk.keyring), key.seed)
    return key.public


def _counts(notice: Envelope, identity: Identity) -> bool:
    """Whether a notice is still taken after the recovery."""
    if notice.type == Revocation.TYPE:
        revocation = Revocation.from_payload(notice.payload)
        return in_force(Signed(revocation, notice.signed_by()), identity)
    return bool(notice.signed_by() & identity.release_keys)


def require_recoverable(papers: Papers, after: int | None) -> None:
    """Root `after`, or the newest, can be recovered. Raises `UsageError`, `RefusedError`."""
    chain = papers.identity.chain
    last = len(chain) if after is None else after
    if not 1 <= last <= len(chain):
        raise UsageError(f"there is no root {last}; the newest is root {len(chain)}")
    if chain[last - 1].root.recovery is None:
        raise RefusedError(
            f"root {last} names no recovery keys, so nobody can recover it",
            remedy="only its recovery phrase can help: see `p2phub key rotate --help`",
        )


def papers_before(files: Sequence[Parcel], master: Master) -> Papers:
    """The papers that these files recover."""
    found = envelopes(merged(files))
    new = _new_root(found, master)
    return find_papers(each for each in found if each.digest != new.digest)
