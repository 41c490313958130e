"""The next roots of our own publisher: by rotation, and what stays of a root that was stolen.

Like `changing`, beside the node that will adopt it; keys of the root are handed in for the moment
of signing.

Rules it keeps:
 * a new root goes on with the delegation there was; where the old root was stolen, only what is
   named stays of it, and the keys of this machine;
 * honest revocations by a stolen root are signed again by the new one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from p2phub.errors import RefusedError, UsageError
from p2phub.formats.notices import Revocation
from p2phub.formats.parcel import Parcel
from p2phub.formats.publisher import KeySet, ReleaseKey, Root
from p2phub.node.changing import is_here, unforked
from p2phub.node.desk import Desk, require_own_papers
from p2phub.store.keyring import OMS
from p2phub.trust import changes
from p2phub.trust.envelope import Envelope, sign, unpack
from p2phub.trust.identity import Link
from p2phub.trust.keys import SigningKey
from p2phub.trust.model_keys import ModelKey
from p2phub.trust.notices import Signed, in_force
from p2phub.trust.papers import Papers
from p2phub.trust.parcels import packed


@dataclass(frozen=True, slots=True)
class Keep:
    """What stays of what a stolen root has signed: everything, or what begins with one of these."""

    all: bool = False
    prefixes: tuple[str, ...] = ()

    def __contains__(self, name: bytes) -> bool:
        return self.all or any(name.hex().startswith(each) for each in self.prefixes)


@dataclass(frozen=True, slots=True)
class Step:
    """The keys of one new root, and those of them that sign here; none where others will."""

    keys: KeySet
    signers: tuple[SigningKey, ...] = ()

    @classmethod
    def of(cls, key: SigningKey) -> "Step":
        """A root of one key, which is here."""
        return cls(KeySet((key.public,)), (key,))


def rotate(
    desk: Desk,
    steps: Sequence[Step],
    following: KeySet,
    wanted: KeySet | None,
    keep: Keep | None,
) -> Parcel:
    """The next roots, one for each of `steps`, and a delegation by the last one.

    Each reveals the keys of its step and commits to those of the one after it, the last one to
    `following`. `wanted`: the recovery keys from now on; `keep`: only after a theft. What no key
    here signs waits for others.
    """
    papers = require_own_papers(desk.store.documents)
    roots, chain = papers.roots, papers.identity.chain
    for step, after in zip(steps, [*(each.keys for each in steps[1:]), following], strict=True):
        root = changes.rotation(chain, step.keys, after, wanted)
        roots = (*roots, sign(root, step.signers))
        chain = (*chain, Link(root, roots[-1].digest, "rotation"))
    return redelegated(desk, papers, roots, steps[-1].signers, keep)


def redelegated(
    desk: Desk,
    papers: Papers,
    roots: Sequence[Envelope],
    signers: Sequence[SigningKey],
    keep: Keep | None,
    extra: Sequence[ReleaseKey] = (),
    signed: Sequence[Envelope] = (),
) -> Parcel:
    """The papers of a chain with a new root, which goes on with the delegation of `papers`; without
    `signers` it waits for others to sign it.

    After a theft (`keep`) only what is named stays of it, and the key of this machine; `signed`:
    notices that came with the papers, beside those on this disk.
    """
    version = papers.identity.delegation.version + 1
    keys = {made.key: made for made in (*extra, *papers.identity.delegation.keys)}
    made = replace(papers.identity.delegation, version=version, keys=tuple(keys.values()))
    notices: tuple[Envelope, ...] = ()
    if keep is not None:
        mine = {each.key for each in extra} | {key for key in keys if is_here(desk, key)}
        kept = [key for key in keys if key in mine or key in keep]
        if not kept:
            raise RefusedError(
                "no release key would be left", remedy="name those that stay with --keep"
            )
        made = changes.after_theft(made, len(roots), kept)
        oms = [key for key in made.oms_keys if key in keep or key == _model_key(desk)]
        made = replace(made, oms_keys=tuple(oms))
    made = unforked(desk, papers, made)
    if keep is not None:
        known = {**dict(revocations(desk, papers)), **dict(_in_force(signed, papers))}
        honest = [notice for digest, notice in known.items() if digest in keep]
        notices = changes.revoke_again(Root.from_payload(roots[-1].payload), honest, signers)
    if not signers:
        return packed(changes.drafted(papers, roots, made, notices))
    return packed([*changes.rooted(roots, made, signers).envelopes, *notices])


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
    return [each.key for each in papers.identity.delegation.keys if not is_here(desk, each.key)]


def require_committed(papers: Papers, revealed: SigningKey) -> None:
    """The newest root has committed to `revealed`. Raises `UsageError`."""
    root = papers.identity.root
    if KeySet((revealed.public,)).digest != root.next:
        raise UsageError(
            f"this does not make the key that root {root.v} committed to",
            remedy="give the recovery phrase that was made last for this publisher",
        )


def _model_key(desk: Desk) -> bytes | None:
    """The public half of the key of model signatures that is here."""
    seed = desk.keyring.load(OMS) if OMS in desk.keyring.names() else None
    return None if seed is None else ModelKey(seed).public
