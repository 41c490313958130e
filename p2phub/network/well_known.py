"""The file by which a domain names its publishers, fetched over HTTPS.

Which domain is asked was written by a stranger, so that it is met like a web seed of his: `Guard`
keeps us out of private networks, and an answer is read within its limit.

Rules it keeps:
 * https only, with a certificate for this very domain;
 * a redirect is followed on the same host only, and a few times;
 * `SECONDS` for everything together; when they have passed, the connection is cut;
 * a server that answers "there is no such file" names nobody; whatever else it does is an error.
"""

from collections.abc import Callable
from typing import Final

import trio

from p2phub.errors import NotFoundError, RemoteError
from p2phub.formats.limits import MAX_WELL_KNOWN
from p2phub.network.waiting import one_error, time_limit
from p2phub.network.web_client import WebClient
from p2phub.network.web_connection import proxy_of
from p2phub.network.web_guard import PUBLIC, Guard, Place, redirected
from p2phub.protocol.seeds import host_of
from p2phub.protocol.web_answer import MovedError
from p2phub.trust.domains import WELL_KNOWN, Named, listed_in_file

SECONDS: Final = 10.0
MOST_REDIRECTS: Final = 3
AT_ONCE: Final = 16
"""Domains that are asked at the same time."""


class WellKnown:
    """Asks domains. `port`: where their servers listen. `make_client` opens a connection."""

    def __init__(
        self,
        guard: Guard | None = None,
        *,
        port: int = 443,
        seconds: float = SECONDS,
        make_client: Callable[[str], WebClient] = WebClient,
    ) -> None:
        self._guard, self._port, self._seconds = guard or Guard(), port, seconds
        self._make_client = make_client
        self._threads = trio.CapacityLimiter(AT_ONCE)

    async def named(self, domain: str) -> Named:
        """Whom the file of `domain` names; nobody if there is none.

        Raises `RemoteError` and its kinds if it cannot be had, `MalformedError` if it is no list.
        """
        shown = domain if self._port == 443 else f"{domain}:{self._port}"
        with time_limit(self._seconds, f"{domain} did not answer in {self._seconds:g} s"):
            try:
                return listed_in_file(await self._follow(domain, f"https://{shown}{WELL_KNOWN}"))
            except NotFoundError:
                return frozenset()

    async def _follow(self, domain: str, url: str) -> bytes:
        for _ in range(MOST_REDIRECTS + 1):
            place = await self._guard.place(url, PUBLIC, proxied=proxy_of(url) is not None)
            try:
                return await self._fetch(domain, place)
            except MovedError as moved:
                target = redirected(url, moved.location)
                if host_of(target) != host_of(url):
                    raise RemoteError(
                        f"{domain} redirects to another host for {WELL_KNOWN}",
                        remedy="whoever runs the domain must put the file there itself",
                    ) from moved
                url = target
        raise RemoteError(f"{domain} redirects for ever")

    async def _fetch(self, domain: str, place: Place) -> bytes:
        """The file, read by a thread that is cut off when this is cancelled."""
        client = self._make_client(domain)

        async def cut_when_cancelled() -> None:
            try:
                await trio.sleep_forever()
            finally:
                client.abort()

        try:
            async with one_error(), trio.open_nursery() as nursery:
                nursery.start_soon(cut_when_cancelled)
                data = await trio.to_thread.run_sync(
                    client.document, place, MAX_WELL_KNOWN, limiter=self._threads
                )
                nursery.cancel_scope.cancel()
            return data
        finally:
            client.close()
