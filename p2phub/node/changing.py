"""Changes of our own publisher, made and signed beside the node that will adopt them.

Reads a store (one that a node runs on, too) and gives a parcel of public documents. Keys of the
root are handed in for the moment of signing; nothing of them stays here.

Rules it keeps:
 * a change begins with the newest papers that this disk knows;
 * where the publisher has forked, its writers count afresh from beyond what was seen;
 * when the key of this machine goes, another one is here before the change is signed.
"""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from p2phub.errors import NotFoundError, RefusedError, UsageError
from p2phub.formats.digest import from_hexadecimal
from p2phub.formats.ids import COMMIT_ID_LENGTH, Reference, commit_id
from p2phub.formats.notices import Revocation, Revoked, RevokedKey
from p2phub.formats.parcel import Parcel
from p2phub.formats.publisher import Delegation, Index, KeySet, ReleaseKey
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
from p2phub.store.keyring import OMS
from p2phub.trust import changes
from p2phub.trust.envelope import Envelope, sign, unpack
from p2phub.trust.hidden import SecretBytes
from p2phub.trust.identity import verify_chain
from p2phub.trust.keys import SEED_SIZE, SigningKey
from p2phub.trust.model_keys import ModelKey
from p2phub.trust.notices import Signed, in_force
from p2phub.trust.papers import Papers
from p2phub.trust.parcels import packed
from p2phub.trust.secrets import RootSecret

MIN_PREFIX: Final = 8
"""Hex digits that are enough to name a key or a notice, if only one begins with them."""


@dataclass(frozen=True, slots=True)
class Keep:
    """What stays of what a stolen root has signed: everything, or what begins with one of these."""

    all: bool = False
    prefixes: tuple[str, ...] = ()

    def __contains__(self, name: bytes) -> bool:
        return self.all or any(name.hex().startswith(each) for each in self.prefixes)


def root_signer(papers: Papers, secret: RootSecret) -> SigningKey:
    """The key of the newest root. Raises `UsageError` if this secret does not make it."""
    root = papers.identity.root
    key = secret.root_key(root.v)
    if key.public not in root.keys.keys:
        raise UsageError(
            f"this does not make the key of root {root.v} of {papers.publisher.short}",
            remedy="give the recovery phrase that was made last for this publisher",
        )
    return key


# ---------------------------------------------------------------- release keys


def allow(desk: Desk, secret: RootSecret, key: ReleaseKey, threshold: int | None = None) -> Parcel:
    """Let a release key in, or change its limits. Raises as `changes.allow`."""
    papers = require_own_papers(desk.store.documents)
    made = changes.allow(papers.identity, key, now=desk.now(), threshold=threshold)
    return _delegated(desk, papers, made, root_signer(papers, secret))


def remove(desk: Desk, secret: RootSecret, prefix: str, threshold: int | None = None) -> Parcel:
    """Take a release key out; what it signed is signed by the key of this machine."""
    papers = require_own_papers(desk.store.documents)
    signer = root_signer(papers, secret)
    made = _without(desk, papers, find_key(papers, prefix), threshold)
    return _delegated(desk, papers, made, signer)


def revoke_key(
    desk: Desk, secret: RootSecret, prefix: str, reason: str, last_good: str | None
) -> Parcel:
    """Take a release key back: nothing that it signs after its last good index counts.

    `last_good`: the seq of an index, the commit of a release that it lists, `none`, or None for the
    newest index. Raises `NotFoundError` if there is no such index here.
    """
    changes.check_reason(reason)
    papers = require_own_papers(desk.store.documents)
    signer, key = root_signer(papers, secret), find_key(papers, prefix)
    last = last_good_index(desk, papers, last_good)
    made = _without(desk, papers, key, None)
    after = changes.changed(papers, _unforked(desk, papers, made), [signer])
    revoked = RevokedKey(key) if last is None else RevokedKey(key, last.index.seq, last.digest)
    notice = changes.revoke(after.identity, revoked, reason, desk.now(), [signer])
    return packed([*after.envelopes, notice])


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
        if each.key != key and _is_here(desk, each.key)
    ]
    if others:
        return changes.remove(papers.identity, key, threshold=threshold)
    name, new = free_key_name(desk.keyring), SigningKey(SecretBytes(secrets.token_bytes(SEED_SIZE)))
    replacement = ReleaseKey(new.public, known.repos, known.not_after)
    made = changes.remove(papers.identity, key, replacement=replacement, threshold=threshold)
    desk.keyring.save(name, new.seed)
    return made


def _is_here(desk: Desk, key: bytes) -> bool:
    return any(held.public == key for _, held in release_keys(desk.keyring))


