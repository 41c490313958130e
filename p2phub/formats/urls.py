"""Which text is an address on the web that may be written into a signed document and shown to all.

Rules: http and https, a host, perhaps a port; no user and no password, since what is signed is
public; no fragment, no character that could be taken for something else.

>>> is_url("https://mirror.example/x"), is_url("https://me:secret@mirror.example/x")
(True, False)
"""

import re

_HOST = r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::([0-9]{1,5}))?"
_URL = re.compile(rf"https?://{_HOST}(?:/[!-~]*)?", re.ASCII)


def is_url(text: str) -> bool:
    """Whether `text` is the address of something on a web server.

    >>> is_url("file:///etc/passwd"), is_url("http://[::1]:8000/"), is_url("http://x:99999/")
    (False, True, False)
    """
    found = _URL.fullmatch(text)
    return found is not None and "#" not in text and 0 < int(found[1] or 80) < 65536
