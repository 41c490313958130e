"""The kinds of value that a setting can be: what a person should write, and how it is read.

Each reads one value as TOML gives it, and raises `ValueError` when it is not of this kind;
`p2phub.config` makes a sentence of that. What a value means is for the layer that obeys it.

>>> SIZE.read("64 MiB"), SIZE.expected
(67108864, 'bytes, as a number or as text such as "64G"')
"""

import re
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal, get_args

BINARY = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
DECIMAL = {"K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}

LEAST_RATE = 16 * 1024

Log = Literal["debug", "info", "warning", "error"]
Policy = Literal["off", "warn", "enforce"]
Stale = Literal["warn", "refuse"]
Code = Literal["refuse", "allow"]
EngineName = Literal["auto", "transformers", "llamacpp", "vllm"]
Quantize = Literal["none", "int8", "int4"]
Addresses = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host and a TCP port; port 0 means any free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Endpoint":
        """Read "host:port"; an IPv6 host stands in brackets. Raises `ValueError`.

        >>> Endpoint.parse("[::1]:8642")
        Endpoint(host='::1', port=8642)
        """
        found = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^\s:/\[\]]+)):([0-9]{1,5})", text)
        if found is None or int(found[3]) > 65535:
            raise ValueError(text)
        return cls(found[1] or found[2], int(found[3]))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Kind:
    """What a person should write, and how it is read; `read` raises `ValueError`."""

    expected: str
    read: Callable[[Any], object]


