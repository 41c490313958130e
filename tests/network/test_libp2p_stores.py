"""What others can make us keep: bounded, shared fairly, and never for ever."""

import time

import pytest
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.kad_dht.pb.kademlia_pb2 import Record
from libp2p.kad_dht.provider_store import PROVIDER_RECORD_EXPIRATION_INTERVAL
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo
from multiaddr import Multiaddr

from p2phub.network import libp2p_stores as stores
from p2phub.network.libp2p_stores import BoundedProviders, BoundedValues, sender
from p2phub.network.lookup import position_of_key
from tests.network.loopback import seed

ADDRESS = Multiaddr("/ip4/127.0.0.1/tcp/4042")


def peer(name: str) -> ID:
    return ID.from_pubkey(create_new_key_pair(seed(name)).public_key)


class Host:
    def get_id(self) -> ID:
        return peer("host")


def put(values: BoundedValues, key: bytes, size: int, who: str = "somebody") -> None:
    sender.set(who)
    values.put_record(key, Record(key=key, value=bytes(size)))


def keys(count: int) -> list[bytes]:
    return [b"key-%d" % number for number in range(count)]


def distance(key: bytes) -> int:
    return position_of_key(key) ^ position_of_key(peer("host").to_bytes())


def test_values_beyond_the_limit_push_out_what_is_farthest_from_us():
    values = BoundedValues(Host(), peer("host"), limit=10 * (1100 + stores.VALUE_COST))
    for number, key in enumerate(keys(30)):
        put(values, key, 1000, f"sender-{number}")
    assert set(values.store) <= set(sorted(keys(30), key=distance)[:12])
    assert 8 <= len(values.store) <= 10


def test_one_sender_gets_its_share_and_no_more(monkeypatch):
    monkeypatch.setattr(stores, "MAX_VALUES_OF_ONE", 5 * (1100 + stores.VALUE_COST))
    values = BoundedValues(Host(), peer("host"))
    for key in keys(5):
        put(values, key, 1000, "greedy")
    with pytest.raises(ValueError, match="greedy"):
        put(values, b"one more", 1000, "greedy")
    put(values, keys(5)[0], 1000, "greedy")  # renewing is no more
    put(values, b"another's", 1000, "modest")
    assert len(values.store) == 6


def test_our_own_records_have_no_share(monkeypatch):
    monkeypatch.setattr(stores, "MAX_VALUES_OF_ONE", 0)
    values = BoundedValues(Host(), peer("host"))
    put(values, b"ours", 1000, "")
    assert values.get(b"ours") is not None


def test_a_share_comes_back_when_values_go(monkeypatch):
    monkeypatch.setattr(stores, "MAX_VALUES_OF_ONE", 2 * (1100 + stores.VALUE_COST))
    values = BoundedValues(Host(), peer("host"))
    for key in keys(2):
        put(values, key, 1000, "peer")
    values.remove(keys(2)[0])
    put(values, b"third", 1000, "peer")
    for key, (record, _) in list(values.store.items()):
        values.store[key] = (record, time.time() - 1)
    assert values.cleanup_expired() == 2
    assert values._shares.total() == 0


def provide(providers: BoundedProviders, key: bytes, name: str) -> None:
    providers.add_provider(key, PeerInfo(peer(name), [ADDRESS]))


def test_a_late_provider_gets_in_and_the_oldest_goes(monkeypatch):
    monkeypatch.setattr(stores, "PROVIDERS_KEPT", 3)
    providers = BoundedProviders(Host())
    for name in "abcd":
        provide(providers, b"key", name)
    assert {each.peer_id for each in providers.get_providers(b"key")} == set(map(peer, "bcd"))


def test_an_answer_holds_another_choice_each_time(monkeypatch):
    monkeypatch.setattr(stores, "PROVIDERS_TOLD", 2)
    providers = BoundedProviders(Host())
    for name in "abcdef":
        provide(providers, b"key", name)
    told = [providers.get_providers(b"key") for _ in range(100)]
    assert {len(each) for each in told} == {2}
    assert {each.peer_id for answer in told for each in answer} == set(map(peer, "abcdef"))


def test_one_provider_cannot_fill_the_store(monkeypatch):
    monkeypatch.setattr(stores, "MAX_PROVIDERS_OF_ONE", 4)
    providers = BoundedProviders(Host())
    for key in keys(10):
        provide(providers, key, "greedy")
    provide(providers, b"other", "modest")
    assert len(providers.providers) == 5


def test_many_providers_cannot_fill_it_either():
    providers = BoundedProviders(Host(), limit=5)
    for number, key in enumerate(keys(20)):
        provide(providers, key, f"peer-{number % 7}")
    assert set(providers.providers) == set(sorted(keys(20), key=distance)[:5])
    assert providers._shares.total() == 5


def test_expired_providers_are_neither_told_nor_counted():
    providers = BoundedProviders(Host())
    provide(providers, b"key", "gone")
    for record in providers.providers[b"key"].values():
        record.timestamp -= PROVIDER_RECORD_EXPIRATION_INTERVAL + 1
    provide(providers, b"key", "here")
    assert [each.peer_id for each in providers.get_providers(b"key")] == [peer("here")]
    providers.cleanup_expired()
    assert providers.size() == providers._shares.total() == 1
