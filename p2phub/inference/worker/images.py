"""Pictures from strangers, and pictures for them.

Rules it keeps:
 * the size is looked at before the pixels are unpacked: a small file may not fill the memory;
 * only formats that are common are tried, and what cannot be read is an error with a sentence;
 * a picture is upright, in red, green and blue.
"""

import importlib
import io
from typing import Any, Final

from p2phub.errors import UnsupportedError, UsageError
from p2phub.formats.limits import MIB

MAX_BYTES: Final = 64 * MIB
MAX_PIXELS: Final = 64_000_000
"""Of one picture: 192 MB of memory."""
_FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")


def read_image(data: bytes) -> Any:
    """A PIL picture. Raises `UsageError`; `UnsupportedError` if Pillow is not installed."""
    if len(data) > MAX_BYTES:
        raise UsageError(f"the image has {len(data)} bytes; at most {MAX_BYTES} are taken")
    images = _pillow("Image")
    try:
        picture = images.open(io.BytesIO(data), formats=_FORMATS)
        if picture.width * picture.height > MAX_PIXELS:
            raise UsageError(
                f"the image has {picture.width} x {picture.height} pixels; at most"
                f" {MAX_PIXELS} are taken",
                remedy="send it smaller",
            )
        return _pillow("ImageOps").exif_transpose(picture).convert("RGB")
    except images.DecompressionBombError as error:
        raise UsageError(
            f"the image has more pixels than the {MAX_PIXELS} that are taken",
            remedy="send it smaller",
        ) from error
    except (
        OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, OverflowError,
    ) as error:  # fmt: skip
        raise UsageError(
            "this is no image that can be read",
            remedy=f"send one of {', '.join(_FORMATS)}, whole",
        ) from error


def as_png(picture: Any) -> bytes:
    """The bytes of a PNG file."""
    out = io.BytesIO()
    picture.save(out, format="PNG")
    return out.getvalue()


def _pillow(name: str) -> Any:
    try:
        return importlib.import_module(f"PIL.{name}")
    except ImportError as error:
        raise UnsupportedError(
            "images need Pillow, which is not installed", remedy="pip install pillow"
        ) from error
