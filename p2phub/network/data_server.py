"""The data port: files, pieces and documents over HTTP/1.1 and TLS 1.3, on plain blocking sockets.

One thread accepts, one thread serves each connection, and there is a limit to how many there are.
When all are taken, the one that has been idle longest makes room; if none is idle, the newcomer is
turned away. The certificate is that of libp2p's TLS specification: it proves the peer id of this
node, and involves no authority and no name. Peers are known by the ticket that they show.

Rules it keeps:
 * a peer's fault, and a bug met while serving it, cost that connection and are counted;
 * `stop` ends every connection and returns when the last thread is gone.

It leaves a connection to `data_session`, what to answer to `p2phub.protocol.serve`.
"""

import errno
import logging
import selectors
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable

from p2phub.errors import ConfigError, P2PHubError, PortInUseError
from p2phub.network.data_session import DataSession
from p2phub.network.limits import MAX_CONNECTIONS, UNLIMITED, Bandwidth, Patience
from p2phub.network.tickets import Tickets
from p2phub.protocol.serve import Held

_log = logging.getLogger(__name__)

Fault = Callable[[Exception], None]


def server_context(certificate: tuple[bytes, bytes]) -> ssl.SSLContext:
    """TLS 1.3 and nothing older, with this certificate and key (PEM)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0  # sessions are not resumed: a handshake costs 2 ms, state costs care
    with tempfile.NamedTemporaryFile(prefix="p2phub-") as file:  # ssl reads files only; mode 0600
        file.write(b"".join(certificate))
        file.flush()
        context.load_cert_chain(file.name)
    return context


class DataServer:
    """Listens at `host`:`port` (0: any free one; see `port` once started).

    `up`: how fast bytes may be sent, shared with whoever else sends. `now`: unix seconds, for
    tickets. `on_fault` hears of bugs, so that tests can fail on them. Started and stopped once.
    """

    def __init__(
        self,
        host: str,
        port: int,
        certificate: tuple[bytes, bytes],
        held: Held,
        tickets: Tickets,
        *,
        connections: int = MAX_CONNECTIONS,
        up: Bandwidth = UNLIMITED,
        patience: Patience | None = None,
        now: Callable[[], int] = lambda: int(time.time()),
        on_fault: Fault | None = None,
    ) -> None:
        self._host, self._port = host, port
        self._context = server_context(certificate)
        self._held, self._tickets = held, tickets
        self._most, self._patience, self._now = connections, patience or Patience(), now
        self._on_fault = on_fault
        self._lock = threading.Lock()
        self._sessions: dict[DataSession, threading.Thread] = {}
        self._stopping = threading.Event()
        self._up = up
        self._bytes_sent = self._faults = self._turned_away = 0
        self._listener: socket.socket | None = None

    @property
    def port(self) -> int:
        """The port it listens on; 0 before it was started."""
        return 0 if self._listener is None else int(self._listener.getsockname()[1])

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._sessions)

    @property
    def bytes_sent(self) -> int:
        """Bytes of files and documents sent since the start."""
        return self._bytes_sent

    @property
    def faults(self) -> int:
        """Connections that ended with an error, whoever's fault it was."""
        return self._faults

    @property
    def turned_away(self) -> int:
        """Connections that found every place taken."""
        return self._turned_away

    def start(self) -> None:
        """Listen and serve. Raises `PortInUseError`, or `ConfigError` for an address not ours."""
        self._listener = _listen(self._host, self._port)
        self._waker, woken = socket.socketpair()
        self._acceptor = threading.Thread(
            target=self._accept_all, args=(self._listener, woken), name="data-accept", daemon=True
        )
        self._acceptor.start()

    def stop(self) -> None:
        """Close the port and every connection; returns when the last thread is gone."""
        if self._listener is None or self._stopping.is_set():
            return
        self._stopping.set()
        self._waker.send(b"x")
        self._acceptor.join()
        self._waker.close()
        with self._lock:
            sessions = dict(self._sessions)
        for session in sessions:
            session.abort()
        for thread in sessions.values():
            thread.join()

    def _accept_all(self, listener: socket.socket, woken: socket.socket) -> None:
        with listener, woken, selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            selector.register(woken, selectors.EVENT_READ)
            while not self._stopping.is_set():
                selector.select()
                try:
                    connection, _ = listener.accept()
                except BlockingIOError:
                    continue  # we were woken, or the peer has left already
                except OSError as error:
                    _log.warning("cannot accept a data connection: %s", error)
                    self._stopping.wait(0.1)  # out of file descriptors: some will come back
                    continue
                self._admit(connection)

    def _admit(self, connection: socket.socket) -> None:
        """Give a connection a thread, or close it if there is no room."""
        connection.setblocking(True)
        if not self._make_room():
            self._turned_away += 1
            _log.info("turned a data connection away: %d are open", self._most)
            connection.close()
            return
        session = DataSession(
            connection,
            self._context,
            self._held,
            self._tickets,
            patience=self._patience,
            send_turn=self._wait_to_send,
            now=self._now,
            count=self._count,
        )
        thread = threading.Thread(target=self._serve, args=(session,), name="data", daemon=True)
        with self._lock:
            self._sessions[session] = thread
        thread.start()

    def _make_room(self) -> bool:
        """Whether one more may come in; ends the connection that was idle longest if need be."""
        with self._lock:
            staying = [each for each in self._sessions if not each.aborted]
        idle = [each for each in staying if each.idle_since is not None]
        if len(staying) >= self._most and idle:
            min(idle, key=lambda each: each.idle_since or 0).abort()
        return len(staying) < self._most or bool(idle)

    def _serve(self, session: DataSession) -> None:
        """The boundary: whatever goes wrong with one connection stays with it."""
        try:
            session.run()
        except (P2PHubError, OSError) as error:
            self._ended_badly()
            _log.debug("a data connection ended: %s", error)
        except Exception as error:
            self._ended_badly()
            _log.exception("a bug ended a data connection")
            if self._on_fault is not None:
                self._on_fault(error)
        finally:
            with self._lock:
                self._sessions.pop(session, None)
            session.close()

    def _wait_to_send(self, size: int) -> None:
        seconds = self._up.reserve(size)
        if seconds:
            self._stopping.wait(seconds)

    def _ended_badly(self) -> None:
        with self._lock:
            self._faults += 1

    def _count(self, sent: int) -> None:
        with self._lock:
            self._bytes_sent += sent


def _listen(host: str, port: int) -> socket.socket:
    both = host == "::" and socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server(
            (host, port), family=family, backlog=128, dualstack_ipv6=both
        )
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortInUseError(
                f"somebody else listens at {host}:{port}",
                remedy="Choose another port for data_listen in [network] of node.toml (0: any).",
            ) from error
        raise ConfigError(
            f"cannot listen at {host}:{port}: {error.strerror or error}",
            remedy="Set data_listen in [network] of node.toml to an address of this machine.",
        ) from error
    listener.setblocking(False)
    return listener
