"""What to announce to the DHT, when, and how late we are.

Records in a DHT die with their holders, so each is put again every `EVERY` seconds. A receiver
accepts at most ten announcements of one sender in ten seconds and drops the rest in silence, so
announcements are paced by a token bucket: `BURST` at once, then one every `PACE` seconds. What has
never been announced goes first, most wanted first; refreshes are swept in the order of their keys,
so that neighbouring keys, which live on the same peers, go together.

This module decides; `p2phub/node/announce.py` acts. Time is an argument, in seconds.

Example:

>>> schedule = AnnounceSchedule()
>>> schedule.want(b"file", priority=2, now=0)
>>> schedule.want(b"release", priority=1, now=0)
>>> schedule.next(now=0)
b'release'
>>> schedule.done(b"release", now=0)
>>> schedule.lag(now=7)
7
>>> schedule.next(now=7)
b'file'
"""

from dataclasses import dataclass

EVERY = 12 * 3600  # seconds between two announcements of one key
RETRY = 60  # seconds before a failed announcement is tried again
BURST = 8
PACE = 1.25  # seconds


@dataclass(slots=True)
class _Entry:
    priority: int
    due: float
    new: bool = True


class AnnounceSchedule:
    """The standing list of keys to announce."""

    def __init__(self) -> None:
        self._entries: dict[bytes, _Entry] = {}
        self._tokens = float(BURST)
        self._filled_at = 0.0
        self._swept = b""

    def __len__(self) -> int:
        return len(self._entries)

    def want(self, key: bytes, priority: int, now: float) -> None:
        """Announce `key` from now on; smaller `priority` first. Known keys keep their turn."""
        if key not in self._entries:
            self._entries[key] = _Entry(priority, now)

    def renew(self, key: bytes, priority: int, now: float) -> None:
        """Announce `key` as if it were new: what it says has changed."""
        self._entries[key] = _Entry(priority, now)

    def forget(self, key: bytes) -> None:
        self._entries.pop(key, None)

    def is_new(self, key: bytes) -> bool:
        """Whether `key` is wanted and has not been announced since it was wanted or renewed."""
        return key in self._entries and self._entries[key].new

    def next(self, now: float) -> bytes | None:
        """The key to announce now, or None if nothing is due or the pace forbids it. Costs one
        token.
        """
        self._fill(now)
        due = [(key, entry) for key, entry in self._entries.items() if entry.due <= now]
        if not due or self._tokens < 1:
            return None
        self._tokens -= 1
        fresh = [(entry.priority, entry.due, key) for key, entry in due if entry.new]
        if fresh:
            return min(fresh)[2]
        keys = sorted(key for key, _ in due)
        self._swept = next((key for key in keys if key > self._swept), keys[0])
        return self._swept

    def wait(self, now: float) -> float:
        """Seconds until `next` may have something."""
        self._fill(now)
        if not self._entries:
            return float(EVERY)
        until_due = max(0.0, min(entry.due for entry in self._entries.values()) - now)
        until_token = max(0.0, (1 - self._tokens) * PACE)
        return max(until_due, until_token)

    def done(self, key: bytes, now: float) -> None:
        """`key` was announced."""
        entry = self._entries.get(key)
        if entry is not None:
            entry.due, entry.new = now + EVERY, False

    def failed(self, key: bytes, now: float) -> None:
        """Nobody took the announcement of `key`."""
        entry = self._entries.get(key)
        if entry is not None:
            entry.due = now + RETRY

    def lag(self, now: float) -> float:
        """How late the most overdue announcement is, in seconds."""
        return max(
            (now - entry.due for entry in self._entries.values() if entry.due < now), default=0
        )

    def _fill(self, now: float) -> None:
        self._tokens = min(float(BURST), self._tokens + max(0.0, now - self._filled_at) / PACE)
        self._filled_at = max(now, self._filled_at)
