"""The identity of a running node, changed while it runs: papers come in, the news goes out.

What comes in is public (`p2phub.node.identity`); no secret of the root is ever sent to a node.
"""

from base64 import b64decode
from contextlib import suppress

import trio

from p2phub.errors import MalformedError, NotFoundError, P2PHubError, RefusedError, UntrustedError
from p2phub.formats.ids import PublisherId
from p2phub.formats.parcel import Parcel
from p2phub.key_results import Adopted
from p2phub.node.desk import heard_papers
from p2phub.node.identity import adopt
from p2phub.node.resolve import bring_index, bring_manifest, catch_up
from p2phub.node.services import Services
from p2phub.trust.papers import find_papers
from p2phub.trust.parcels import envelopes, packed

TELL_PATIENCE = 5.0
"""Seconds to wait for the DHT to take the new head; it goes on in the background."""
GATHER_PATIENCE = 30.0
"""Seconds to fetch releases that must be signed again; those that are lacking then are named."""


class OwnIdentity:
    """Who a running node publishes as. Every method may be called from any trio task of its run."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def adopt(self, parcel: str) -> Adopted:
        """Take over the papers and notices in a parcel (base64) and tell everybody.

        Raises what `identity.adopt` does.
        """
        try:
            found = Parcel.from_bytes(b64decode(parcel, validate=True))
        except ValueError:
            raise MalformedError("this parcel is not written in base64") from None
        return await self._adopt(found)

    async def join(self, publisher_id: str) -> Adopted:
        """Publish for a publisher from now on that names a release key of this machine.

        Raises `NotFoundError` if nobody reachable knows it or it names none, `RefusedError` if this
        machine publishes for another one.
        """
        services, publisher = self._services, PublisherId.parse(publisher_id)
        own = await services.on_disk(services.store.documents.own_publisher)
        if own is not None and own != publisher:
            raise RefusedError(
                f"this machine publishes for {own} already",
                remedy="give another home folder: --home DIR",
            )
        await catch_up(services, publisher)
        papers = await services.on_disk(heard_papers, services.store.documents, publisher)
        if papers is None:
            raise NotFoundError(
                f"nothing is known of {publisher} here, and nobody reachable knows it",
                remedy="connect to a node of it with `p2phub connect`, or adopt a file that"
                " `p2phub key export` wrote there",
            )
        return await self._adopt(packed(papers.envelopes))

    async def _adopt(self, parcel: Parcel) -> Adopted:
        services = self._services
        if services.network.peers():
            await self._gather(parcel)
        async with services.signing:  # an index that is signed meanwhile would be lost
            made = await services.on_disk(adopt, services, parcel)
        publisher = PublisherId.parse(made.publisher_id)
        services.announcer.publisher(publisher, changed=True)
        await services.withdrawals.check(publisher)
        if services.network.peers():
            await services.announcer.told(publisher, TELL_PATIENCE)
        return made

    async def _gather(self, parcel: Parcel) -> None:
        """Fetch what must be signed again, where release keys go and it is not all here."""
        services = self._services
        publisher = await services.on_disk(_who_loses_keys, services, parcel)
        if publisher is None:
            return
        with trio.move_on_after(GATHER_PATIENCE), suppress(P2PHubError):
            await bring_index(services, publisher)
            for digest in await services.on_disk(_missing, services, publisher):
                await bring_manifest(services, publisher, digest)


def _who_loses_keys(services: Services, parcel: Parcel) -> PublisherId | None:
    """The publisher whose papers in this parcel name fewer release keys than those here."""
    try:
        after = find_papers(envelopes(parcel))
    except UntrustedError:
        return None
    before = heard_papers(services.store.documents, after.publisher)
    if before is None or not before.identity.release_keys - after.identity.release_keys:
        return None
    return after.publisher


def _missing(services: Services, publisher: PublisherId) -> list[bytes]:
    """The releases of its newest index whose manifests are not on this disk."""
    entries = services.knowledge.entries(publisher)
    listed = {ref.release for entry in entries for ref in entry.refs.values()}
    return sorted(listed - services.store.documents.many(listed).keys())
