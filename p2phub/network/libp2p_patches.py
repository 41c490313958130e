"""Defects of py-libp2p 0.8.1 that are mended inside the library, one named function each.

A function here takes what the library does and returns what it should do; its docstring says which
defect it answers and which test fails without it. `install()` puts all of them in place, once a
process. Defects that can be avoided from outside are avoided where we use the library:
`libp2p_build` (what a host offers, closing, limits), `libp2p_kad` (the server half of the DHT),
`libp2p_records` (the client half), `libp2p_dial` (addresses, time-outs), `libp2p_streams` (stalled
readers) and `libp2p_addresses` (no QUIC).

Rules it keeps
- The library is patched where a peer or a full buffer could stop or deafen a node, and nowhere for
  taste.
- `without(patch)` takes one patch out again, so that its test can show the defect.
"""

import logging
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import libp2p
import libp2p.network.connection.swarm_connection as swarm_connection
import libp2p.network.swarm as swarm
import libp2p.protocol_muxer.multiselect_communicator as multiselect_communicator
import libp2p.stream_muxer.yamux.yamux as yamux
import libp2p.transport.tcp.tcp as tcp
import trio
from libp2p.abc import IMuxedConn
from libp2p.exceptions import ParseError
from libp2p.io.trio import TrioTCPStream
from libp2p.network.connection.exceptions import RawConnError
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.utils.varint import read_varint_prefixed_bytes_limited

TESTED_VERSION: Final = "0.8.1"
MAX_STREAMS_PER_CONNECTION: Final = 512
MAX_PROTOCOL_NAME: Final = 64 * 1024
"""Bytes of a protocol name or list, read before anybody has proved who they are."""
FRAME_TIMEOUT: Final = 20.0
"""Seconds in which one frame of at most 64 KiB must leave, else the connection is closed."""
PING_EVERY: Final = 30.0
PONG_WITHIN: Final = 20.0
"""Seconds in which a ping must be answered, else the connection is closed."""
WINDOW_SLACK: Final = 1024 * 1024
"""Bytes a peer may be ahead of the window we gave it; the library over-grants a little."""

log = logging.getLogger("p2phub.network.libp2p")
Patch = Callable[[Any], Any]
_patches: dict[Patch, tuple[Any, str, Any]] = {}
_installed: set[Patch] = set()


def install() -> None:
    """Mend the library, once a process; warn if it is not the release that was tested."""
    if not _installed and libp2p.__version__ != TESTED_VERSION:
        log.warning(
            "libp2p %s is installed but p2phub was tested with %s; its patches may not fit",
            libp2p.__version__,
            TESTED_VERSION,
        )
    for patch, (owner, attribute, original) in _patches.items():
        if patch not in _installed:
            setattr(owner, attribute, patch(original))
            _installed.add(patch)


@contextmanager
def without(patch: Patch) -> Iterator[None]:
    """The library with one patch taken out again, to show what it is good for."""
    owner, attribute, original = _patches[patch]
    patched = getattr(owner, attribute)
    setattr(owner, attribute, original)
    try:
        yield
    finally:
        setattr(owner, attribute, patched)


def _replaces(owner: Any, attribute: str) -> Callable[[Patch], Patch]:
    def register(patch: Patch) -> Patch:
        _patches[patch] = (owner, attribute, getattr(owner, attribute))
        return patch

    return register


@_replaces(swarm_connection.SwarmConn, "_handle_muxed_stream")
def a_failing_stream_costs_only_itself(original: Any) -> Any:
    """Any exception in any stream handler, ours or the library's, ends the whole host.

    It escapes into the nursery of the swarm (swarm_connection.py:271, 309). One malformed gossip
    message (pubsub.py:562 does not catch `DecodeError`) is enough.
    Tests: test_libp2p_faults.py::test_a_handler_that_raises_costs_only_its_stream,
    test_libp2p_faults.py::test_a_malformed_gossip_message_does_not_end_the_host.
    """

    async def handle(self: Any, muxed_stream: Any) -> None:
        try:
            if len(self.streams) < MAX_STREAMS_PER_CONNECTION:
                await original(self, muxed_stream)
                return
            log.debug("peer %s has too many streams open", self.muxed_conn.peer_id)
        except Exception as error:
            log.debug("a stream of %s failed: %r", self.muxed_conn.peer_id, error)
        await quietly(muxed_stream.reset)

    return handle


