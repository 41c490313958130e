"""Changes of our own publisher, made and signed beside the node that will adopt them.

Reads a store (one that a node runs on, too) and gives a parcel of public documents. What makes the
keys of the root is handed in for the moment of signing, and nothing of it stays here; without it
the documents wait for whoever holds the root, in a file for `key sign`.

Rules it keeps:
 * a change begins with the newest papers that this disk knows;
 * where the publisher has forked, its writers count afresh from beyond what was seen;
 * when the key of this machine goes, another one is here before the change is signed.
"""

import secrets
from collections.abc import Sequence
from typing import Final

from p2phub.errors import NotFoundError, UsageError
from p2phub.formats.digest import from_hexadecimal
from p2phub.formats.ids import COMMIT_ID_LENGTH, Reference, commit_id
from p2phub.formats.notices import Revoked, RevokedKey
from p2phub.formats.parcel import Parcel
from p2phub.formats.publisher import Delegation, Index, ReleaseKey
from p2phub.node.desk import (
    Desk,
    free_key_name,
    heard_head,
    key_in_force,
    release_keys,
    require_own_papers,
)
from p2phub.node.locate import locate
from p2phub.node.reissue import Listing, newest_listing, read_listing
from p2phub.trust import changes
from p2phub.trust.envelope import Envelope, unpack
from p2phub.trust.hidden import SecretBytes
from p2phub.trust.keys import SEED_SIZE, SigningKey
from p2phub.trust.papers import Papers
from p2phub.trust.parcels import packed
from p2phub.trust.secrets import RootSecret

MIN_PREFIX: Final = 8
"""Hex digits that are enough to name a key or a notice, if only one begins with them."""


def root_signers(papers: Papers, secret: RootSecret | None) -> tuple[SigningKey, ...]:
    """The key of the newest root that `secret` makes; none without a secret, when others will sign.

    Raises `UsageError` if this secret makes no key of that root.
    """
    if secret is None:
        return ()
    root = papers.identity.root
    key = secret.root_key(root.v)
    if key.public not in root.keys.keys:
        raise UsageError(
            f"this does not make the key of root {root.v} of {papers.publisher.short}",
            remedy="give the recovery phrase that was made last for this publisher",
        )
    return (key,)


def delegated(
    desk: Desk,
    papers: Papers,
    made: Delegation,
    signers: Sequence[SigningKey],
    notices: Sequence[Envelope] = (),
) -> Parcel:
    """The papers with another delegation; without signers they wait for others to sign."""
    wanted = unforked(desk, papers, made)
    if not signers:
        return packed(changes.drafted(papers, papers.roots, wanted, notices))
    return packed([*changes.changed(papers, wanted, signers).envelopes, *notices])


# ---------------------------------------------------------------- release keys


def allow(
    desk: Desk, secret: RootSecret | None, key: ReleaseKey, threshold: int | None = None
) -> Parcel:
    """Let a release key in, or change its limits. Raises as `changes.allow`."""
    papers = require_own_papers(desk.store.documents)
    made = changes.allow(papers.identity, key, now=desk.now(), threshold=threshold)
    return delegated(desk, papers, made, root_signers(papers, secret))


def remove(
    desk: Desk, secret: RootSecret | None, prefix: str, threshold: int | None = None
) -> Parcel:
    """Take a release key out; what it signed is signed by the key of this machine."""
    papers = require_own_papers(desk.store.documents)
    signers = root_signers(papers, secret)
    made = _without(desk, papers, find_key(papers, prefix), threshold)
    return delegated(desk, papers, made, signers)


def revoke_key(
    desk: Desk, secret: RootSecret | None, prefix: str, reason: str, last_good: str | None
) -> Parcel:
    """Take a release key back: nothing that it signs after its last good index counts.

    `last_good`: the seq of an index, the commit of a release that it lists, `none`, or None for the
    newest index. Raises `NotFoundError` if there is no such index here.
    """
    changes.check_reason(reason)
    papers = require_own_papers(desk.store.documents)
    signers, key = root_signers(papers, secret), find_key(papers, prefix)
    last = last_good_index(desk, papers, last_good)
    made = _without(desk, papers, key, None)
    revoked = RevokedKey(key) if last is None else RevokedKey(key, last.index.seq, last.digest)
    notice = changes.revoke(papers.identity, revoked, reason, desk.now(), signers)
    return delegated(desk, papers, made, signers, [notice])


def find_key(papers: Papers, prefix: str) -> bytes:
    """The release key whose hex begins with `prefix`. Raises `UsageError`, `NotFoundError`."""
    text = prefix.lower()
    if len(text) < MIN_PREFIX or set(text) - set("0123456789abcdef"):
        raise UsageError(
            f"{prefix[:80]!r} names no key",
            remedy=f"give {MIN_PREFIX} or more of its hex digits, as `p2phub key ls` prints them",
        )
    found = [key for key in papers.identity.release_keys if key.hex().startswith(text)]
    if len(found) != 1:
        raise NotFoundError(
            f"{len(found)} release keys of this publisher begin with {text}",
            remedy="`p2phub key ls` prints them",
        )
    return found[0]


