"""The door to DNS: TXT records of a name, by dnspython.

No other module meets that library, and every error of it ends here: `DNSException` is the root of
its tree. The name servers are those of this machine.

Rules it keeps:
 * a name that is not there, or has no such records, has none: that is an answer;
 * everything else (no server, no answer in time, a chain of names without end, nonsense) is a
   `RemoteError`: nobody knows;
 * `SECONDS` for everything together, and `MAX_TEXT_RECORDS` records.
"""

from collections.abc import Sequence
from typing import Final

import dns.asyncresolver
import dns.exception
import dns.resolver
from dns.rdtypes.ANY.TXT import TXT

from p2phub.errors import GarbageError, RemoteError
from p2phub.formats.limits import MAX_TEXT_RECORDS
from p2phub.network.waiting import time_limit

SECONDS: Final = 10.0


class TextRecords:
    """Asks name servers: those of this machine, or `servers` at `port`."""

    def __init__(
        self, servers: Sequence[str] = (), *, port: int = 53, seconds: float = SECONDS
    ) -> None:
        self._servers, self._port, self._seconds = tuple(servers), port, seconds

    async def of(self, name: str) -> tuple[str, ...]:
        """The TXT records of `name`, in no order; what is not ASCII in them is replaced.

        Raises `RemoteError` if nobody knows, `GarbageError` if there are too many.
        """
        with time_limit(self._seconds, f"no name server knew {name} in {self._seconds:g} s"):
            try:
                found = await self._ask(name)
            except dns.resolver.NXDOMAIN:
                return ()
            except dns.exception.DNSException as error:
                raise RemoteError(
                    f"the TXT records of {name} cannot be had ({type(error).__name__})",
                    remedy="check the name servers of this machine",
                ) from error
            except OSError as error:
                said = error.strerror or str(error)
                raise RemoteError(f"no name server can be asked for {name}: {said}") from error
        if len(found) > MAX_TEXT_RECORDS:
            raise GarbageError(f"{name} has more than {MAX_TEXT_RECORDS} TXT records")
        return tuple(b"".join(each.strings).decode("ascii", "replace") for each in found)

    async def _ask(self, name: str) -> list[TXT]:
        resolver = dns.asyncresolver.Resolver(configure=not self._servers)
        if self._servers:
            resolver.nameservers, resolver.port = list(self._servers), self._port
        answer = await resolver.resolve(
            name, "TXT", raise_on_no_answer=False, lifetime=self._seconds, search=False
        )
        return [each for each in answer.rrset or () if isinstance(each, TXT)]
