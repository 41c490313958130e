"""One line of the audit log: what happened, when, and which line came before it.

A line is one JSON object in one spelling (keys sorted, ASCII, no blanks), so that its bytes say all
there is to say of it. `previous` is the SHA-256 of the line before, in hex, and 64 zeros in the
first; `signature` is that of the node's key over the rest. Who removes, changes or swaps lines
breaks the chain; who writes it anew needs the key, and still cannot hide from whoever wrote down
the number and the digest of a line elsewhere.

Rules it keeps: a line has a limit, whatever strangers put into what is logged; longer text is cut,
and says so. How the file is written and checked is `p2phub.store.audit_log`'s business.

>>> line = Line(1, 1_700_000_000, "gate.opened", {"quarantine": True})
>>> line = line.signed(lambda data: b"s" * 64)
>>> Line.from_bytes(line.to_bytes()) == line, line.previous == FIRST
(True, True)
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Self

from p2phub.errors import MalformedError
from p2phub.formats import limits
from p2phub.formats.digest import sha256

Value = str | int | bool | None | tuple[str, ...]
"""What a field of a line can hold."""

MAX_LINE: Final = 64 * limits.KIB
"""Bytes of a line, its newline included."""
MAX_TEXT: Final = 1000
"""Characters of one text in it."""
MAX_LIST: Final = 32
"""Texts of one list in it."""
FIRST: Final = bytes(32)
"""What the first line has for the digest of the line before."""
_KEYS: Final = {"seq", "time", "event", "fields", "previous", "signature"}


@dataclass(frozen=True, slots=True)
class Line:
    """Something that happened."""

    seq: int
    """Counts lines from 1."""
    time: int
    """Unix seconds, by the clock of this machine."""
    event: str
    fields: Mapping[str, Value] = field(default_factory=dict, hash=False)
    previous: bytes = FIRST
    signature: bytes = field(default=b"", repr=False)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read a line without its newline. Raises `MalformedError`."""
        try:
            found = json.loads(data)
            if not isinstance(found, dict) or found.keys() != _KEYS:
                raise MalformedError("it has other fields than a line has")
            line = cls(
                found["seq"],
                found["time"],
                found["event"],
                {name: _read(value) for name, value in found["fields"].items()},
                bytes.fromhex(found["previous"]),
                bytes.fromhex(found["signature"]),
            )
            is_same = line.to_bytes() == data
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise MalformedError(f"it is no line of the log: {str(error)[:200]}") from None
        if not is_same or type(line.seq) is not int or type(line.time) is not int:
            raise MalformedError("it is spelled as this program never spells a line")
        return line

    def to_bytes(self) -> bytes:
        """The one spelling of it, without a newline."""
        return _spelled(self._said() | {"signature": self.signature.hex()})

    @property
    def digest(self) -> bytes:
        """What the next line has for `previous`."""
        return sha256(self.to_bytes())

    @property
    def to_sign(self) -> bytes:
        """What the node's key signs: all but the signature."""
        return b"p2phub audit line\n" + _spelled(self._said())

    def signed(self, sign: Callable[[bytes], bytes]) -> Self:
        """The same, signed."""
        return replace(self, signature=sign(self.to_sign))

    def _said(self) -> dict[str, object]:
        return {
            "seq": self.seq,
            "time": self.time,
            "event": self.event,
            "fields": dict(self.fields),
            "previous": self.previous.hex(),
        }


def cut(fields: Mapping[str, object]) -> dict[str, Value]:
    """Fields as a line may hold them: what is too long is cut, and ends in an ellipsis then.

    >>> cut({"why": "x" * 2000, "size": 5, "refs": ["a"]})["why"][-2:]
    'x…'
    """
    found: dict[str, Value] = {}
    for name, value in fields.items():
        if value is None or isinstance(value, bool | int):
            found[name] = value
        elif isinstance(value, list | tuple):
            kept = [_short(str(each)) for each in value[:MAX_LIST]]
            more = [f"… and {len(value) - MAX_LIST} more"] if len(value) > MAX_LIST else []
            found[name] = (*kept, *more)
        else:
            found[name] = _short(str(value))
    if len(_spelled(dict(found))) > MAX_LINE // 2:
        return {name: value for name, value in found.items() if not isinstance(value, tuple)}
    return found


def _short(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def _read(value: object) -> Value:
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return tuple(value)
    raise ValueError("a field that is no text, number or list of texts")


def _spelled(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")
