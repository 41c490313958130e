"""Gossip in memory: every node hands a message that it may hand on to everybody it is connected to.

`MemoryGossip` is the part of a `MemoryNetwork` that is a `ports.Gossip`. It promises what the real
one does, and loses nothing. `begun` counts what a node has begun, for tests of floods.

tests/conformance/test_gossip.py runs the same tests over this and over real sockets.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

import trio

from p2phub.errors import MalformedError, P2PHubError, RemoteError
from p2phub.formats.limits import MAX_GOSSIP
from p2phub.protocol.ports import GossipJudge


@dataclass(frozen=True, eq=False, slots=True)
class Rumour:
    """One message, begun once; another one with the same words is another."""

    words: bytes


class MemoryGossip:
    """One node's part. `neighbours()`: those it is connected to; `spawn` starts a task of its."""

    def __init__(
        self,
        peer_id: str,
        neighbours: Callable[[], Iterable["MemoryGossip"]],
        spawn: Callable[..., None],
        latency: float,
    ) -> None:
        self._peer_id, self._latency = peer_id, latency
        self._neighbours, self._spawn = neighbours, spawn
        self.judge: GossipJudge | None = None
        self.begun = 0
        self._heard: set[Rumour] = set()

    def begin(self, words: bytes) -> None:
        """See `ports.Gossip.spread`."""
        if not 0 < len(words) <= MAX_GOSSIP:
            raise MalformedError(f"a message of gossip has 1 to {MAX_GOSSIP} bytes")
        if self.judge is None:
            raise RemoteError("this node does not gossip")
        self.begun += 1
        rumour = Rumour(words)
        self._heard.add(rumour)
        self._hand_on(rumour)

    async def hear(self, peer: str, rumour: Rumour) -> None:
        """Judge what a neighbour says, and hand it on if it may go further."""
        await trio.sleep(self._latency)
        if self.judge is None or rumour in self._heard:
            return
        self._heard.add(rumour)
        with suppress(P2PHubError):  # a judge that fails lets nothing pass
            if await self.judge(peer, rumour.words):
                self._hand_on(rumour)

    def _hand_on(self, rumour: Rumour) -> None:
        for each in self._neighbours():
            each.start_hearing(self._peer_id, rumour)

    def start_hearing(self, peer: str, rumour: Rumour) -> None:
        """Hear it in a task of one's own."""
        self._spawn(self.hear, peer, rumour)
