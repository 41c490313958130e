"""What we keep for others as a server of the DHT: bounded values and bounded provider records.

The library keeps 50,000 values of up to 1 MiB and any number of provider records, for whoever
sends them (value_store.py, provider_store.py); it writes and republishes files that we do not use.

Rules it keeps
- Values take at most `MAX_VALUES` bytes and provider records at most `MAX_PROVIDERS` entries; what
  is farthest from us goes first, because we are the last to be asked for it.
- One sender gets a share only, and hears a refusal beyond it.
- Of a key's providers `PROVIDERS_KEPT` are kept, the oldest goes first, and an answer holds a
  random `PROVIDERS_TOLD` of them: who came first cannot keep others out.

It leaves whether a value is genuine to the validator (`libp2p_kad`).
Tests: test_libp2p_stores.py.
"""

import random
import time
from collections import Counter
from contextvars import ContextVar
from typing import Any, Final

from libp2p.kad_dht.provider_store import (
    PROVIDER_RECORD_EXPIRATION_INTERVAL,
    ProviderRecord,
    ProviderStore,
)
from libp2p.kad_dht.value_store import ValueStore
from libp2p.peer.peerinfo import PeerInfo

from p2phub.network.lookup import position_of_key

MAX_VALUES: Final = 64 * 1024 * 1024
"""Bytes of values, with what it costs to keep them."""
MAX_VALUES_OF_ONE: Final = 8 * 1024 * 1024
"""Bytes of values one peer may leave with us."""
VALUE_COST: Final = 1024
"""Bytes that keeping a value costs beyond the value."""
MAX_PROVIDERS: Final = 100_000
MAX_PROVIDERS_OF_ONE: Final = 20_000
PROVIDERS_KEPT: Final = 60
PROVIDERS_TOLD: Final = 20

sender: ContextVar[str] = ContextVar("sender", default="")
"""The peer whose message is being answered; empty for our own records."""


class BoundedValues(ValueStore):
    """The library's value store with a limit, a share for each sender, and no file."""

    def __init__(self, host: Any, local_peer_id: Any, limit: int = MAX_VALUES) -> None:
        super().__init__(host=host, local_peer_id=local_peer_id)
        self._own_position = position_of_key(local_peer_id.to_bytes())
        self._limit = limit
        self._sizes: dict[bytes, tuple[str, int]] = {}
        self._shares: Counter[str] = Counter()

    def put_record(self, key: bytes, record: Any) -> None:
        size, who = record.ByteSize() + VALUE_COST, sender.get()
        if who and self._share_without(key, who) + size > MAX_VALUES_OF_ONE:
            raise ValueError(f"peer {who} has used its share of our value store")
        self._forget(key)
        super().put_record(key, record)
        self._sizes[key] = (who, size)
        self._shares[who] += size
        while self._shares.total() > self._limit:
            self.remove(max(self._sizes, key=self._distance))

    def remove(self, key: bytes) -> bool:
        self._forget(key)
        return bool(super().remove(key))

    def cleanup_expired(self) -> int:
        removed = int(super().cleanup_expired())
        for key in [key for key in self._sizes if key not in self.store]:
            self._forget(key)
        return removed

    def _share_without(self, key: bytes, who: str) -> int:
        owner, size = self._sizes.get(key, ("", 0))
        return self._shares[who] - (size if owner == who else 0)

    def _forget(self, key: bytes) -> None:
        who, size = self._sizes.pop(key, ("", 0))
        self._shares[who] -= size

    def _distance(self, key: bytes) -> int:
        return position_of_key(key) ^ self._own_position


class BoundedProviders(ProviderStore):
    """The library's provider store with limits, a rotating answer, and no file."""

    def __init__(self, host: Any, limit: int = MAX_PROVIDERS) -> None:
        super().__init__(host=host)
        self._own_position = position_of_key(host.get_id().to_bytes())
        self._limit = limit
        self._shares: Counter[str] = Counter()
        self._addresses: dict[str, Any] = {}

    def add_provider(self, key: bytes, provider: Any) -> None:
        who = str(provider.peer_id)
        records = self.providers.get(key, {})
        if who not in records:
            if self._shares[who] >= MAX_PROVIDERS_OF_ONE:
                return
            if len(records) >= PROVIDERS_KEPT:
                self._drop(key, min(records, key=lambda each: records[each].timestamp))
            self._shares[who] += 1
        if self._addresses.get(who) != provider.addrs:  # one list a peer, not one a record
            self._addresses[who] = provider.addrs
        info = PeerInfo(provider.peer_id, self._addresses[who])
        self.providers.setdefault(key, {})[who] = ProviderRecord(info, time.time())
        while self._shares.total() > self._limit:
            farthest = max(self.providers, key=self._distance)
            for each in list(self.providers[farthest]):
                self._drop(farthest, each)

    def get_providers(self, key: bytes) -> list[Any]:
        records = [each for each in self.providers.get(key, {}).values() if not each.is_expired()]
        told = random.sample(records, min(len(records), PROVIDERS_TOLD))
        return [each.provider_info for each in told]

    def cleanup_expired(self) -> None:
        oldest = time.time() - PROVIDER_RECORD_EXPIRATION_INTERVAL
        expired = [
            (key, who)
            for key, records in self.providers.items()
            for who, record in records.items()
            if record.timestamp < oldest
        ]
        for key, who in expired:
            self._drop(key, who)

    def _drop(self, key: bytes, who: str) -> None:
        del self.providers[key][who]
        if not self.providers[key]:
            del self.providers[key]
        self._shares[who] -= 1
        if self._shares[who] <= 0:
            del self._shares[who]
            self._addresses.pop(who, None)

    def _distance(self, key: bytes) -> int:
        return position_of_key(key) ^ self._own_position
