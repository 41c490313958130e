"""Bytes on the wire, as the kernel counts them: those of this machine, or of one process.

`own_network` runs a program again in a network of its own that has nothing but loopback. There,
whatever loopback has carried is the program's and its children's: payload, TLS, headers, and what
the control plane says. Where that is not allowed the counters are the whole machine's.
"""

import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

WAYS = (["unshare", "--net"], ["unshare", "--user", "--map-root-user", "--net"])
CHOSEN = "BENCH_NETWORK"
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
SOCK_DIAG_BY_FAMILY, DUMP_REQUEST, DONE, ERROR = 20, 0x301, 3, 2
INET_DIAG_INFO, BYTES_ACKED = 2, 120
"""The attribute with a socket's `tcp_info`, and where in it `tcpi_bytes_acked` stands."""
INODE, COOKIE, ATTRIBUTES = 68, 44, 72
"""Where these stand in an `inet_diag_msg`."""
SAMPLE = 0.01  # seconds


def own_network() -> None:
    """Go on in a network of its own, if this machine allows it. Call it first in `main`."""
    if CHOSEN in os.environ:
        if os.environ[CHOSEN] == "own":
            _loopback_up()
        return
    allowed = [way for way in WAYS if shutil.which(way[0]) and _works([*way, "true"])]
    if not allowed:
        print("bench: no network of its own here; other programs' bytes count", file=sys.stderr)
    words = [*(allowed or [[]])[0], sys.executable, *sys.argv]
    os.environ[CHOSEN] = "own" if allowed else "shared"
    os.execvp(words[0], words)


def _works(command: list[str]) -> bool:
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def _loopback_up() -> None:
    with socket.socket() as any_socket:
        asked = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(any_socket, SIOCGIFFLAGS, asked))[1]
        wanted = struct.pack("16sh14x", b"lo", flags | IFF_UP)
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, wanted)


def carried() -> int:
    """Bytes that loopback has carried so far, headers included."""
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, counters = line.partition(":")
        if name.strip() == "lo":
            return int(counters.split()[0])
    raise OSError("there is no loopback interface")


class Sent:
    """Bytes that the TCP connections of one process have sent, and the other end has received.

    Counted while the block runs. A connection is looked at a hundred times a second: what it sent
    in the last moment before it was closed is missed.
    """

    def __init__(self, pid: int) -> None:
        self._pid, self._end = pid, threading.Event()
        self._first: dict[bytes, int] = {}
        self._last: dict[bytes, int] = {}
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @property
    def total(self) -> int:
        return sum(last - self._first[cookie] for cookie, last in self._last.items())

    def __enter__(self) -> Self:
        self._look(new_from=None)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end.set()
        self._thread.join()
        self._look(new_from=0)

    def _watch(self) -> None:
        while not self._end.wait(SAMPLE):
            self._look(new_from=0)

    def _look(self, new_from: int | None) -> None:
        """Note every connection; one that is new has sent what is above `new_from`."""
        mine = inodes(self._pid)
        for inode, cookie, sent in connections():
            if cookie in self._first or inode in mine:
                self._first.setdefault(cookie, sent if new_from is None else new_from)
                self._last[cookie] = sent


def inodes(pid: int) -> set[int]:
    """The sockets that a process has open."""
    found = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        try:
            name = os.readlink(each)
        except OSError:  # closed since it was listed
            continue
        if name.startswith("socket:["):
            found.add(int(name[8:-1]))
    return found


def connections() -> list[tuple[int, bytes, int]]:
    """Every TCP connection of this network: inode, cookie, bytes that were sent and received."""
    found = []
    for family in (socket.AF_INET, socket.AF_INET6):
        every_state = 0xFFFFFFFF
        request = struct.pack(
            "=BBBBI48x", family, socket.IPPROTO_TCP, 1 << (INET_DIAG_INFO - 1), 0, every_state
        )
        for message in _dump(request):
            sent = _acked(message[ATTRIBUTES:])
            if sent is not None:
                inode = struct.unpack_from("=I", message, INODE)[0]
                found.append((inode, message[COOKIE : COOKIE + 8], sent))
    return found


def _dump(request: bytes) -> list[bytes]:
    """The messages that answer a request for a list of sockets (sock_diag(7))."""
    found = []
    head = struct.pack("=IHHII", 16 + len(request), SOCK_DIAG_BY_FAMILY, DUMP_REQUEST, 1, 0)
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4)
    with netlink:
        netlink.send(head + request)
        while True:
            answer = netlink.recv(1 << 20)
            while answer:
                length, kind = struct.unpack_from("=IH", answer)
                if kind in (DONE, ERROR):
                    return found
                found.append(answer[16:length])
                answer = answer[(length + 3) // 4 * 4 :]


def _acked(attributes: bytes) -> int | None:
    while len(attributes) >= 4:
        length, kind = struct.unpack_from("=HH", attributes)
        if kind == INET_DIAG_INFO and length >= 4 + BYTES_ACKED + 8:
            return struct.unpack_from("=Q", attributes, 4 + BYTES_ACKED)[0]
        attributes = attributes[max(4, (length + 3) // 4 * 4) :]
    return None
