"""JSON of what strangers wrote: a README, a configuration, the rows of a table.

It may hold numbers that are none and halves of characters, which no client can read: the first
become null, the second are escaped.

>>> Told({"n": float("nan"), "text": "\\ud800"}).body
b'{"n":null,"text":"\\\\ud800"}'
"""

import json
from math import isfinite
from typing import Any

from starlette.responses import JSONResponse


class Told(JSONResponse):
    """An answer with such a value."""

    def render(self, content: Any) -> bytes:
        return json.dumps(cleaned(content), separators=(",", ":")).encode()


def cleaned(value: Any) -> Any:
    """The same without numbers that are none."""
    match value:
        case float():
            return value if isfinite(value) else None
        case dict():
            return {str(key): cleaned(item) for key, item in value.items()}
        case list() | tuple():
            return [cleaned(item) for item in value]
    return value
