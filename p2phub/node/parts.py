"""What people and programs ask of parts of files, and what they are told: like `values`.

>>> PartRequest("lab/minilm", "model.safetensors", ((0, 8),)).ranges
((0, 8),)
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PartRequest:
    """Some byte ranges of one file of a release."""

    reference: str
    """`[publisher/]name[@revision]` or `p2p://…`."""
    path: str
    """The file, with slashes."""
    ranges: tuple[tuple[int, ...], ...] = ()
    """Each is [start, stop), in bytes; at most 4096 of them."""


@dataclass(frozen=True, slots=True)
class PartHere:
    """The pieces that hold the wanted ranges are on this disk, verified."""

    ref: str
    commit: str
    path: str
    size: int
    """Bytes of the whole file."""
    bytes_fetched: int
    """What sources had to give: whole pieces."""
    bytes_linked: int
    """What other files on this disk had."""


@dataclass(frozen=True, slots=True)
class Named:
    """Which release a reference names now."""

    ref: str
    commit: str
    publisher_id: str
    verdict: str
