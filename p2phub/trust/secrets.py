"""What a publisher's owner keeps: one master secret of 32 bytes, which is also 24 words on paper.

Every root key is derived from it: root v has HKDF-SHA256(master, info="p2phub root <v>"), and the
next key that root v commits to is that of v + 1. So the words alone bring back every root key, and
the key that opens the backup file. The words are BIP-39 English: 256 bits and a checksum of 8.

An identity that an older p2phub made has seeds of its own for its first roots. A `RootSecret`
holds either, or both after such an identity rotated to a master.

Rules it keeps: nothing secret shows in a `repr`; an error about a phrase tells which word is wrong
and never repeats what was typed; no randomness. How secrets are locked is for `sealing`, where they
lie for `store/keyring`. The one door to `mnemonic`.

>>> master = Master(bytes(32))
>>> master.phrase().split()[-1], master.root_key(1).public.hex()[:16]
('art', '91d53a0b83becf25')
>>> Master.from_phrase("  Abandon " * 23 + "ART ") == master
True
>>> Master.from_phrase("abandon " * 22 + "abandom art")
Traceback (most recent call last):
...
p2phub.errors.UsageError: word 23 of the recovery phrase is not in the list of words
>>> master
Master(<32 secret bytes>)
"""

import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from mnemonic import Mnemonic

from p2phub.errors import MalformedError, NotFoundError, UsageError
from p2phub.formats.codec import Value, decode, encode
from p2phub.trust.hidden import SecretBytes, SecretText
from p2phub.trust.keys import SEED_SIZE, SigningKey, derive

WORDS = 24
"""Words of a recovery phrase."""
MAX_PHRASE = 1024
"""Characters of a phrase that somebody types; 24 words have at most 215."""
MAX_LONE = 8
"""Root keys that are not derived from the master."""
MAX_ROOT_SECRET = 1024
"""Bytes of a packed `RootSecret`."""
_MOST_NAMED = 3
_NUMBERING = re.compile(r"\d+[.):]?")
_ENGLISH = Mnemonic("english")