def read_size(value: object) -> int:
    """Bytes from a number or from text: "64G" and "64 GiB" are 64 × 1024³, "64 GB" is 64 × 1000³.

    >>> read_size("1.5G"), read_size("500 MB"), read_size(0)
    (1610612736, 500000000, 0)
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)(iB|B)?", text_of(value).strip())
    if found is None:
        raise ValueError(value)
    units = DECIMAL if found[2] and found[3] == "B" else BINARY
    return int(float(found[1]) * units[found[2]])


def read_amount(text: str) -> int:
    """How many, as people write numbers of parameters: in thousands, millions, billions, trillions.

    >>> read_amount("1.5M"), read_amount("7b"), read_amount("120")
    (1500000, 7000000000, 120)
    """
    found = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*([KMBT]?)", text.strip().upper())
    if found is None:
        raise ValueError(f'"{text[:40]}" is no number such as "500M" or "7B"')
    return min(round(float(found[1]) * 1000.0 ** " KMBT".index(found[2] or " ")), 2**53 - 1)


def read_rate(value: object) -> int:
    """Bytes a second: 0 is no limit, and less than `LEAST_RATE` would end every transfer.

    >>> read_rate("5MB"), read_rate(0)
    (5000000, 0)
    """
    rate = read_size(value)
    if 0 < rate < LEAST_RATE:
        raise ValueError(value)
    return rate


def text_of(value: object, pattern: str = r"(?s).*") -> str:
    """`value`, which is text that fits the pattern. Raises `ValueError`."""
    if not isinstance(value, str) or re.fullmatch(pattern, value) is None:
        raise ValueError(value)
    return value


def _switch(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(value)
    return value


def _path(value: object) -> PurePosixPath | None:
    text = text_of(value, r"|[^~\0][^\0]*")
    return PurePosixPath(text) if text else None


def _command(value: object) -> str:
    text = text_of(value, r"|[^~\0\n][^\0\n]*")
    shlex.split(text)
    return text


def _program(value: object) -> str:
    """A command, as one text or as a list of words; the text that `shlex` splits into them."""
    if isinstance(value, list):
        value = shlex.join(text_of(each, r"[^\0\n]+") for each in value)
    return _command(value)


def _devices(value: object) -> str:
    text = text_of(value, r"[a-z]+(?::[0-9]{1,3})?|cuda:[0-9]{1,3}(?:, ?cuda:[0-9]{1,3})+")
    numbers = [int(each) for each in re.findall("[0-9]+", text)] if "," in text else []
    if len(set(numbers)) < len(numbers):
        raise ValueError(value)
    return ",".join(f"cuda:{each}" for each in numbers) or text


def _pattern(expected: str, pattern: str) -> Kind:
    return Kind(expected, lambda value: text_of(value, pattern))


def _choice(names: Iterable[str]) -> Kind:
    return _pattern("one of " + ", ".join(f'"{name}"' for name in names), "|".join(names))


def whole(least: int, most: int) -> Kind:
    """A number without a fraction, from `least` to `most`."""

    def read(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ValueError(value)
        return value

    return Kind(f"a whole number from {least} to {most}", read)


def _addresses(sample: str, pattern: str, what: str = "addresses") -> Kind:
    def read(value: object) -> tuple[str, ...]:
        if not isinstance(value, list):
            raise ValueError(value)
        return tuple(text_of(each, pattern) for each in value)

    return Kind(f'a list of {what} such as "{sample}"', read)


_HOST = r"/(?:ip4|ip6|dns|dns4|dns6)/[^/\s]+/tcp/[0-9]{1,5}(?:/wss?)?"
_PEER = r"/p2p/[1-9A-HJ-NP-Za-km-z]{32,64}"
SIZE = Kind('bytes, as a number or as text such as "64G"', read_size)
RATE = Kind(
    'bytes a second, as a number or as text such as "5MB": at least 16K, or 0 for no limit',
    read_rate,
)
SWITCH = Kind("true or false", _switch)
PATH = Kind('a path as text, written out (no "~")', _path)
COMMAND = Kind(
    'a program and its options, as for a shell, written out (no "~"): "/opt/vllm/bin/vllm"',
    _command,
)
SCANNER = Kind(
    'a program and its options, as one text or as a list of words: ["clamscan", "-r"]', _program
)
ENDPOINT = Kind('"host:port"', lambda value: Endpoint.parse(text_of(value)))
NAME = _pattern("1 to 32 lower-case letters, digits or hyphens", "[a-z0-9][a-z0-9-]{0,31}")
TOKEN = _pattern('"" or 16 to 256 letters, digits, "-" or "_"', "|[A-Za-z0-9_-]{16,256}")
LISTEN = _addresses("/ip4/0.0.0.0/tcp/4042", _HOST)
PEERS = _addresses("/ip4/192.0.2.1/tcp/4042/p2p/12D3KooW…", _HOST + _PEER)
ENDPOINTS = _addresses(
    "http://127.0.0.1:8000/v1", r"https?://[^/@\s?#]+(?:/[^\s?#]*)?", "web addresses"
)
UPSTREAM = _pattern(
    '"" or a web address such as "https://hub.example"', r"|https?://[^/@\s?#]+(?:/[^\s?#]*)?"
)
REPOS = _addresses("org/*", r"(?:(?:models|datasets|spaces)/)?[\w.*?-]+(?:/[\w.*?-]+)?", "repos")
LICENSES = _addresses("apache-2.0", r"[\w.+-]+", "licences")
APPROVERS = _addresses(
    "ann=…", r"[a-z0-9][a-z0-9._-]{0,38}=(?:[a-z2-7]{52}|[0-9a-f]{64})", "names and keys"
)
SITES = _addresses("12D3KooW…", r"12D3KooW[1-9A-HJ-NP-Za-km-z]{44}", "ids of sites")
SEEDS = _addresses(
    "https://mirror.example/{name}/{path}", r"https?://[^/@\s]+(?:/\S*)?", "web addresses"
)
LEVEL = _choice(get_args(Log))
POLICY = _choice(get_args(Policy))
STALE = _choice(get_args(Stale))
ENGINE = _choice(get_args(EngineName))
QUANTIZE = _choice(get_args(Quantize))
DEVICE = Kind(
    '"auto", or one device as torch names it, such as "cuda:1", or different GPUs for what can be'
    ' shared: "cuda:0,cuda:1"',
    _devices,
)
