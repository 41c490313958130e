"""Who holds a share of a root that several people sign together.

Each holder has a master secret, which is 24 words, and with it a key for every root of one
publisher: root v is made of the key v of each. A holder hands out a file with the public halves, by
which a root is made that names them, and commits to those that come after it:

    {"p2phub": "root holder", "version": 1, "name": "ann", "keys": ["…64 hex digits…", …]}

`keys` has one for every root there can be, and one to commit to after the last.

Rules it keeps:
 * a file proves nothing: its fingerprint does, once somebody has read it to somebody;
 * a root says only the digest of the keys it commits to: whose they are is told by the files of the
   holders, or not at all;
 * it is bounded, and a key that this version does not know is refused.

>>> ann, ben = (Holder.of(name, Master(name.encode() * 8)) for name in ("anna", "benn"))
>>> both = key_set([ann, ben], 3, 2)
>>> recognise(both.digest, [ben, ann], 3) == Recognised(both, (ann, ben))
True
>>> read_holder(write_holder(ann)) == ann
True
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from typing import Final

from p2phub.errors import UsageError
from p2phub.formats import limits
from p2phub.formats.digest import sha256
from p2phub.formats.documents import has_control
from p2phub.formats.publisher import KeySet
from p2phub.trust.secrets import Master

KIND: Final = "root holder"
VERSION: Final = 1
KEYS: Final = limits.MAX_ROOT_CHAIN + 1
MAX_FILE: Final = 16 * 1024
"""Bytes of a file."""
MAX_HOLDERS: Final = 2 * limits.MAX_ROLE_KEYS
"""Holders that are looked at together: those of one root and those of the next."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The public half of a holder."""

    name: str
    """What the holder is called by whoever wrote the file."""
    keys: tuple[bytes, ...]
    """The key for root 1, for root 2, and so on."""

    @classmethod
    def of(cls, name: str, master: Master) -> "Holder":
        """The public half of `master`. Raises `UsageError` as `check_name`."""
        return cls(check_name(name), tuple(master.root_key(v).public for v in range(1, KEYS + 1)))

    @property
    def fingerprint(self) -> str:
        """32 hex digits in groups of four, to be compared over another channel."""
        digits = sha256(b"".join(self.keys)).hex()[:32]
        return " ".join(digits[at : at + 4] for at in range(0, len(digits), 4))


@dataclass(frozen=True, slots=True)
class Recognised:
    """A set of keys, and whose they are."""

    keys: KeySet
    holders: tuple[Holder, ...]

    def __str__(self) -> str:
        named = ", ".join(f"{each.name} ({each.fingerprint})" for each in self.holders)
        return f"{self.keys.threshold} of {len(self.holders)}: {named}"


def check_name(name: str) -> str:
    """A name that can be shown. Raises `UsageError`."""
    if not name or len(name) > limits.MAX_NAME or has_control(name):
        raise UsageError(
            f"a holder's name is one line of 1 to {limits.MAX_NAME} characters",
            remedy="it is the name of the file without its ending: choose another file name",
        )
    return name


def key_set(holders: Iterable[Holder], v: int, threshold: int | None = None) -> KeySet:
    """The keys that these holders have for root `v`; without a threshold more than half must sign.

    Raises `UsageError` for too many holders, one twice, or a threshold they cannot reach.
    """
    chosen = [each.keys[v - 1] for each in holders]
    needed = len(chosen) // 2 + 1 if threshold is None else threshold
    if len(set(chosen)) != len(chosen):
        raise UsageError("a holder is named twice", remedy="give the file of each holder once")
    if not 1 <= len(chosen) <= limits.MAX_ROLE_KEYS:
        raise UsageError(
            f"{len(chosen)} holders, where 1 to {limits.MAX_ROLE_KEYS} are allowed",
            remedy="give --holder FILE for each of them",
        )
    if not 1 <= needed <= len(chosen):
        raise UsageError(
            f"{needed} of {len(chosen)} holders cannot sign",
            remedy="--root-threshold is at least 1 and at most the number of holders",
        )
    return KeySet(tuple(chosen), needed)


def recognise(digest: bytes, holders: Sequence[Holder], v: int) -> Recognised | None:
    """The set of keys for root `v` with that digest, if it is of some of these holders.

    Looks at every choice of them and every threshold; at most `MAX_HOLDERS` are looked at.
    """
    if v > KEYS:
        return None
    different = sorted({each.keys: each for each in holders}.values(), key=_name)[:MAX_HOLDERS]
    counts = range(1, min(len(different), limits.MAX_ROLE_KEYS) + 1)
    for chosen in chain.from_iterable(combinations(different, count) for count in counts):
        for threshold in range(1, len(chosen) + 1):
            keys = key_set(chosen, v, threshold)
            if keys.digest == digest:
                return Recognised(keys, chosen)
    return None


def write_holder(holder: Holder) -> str:
    """The file of a holder, as text."""
    keys = [key.hex() for key in holder.keys]
    document = {"p2phub": KIND, "version": VERSION, "name": holder.name, "keys": keys}
    return json.dumps(document, indent=1) + "\n"


def read_holder(text: str) -> Holder:
    """The holder of a file. Raises `UsageError`."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_FILE:
        raise _wrong(f"it has more than {MAX_FILE} bytes")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise _wrong("it is not JSON") from None
    if not isinstance(document, dict) or document.get("p2phub") != KIND:
        raise _wrong(f'it does not say "p2phub": "{KIND}"')
    if document.get("version") != VERSION or set(document) != {"p2phub", "version", "name", "keys"}:
        raise _wrong("a newer p2phub wrote it, or something in it was changed")
    name, keys = document["name"], document["keys"]
    if not isinstance(name, str) or not 0 < len(name) <= limits.MAX_NAME or has_control(name):
        raise _wrong("it has no name that can be shown")
    if not isinstance(keys, list) or len(keys) != KEYS:
        raise _wrong(f"it does not have {KEYS} keys")
    found = tuple(_key(each) for each in keys)
    if len(set(found)) != KEYS:
        raise _wrong("a key stands there twice")
    return Holder(name, found)


def _key(text: object) -> bytes:
    if (
        isinstance(text, str)
        and len(text) == 2 * limits.KEY
        and set(text) <= set("0123456789abcdef")
    ):
        return bytes.fromhex(text)
    raise _wrong("a key in it is not 64 hex digits")


def _name(holder: Holder) -> tuple[str, tuple[bytes, ...]]:
    return holder.name, holder.keys


def _wrong(said: str) -> UsageError:
    return UsageError(
        f"this is no file of a root holder: {said}",
        remedy="ask for the file that `p2phub key holder FILE` wrote",
    )