@dataclass(frozen=True, slots=True, repr=False)
class Master:
    """The secret from which all root keys of a publisher come."""

    secret: bytes
    """32 bytes."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "secret", SecretBytes(self.secret))
        if len(self.secret) != SEED_SIZE:
            raise ValueError(f"a master secret has {SEED_SIZE} bytes, not {len(self.secret)}")

    def __repr__(self) -> str:
        return f"Master({self.secret!r})"

    def root_key(self, v: int) -> SigningKey:
        """The key of root `v`, 1 or more."""
        if v < 1:
            raise ValueError(f"there is no root {v}")
        return SigningKey(derive(self.secret, b"p2phub root %d" % v))

    def backup_key(self) -> bytes:
        """The 32 bytes that the secrets in a backup file are sealed with."""
        return derive(self.secret, b"p2phub backup")

    def phrase(self) -> str:
        """The 24 words, with a space between; a `SecretText`."""
        return SecretText(_ENGLISH.to_mnemonic(bytes(self.secret)))

    @classmethod
    def from_phrase(cls, text: str) -> "Master":
        """The master that these words are: in any case, on any lines, also numbered.

        Raises `UsageError` that tells which words are not in the list, with the nearest one, or
        that the checksum is wrong; it repeats nothing of what was typed.
        """
        text = SecretText(text)
        problem = _problem(text)
        if problem is not None:
            raise UsageError(problem[0], remedy=problem[1])
        return cls(SecretBytes(_ENGLISH.to_entropy(_words(text))))


@dataclass(frozen=True, slots=True)
class RootSecret:
    """What makes the root keys of a publisher: a master, lone seeds of older roots, or both."""

    master: Master | None = None
    lone: tuple[tuple[int, bytes], ...] = ()
    """Number of a root and the seed of its key, where no master makes it."""

    def __post_init__(self) -> None:
        hidden = tuple((v, SecretBytes(seed)) for v, seed in sorted(self.lone))
        object.__setattr__(self, "lone", hidden)
        numbers = {v for v, _ in hidden}
        if len(numbers) != len(hidden) or len(hidden) > MAX_LONE or not all(v > 0 for v in numbers):
            raise ValueError(f"at most {MAX_LONE} lone seeds, each of another root")
        if any(len(seed) != SEED_SIZE for _, seed in hidden):
            raise ValueError(f"a lone seed has {SEED_SIZE} bytes")

    def root_key(self, v: int) -> SigningKey:
        """The key of root `v`. Raises `NotFoundError` where only the old backup file has it."""
        for number, seed in self.lone:
            if number == v:
                return SigningKey(seed)
        if self.master is None:
            raise NotFoundError(
                f"the key of root {v} is not here",
                remedy="this publisher has no recovery phrase yet: give the backup file that"
                " `p2phub init` wrote, `p2phub key rotate --old-backup FILE`",
            )
        return self.master.root_key(v)

    def makes(self, v: int, keys: Collection[bytes]) -> bool:
        """Whether its key of root `v` is one of these public keys."""
        known = self.master is not None or any(number == v for number, _ in self.lone)
        return known and self.root_key(v).public in keys

    def pack(self) -> SecretBytes:
        """The bytes that are locked with a passphrase."""
        lone: Value = [{"root": v, "seed": bytes(seed)} for v, seed in self.lone]
        master = None if self.master is None else bytes(self.master.secret)
        return SecretBytes(encode({"version": 1, "master": master, "lone": lone}))

    @classmethod
    def unpack(cls, data: bytes) -> "RootSecret":
        """The secret that was packed. Raises `MalformedError` for anything else."""
        made = None if len(data) > MAX_ROOT_SECRET else _unpacked(SecretBytes(data))
        if made is None:
            raise MalformedError(
                "this is no root secret that this p2phub knows",
                remedy="install a newer p2phub, or restore from the backup and the phrase",
            )
        return made


def _problem(text: str) -> tuple[str, str] | None:
    """What is wrong with a phrase, and what to do."""
    if len(text) > MAX_PHRASE:
        return f"a recovery phrase has at most {MAX_PHRASE} characters", "give the 24 words only"
    words = _words(text)
    if len(words) != WORDS:
        return (
            f"a recovery phrase has {WORDS} words, not {len(words)}",
            "write all of them in order, with spaces between",
        )
    known = _ENGLISH.wordlist
    wrong = [at for at, word in enumerate(words) if word not in known]
    if wrong:
        return _which(wrong), _nearest(words, wrong[:_MOST_NAMED])
    if not _ENGLISH.check(" ".join(words)):
        return (
            "the words of this recovery phrase do not belong together: its checksum is wrong",
            "compare each word with what you wrote down: one is another word of the list, or two"
            " have changed places",
        )
    return None


def _which(wrong: Sequence[int]) -> str:
    numbers = ", ".join(str(at + 1) for at in wrong)
    if len(wrong) == 1:
        return f"word {numbers} of the recovery phrase is not in the list of words"
    return f"words {numbers} of the recovery phrase are not in the list of words"


def _nearest(words: Sequence[str], wrong: Sequence[int]) -> str:
    known = _ENGLISH.wordlist
    found = [(at + 1, get_close_matches(words[at], known, 1, 0)) for at in wrong]
    told = [f"word {number} is perhaps {near[0]!r}" for number, near in found if near]
    return ", ".join(told) or "write the English words that you wrote down"


def _words(text: str) -> list[str]:
    """The words of a phrase: lower case, without numbering."""
    plain = unicodedata.normalize("NFKD", text).lower()
    return [word.strip(",.;") for word in plain.split() if not _NUMBERING.fullmatch(word)]


def _unpacked(data: SecretBytes) -> RootSecret | None:
    try:
        fields = decode(data, limit=MAX_ROOT_SECRET)
        if not isinstance(fields, dict) or set(fields) - {"version", "master", "lone"}:
            return None
        if fields["version"] != 1:
            return None
        master, lone = fields["master"], fields["lone"]
        return RootSecret(
            None if master is None else Master(bytes(master)),
            tuple((int(each["root"]), bytes(each["seed"])) for each in lone),
        )
    except (MalformedError, KeyError, TypeError, ValueError):
        return None
