"""TLS 1.3 over a blocking socket for a client that reads much: many records for one system call.

`ssl.SSLSocket` asks the system twice or more for every record of 16 KiB, and gives up the GIL each
time. Here up to `READ_AHEAD` bytes come with one call, and the records in them are decrypted into
the buffer of whoever reads, without another copy in between.

It leaves to others who the peer must be, what is said, and what an error means: it raises `OSError`
and its children, `TimeoutError` and `ssl.SSLError` among them. A peer that hangs up without the
farewell of TLS is an `ssl.SSLEOFError`, so that half an answer never looks whole.
"""

import ssl
import time
from typing import Final, Protocol, cast

from p2phub.formats.limits import KIB

READ_AHEAD: Final = 256 * KIB
"""Encrypted bytes held at most; larger reads leave the processor's cache and are slower."""


class Carrier(Protocol):
    """What TLS runs over: a blocking socket, or what stands for one."""

    def settimeout(self, seconds: float, /) -> None: ...

    def sendall(self, data: bytes, /) -> None: ...

    def recv_into(self, view: memoryview, /) -> int: ...


class TlsConnection:
    """The client's side of `connection`, which is connected. Used by one thread at a time.

    `server_name`: whom the certificate must name, where the context has it checked.
    """

    def __init__(
        self, connection: Carrier, context: ssl.SSLContext, *, server_name: str | None = None
    ) -> None:
        self._connection = connection
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)
        self._arrived = memoryview(bytearray(READ_AHEAD))

    @property
    def certificate(self) -> bytes:
        """What the peer showed in the handshake (DER); empty if nothing."""
        return self._tls.getpeercert(binary_form=True) or b""

    @property
    def is_drained(self) -> bool:
        """Whether nothing has come that was not read."""
        return not self._incoming.pending and not self._tls.pending()

    def handshake(self, seconds: float) -> None:
        """Agree on keys, within so many seconds from the first byte to the last."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self.set_patience(deadline - time.monotonic())
                self._wait_for_more()
            else:
                self._flush()
                return

    def set_patience(self, seconds: float) -> None:
        """How long each wait for the peer may take from now on."""
        self._connection.settimeout(max(0.001, seconds))

    def send(self, data: bytes) -> None:
        """All of `data`."""
        sent = 0
        while sent < len(data):
            sent += self._tls.write(data[sent:])
        self._flush()

    def read_into(self, view: memoryview) -> int:
        """Fill `view` as far as what has come goes; waits only if nothing has.

        The number of bytes; 0 when the peer has said that it is done.
        """
        filled = 0
        while filled < len(view):
            try:
                count = cast(int, self._tls.read(len(view) - filled, view[filled:]))
            except ssl.SSLWantReadError:
                if filled:
                    break
                self._wait_for_more()
                continue
            if not count:
                break
            filled += count
        return filled

    def _wait_for_more(self) -> None:
        self._flush()
        count = self._connection.recv_into(self._arrived)
        if count:
            self._incoming.write(self._arrived[:count])
        else:
            self._incoming.write_eof()

    def _flush(self) -> None:
        """Send what TLS has to say: a handshake, our data, an answer to an update of its keys."""
        if self._outgoing.pending:
            self._connection.sendall(self._outgoing.read())
