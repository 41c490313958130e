r"""JSON as others send it, without what can be read and never written again.

`"\ud800"` is half a character: JSON may spell it, UTF-8 cannot. Kept in a message or a name it
would break the answer that tells of it, or the row that keeps it.

>>> parsed(b'{"a": "\\ud83d\\ude00"}')
{'a': '😀'}
>>> parsed(b'["\\ud83d"]')  # doctest: +ELLIPSIS
Traceback (most recent call last):
UnicodeEncodeError: ...
"""

import json


def parsed(data: bytes | bytearray) -> object:
    """The value of a text in UTF-8. Raises `ValueError`, `RecursionError`."""
    found: object = json.loads(data.decode())
    if b"\\u" in data:
        json.dumps(found, ensure_ascii=False).encode()
    return found
