"""Which wheels of a folder make up a version of p2phub, and are for this Python and this platform.

The folder comes from a publisher and may be hostile: of its `requirements.txt` only lines of the
form `name==version --hash=sha256:HEX …` are understood, and pip never sees it. It gets a file that
is written here, and copies of wheels whose bytes were compared while they were copied.

Source: binary distribution format, https://packaging.python.org/specifications/
binary-distribution-format/; hash-checking mode, https://pip.pypa.io/en/stable/topics/
secure-installs/.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packaging.tags import Tag
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from p2phub.errors import MalformedError, NotFoundError, UnsupportedError, WrongBytesError

REQUIREMENTS: Final = "requirements.txt"
MAX_REQUIREMENTS: Final = 1_000_000
"""Bytes of `requirements.txt`; that of p2phub with all extras has less than 100 kB."""
OURS: Final = "p2phub"
_PIN: Final = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9][A-Za-z0-9.!+_-]*)"
    r"((?:[ \t]+--hash=sha256:[0-9a-f]{64})+)"
)
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Pin:
    """One version of one package, and the SHA-256 (hex) that its wheels may have."""

    name: str
    version: Version
    digests: frozenset[str]


@dataclass(frozen=True, slots=True)
class Wheel:
    """One wheel of the folder."""

    file: str
    name: str
    version: Version
    tags: frozenset[Tag]
    sha256: str


def read_pins(text: str) -> tuple[Pin, ...]:
    r"""What a `requirements.txt` pins. Raises `MalformedError` for any line of another form.

    >>> [(pin.name, str(pin.version)) for pin in read_pins("A_b==1.0 --hash=sha256:" + 64 * "0")]
    [('a-b', '1.0')]
    """
    pins: dict[str, Pin] = {}
    for line in text.replace("\r\n", "\n").replace("\\\n", " ").split("\n"):
        line = line.strip(" \t")
        if not line or line.startswith("#"):
            continue
        pin = _read_pin(line)
        if pin.name in pins:
            raise MalformedError(f"{REQUIREMENTS} pins {pin.name} twice")
        pins[pin.name] = pin
    return tuple(pins.values())


def _read_pin(line: str) -> Pin:
    found = _PIN.fullmatch(line)
    if found is None:
        raise MalformedError(
            f"{REQUIREMENTS} has a line that is no pinned version with its SHA-256: {line[:100]!r}",
            remedy="Only `name==version --hash=sha256:…` is taken; scripts/wheelhouse writes that.",
        )
    name, version, digests = found.groups()
    try:
        read = Version(version)
    except InvalidVersion:
        raise MalformedError(f"{REQUIREMENTS}: {version[:50]!r} is no version") from None
    allowed = frozenset(each.partition("sha256:")[2] for each in digests.split())
    return Pin(str(canonicalize_name(name)), read, allowed)


def choose(
    pins: Sequence[Pin], files: Mapping[str, str], supported: AbstractSet[Tag]
) -> tuple[Wheel, ...]:
    """For each pin the wheels that can be installed here.

    `files`: the SHA-256 (hex) of each file at the top of the folder, by its name. Raises
    `NotFoundError` for a package that is not there, `UnsupportedError` for one that is there for
    another Python or platform only, or as source, and `WrongBytesError` if it is not what was
    pinned.
    """
    if OURS not in {pin.name for pin in pins}:
        raise NotFoundError(
            f"{REQUIREMENTS} does not name {OURS}",
            remedy="Name a repo that was made with scripts/wheelhouse.",
        )
    wheels = tuple(_wheels(files))
    return tuple(each for pin in pins for each in _chosen(pin, wheels, files, supported))


def _chosen(
    pin: Pin, wheels: Sequence[Wheel], files: Mapping[str, str], supported: AbstractSet[Tag]
) -> list[Wheel]:
    called = f"{pin.name} {pin.version}"
    there = [each for each in wheels if (each.name, each.version) == (pin.name, pin.version)]
    if not there:
        source = next((file for file in files if _is_source(file, pin.name)), None)
        if source is not None:
            raise UnsupportedError(
                f"{source} is source, which would run code to be built; only wheels are installed",
                remedy="Ask the publisher for wheels: scripts/wheelhouse builds them.",
            )
        raise NotFoundError(f"{called} is pinned, and there is no wheel of it")
    fitting = [each for each in there if each.tags & supported]
    if not fitting:
        raise UnsupportedError(
            f"{called} is for another Python or platform: {there[0].file}",
            remedy="Use a repo whose wheels were gathered with this Python on such a machine.",
        )
    for each in fitting:
        if each.sha256 not in pin.digests:
            raise WrongBytesError(f"{each.file} has not the SHA-256 that {REQUIREMENTS} pins")
    return fitting


def _wheels(files: Mapping[str, str]) -> Iterator[Wheel]:
    for file, digest in files.items():
        if not file.endswith(".whl"):
            continue
        try:
            name, version, _, tags = parse_wheel_filename(file)
        except InvalidWheelFilename as error:
            raise MalformedError(f"{file[:100]!r} is no name of a wheel") from error
        yield Wheel(file, str(name), version, tags, digest)


def _is_source(file: str, name: str) -> bool:
    stem = file.removesuffix(".tar.gz").removesuffix(".zip")
    return stem != file and str(canonicalize_name(stem.rpartition("-")[0])) == name


def requirements(wheels: Sequence[Wheel]) -> str:
    """The file for pip, of nothing but what was chosen."""
    found: dict[str, list[str]] = {}
    for each in wheels:
        found.setdefault(f"{each.name}=={each.version}", []).append(each.sha256)
    lines = [
        " ".join([pin, *(f"--hash=sha256:{digest}" for digest in digests)])
        for pin, digests in found.items()
    ]
    return "\n".join(lines) + "\n"


def copy(wheels: Sequence[Wheel], source: Path, to: Path) -> None:
    """Copy wheels. Raises `WrongBytesError` for one whose bytes are not those that were chosen."""
    for each in wheels:
        digest = hashlib.sha256()
        with (source / each.file).open("rb") as read, (to / each.file).open("xb") as written:
            while chunk := read.read(_CHUNK):
                digest.update(chunk)
                written.write(chunk)
        if digest.hexdigest() != each.sha256:
            raise WrongBytesError(
                f"{each.file} changed after it was verified",
                remedy="Run `p2phub verify`, then pull it again.",
            )