@_replaces(swarm.Swarm, "_do_handle_inbound_connection")
def a_closed_connection_gives_its_slot_back(original: Any) -> Any:
    """A node is deaf for ever after about 250 inbound connections over its lifetime.

    The handler of an inbound connection waits for the end of the swarm and not of the connection
    (swarm.py:1982, 2044, 2060), and holds a slot and a task as long.
    Tests: test_libp2p_faults.py::test_connections_that_ended_leave_room_for_others,
    test_libp2p_faults.py::test_a_thousand_connections_over_a_lifetime_do_not_deafen.
    """

    async def handle(self: Any, accepted: Any, listening: Any, event: Any) -> None:
        remote = self._build_remote_multiaddr(accepted)
        if remote is not None and not await self.connection_gate.is_allowed(remote):
            await quietly(accepted.close)
            return
        if isinstance(accepted, IMuxedConn):  # QUIC and its like, which we do not offer
            await quietly(accepted.close)
            return
        raw = RawConnection(accepted, False)
        try:
            muxed = await self.upgrade_inbound_raw_conn(raw, listening)
            await muxed.event_closed.wait()
        except Exception as error:
            log.debug("an inbound connection from %s failed: %r", remote, error)
            await quietly(raw.close)

    return handle


@_replaces(yamux.Yamux, "_write_frame")
def a_cancelled_write_sends_its_frame_whole(original: Any) -> Any:
    """A time-out while a frame is being sent leaves half of it on the wire.

    The next frame then begins in the middle, and all streams of the connection die
    (yamux.py `_write_frame` passes the cancellation on to the socket).
    Test: test_libp2p_streams.py::test_a_cancelled_write_does_not_break_the_other_streams.
    """

    async def write_frame(self: Any, data: bytes) -> None:
        async with self._write_lock:
            with trio.move_on_after(FRAME_TIMEOUT) as scope:
                scope.shield = True
                await self.secured_conn.write(data)
            if scope.cancelled_caught:
                await quietly(self.secured_conn.close)
                raise RawConnError(f"a frame was not taken within {FRAME_TIMEOUT} seconds")
        await trio.lowlevel.checkpoint()

    return write_frame


@_replaces(yamux.Yamux, "__init__")
def a_peer_is_held_to_its_window(original: Any) -> Any:
    """A peer that ignores the window fills our memory: the library only logs a warning.

    (yamux.py `handle_incoming`, "peer exceeded receive window".) Beyond the window the stream is
    reset and its bytes are dropped.
    Test: test_libp2p_streams.py::test_a_sender_that_ignores_the_window_is_cut_off.
    """

    def initialise(self: Any, *arguments: Any, **options: Any) -> None:
        original(self, *arguments, **options)
        self.stream_buffers = _Buffers(self)

    return initialise


@_replaces(yamux.Yamux, "_measure_rtt_loop")
def a_dead_connection_is_noticed(original: Any) -> Any:
    """A peer whose machine lost its power or its network stays connected for ever.

    The library pings every 30 s and does nothing when no answer comes (yamux.py:700).
    Test: test_libp2p_faults.py::test_a_peer_that_fell_silent_is_disconnected.
    """

    async def measure(self: Any) -> None:
        while not self.event_shutting_down.is_set():
            self._ping_id += 1
            self._ping_event = trio.Event()
            try:
                await self._write_frame(yamux_ping(self._ping_id))
            except Exception as error:
                log.debug("peer %s cannot be pinged: %r", self.peer_id, error)
                return
            self._ping_sent_time = trio.current_time()
            with trio.move_on_after(PONG_WITHIN) as waiting:
                await self._ping_event.wait()
            if waiting.cancelled_caught:
                log.debug("peer %s fell silent", self.peer_id)
                await quietly(self.secured_conn.close)
                return
            with trio.move_on_after(PING_EVERY):
                await self.event_shutting_down.wait()

    return measure


def yamux_ping(number: int) -> bytes:
    return struct.pack(yamux.YAMUX_HEADER_FORMAT, 0, yamux.TYPE_PING, yamux.FLAG_SYN, 0, number)


@_replaces(yamux, "MAX_WINDOW_SIZE")
def a_window_grows_to_a_few_megabytes(original: Any) -> Any:
    """A window grows to 16 MiB a stream, all of which a peer may leave us with (yamux.py:149).

    4 MiB carry 40 MB/s over a line of 100 ms; what needs more goes over the data plane.
    Test: test_libp2p_streams.py::test_a_sender_that_ignores_the_window_is_cut_off.
    """
    return 4 * 1024 * 1024


