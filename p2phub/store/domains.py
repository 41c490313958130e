"""What the domains of publishers said of them, and when: the last look at each.

Who is asked, and what an answer means, is `p2phub.trust.domains`' business.
"""

from typing import cast, get_args

from p2phub.formats.ids import PublisherId
from p2phub.store.index import Index
from p2phub.trust.domains import DomainCheck, Result


class Domains:
    """The last look at each domain, in one store. Thread-safe."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def last(self, publisher: PublisherId) -> DomainCheck | None:
        """The last look at the domain that `publisher` claimed then; None before the first."""
        with self._index.read() as statements:
            row = statements.one("domains.get", str(publisher))
            with statements.decoding():
                return DomainCheck(row[0], _result(row[1]), row[2], row[3]) if row else None

    def keep(self, publisher: PublisherId, check: DomainCheck) -> None:
        """Remember a look; the one before is forgotten."""
        row = (str(publisher), check.domain, check.result, check.checked, check.proved)
        with self._index.write() as statements:
            statements.run("domains.set", *row)


def _result(text: str) -> Result:
    if text not in get_args(Result):
        raise ValueError(text)
    return cast(Result, text)
