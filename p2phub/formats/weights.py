"""What weights files say of themselves: one door to the formats that are cut at tensor bounds.

The content decides, never the name of a file. `parse` is given the first bytes of a file and its
size; if they are not enough it answers `More`. A file that does not begin as a weights file does,
or whose header breaks a rule, raises `MalformedError`: whoever cuts it then treats it like any
other file, whoever was about to load it does not. Nothing here reads past what it was given.

>>> is_weights(b"GGUF\\x03\\0\\0\\0"), is_weights(b"# A read me")
(True, False)
>>> needed(b"", 10), needed(b"# A read me", 11)
(9, 0)
"""

from p2phub.errors import MalformedError
from p2phub.formats import gguf, safetensors
from p2phub.formats.digest import Data
from p2phub.formats.tensors import Header, More, Tensor

__all__ = ["SNIFF", "Header", "More", "Tensor", "is_weights", "needed", "parse"]

SNIFF = 9
"""Bytes that tell whether a file could be a weights file."""


def is_weights(prefix: Data) -> bool:
    """Whether a file that begins so could be safetensors or GGUF; 9 bytes are enough to tell."""
    return gguf.is_gguf(prefix) or safetensors.is_safetensors(prefix)


def needed(prefix: Data, size: int) -> int:
    """How many of the first bytes of the file `parse` wants; 0 if `prefix` is enough.

    Enough also means: enough to say that this is no weights file, or a malformed one.
    """
    try:
        found = parse(prefix, size)
    except MalformedError:
        return 0
    return found.total if isinstance(found, More) else 0


def parse(prefix: Data, size: int) -> Header | More:
    """The header of a file of `size` bytes that begins with `prefix`.

    Raises `MalformedError` if it is no weights file, or a malformed one.
    """
    if len(prefix) < min(SNIFF, size):
        return More(min(SNIFF, size))
    parse_format = gguf.parse if gguf.is_gguf(prefix) else safetensors.parse
    return parse_format(prefix, size)
