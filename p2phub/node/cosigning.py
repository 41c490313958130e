"""Sign what somebody prepared: a file with documents that need signatures, and the keys here.

A key signs what it could count for, and nothing else: a root key the new root, the delegation and
the revocations of its publisher, a recovery key the root that follows the one that names it, a
release key the releases. Which those are is read from the papers in the file, and from those on
this disk.

Rules it keeps:
 * before a key is used, everything that it would sign is told in plain words (`describing`);
 * a root says no more of the keys it commits to than their digest: it is `unchecked` unless the
   files of holders tell whose those are. Else who prepared it could have put keys of its own there,
   and take the publisher with the next root;
 * signatures are only ever added.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from p2phub.errors import UntrustedError
from p2phub.formats.ids import PublisherId
from p2phub.formats.manifest import Release
from p2phub.formats.notices import Revocation
from p2phub.formats.parcel import Parcel
from p2phub.formats.publisher import Delegation, KeySet, Root
from p2phub.key_results import DocumentInFile, Told
from p2phub.node.describing import Known, describe, publisher_of, read_document
from p2phub.node.desk import Desk, heard_papers, own_papers
from p2phub.trust.envelope import Envelope, sign_payload
from p2phub.trust.holders import Holder, recognise
from p2phub.trust.identity import reached
from p2phub.trust.keys import SigningKey
from p2phub.trust.papers import Papers, find_papers
from p2phub.trust.parcels import envelopes, merged, packed
from p2phub.trust.signers import objection


@dataclass(frozen=True, slots=True)
class Item:
    """One document in the file that a key here could sign."""

    envelope: Envelope
    publisher: PublisherId | None
    says: DocumentInFile
    counting: frozenset[bytes]
    """Every key whose signature on it would count."""
    unchecked: bool = False
    """Whether it is a root, by no recovery, that commits to the keys of nobody knows whom."""


class Cosigning:
    """The documents of one file, and who could sign them. Raises `MalformedError` for a bad one.

    `holders`: the people whose files tell whose the keys of a root are.
    """

    def __init__(self, desk: Desk, parcel: Parcel, holders: Sequence[Holder] = ()) -> None:
        self._parcel, self._holders = parcel, holders
        found = envelopes(parcel)
        self._roots = {each.digest: each for each in found if each.type == Root.TYPE}
        self._papers = _papers(desk, found)
        self.items = [
            item for each in found if (item := self._item(each)) is not None and _open(item)
        ]

    def signed(self, keys: Sequence[SigningKey]) -> tuple[Parcel, tuple[DocumentInFile, ...]]:
        """The file with the signatures of those of `keys` that could count, and what was signed."""
        added: list[Envelope] = []
        told = []
        for item in self.items:
            fresh = [
                key
                for key in keys
                if key.public in item.counting and key.public not in item.envelope.signed_by()
            ]
            if fresh:
                added.append(sign_payload(item.envelope.type, item.envelope.payload, fresh))
            names = tuple(key.public.hex() for key in fresh)
            left = item.says.needed
            told.append(
                replace(
                    item.says,
                    signed_now=names,
                    needed=None if left is None else max(left - len(names), 0),
                )
            )
        parcel = merged([self._parcel, packed(added)]) if added else self._parcel
        return parcel, tuple(told)

    def counting(self) -> frozenset[bytes]:
        """Every key that could sign something in this file."""
        return frozenset(key for item in self.items for key in item.counting)

    def _item(self, envelope: Envelope) -> Item | None:
        document = read_document(envelope)
        if document is None:
            return None
        publisher = publisher_of(document, self._first_root(document))
        papers = self._papers.get(publisher) if publisher is not None else None
        signers = envelope.signed_by()
        sets = self._who_counts(document, papers, signers)
        counting = frozenset(key for each in sets for key in each.keys)
        needed = min((_missing(each, signers) for each in sets), default=None)
        committed, told = self._committed(document)
        says = DocumentInFile(
            envelope.type,
            envelope.digest.hex(),
            str(publisher) if publisher is not None else "",
            (*describe(document), *told),
            tuple(sorted(key.hex() for key in signers & counting)),
            needed=needed,
        )
        unchecked = isinstance(document, Root) and not committed and self._reveals(document)
        return Item(envelope, publisher, says, counting, unchecked)

    def _who_counts(
        self, document: Known, papers: Papers | None, signers: frozenset[bytes]
    ) -> list[KeySet]:
        """The sets of keys of which one must sign, each with its threshold."""
        match document:
            case Root():
                before = self._roots.get(document.previous)
                known = Root.from_payload(before.payload) if before is not None else None
                if known is not None and known.next != document.keys.digest:
                    return [known.recovery] if known.recovery is not None else []
                return [document.keys]
            case Delegation() | Revocation():
                root = self._root_of(document, papers, signers)
                return [root.keys] if root is not None else []
            case Release() if papers is not None:
                delegation = papers.identity.delegation
                may = tuple(
                    key.key
                    for key in delegation.keys
                    if not objection(key, document.name, document.created)
                )
                return [KeySet(may, delegation.threshold)] if may else []
        return []

    def _root_of(
        self, document: Delegation | Revocation, papers: Papers | None, signers: frozenset[bytes]
    ) -> Root | None:
        """The root whose keys sign a document; it may wait for signatures itself. None for what is
        in force already, or was.
        """
        here = papers.identity.root if papers is not None else self._first(document.publisher)
        known = papers.identity.delegation.version if papers is not None else 0
        if isinstance(document, Delegation) and document.version <= known:
            return None
        while here is not None:
            match document:
                case Delegation():
                    done = reached(here.keys, signers).enough
                case Revocation():
                    done = document.root_v == here.v
            after = self._after(here)
            if done or after is None:
                return here
            here = after
        return None

    def _first(self, publisher: bytes) -> Root | None:
        envelope = self._roots.get(publisher)
        return Root.from_payload(envelope.payload) if envelope is not None else None

    def _after(self, root: Root) -> Root | None:
        """The root in this file that reveals what `root` committed to."""
        for each in self._roots.values():
            found = Root.from_payload(each.payload)
            if found.previous == root.digest and found.keys.digest == root.next:
                return found
        return None

    def _reveals(self, root: Root) -> bool:
        """Whether a root is the first one, or was committed to: no recovery."""
        before = self._roots.get(root.previous)
        return before is None or Root.from_payload(before.payload).next == root.keys.digest

    def _committed(self, document: Known) -> tuple[bool, tuple[Told, ...]]:
        """Whether it is known whose keys a root commits to, and who holds it now and next."""
        if not isinstance(document, Root):
            return True, ()
        now = recognise(document.keys.digest, self._holders, document.v)
        after = recognise(document.next, self._holders, document.v + 1)
        told = [Told("holders", str(now))] if now is not None else []
        if after is not None:
            told.append(Told("next holders", str(after)))
        return after is not None, tuple(told)

    def _first_root(self, document: Known) -> bytes | None:
        """The first root of the chain that a root in this file belongs to."""
        here = document if isinstance(document, Root) else None
        while here is not None and here.v > 1:
            before = self._roots.get(here.previous)
            here = Root.from_payload(before.payload) if before is not None else None
        return here.digest if here is not None else None


def _open(item: Item) -> bool:
    """Whether it still needs a signature, or nobody can tell."""
    return bool(item.counting) and item.says.needed != 0


def _missing(keys: KeySet, signers: Iterable[bytes]) -> int:
    return max(keys.threshold - len(set(keys.keys).intersection(signers)), 0)


def _papers(desk: Desk, found: Sequence[Envelope]) -> dict[PublisherId, Papers]:
    """The papers in the file and those on this disk, by publisher; of two, ours."""
    papers: dict[PublisherId, Papers] = {}
    try:
        inside = find_papers(found)
        papers[inside.publisher] = inside
    except UntrustedError:
        pass  # no papers in it, or a root that waits for signatures
    own = own_papers(desk.store.documents)
    for each in found:
        document = read_document(each)
        publisher = publisher_of(document, None) if document is not None else None
        if publisher is None or publisher in papers:
            continue
        here = own if own is not None and own.publisher == publisher else None
        here = here or heard_papers(desk.store.documents, publisher)
        if here is not None:
            papers[publisher] = here
    return papers


def require_signed(desk: Desk, parcel: Parcel) -> None:
    """No root, delegation or revocation in `parcel` waits for signatures. Raises `UntrustedError`
    that names those that do.
    """
    open = [
        f"{item.says.says[0].label} {item.says.says[0].text} needs {item.says.needed} more"
        for item in Cosigning(desk, parcel).items
        if item.envelope.type in (Root.TYPE, Delegation.TYPE, Revocation.TYPE)
    ]
    if open:
        raise UntrustedError(
            f"this file is not signed by enough keys yet: {'; '.join(open)}",
            remedy="let whoever holds them run `p2phub key sign` on it",
        )
