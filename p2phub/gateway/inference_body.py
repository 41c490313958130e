"""The body of a request to a model: read as it comes, within limits, and its parameters.

What a client may leave out, it may also give as null. What is not looked at is ignored, as the
servers do whose APIs these are, but where `only` is asked.

>>> fields = Fields({"n": 2, "stop": "x", "seed": None, "user": "me"})
>>> fields.whole("n", 1, 8), fields.texts("stop"), fields.whole("seed")
(2, ('x',), None)
>>> fields.number("stop")
Traceback (most recent call last):
...
p2phub.gateway.dialects.ParameterError: stop must be a number, not a text
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final, NoReturn

import trio
from starlette.requests import Request
from starlette.types import Message

from p2phub.errors import TooSlowError, UsageError
from p2phub.gateway.dialects import ParameterError
from p2phub.gateway.guard import MAX_BODY
from p2phub.gateway.inference_clients import Place

BODY_PATIENCE: Final = 60.0
"""Seconds a client may take to send the body of a request, at most."""
FIRST_PATIENCE: Final = 10.0
"""Seconds it has before anything came, and then one more for each `LEAST_RATE` bytes: it holds a
place meanwhile, and who sends a byte now and then may not hold many."""
LEAST_RATE: Final = 16 << 10
AT_ONCE: Final = 1.0
"""Seconds after which a body that is not whole counts as slow."""
MAX_NUMBER: Final = 2**63 - 1
"""Of whole numbers, either way."""
_KINDS: Final = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "an object",
}


async def read(request: Request, place: Place) -> bytes:
    """The body of `request`; `place` is told if it is large, and if it is slow.

    Raises `BusyError`, `TooSlowError`, and what the guard says of one that is too long.
    """
    began = trio.current_time()
    parts: list[bytes] = []
    size, more = 0, True
    try:
        with trio.fail_after(FIRST_PATIENCE) as patience:
            while more:
                message = await _next(request, place, began)
                if message["type"] == "http.disconnect":
                    raise UsageError("the client left before its request was whole")
                part, more = message.get("body", b""), message.get("more_body", False)
                size += len(part)
                seconds = min(FIRST_PATIENCE + size / LEAST_RATE, BODY_PATIENCE)
                patience.deadline = began + seconds
                if size > MAX_BODY:
                    place.is_large()
                parts.append(part)
    except trio.TooSlowError:
        seconds = trio.current_time() - began
        raise TooSlowError(f"the body did not arrive within {seconds:.0f} seconds") from None
    place.whole()
    return b"".join(parts)


async def _next(request: Request, place: Place, began: float) -> Message:
    """What comes next of a body; one that is still to come after a moment is a slow one."""
    with trio.move_on_at(began + AT_ONCE):
        return await request.receive()
    place.is_slow()
    return await request.receive()


def parse(body: bytes) -> "Fields":
    """The object in `body`. Raises `UsageError` for what is no JSON object, or no text."""
    try:
        data = json.loads(body, parse_constant=_no_constant)
        # A text may name half a character, which no tokenizer can read.
        if b"\\ud" in body.lower():
            json.dumps(data, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise UsageError("the body of this request is not JSON") from None
    if not isinstance(data, dict):
        raise UsageError(f"the body of this request must be a JSON object, not {kind_of(data)}")
    return Fields(data)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def kind_of(value: object) -> str:
    """What a person calls a JSON value of that type."""
    return _KINDS.get(type(value), type(value).__name__)


class Fields:
    """The parameters of a request, each checked as it is read. All raise `ParameterError`."""

    def __init__(self, data: Mapping[str, Any], path: str = "") -> None:
        self.data = data
        self.path = path

    def name(self, name: str) -> str:
        """What a person calls a parameter, whatever it stands in."""
        return f"{self.path}.{name}" if self.path else name

    def wrong(self, name: str, why: str, remedy: str = "") -> ParameterError:
        """The error for a parameter; the sentence begins with its name."""
        whole = self.name(name)
        return ParameterError(f"{whole} {why}", param=whole, remedy=remedy)

    def get(self, name: str) -> Any:
        """Whatever it is; None if it was left out."""
        return self.data.get(name)

    def _of(self, name: str, kinds: type | tuple[type, ...], wanted: str) -> Any:
        value = self.data.get(name)
        truth = isinstance(value, bool) and kinds is not bool
        if value is None or (isinstance(value, kinds) and not truth):
            return value
        raise self.wrong(name, f"must be {wanted}, not {kind_of(value)}")

    def text(self, name: str) -> str | None:
        value: str | None = self._of(name, str, "a text")
        return value

    def needed_text(self, name: str) -> str:
        value = self.text(name)
        if value is None:
            raise self.wrong(name, "is missing")
        return value

    def truth(self, name: str, otherwise: bool = False) -> bool:
        value = self._of(name, bool, "a boolean")
        return otherwise if value is None else bool(value)

    def number(self, name: str) -> float | None:
        value = self._of(name, (int, float), "a number")
        if value is not None and not abs(value) <= MAX_NUMBER:
            raise self.wrong(name, "is out of range")
        return None if value is None else float(value)

    def whole(self, name: str, least: int = -MAX_NUMBER, most: int = MAX_NUMBER) -> int | None:
        value = self._of(name, (int, float), "a whole number")
        if value is None:
            return None
        if isinstance(value, float) and not value.is_integer():
            raise self.wrong(name, f"must be a whole number, not {value}")
        if not least <= value <= most:
            room = f"at least {least}" if value < least else f"at most {most}"
            raise self.wrong(name, f"must be {room}")
        return int(value)

    def items(self, name: str) -> list[Any]:
        value = self._of(name, list, "a list")
        return value or []

    def part(self, name: str) -> "Fields | None":
        """The parameters within one that is an object."""
        value = self._of(name, dict, "an object")
        return None if value is None else Fields(value, self.name(name))

    def texts(self, name: str) -> tuple[str, ...]:
        """A text or a list of them."""
        value = self.data.get(name)
        if isinstance(value, str):
            return (value,)
        if not all(isinstance(each, str) for each in self.items(name)):
            raise self.wrong(name, "must be a text or a list of texts")
        return tuple(self.items(name))

    def choice(self, name: str, among: Iterable[str]) -> str | None:
        value, known = self.text(name), tuple(among)
        if value is not None and value not in known:
            raise self.wrong(name, f"must be one of {', '.join(known)}")
        return value

    def only(self, known: Iterable[str], whose: str) -> None:
        """Raises for the first name that is not `known`: what it asks for would be ignored."""
        names = sorted(known)
        for name in sorted(self.data.keys() - set(names)):
            raise self.wrong(
                str(name)[:60],
                f"is no parameter of {whose} here",
                remedy=f"There are {', '.join(names)}.",
            )

    def refuse(self, names: Iterable[str], why: str) -> None:
        """Raises for those that were given: what they ask for cannot be done here."""
        for name in names:
            if self.data.get(name):
                raise self.wrong(name, why, remedy="Leave it out.")
