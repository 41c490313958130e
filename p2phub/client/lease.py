"""Which node a hub talks to: the one it was given, the one that runs, or one of its own.

A hub may live for days while daemons come and go, so the question is asked again before every call;
it costs one small file read. A node of its own is started once and replaced if it died.
"""

import threading
from pathlib import Path

from p2phub.client.embedded import EmbeddedNode, reach
from p2phub.client.running import RunningNode, find_running


class Lease:
    """The right to use a node, found or started when it is first asked for."""

    def __init__(self, home: Path, url: str | None = None, token: str | None = None) -> None:
        """`url` names a node that is used as it is. The token of `home` goes to its node only."""
        self._home = home
        self._given = _given(home, url.rstrip("/"), token) if url is not None else None
        self._lock = threading.Lock()
        self._found: RunningNode | None = None
        self._own: EmbeddedNode | None = None

    def node(self) -> RunningNode:
        """Where to send the next call. Raises whatever starting a node raises."""
        if self._given is not None:
            return self._given
        with self._lock:
            if self._found is None or self._is_gone():
                self._let_go()
                self._found, self._own = reach(self._home)
            return self._found

    def close(self) -> None:
        """Stop the node that was started for this, if one was."""
        with self._lock:
            self._let_go()

    def _is_gone(self) -> bool:
        if self._own is not None:
            return self._own.process.poll() is not None
        return find_running(self._home) != self._found

    def _let_go(self) -> None:
        own, self._own, self._found = self._own, None, None
        if own is not None:
            own.stop()


def _given(home: Path, url: str, token: str | None) -> RunningNode:
    running = find_running(home) if token is None else None
    if running is not None and running.url == url:
        return running
    return RunningNode(url, token or "")
