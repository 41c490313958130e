"""Peers that were met, so that the next start finds the network again without a bootstrap.

Only where they were, never what they may: whoever answers there proves its peer id anew.
"""

import json
from collections.abc import Iterable

from p2phub.protocol.ports import PeerAddress
from p2phub.store.index import Index

KEPT = 1000
"""Peers remembered; the ones not seen for the longest are forgotten."""


class Peers:
    """The address book of one store. Thread-safe."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def remember(self, peers: Iterable[PeerAddress], now: int) -> None:
        """Note where these peers are now."""
        rows = [(peer.peer_id, json.dumps(peer.addresses), now) for peer in peers]
        with self._index.write() as statements:
            statements.many("peers.remember", rows)
            statements.run("peers.forget_all_but", KEPT)

    def recent(self, limit: int) -> list[PeerAddress]:
        """The peers seen last."""
        with self._index.read() as statements:
            rows = statements.all("peers.recent", limit)
            with statements.decoding():
                return [PeerAddress(peer_id, tuple(json.loads(text))) for peer_id, text in rows]
