"""What people and programs ask of parts of files: like `values`.

>>> PartRequest("lab/minilm", "model.safetensors", ((0, 8),)).ranges
((0, 8),)
"""

from dataclasses import dataclass

from p2phub.results import Named as Named
from p2phub.results import PartHere as PartHere


@dataclass(frozen=True, slots=True)
class PartRequest:
    """Some byte ranges of one file of a release."""

    reference: str
    """`[publisher/]name[@revision]` or `p2p://…`."""
    path: str
    """The file, with slashes."""
    ranges: tuple[tuple[int, ...], ...] = ()
    """Each is [start, stop), in bytes; at most 4096 of them."""
