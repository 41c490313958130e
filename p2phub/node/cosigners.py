"""Nodes of one publisher hand each other releases that wait for signatures, and the signatures.

Every connected peer is asked over a protocol of its own whether it is one of us, when proposals
here change and every minute. Whoever shows a release key of our delegation, signed for this very
pair of peers, hears which proposals are here and gets those that it lacks; nobody else hears more
than their digests. What comes is checked like a file that was brought by hand (`proposals`). The
node that has the files lists a release as soon as enough have signed it.

Rules it keeps:
 * a proposal is taken only if a key of ours has signed it, and it is not listed yet;
 * a message has ten seconds, and a peer that does not speak the protocol is left alone for a while;
 * a release whose manifest does not fit into a message travels by hand only.
"""

import logging
from collections.abc import Sequence
from typing import Final

import trio

from p2phub.errors import GarbageError, P2PHubError, RefusedError, RemoteError
from p2phub.formats.cosigning import (
    FRESH,
    MAX_OPEN,
    MAX_PACKED,
    Cosigning,
    Membership,
    Open,
    statement,
)
from p2phub.formats.manifest import Release
from p2phub.network.framing import framed, read_message
from p2phub.network.waiting import ended, time_limit
from p2phub.node.author import author_of, own_delegation
from p2phub.node.finishing import finish_proposal
from p2phub.node.proposals import Proposed, drop, keep, missing_files, proposed
from p2phub.node.services import Services
from p2phub.protocol.ports import Stream
from p2phub.trust import envelope
from p2phub.trust.keys import verify

log = logging.getLogger(__name__)

PROTOCOL: Final = "/p2phub/cosign/1"
LOOK_EVERY: Final = 2.0
"""Seconds between two looks at what is here and who is connected."""
ASK_EVERY: Final = 60.0
"""Seconds until a member is asked again, where nothing changed here."""
LEAVE_ALONE: Final = 600.0
"""Seconds for which a peer that is no member is not asked."""
PATIENCE: Final = 10.0
"""Seconds for one question and its answer."""


class Cosigners:
    """The conversation of one node with others of its publisher. `peer_id`: our own."""

    def __init__(self, services: Services, peer_id: str) -> None:
        self._services, self._peer_id = services, peer_id
        self._next: dict[str, float] = {}
        self._told: dict[str, tuple[Open, ...]] = {}
        self._failed: dict[bytes, frozenset[bytes]] = {}
        """Releases that could not be listed, with the keys that had signed them then."""

    def register(self) -> None:
        """Answer other members from now on; before the network runs."""
        self._services.network.handle(PROTOCOL, self.serve)

    async def run(self) -> None:
        """Ask connected peers, for ever."""
        while True:
            if await self._services.on_disk(_concerns, self._services):
                await self._ask_everybody()
                await self._finish_what_is_signed()
            await trio.sleep(LOOK_EVERY)

    async def _ask_everybody(self) -> None:
        mine = await self._services.on_disk(_open, self._services)
        for peer in self._services.network.peers():
            if self._is_due(peer.peer_id, mine):
                await self._ask(peer.peer_id)

    def _is_due(self, peer: str, mine: tuple[Open, ...]) -> bool:
        due = self._next.get(peer, 0.0) <= trio.current_time()
        return due or (peer in self._told and self._told[peer] != mine)

    async def _ask(self, peer: str) -> None:
        """Show a peer what is here, take what it has, and give it what it lacks."""
        self._next[peer] = trio.current_time() + LEAVE_ALONE
        self._told.pop(peer, None)
        try:
            answer = await self._exchange(peer, await self._message(peer))
            await self._take(answer)
            if answer.lacks:
                await self._exchange(peer, await self._message(peer, answer.lacks))
            self._told[peer] = await self._services.on_disk(_open, self._services)
        except P2PHubError as error:
            log.debug("%s is no member, or does not answer: %s", peer, error.message)
            return
        self._next[peer] = trio.current_time() + ASK_EVERY

    async def _exchange(self, peer: str, message: Cosigning) -> Cosigning:
        with time_limit(PATIENCE, f"peer {peer} did not answer in time"):
            stream = await self._services.network.open_stream(peer, PROTOCOL)
            async with ended(stream):
                await stream.write(framed(message.to_bytes()))
                answer = Cosigning.from_bytes(await read_message(stream, f"peer {peer}"))
        await self._services.on_disk(self._require_member, peer, answer.member)
        return answer

    async def serve(self, peer: str, stream: Stream) -> None:
        """Answer one message of `peer`. Raises `RemoteError` if it is no member, or says what no
        member would.
        """
        async with ended(stream):
            with time_limit(PATIENCE, "a peer took too long over a question"):
                asked = Cosigning.from_bytes(await read_message(stream, "a peer"))
                answer = await self._heard(peer, asked)
                await stream.write(framed(answer.to_bytes()))

    async def _heard(self, peer: str, asked: Cosigning) -> Cosigning:
        try:
            await self._services.on_disk(self._require_member, peer, asked.member)
            await self._take(asked)
            return await self._services.on_disk(self._answer, peer, asked)
        except P2PHubError as error:
            raise RemoteError(f"a peer asked for proposals: {error.message}") from None

    async def _message(self, peer: str, wanted: Sequence[bytes] = ()) -> Cosigning:
        return await self._services.on_disk(self._said, peer, wanted)

    def _said(self, peer: str, wanted: Sequence[bytes]) -> Cosigning:
        services = self._services
        releases = _packed(services, wanted)
        return Cosigning(self._membership(peer), _open(services), releases)

    def _answer(self, peer: str, asked: Cosigning) -> Cosigning:
        """What of ours the asker lacks, and what of its we do."""
        mine = {each.release: frozenset(each.keys) for each in _open(self._services)}
        theirs = {each.release: frozenset(each.keys) for each in asked.open}
        listed = _listed(self._services)
        give = [digest for digest, keys in mine.items() if keys - theirs.get(digest, frozenset())]
        lacks = [
            digest
            for digest, keys in theirs.items()
            if keys - mine.get(digest, frozenset()) and digest not in listed
        ]
        releases = _packed(self._services, give)
        opened = _open(self._services)
        return Cosigning(self._membership(peer), opened, releases, tuple(sorted(lacks)))

    def _membership(self, peer: str) -> Membership:
        author, now = author_of(self._services), self._services.now()
        said = statement(author.publisher.digest, self._peer_id, peer, now)
        return Membership(author.key.public, now, author.key.sign(said))

    def _require_member(self, peer: str, member: Membership) -> None:
        """Raise `RefusedError` unless a peer holds a release key of ours, now."""
        delegation, now = own_delegation(self._services), self._services.now()
        said = statement(delegation.publisher, peer, self._peer_id, member.at)
        fresh = abs(now - member.at) <= FRESH
        ours = delegation.find(member.key) is not None
        if not (fresh and ours and verify(member.key, said, member.signature)):
            raise RefusedError("you hold no release key of this publisher")

    async def _take(self, said: Cosigning) -> None:
        for data in said.releases:
            await self._services.on_disk(_take_one, self._services, data)

    async def _finish_what_is_signed(self) -> None:
        """List the releases that enough have signed, whose files were published here."""
        for made in await self._services.on_disk(_ready, self._services):
            if self._failed.get(made.digest) == made.counted:
                continue
            try:
                await finish_proposal(
                    self._services, made, sign_with=None, tag=None, report=lambda event: None
                )
            except P2PHubError as error:
                self._failed[made.digest] = made.counted
                log.warning("a release that enough have signed is not listed: %s", error.message)


