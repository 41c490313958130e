"""Strangers: peers on a real libp2p host of 127.0.0.1, honest or bad in one way at a time.

A `Stranger` joins the DHT, tells it that it provides whatever `provide` names, and answers on three
doors: the control protocol, the data protocol over streams, and a data port that somebody else runs
(`p2phub.testing.peers`). Unless told otherwise it is honest: it serves its `MemoryLibrary`.

`Faults` are ways to answer badly on a stream, each with its name.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio

from p2phub.errors import RemoteError, UntrustedError
from p2phub.formats.messages import ErrorReply, HaveReply, encode_message
from p2phub.network.control import CONTROL, ControlServer, framed
from p2phub.network.libp2p_host import Libp2pNetwork, NetworkSettings
from p2phub.network.stream_http import HTTP, StreamServer
from p2phub.network.tickets import Tickets
from p2phub.node.node import check_record
from p2phub.protocol.ports import Stream, StreamHandler
from p2phub.testing.files import random_bytes
from p2phub.testing.libraries import MemoryLibrary
from p2phub.trust.records import best

AGENT = "p2phub/stranger"
GIGABYTE = 1_000_000_000
_CHUNK = 64 << 10


def believe_anything(key: str, record: bytes) -> None:
    """The validator of a peer that stores and hands out records of any kind."""


class Stranger:
    """One peer. Build it, then `run` it in a nursery.

    `control` and `stream` answer instead of the honest servers. `data_port`: where its hello says
    that its data plane listens. With `credulous` it keeps records that are not valid.
    """

    def __init__(
        self,
        seed: bytes,
        library: MemoryLibrary | None = None,
        *,
        bootstrap: Sequence[str] = (),
        data_port: int = 0,
        tickets: Tickets | None = None,
        control: StreamHandler | None = None,
        stream: StreamHandler | None = None,
        credulous: bool = False,
    ) -> None:
        library = library or MemoryLibrary()
        self.network = Libp2pNetwork(
            seed,
            NetworkSettings(
                listen=("/ip4/127.0.0.1/tcp/0",), bootstrap=tuple(bootstrap), agent=AGENT
            ),
            validate=believe_anything if credulous else check_record,
            select=(lambda records: len(records) - 1) if credulous else best,
        )
        honest = ControlServer(library, tickets or Tickets(), data_port=data_port, agent=AGENT)
        self.network.handle(CONTROL, control or honest.serve)
        self.network.handle(HTTP, stream or StreamServer(library).serve)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Stranger"]:
        """The peer, for as long as the block lasts."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._run)
            yield self
            nursery.cancel_scope.cancel()

    async def _run(self, task_status: Any) -> None:
        await self.network.run(task_status=task_status)


# ---------------------------------------------------------------- ways to answer badly on a stream


class Faults:
    """Stream handlers. `sent` counts the bytes that the other side took before it hung up."""

    def __init__(self) -> None:
        self.sent = 0

    async def write(self, stream: Stream, data: bytes) -> None:
        await stream.write(data)
        self.sent += len(data)

    async def garbage(self, peer: str, stream: Stream) -> None:
        """Noise, and nothing like our protocol."""
        await stream.read(_CHUNK)
        await self.write(stream, random_bytes("garbage", 5000))

    async def noise_in_a_frame(self, peer: str, stream: Stream) -> None:
        """A message of the right form with noise in it."""
        await stream.read(_CHUNK)
        await self.write(stream, framed(random_bytes("noise", 5000)))

    async def a_gigabyte(self, peer: str, stream: Stream) -> None:
        """1 GB claimed for an answer of ten bytes, and then silence."""
        await stream.read(_CHUNK)
        await self.write(stream, GIGABYTE.to_bytes(4, "big") + b"0123456789")
        await trio.sleep_forever()

    async def endless(self, peer: str, stream: Stream) -> None:
        """More and more of an answer, for as long as anybody reads."""
        await stream.read(_CHUNK)
        await self.write(stream, (1 << 20).to_bytes(4, "big"))
        while True:
            await self.write(stream, bytes(_CHUNK))

    async def hang(self, peer: str, stream: Stream) -> None:
        """Not a byte, and no end either."""
        await trio.sleep_forever()

    async def hang_up(self, peer: str, stream: Stream) -> None:
        """The end, at once."""
        raise RemoteError("no")

    async def another_answer(self, peer: str, stream: Stream) -> None:
        """The answer to another question."""
        await stream.read(_CHUNK)
        await self.write(stream, framed(encode_message(HaveReply())))

    async def blame(self, peer: str, stream: Stream) -> None:
        """A claim that what we ask for is not to be trusted: not for a stranger to say."""
        await stream.read(_CHUNK)
        lie = ErrorReply.of(UntrustedError("your publisher was revoked"))
        await self.write(stream, framed(encode_message(lie)))
