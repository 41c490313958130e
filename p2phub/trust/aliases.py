"""The names this machine gave to publishers: local, pinned, never moved in silence.

An alias is what one machine calls a publisher; the publisher id is what everybody calls it. Only a
person pins one (`p2phub trust add`, `init --name`, a confirmation on a terminal, an imported lab
list): never a gateway, a pipe or a bundle. A full publisher id needs no pin: whoever types it has
said whom they mean.

Rules it keeps:
 * a pinned alias never comes to mean somebody else: a second id is an error that names both;
 * values do not change: `pin` and `unpin` give a new one.

It leaves to the store how pins are kept.

>>> lab = PublisherId(bytes(32))
>>> aliases = Aliases().pin("lab", lab)
>>> aliases.resolve("lab") == aliases.resolve(str(lab)) == lab
True
>>> aliases.alias_of(lab)
'lab'
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from p2phub.errors import AliasTakenError, NotFoundError
from p2phub.formats.ids import PUBLISHER_ID_LENGTH, PublisherId, check_alias


@dataclass(frozen=True, slots=True)
class Aliases:
    """Which publisher each alias means."""

    pins: Mapping[str, PublisherId] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pins", MappingProxyType(dict(self.pins)))

    def pin(self, alias: str, publisher: PublisherId) -> "Aliases":
        """These aliases and this one.

        Raises `UsageError` for what is no alias, `AliasTakenError` if it means somebody else.
        """
        check_alias(alias)
        pinned = self.pins.get(alias)
        if pinned is not None and pinned != publisher:
            raise AliasTakenError(
                f"the alias {alias} is pinned to {pinned}; it cannot mean {publisher} as well",
                remedy=f"choose another alias, or run `p2phub trust rm {alias}` first if you are"
                " sure that the old one is not meant any more",
            )
        return Aliases({**self.pins, alias: publisher})

    def unpin(self, alias: str) -> "Aliases":
        """These aliases without this one. Raises `NotFoundError` if it is not pinned."""
        if alias not in self.pins:
            raise NotFoundError(
                f"no alias {alias} is pinned here", remedy="`p2phub trust ls` prints those that are"
            )
        return Aliases({name: who for name, who in self.pins.items() if name != alias})

    def resolve(self, text: str) -> PublisherId:
        """Who an alias or a full publisher id means.

        Raises `NotFoundError` for an alias that is not pinned, `UsageError` for what is neither.
        """
        if len(text) == PUBLISHER_ID_LENGTH:
            return PublisherId.parse(text)
        publisher = self.pins.get(check_alias(text))
        if publisher is None:
            raise NotFoundError(
                f"nobody is called {text} here",
                remedy=f"get the publisher id from somebody you trust and run"
                f" `p2phub trust add {text} ID`",
            )
        return publisher

    def alias_of(self, publisher: PublisherId) -> str | None:
        """What this machine calls a publisher: the first of its aliases; None without one."""
        return min((name for name, who in self.pins.items() if who == publisher), default=None)