@_replaces(yamux.YamuxStream, "_auto_tune_and_send_window_update")
def a_window_is_renewed_when_half_of_it_is_used(original: Any) -> Any:
    """Every read is answered with an update of the window, also one of a single byte.

    (yamux.py `_auto_tune_and_send_window_update`, "partial slack".) Half of the frames of a short
    question were such; with them and without waiting for the protocol it costs 20 frames, now 8.
    Test: test_libp2p_streams.py::test_a_short_question_costs_few_frames.
    """

    async def update(self: Any, *, bytes_read: int = 0) -> None:
        await original(self)

    return update


class _Buffers(dict[int, bytearray]):
    """The receive buffers of one connection, each of which knows its limit."""

    def __init__(self, connection: Any) -> None:
        super().__init__()
        self._connection = connection

    def __setitem__(self, stream_id: int, buffer: bytearray) -> None:
        super().__setitem__(stream_id, _Buffer(self._connection, stream_id))


class _Buffer(bytearray):
    def __init__(self, connection: Any, stream_id: int) -> None:
        super().__init__()
        self._connection, self._stream_id = connection, stream_id

    def extend(self, data: Any) -> None:
        stream = self._connection.streams[self._stream_id]
        if len(self) + len(data) > 2 * stream.target_recv_window + WINDOW_SLACK:
            stream.reset_received = True
            raise RawConnError(f"peer {self._connection.peer_id} ignores the window of a stream")
        super().extend(data)


@_replaces(multiselect_communicator, "read_delim")
def a_protocol_name_is_short(original: Any) -> Any:
    """A stranger who has proved nothing can make us read a protocol name of any length.

    (varint.py `read_delim`, used before the security handshake.)
    Test: test_libp2p_faults.py::test_a_stranger_cannot_send_an_endless_protocol_name.
    """

    async def read_delim(reader: Any) -> bytes:
        message: bytes = await read_varint_prefixed_bytes_limited(reader, MAX_PROTOCOL_NAME)
        if not message.endswith(b"\n"):
            raise ParseError("a protocol name does not end with a line feed")
        return message[:-1]

    return read_delim


@_replaces(tcp, "_set_reuse_flags")
def a_taken_port_is_an_error(original: Any) -> Any:
    """Two nodes may listen on the same port, and each gets half of the other's connections.

    The library sets SO_REUSEPORT on listeners (tcp.py:39). We listen alone, and on IPv6 only
    where IPv6 is meant, so that 0.0.0.0 and :: can share a port number.
    Test: test_libp2p_host.py::test_a_port_in_use_is_named.
    """

    def set_flags(listener: Any) -> None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if listener.family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)

    return set_flags


@_replaces(swarm, "_HAPPY_EYEBALLS_DELAY")
def a_dial_does_not_sleep(original: Any) -> Any:
    """Every dial of a peer takes at least 250 ms, also when it succeeds in 5 (swarm.py:92, 936).

    Test: test_libp2p_dial.py::test_the_librarys_own_dial_does_not_sleep.
    """
    return 0.0


@_replaces(swarm_connection, "logging")
def connections_log_under_their_own_name(original: Any) -> Any:
    """Connections log to the root logger, which puts a handler on everybody's standard error.

    (swarm_connection.py calls `logging.warning`, which calls `basicConfig`.)
    Test: test_libp2p_faults.py::test_the_root_logger_stays_untouched.
    """
    return logging.getLogger("libp2p.network.connection.swarm_connection")


@_replaces(TrioTCPStream, "get_remote_address")
def a_peer_on_ipv6_has_an_address(original: Any) -> Any:
    """The address of a peer that came over IPv6 is lost, and with it limits and answers to it.

    (io/trio.py wants two fields of `getpeername`; IPv6 has four.)
    Test: test_libp2p_host.py::test_the_host_of_a_peer_is_seen.
    """

    def get_remote_address(self: Any) -> tuple[str, int] | None:
        if self._cached_remote_address is None:
            try:
                host, port = self.stream.socket.getpeername()[:2]
            except OSError:
                return None
            self._cached_remote_address = (host, port)
        found: tuple[str, int] = self._cached_remote_address
        return found

    return get_remote_address


async def quietly(action: Callable[[], Awaitable[object]]) -> None:
    """Close or reset something that may be gone already."""
    try:
        await action()
    except Exception as error:
        log.debug("closing failed: %r", error)
