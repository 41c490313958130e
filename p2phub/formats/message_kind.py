"""What all control messages share: an `op`, and fields that are read and written in one place.

The messages themselves are in `p2phub.formats.messages` (questions of one peer to another) and
`p2phub.formats.news` (what peers tell each other of publishers).

Rules it keeps:
 * keys that this version does not know are kept and written back;
 * a message is read through `Fields`, so that every length meets its limit first.

>>> from p2phub.formats.messages import ExchangeRequest
>>> issubclass(ExchangeRequest, Message), ExchangeRequest.OP
(True, 'exchange')
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Self

from p2phub.formats.codec import Value
from p2phub.formats.documents import Extra, Fields


class Message(ABC):
    """One kind of question or answer."""

    __slots__ = ()

    OP: ClassVar[str]
    extra: Extra

    @classmethod
    @abstractmethod
    def _read(cls, fields: Fields) -> Self:
        """Take every field, and the rest as `extra`. Raises `MalformedError`."""

    @abstractmethod
    def _write(self) -> Mapping[str, Value]:
        """The fields, None for one that is left out."""
