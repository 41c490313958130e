"""A Kademlia look-up: ask who is near a key, ask those, until the nearest have answered.

It knows neither libp2p nor what is asked: `query` asks one peer something about the key and returns
the peers that this peer thinks are nearer. One walk therefore finds the peers near a key, the
records under it or its providers.

Rules it keeps
- A peer that fails is forgotten and the next nearest takes its place.
- A peer that is silent for `patience` no longer holds a slot, so that frozen peers do not stop the
  walk; its answer still counts if it comes before the walk ends. The walk ends without the silent
  ones once at least half of the nearest have answered: on a slow machine everybody is silent for a
  while, and then it waits, for `timeout` at most.
- Paths are disjoint: a peer asked on one path is not asked on another, and what it answered leads
  only along its own. A liar on one path cannot keep the other from an honest answer.

It leaves time-outs of connections, and what an answer is worth, to `query`.
"""

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import lru_cache
from typing import Final

import trio

from p2phub.errors import RemoteError
from p2phub.network.libp2p_identity import ED25519_PROTOBUF, IDENTITY_MULTIHASH, public_of_peer_id
from p2phub.protocol.ports import PeerAddress

K: Final = 20
"""Peers near a key that keep what belongs to it."""
ALPHA: Final = 10
"""Questions under way at once."""
PATIENCE: Final = 0.4
"""Seconds of silence after which another peer is asked as well."""
MAX_KNOWN: Final = 1000
"""Peers one look-up will remember; a liar could tell us of new ones for ever."""
Query = Callable[[PeerAddress], Awaitable[Iterable[PeerAddress]]]


class State(Enum):
    NEW = auto()
    ASKED = auto()
    SILENT = auto()
    ANSWERED = auto()
    FAILED = auto()


@dataclass(slots=True)
class _Candidate:
    peer: PeerAddress
    distance: int
    state: State = State.NEW


@dataclass(slots=True)
class _Path:
    claimed: set[str]
    """Peers asked on any path."""
    known: dict[str, _Candidate] = field(default_factory=dict)

    def nearest(self, k: int) -> list[_Candidate]:
        """The nearest that may still count: neither failed, nor silent, nor of another path."""
        alive = [each for each in self.known.values() if self._may_count(each)]
        return sorted(alive, key=lambda candidate: candidate.distance)[:k]

    def count(self, state: State) -> int:
        return sum(candidate.state is state for candidate in self.known.values())

    def is_finished(self, k: int) -> bool:
        nearest, silent = self.nearest(k), self.count(State.SILENT)
        answered = sum(candidate.state is State.ANSWERED for candidate in nearest)
        return answered == len(nearest) and (
            silent == 0 or 2 * answered >= min(k, answered + silent)
        )

    def _may_count(self, candidate: _Candidate) -> bool:
        if candidate.state is State.NEW:
            return candidate.peer.peer_id not in self.claimed
        return candidate.state in (State.ASKED, State.ANSWERED)


class Lookup:
    """One walk towards `target`; use it once."""

    def __init__(
        self,
        target: bytes,
        query: Query,
        *,
        own_id: str,
        timeout: float,
        k: int = K,
        alpha: int = ALPHA,
        patience: float = PATIENCE,
        paths: int = 1,
        enough: Callable[[], bool] = lambda: False,
    ) -> None:
        self._target = position_of_key(target)
        self._query, self._own_id, self._enough = query, own_id, enough
        self._timeout, self._patience, self._k = timeout, patience, k
        self._alpha = max(1, alpha // paths)
        self._claimed: set[str] = set()
        self._paths = [_Path(self._claimed) for _ in range(paths)]
        self._changed = trio.Event()
        self.answers = 0
        """How many peers answered."""

    async def run(self, seeds: Sequence[PeerAddress]) -> tuple[PeerAddress, ...]:
        """Walk from `seeds`; the nearest peers that answered, nearest first."""
        nearest_first = sorted({seed.peer_id: seed for seed in seeds}.values(), key=self._distance)
        for number, path in enumerate(self._paths):
            self._learn(path, nearest_first[number :: len(self._paths)])
        with trio.move_on_after(4 * self._timeout):
            async with trio.open_nursery() as nursery:
                while not self._enough() and not self._is_finished():
                    for path in self._paths:
                        self._ask_more(path, nursery)
                    await self._changed.wait()
                    self._changed = trio.Event()
                nursery.cancel_scope.cancel()
        known = [each for path in self._paths for each in path.known.values()]
        answered = [each for each in known if each.state is State.ANSWERED]
        answered.sort(key=lambda candidate: candidate.distance)
        return tuple(candidate.peer for candidate in answered[: self._k])

    def _is_finished(self) -> bool:
        return all(path.is_finished(self._k) for path in self._paths)

    def _ask_more(self, path: _Path, nursery: trio.Nursery) -> None:
        free = self._alpha - path.count(State.ASKED)
        waiting = [each for each in path.nearest(self._k) if each.state is State.NEW]
        for candidate in waiting[: max(0, free)]:
            self._claimed.add(candidate.peer.peer_id)
            candidate.state = State.ASKED
            nursery.start_soon(self._ask, path, candidate)

    async def _ask(self, path: _Path, candidate: _Candidate) -> None:
        final = State.FAILED
        try:
            with trio.move_on_after(self._timeout):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._lose_patience, candidate)
                    closer = await self._query(candidate.peer)
                    nursery.cancel_scope.cancel()
                self._learn(path, closer)
                self.answers += 1
                final = State.ANSWERED
        except* RemoteError:
            pass
        candidate.state = final
        self._changed.set()

    async def _lose_patience(self, candidate: _Candidate) -> None:
        await trio.sleep(self._patience)
        candidate.state = State.SILENT
        self._changed.set()

    def _learn(self, path: _Path, peers: Iterable[PeerAddress]) -> None:
        for peer in peers:
            if len(path.known) >= MAX_KNOWN:
                return
            if peer.peer_id != self._own_id and peer.peer_id not in path.known:
                path.known[peer.peer_id] = _Candidate(peer, self._distance(peer))

    def _distance(self, peer: PeerAddress) -> int:
        return position_of_peer(peer.peer_id) ^ self._target


def position_of_key(key: bytes) -> int:
    """Where a key lies in the space in which nearness is measured."""
    return int.from_bytes(hashlib.sha256(key).digest())


@lru_cache(maxsize=4096)
def position_of_peer(peer_id: str) -> int:
    """Where a peer lies in the same space."""
    return position_of_key(peer_id_bytes(peer_id))


def peer_id_bytes(peer_id: str) -> bytes:
    """The bytes of a peer id, as they stand in messages."""
    return IDENTITY_MULTIHASH + ED25519_PROTOBUF + public_of_peer_id(peer_id)
