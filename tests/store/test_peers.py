"""Peers that are remembered for the next start."""

from p2phub.protocol.ports import PeerAddress
from p2phub.store import peers as module


def peer(n, *addresses):
    return PeerAddress(f"peer-{n}", addresses or (f"/ip4/127.0.0.1/tcp/{n}",))


def test_who_was_seen_last_comes_first(store, reopen):
    store.peers.remember([peer(1), peer(2)], 100)
    store.peers.remember([peer(3), peer(1, "/ip4/10.0.0.1/tcp/5", "/ip6/::1/tcp/6")], 200)
    assert reopen().peers.recent(10) == [
        peer(1, "/ip4/10.0.0.1/tcp/5", "/ip6/::1/tcp/6"),
        peer(3),
        peer(2),
    ]
    assert len(reopen().peers.recent(2)) == 2


def test_the_book_does_not_grow_for_ever(store, monkeypatch):
    monkeypatch.setattr(module, "KEPT", 5)
    for n in range(20):
        store.peers.remember([peer(n)], n)
    assert [found.peer_id for found in store.peers.recent(100)] == [
        f"peer-{n}" for n in (19, 18, 17, 16, 15)
    ]


def test_nobody_is_remembered_at_first(store):
    assert store.peers.recent(10) == []
