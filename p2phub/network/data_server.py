"""The data port: files, pieces and documents over HTTP/1.1 and TLS 1.3, on plain blocking sockets.

One thread accepts, one thread serves each connection, and there is a limit to how many there are.
Who makes room when all are taken, or whether the newcomer is turned away, is decided in
`admission`: no party can keep another one out. The certificate is that of libp2p's TLS
specification: it proves the peer id of this node, and involves no authority and no name. Peers are
known by the ticket that they show.

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
from collections.abc import Callable

from p2phub.errors import ConfigError, P2PHubError, PortInUseError
from p2phub.network.admission import Guest, makes_room, party_of
from p2phub.network.data_session import DataSession, House
from p2phub.network.limits import (
    MAX_CONNECTIONS,
    MAX_CONNECTIONS_PER_PEER,
    MAX_UPLOADS,
    Patience,
)
from p2phub.network.throttle import Throttle
from p2phub.network.tickets import Tickets, steady_time
from p2phub.network.upload_slots import UploadSlots
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

    `uploads`: files sent at once. `connections`: open at once, `per_peer` of them by one peer, or
    by one address that shows no ticket. `up`: how fast bytes may be sent, shared with whoever else
    sends, and closed when this stops. `now`: unix seconds, for tickets. `on_fault` hears of bugs,
    so that tests can fail on them. Started and stopped once.
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
        per_peer: int = MAX_CONNECTIONS_PER_PEER,
        uploads: int = MAX_UPLOADS,
        up: Throttle | None = None,
        patience: Patience | None = None,
        now: Callable[[], int] = steady_time,
        on_fault: Fault | None = None,
    ) -> None:
        self._host, self._port = host, port
        self._most, self._per_peer, self._on_fault = connections, per_peer, on_fault
        self._up, self._slots = up or Throttle(), UploadSlots(uploads)
        self._house = House(
            context=server_context(certificate),
            held=held,
            tickets=tickets,
            patience=patience or Patience(),
            up=self._up,
            slots=self._slots,
            now=now,
            count=self._count,
            is_crowded=self._is_crowded,
        )
        self._lock = threading.Lock()
        self._sessions: dict[DataSession, threading.Thread] = {}
        self._stopping = threading.Event()
        self._bytes_sent = self._faults = self._turned_away = self._came = 0
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
    def slots(self) -> UploadSlots:
        """Its upload slots, for whoever else sends files. Nobody waits for one once it stops."""
        return self._slots

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
        self._waker, self._woken = socket.socketpair()
        self._acceptor = threading.Thread(
            target=self._accept_all, args=(self._listener,), name="data-accept", daemon=True
        )
        self._acceptor.start()

    def stop(self) -> None:
        """Close the port and every connection; returns when the last thread is gone."""
        if self._listener is None or self._stopping.is_set():
            return
        self._stopping.set()
        self._waker.send(b"x")
        self._acceptor.join()
        for end in (self._waker, self._woken):
            end.close()
        with self._lock:
            sessions = dict(self._sessions)
        for session in sessions:
            session.abort()
        self._up.close()
        self._slots.close()
        for thread in sessions.values():
            thread.join()

    def _accept_all(self, listener: socket.socket) -> None:
        with listener, selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while not self._stopping.is_set():
                selector.select()
                try:
                    connection, (host, *_) = listener.accept()
                except BlockingIOError:
                    continue  # we were woken, or the peer has left already
                except OSError as error:
                    _log.warning("cannot accept a data connection: %s", error)
                    self._stopping.wait(0.1)  # out of file descriptors: some will come back
                    continue
                self._admit(connection, party_of(host))

    def _admit(self, connection: socket.socket, party: str) -> None:
        """Give a connection a thread, or close it if there is no room."""
        connection.setblocking(True)
        if not self._make_room(party):
            self._turned_away += 1
            _log.info("turned a data connection away: %d are open", self._most)
            connection.close()
            return
        self._came += 1
        session = DataSession(connection, self._house, address=party, number=self._came)
        thread = threading.Thread(target=self._serve, args=(session,), name="data", daemon=True)
        with self._lock:
            self._sessions[session] = thread
        thread.start()

    def _make_room(self, party: str) -> bool:
        """Whether one more of this party may come in; ends another connection if need be."""
        with self._lock:
            staying = {each.number: each for each in self._sessions if not each.aborted}
        if len(staying) < self._most:
            return True
        guests = [Guest(key, each.party, each.idle_since) for key, each in staying.items()]
        going = makes_room(guests, party)
        if going is not None:
            staying[going.key].abort()
        return going is not None

    def _is_crowded(self, session: DataSession, party: str) -> bool:
        with self._lock:
            before = [each for each in self._sessions if each.number < session.number]
        return sum(each.party == party for each in before) >= self._per_peer

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
