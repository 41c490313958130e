"""The identity of a running node, changed while it runs: papers come in, the news goes out.

What comes in is public (`p2phub.node.identity`); no secret of the root is ever sent to a node.
"""

from base64 import b64decode

from p2phub.errors import MalformedError, NotFoundError, RefusedError
from p2phub.formats.ids import PublisherId
from p2phub.formats.parcel import Parcel
from p2phub.key_results import Adopted
from p2phub.node.desk import heard_papers
from p2phub.node.identity import adopt
from p2phub.node.resolve import catch_up
from p2phub.node.services import Services
from p2phub.trust.parcels import packed

TELL_PATIENCE = 5.0
"""Seconds to wait for the DHT to take the new head; it goes on in the background."""


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
        async with services.signing:  # an index that is signed meanwhile would be lost
            made = await services.on_disk(adopt, services, parcel)
        publisher = PublisherId.parse(made.publisher_id)
        services.announcer.publisher(publisher, changed=True)
        await services.withdrawals.check(publisher)
        if services.network.peers():
            await services.announcer.told(publisher, TELL_PATIENCE)
        return made