def _concerns(services: Services) -> bool:
    """Whether this node signs for a publisher whose releases wait for signatures."""
    try:
        author_of(services)
        several = own_delegation(services).threshold > 1
    except P2PHubError:
        return False  # no publisher here, or no key of it
    return several or bool(services.store.proposals.all(services.now()))


def _open(services: Services) -> tuple[Open, ...]:
    """The proposals here, and who has signed each. What others listed meanwhile is dropped."""
    delegation, listed = own_delegation(services), _listed(services)
    opened = []
    for proposal in services.store.proposals.all(services.now()):
        if proposal.digest in listed and not proposal.ours:
            drop(services, proposal.digest)
        if proposal.digest in listed:
            continue
        made = proposed(delegation, envelope.unpack(proposal.data))
        opened.append(Open(proposal.digest, tuple(sorted(made.counted))))
    return tuple(opened)


def _listed(services: Services) -> frozenset[bytes]:
    """The releases that the newest index here has a ref to."""
    own = services.store.documents.own_publisher()
    try:
        entries = services.knowledge.entries(own) if own is not None else ()
    except P2PHubError:
        entries = ()  # not all of it is here yet
    return frozenset(ref.release for entry in entries for ref in entry.refs.values())


def _packed(services: Services, digests: Sequence[bytes]) -> tuple[bytes, ...]:
    """The releases with these digests that fit into one message."""
    room, found = MAX_PACKED, []
    for digest in digests[:MAX_OPEN]:
        proposal = services.store.proposals.get(digest)
        if proposal is not None and len(proposal.data) <= room:
            room -= len(proposal.data)
            found.append(proposal.data)
    return tuple(found)


def _take_one(services: Services, data: bytes) -> None:
    """Keep a release that a member handed us. Raises `UntrustedError`, `RefusedError`."""
    signed = envelope.unpack(data)
    if signed.type != Release.TYPE:
        raise GarbageError(f"a {signed.type} among proposals")
    made = proposed(own_delegation(services), signed)
    if not made.counted:
        raise GarbageError("a proposal that none of us has signed")
    if made.digest not in _listed(services):
        keep(services, made, ours=False)


def _ready(services: Services) -> list[Proposed]:
    delegation = own_delegation(services)
    waiting = services.store.proposals.all(services.now())
    made = [proposed(delegation, envelope.unpack(each.data)) for each in waiting if each.ours]
    return [each for each in made if each.is_enough and not missing_files(services, each.release)]
