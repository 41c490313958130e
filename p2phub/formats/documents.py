"""What every signed document shares: a type, what it requires of its reader, and room for what
comes later.

A payload is one canonical map with `type` and `requires`. Keys that this version does not know are
kept and written back, in the parts of a document too, so that its digest survives us; an entry of
`requires` that this version does not know is refused, because the document would mean something
else to us than to its signer. A field that holds its default is left out, and spelling it out is
refused: one value, one payload. `from_payload` checks every field against `p2phub.formats.limits`;
`to_payload` refuses what `from_payload` would. Who signed a document, and whether they may, is
`p2phub.trust`'s business.

>>> fields = Fields({"v": 1, "colour": "blue"}, "a demonstration")
>>> fields.number("v"), fields.rest()
(1, {'colour': 'blue'})
>>> Fields({"v": -1}, "a demonstration").number("v")
Traceback (most recent call last):
...
p2phub.errors.MalformedError: a demonstration: v is -1; it must be 0 to 9007199254740991
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Final, Self

from p2phub.errors import MalformedError, NewerVersionError, UsageError
from p2phub.formats import limits
from p2phub.formats.codec import Value, decode, encode
from p2phub.formats.digest import sha256
from p2phub.formats.ids import check_name

Extra = Mapping[str, Value]
"""The keys of a map that this version does not know."""

TYPES: Final[Mapping[str, int]] = {
    "root": limits.MAX_ROOT,
    "delegation": limits.MAX_DELEGATION,
    "head": limits.MAX_HEAD_PAYLOAD,
    "index": limits.MAX_INDEX,
    "page": limits.MAX_PAGE,
    "release": limits.MAX_RELEASE,
    "revocation": limits.MAX_REVOCATION,
    "withdrawal": limits.MAX_WITHDRAWAL,
    "fork": limits.MAX_FORK,
    "inventory": limits.MAX_INVENTORY,
    "receipt": limits.MAX_RECEIPT,
    "approval": limits.MAX_APPROVAL,
}
"""The types of documents and the largest payload of each, in bytes."""

KNOWN_REQUIREMENTS: Final[frozenset[str]] = frozenset()
"""What a document may require of this version. Nothing yet."""

_REQUIREMENT = re.compile(r"[a-z0-9][a-z0-9._-]*", re.ASCII)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_CONTROL_BUT_LINES = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


class Document(ABC):
    """A payload as a value; its subclasses say how to read and write their own fields."""

    __slots__ = ()

    TYPE: ClassVar[str]
    requires: tuple[str, ...]
    extra: Extra

    @classmethod
    @abstractmethod
    def _read(cls, fields: "Fields", requires: tuple[str, ...]) -> Self:
        """Take every field from `fields`, and the rest as `extra`. Raises `MalformedError`."""

    @abstractmethod
    def _write(self) -> Mapping[str, Value]:
        """The fields, None for one that holds its default."""

    @classmethod
    def from_payload(cls, data: bytes) -> Self:
        """The document that `data` spells. Raises `MalformedError` or `NewerVersionError`."""
        limit = TYPES[cls.TYPE]
        if len(data) > limit:
            raise MalformedError(
                f"this {cls.TYPE} has {len(data)} bytes; at most {limit} are allowed"
            )
        fields = Fields(decode(data, limit=limit), f"this {cls.TYPE}")
        found = fields.text("type", limits.MAX_WORD)
        if found != cls.TYPE:
            raise MalformedError(f"a document of type {found!r}, where {cls.TYPE!r} was expected")
        requires = fields.texts("requires", limits.MAX_REQUIRES, limits.MAX_WORD)
        _check_requires(requires, cls.TYPE)
        return cls._read(fields, requires)

    def to_payload(self) -> bytes:
        """The bytes to sign. Raises `MalformedError` if nobody would accept them."""
        data = self._encoded()
        self.from_payload(data)
        return data

    @property
    def digest(self) -> bytes:
        """The SHA-256 of the payload."""
        return sha256(self._encoded())

    def _encoded(self) -> bytes:
        own: dict[str, Value] = {"type": self.TYPE, "requires": self.requires}
        return encode(joined({**own, **self._write()}, self.extra))


def _check_requires(requires: tuple[str, ...], kind: str) -> None:
    if any(_REQUIREMENT.fullmatch(name) is None for name in requires):
        raise MalformedError(f"this {kind}: requires has a name that is not lower-case letters")
    if list(requires) != sorted(set(requires)):
        raise MalformedError(f"this {kind}: requires is not sorted, or has a name twice")
    unknown = sorted(set(requires) - KNOWN_REQUIREMENTS)
    if unknown:
        raise NewerVersionError(
            f"a newer p2phub is needed (needs: {', '.join(unknown)})",
            remedy="Update p2phub, then try again.",
        )


def joined(fields: Mapping[str, Value], extra: Extra) -> dict[str, Value]:
    """One map of the fields that are not None and of the unknown keys that came with them."""
    result: dict[str, Value] = {name: value for name, value in fields.items() if value is not None}
    for name, value in extra.items():
        if name in fields:
            raise MalformedError(f"{name!r} is among the unknown keys, but it is a known one")
        result[name] = value
    return result


def has_control(text: str, *, lines: bool = False) -> bool:
    """Whether `text` could move a terminal's cursor or turn its reading direction.

    `lines` allows line ends and tabs.
    """
    return (_CONTROL_BUT_LINES if lines else _CONTROL).search(text) is not None


class Fields:
    """The fields of one foreign map: taken one by one, each checked; `rest` is what nobody took.

    Every method raises `MalformedError` with a sentence that names the field. With a `default`, a
    field may be left out, and must be if it has that value.
    """

    __slots__ = ("_left", "_where")

    def __init__(self, value: Value, where: str) -> None:
        if not isinstance(value, dict):
            raise MalformedError(f"{where} is not a map")
        self._left: dict[str, Value] = dict(value)
        self._where = where

    def rest(self) -> Extra:
        """The keys that nobody took."""
        return self._left

    def wrong(self, name: str, problem: str) -> MalformedError:
        """The error to raise about field `name`."""
        return MalformedError(f"{self._where}: {name} {problem}")

    def has(self, name: str) -> bool:
        return name in self._left

    def number(
        self,
        name: str,
        low: int = 0,
        high: int = limits.MAX_INTEGER,
        *,
        default: int | None = None,
    ) -> int:
        if default is not None and name not in self._left:
            return default
        value = self._take(name)
        if type(value) is not int:
            raise self.wrong(name, "is not a whole number")
        if not low <= value <= high:
            raise self.wrong(name, f"is {value}; it must be {low} to {high}")
        self._refuse_default(name, value, default)
        return value

    def time(self, name: str, *, default: int | None = None) -> int:
        """Unix seconds."""
        return self.number(name, 0, limits.MAX_TIME, default=default)

    def flag(self, name: str) -> bool:
        """True, or left out."""
        if name not in self._left:
            return False
        if self._take(name) is not True:
            raise self.wrong(name, "must be true or left out")
        return True

    def text(
        self, name: str, limit: int, *, default: str | None = None, lines: bool = False
    ) -> str:
        """Text of 1 to `limit` bytes without control characters; `lines` allows line ends, tabs."""
        if default is not None and name not in self._left:
            return default
        value = self._take(name)
        self._check_text(name, value, limit, lines=lines)
        assert isinstance(value, str)
        self._refuse_default(name, value, default)
        return value

    def name(self, name: str = "name") -> str:
        """A repo's name."""
        return self._check_name(name, self.text(name, limits.MAX_NAME))

    def data(
        self, name: str, limit: int, length: int | None = None, *, default: bytes | None = None
    ) -> bytes:
        """1 to `limit` bytes, or exactly `length` of them."""
        if default is not None and name not in self._left:
            return default
        value = self._take(name)
        self._check_data(name, value, limit, length)
        assert isinstance(value, bytes)
        self._refuse_default(name, value, default)
        return value

    def digest(self, name: str, *, default: bytes | None = None) -> bytes:
        return self.data(name, limits.DIGEST, limits.DIGEST, default=default)

    def texts(
        self, name: str, count: int, limit: int, *, optional: bool = False
    ) -> tuple[str, ...]:
        """At most `count` texts of at most `limit` bytes each."""
        found = []
        for value in self._list(name, count, optional):
            self._check_text(name, value, limit)
            assert isinstance(value, str)
            found.append(value)
        return tuple(found)

    def digests(self, name: str, count: int) -> tuple[bytes, ...]:
        """A sorted set of at most `count` digests; left out when empty."""
        return self.optional_keys(name, count, limits.DIGEST)

    def optional_keys(self, name: str, count: int, length: int) -> tuple[bytes, ...]:
        """A sorted set of at most `count` byte strings of `length`; left out when empty."""
        found = self._all_data(name, count, length, length, optional=True)
        if list(found) != sorted(set(found)):
            raise self.wrong(name, "is not sorted, or has one twice")
        return found

    def data_list(self, name: str, count: int, limit: int) -> tuple[bytes, ...]:
        """1 to `count` byte strings of 1 to `limit` bytes each."""
        found = self._all_data(name, count, limit, None, optional=False)
        if not found:
            raise self.wrong(name, "is empty")
        return found

    def keys(self, name: str, count: int) -> tuple[bytes, ...]:
        """1 to `count` public keys, sorted, none twice."""
        found = self._all_data(name, count, limits.KEY, limits.KEY, optional=False)
        if not found or list(found) != sorted(set(found)):
            raise self.wrong(name, "is empty, not sorted, or has one twice")
        return found

    def names(self, name: str, count: int) -> tuple[str, ...]:
        """A sorted set of at most `count` repo names; left out when empty."""
        found = self.texts(name, count, limits.MAX_NAME, optional=True)
        if list(found) != sorted(set(found)):
            raise self.wrong(name, "is not sorted, or has one twice")
        for value in found:
            self._check_name(name, value)
        return found

    def all_texts(self, name_limit: int, limit: int) -> dict[str, str]:
        """Every field of this map as text, whatever its name."""
        for name in self._left:
            self._check_text("a name", name, name_limit)
        return {name: self.text(name, limit) for name in list(self._left)}

    def parts(self, name: str, count: int, *, optional: bool = False) -> list["Fields"]:
        """At most `count` maps."""
        where = f"{self._where}, {name}"
        values = self._list(name, count, optional)
        return [Fields(value, f"{where} {at}") for at, value in enumerate(values)]

    def part(self, name: str) -> "Fields | None":
        """A map, or None if it is left out."""
        if name not in self._left:
            return None
        return Fields(self._take(name), f"{self._where}, {name}")

    def table(self, name: str, count: int, *, optional: bool = False) -> dict[str, Value]:
        """A map of at most `count` keys that are data, not field names."""
        if optional and name not in self._left:
            return {}
        value = self._take(name)
        if not isinstance(value, dict):
            raise self.wrong(name, "is not a map")
        if len(value) > count:
            raise self.wrong(name, f"has {len(value)} entries; at most {count} are allowed")
        if optional and not value:
            raise self.wrong(name, "is empty; it must be left out")
        return value

    def _check_name(self, name: str, value: str) -> str:
        try:
            return check_name(value)
        except UsageError as error:
            raise self.wrong(name, f"is {error.message}") from error

    def _take(self, name: str) -> Value:
        try:
            return self._left.pop(name)
        except KeyError:
            raise self.wrong(name, "is missing") from None

    def _refuse_default(self, name: str, value: object, default: object) -> None:
        if default is not None and value == default:
            raise self.wrong(name, f"is {value!r}, its default; it must be left out")

    def _check_text(self, name: str, value: Value, limit: int, *, lines: bool = False) -> None:
        if not isinstance(value, str):
            raise self.wrong(name, "is not text")
        if not value or len(value.encode()) > limit:
            raise self.wrong(name, f"is not 1 to {limit} bytes long")
        if has_control(value, lines=lines):
            raise self.wrong(name, "has a control character in it")

    def _check_data(self, name: str, value: Value, limit: int, length: int | None) -> None:
        if not isinstance(value, bytes):
            raise self.wrong(name, "is not bytes")
        if length is not None and len(value) != length:
            raise self.wrong(name, f"has {len(value)} bytes; it must have {length}")
        if not 1 <= len(value) <= limit:
            raise self.wrong(name, f"has {len(value)} bytes; 1 to {limit} are allowed")

    def _list(self, name: str, count: int, optional: bool) -> list[Value]:
        if optional and name not in self._left:
            return []
        value = self._take(name)
        if not isinstance(value, list):
            raise self.wrong(name, "is not a list")
        if len(value) > count:
            raise self.wrong(name, f"has {len(value)} entries; at most {count} are allowed")
        if optional and not value:
            raise self.wrong(name, "is empty; it must be left out")
        return value

    def _all_data(
        self, name: str, count: int, limit: int, length: int | None, *, optional: bool
    ) -> tuple[bytes, ...]:
        found = []
        for value in self._list(name, count, optional):
            self._check_data(name, value, limit, length)
            assert isinstance(value, bytes)
            found.append(value)
        return tuple(found)
