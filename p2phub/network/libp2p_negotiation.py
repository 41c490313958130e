"""Agreeing on the protocol of a new stream without waiting: multistream-select 1.0 in one breath.

The library says "/multistream/1.0.0", waits, names the protocol, waits, and only then is anything
asked: three round trips for one question. Whoever knows from identify what the peer speaks may say
all of it at once, the question included, and read the two answers when they come (go-libp2p does
the same for a protocol it knows). A peer that does not speak it after all says "na", and takes what
follows for more names of protocols, which it does not speak either.
"""

from typing import Any, Final

from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator
from libp2p.utils import encode_delim

from p2phub.errors import RemoteError

MULTISTREAM: Final = "/multistream/1.0.0"


def proposal(protocol: str) -> bytes:
    """What whoever opens a stream says first.

    >>> proposal("/a/1")
    b'\\x13/multistream/1.0.0\\n\\x05/a/1\\n'
    """
    return b"".join(bytes(encode_delim(each.encode())) for each in (MULTISTREAM, protocol))


async def agreement(raw: Any, protocol: str) -> None:
    """Read from a stream of the library that the peer agrees. Raises `RemoteError` if it does not,
    and what the library raises when the stream ends.
    """
    answers = MultiselectCommunicator(raw)
    for expected in (MULTISTREAM, protocol):
        if await answers.read() != expected:
            raise RemoteError(f"the peer does not speak {protocol}")