def _without(desk: Desk, papers: Papers, key: bytes, threshold: int | None) -> Delegation:
    """The delegation without `key`; with a new key if it was the one of this machine."""
    held = key_in_force(desk.keyring, papers.identity, desk.now())
    if held is None or held[1].public != key:
        return changes.remove(papers.identity, key, threshold=threshold)
    known = papers.identity.release_key(key)
    assert known is not None, "it is in force"
    others = [
        each
        for each in papers.identity.delegation.keys
        if each.key != key and is_here(desk, each.key)
    ]
    if others:
        return changes.remove(papers.identity, key, threshold=threshold)
    name, new = free_key_name(desk.keyring), SigningKey(SecretBytes(secrets.token_bytes(SEED_SIZE)))
    replacement = ReleaseKey(new.public, known.repos, known.not_after)
    made = changes.remove(papers.identity, key, replacement=replacement, threshold=threshold)
    desk.keyring.save(name, new.seed)
    return made


def is_here(desk: Desk, key: bytes) -> bool:
    """Whether a release key is on this machine."""
    return any(held.public == key for _, held in release_keys(desk.keyring))


def unforked(desk: Desk, papers: Papers, made: Delegation) -> Delegation:
    """A new delegation settles a fork: its writers count from beyond what was seen of them."""
    state = desk.knowledge.state(papers.publisher)
    if state is None or not state.forked:
        return made
    highest: dict[bytes, int] = {}
    for digest in desk.store.documents.of_type(Index.TYPE):
        data = desk.store.documents.get(digest)
        index = Index.from_payload(unpack(data).payload) if data is not None else None
        if index is not None and index.publisher == papers.publisher.digest:
            highest[index.writer] = max(highest.get(index.writer, 0), index.writer_seq)
    return changes.after_fork(made, highest)


# ---------------------------------------------------------------- the last good index


def last_good_index(desk: Desk, papers: Papers, text: str | None) -> Listing | None:
    """The index up to which everything is good; None where nothing is.

    Raises `NotFoundError` if it is not on this disk, `UsageError` for what names none.
    """
    newest = _newest(desk, papers)
    if newest is None or text == "none":
        return None
    if text is None:
        return newest
    if text.isdecimal() and len(text) < MIN_PREFIX:
        return _back_to(desk, newest, int(text))
    if not MIN_PREFIX <= len(text) <= COMMIT_ID_LENGTH or set(text) - set("0123456789abcdef"):
        raise UsageError(
            f"{text[:80]!r} is no commit and no number of an index",
            remedy="give a commit as `p2phub info` prints it, a seq, or none",
        )
    found = {
        ref.seq
        for entry in newest.entries
        for ref in entry.refs.values()
        if commit_id(ref.release).startswith(text)
    }
    if not found:
        raise NotFoundError(
            f"no ref names the commit {text} now",
            remedy="give the number of the last good index instead: `p2phub trust ls` prints it",
        )
    return _back_to(desk, newest, max(found))


def _newest(desk: Desk, papers: Papers) -> Listing | None:
    record = heard_head(desk.store.documents, papers.publisher)
    if record is None:
        return None
    found = newest_listing(desk, record.head)
    if found is None:
        raise NotFoundError(
            "the newest index of this publisher is not on this disk",
            remedy="pull one of its repos first, or do this on a machine that publishes",
        )
    return found


def _back_to(desk: Desk, newest: Listing, seq: int) -> Listing:
    """The newest index, or one that it follows, with a seq of at most `seq`."""
    here = newest
    while here.index.seq > seq:
        before = [read_listing(desk.store.documents, each) for each in here.index.parents]
        known = [each for each in before if each is not None]
        if not known:
            raise NotFoundError(
                f"no index with number {seq} is on this disk; the oldest is {here.index.seq}",
                remedy="name a later one, or none",
            )
        here = max(known, key=lambda each: each.index.seq)
    return here


# ---------------------------------------------------------------- taking back


def revoke(desk: Desk, secret: RootSecret | None, revoked: Revoked, reason: str) -> Parcel:
    """Take a release or a file back, by the root."""
    papers = require_own_papers(desk.store.documents)
    signers = root_signers(papers, secret)
    notice = changes.revoke(papers.identity, revoked, reason, desk.now(), signers)
    return packed([*papers.envelopes, notice])


def withdraw(desk: Desk, release: bytes, reason: str) -> Parcel:
    """Take the signatures of the release keys here off a release."""
    papers = require_own_papers(desk.store.documents)
    data = desk.store.documents.get(release)
    signers = unpack(data).signed_by() if data is not None else papers.identity.release_keys
    here = [key for _, key in release_keys(desk.keyring) if key.public in signers]
    named = [key for key in here if papers.identity.release_key(key.public) is not None]
    if not named:
        raise NotFoundError(
            "none of the keys that signed this release is here and in force",
            remedy="withdraw it where it was published, or revoke it with the root",
        )
    made = [changes.withdraw(papers.identity, release, reason, desk.now(), key) for key in named]
    return packed([*papers.envelopes, *made])


def own_release(desk: Desk, reference: str) -> bytes:
    """The digest of a release of our own that somebody named, by a reference or in hex.

    Raises `NotFoundError`, `UsageError` for a release of somebody else.
    """
    digest = from_hexadecimal(reference)
    if digest is not None:
        return digest
    found = locate(desk.store, desk.knowledge, Reference.parse(reference))
    papers = require_own_papers(desk.store.documents)
    if found.repo.publisher != papers.publisher:
        raise UsageError(
            f"{reference[:80]} is not a release of your own publisher",
            remedy="only its publisher can take it back; you can drop it with `p2phub rm`",
        )
    return found.digest
