"""Secrets that do not show: bytes and text whose `repr` tells their kind and nothing else.

A traceback with local variables, a log line with `%r`, a dataclass that is printed: each asks for
`repr`. Both kinds are used like the `bytes` and `str` they are, and what is made from them (a
slice, `.hex()`) is plain again and better not kept in a variable.

>>> SecretBytes(bytes(32))
<32 secret bytes>
>>> SecretText("correct horse battery staple")
<secret text>
>>> f"{SecretBytes(b'abc')}"
'<3 secret bytes>'
"""


class SecretBytes(bytes):
    """Bytes that do not show."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} secret bytes>"

    __str__ = __repr__


class SecretText(str):
    """Text that does not show in a `repr`; `print` and f-strings write it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<secret text>"