def _model_key(desk: Desk) -> bytes | None:
    """The public half of the key of model signatures that is here."""
    seed = desk.keyring.load(OMS) if OMS in desk.keyring.names() else None
    return None if seed is None else ModelKey(seed).public


def _delegated(desk: Desk, papers: Papers, made: Delegation, signer: SigningKey) -> Parcel:
    after = changes.changed(papers, _unforked(desk, papers, made), [signer])
    return packed(after.envelopes)


def _unforked(desk: Desk, papers: Papers, made: Delegation) -> Delegation:
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


def revoke(desk: Desk, secret: RootSecret, revoked: Revoked, reason: str) -> Parcel:
    """Take a release or a file back, by the root."""
    papers = require_own_papers(desk.store.documents)
    signer = root_signer(papers, secret)
    notice = changes.revoke(papers.identity, revoked, reason, desk.now(), [signer])
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


# ---------------------------------------------------------------- roots


def rotate(
    desk: Desk,
    steps: Sequence[SigningKey],
    following: bytes,
    wanted: KeySet | None,
    keep: Keep | None,
) -> Parcel:
    """The next roots, one for each key in `steps`, and a delegation that the last one has signed.

    Each reveals one of the keys and commits to the one after it, the last one to the public key
    `following`. `wanted`: the recovery keys from now on; `keep`: only after a theft.
    """
    papers = require_own_papers(desk.store.documents)
    roots, chain = papers.roots, papers.identity.chain
    for key, after in zip(steps, [*(each.public for each in steps[1:]), following], strict=True):
        root = changes.rotation(chain, KeySet((key.public,)), KeySet((after,)), wanted)
        roots = (*roots, sign(root, [key]))
        chain = verify_chain(roots)
    return redelegated(desk, papers, roots, steps[-1], keep)


def redelegated(
    desk: Desk,
    papers: Papers,
    roots: Sequence[Envelope],
    signer: SigningKey,
    keep: Keep | None,
    extra: Sequence[ReleaseKey] = (),
    signed: Sequence[Envelope] = (),
) -> Parcel:
    """The papers of a chain with a new root, which goes on with the delegation of `papers`.

    After a theft (`keep`) only what is named stays of it, and the key of this machine; `signed`:
    notices that came with the papers, beside those on this disk.
    """
    version = papers.identity.delegation.version + 1
    keys = {made.key: made for made in (*extra, *papers.identity.delegation.keys)}
    made = replace(papers.identity.delegation, version=version, keys=tuple(keys.values()))
    notices: tuple[Envelope, ...] = ()
    if keep is not None:
        mine = {each.key for each in extra} | {key for key in keys if _is_here(desk, key)}
        kept = [key for key in keys if key in mine or key in keep]
        if not kept:
            raise RefusedError(
                "no release key would be left", remedy="name those that stay with --keep"
            )
        made = changes.after_theft(made, len(roots), kept)
        oms = [key for key in made.oms_keys if key in keep or key == _model_key(desk)]
        made = replace(made, oms_keys=tuple(oms))
    after = changes.rooted(roots, _unforked(desk, papers, made), [signer])
    if keep is not None:
        known = {**dict(revocations(desk, papers)), **dict(_in_force(signed, papers))}
        honest = [notice for digest, notice in known.items() if digest in keep]
        notices = changes.revoke_again(after.identity, honest, [signer])
    return packed([*after.envelopes, *notices])


def revocations(desk: Desk, papers: Papers) -> list[tuple[bytes, Revocation]]:
    """The revocations that count now, with their digests."""
    return _in_force(map(unpack, desk.knowledge.notices(papers.publisher)), papers)


def _in_force(envelopes: Iterable[Envelope], papers: Papers) -> list[tuple[bytes, Revocation]]:
    found = []
    for envelope in envelopes:
        if envelope.type == Revocation.TYPE:
            notice = Revocation.from_payload(envelope.payload)
            if in_force(Signed(notice, envelope.signed_by()), papers.identity):
                found.append((envelope.digest, notice))
    return found


def others_keys(desk: Desk, papers: Papers) -> list[bytes]:
    """The release keys that are not on this machine."""
    return [each.key for each in papers.identity.delegation.keys if not _is_here(desk, each.key)]


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


def require_committed(papers: Papers, revealed: SigningKey) -> None:
    """The newest root has committed to `revealed`. Raises `UsageError`."""
    root = papers.identity.root
    if KeySet((revealed.public,)).digest != root.next:
        raise UsageError(
            f"this does not make the key that root {root.v} committed to",
            remedy="give the recovery phrase that was made last for this publisher",
        )
