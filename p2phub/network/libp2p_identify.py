"""Asking a peer what it is: its agent, the protocols it serves, and where it can be dialled.

Defects of libp2p 0.8.1 it answers
- Identify runs as a system task of trio, where any exception ends the whole process
  (host/basic_host.py `_schedule_identify`); here it is a task of the session.
  Test: test_libp2p_host.py::test_a_peer_that_answers_identify_with_garbage_stays_nameless.
- The agent a peer names is thrown away (identity/update.py).
  Test: test_libp2p_host.py::test_a_peer_is_known_by_its_agent_and_its_listening_address.
- Addresses are forgotten after two hours, though the peer is still connected
  (identity/update.py); `libp2p_upkeep` says them again.

Rules it keeps
- What a stranger says is cut: one message of 64 KiB, a few addresses, short names.
"""

from dataclasses import dataclass
from typing import Any, Final

import trio
from libp2p.identity.identify.identify import ID as IDENTIFY
from libp2p.identity.identify.pb.identify_pb2 import Identify
from libp2p.identity.update import update_peerstore_from_identify
from libp2p.peer.id import ID
from libp2p.utils.varint import read_varint_prefixed_bytes_limited
from multiaddr import Multiaddr

from p2phub.errors import RemoteError
from p2phub.network.libp2p_addresses import dialable
from p2phub.network.libp2p_patches import quietly
from p2phub.network.libp2p_questions import address_texts
from p2phub.network.lookup import peer_id_bytes

MAX_IDENTIFY: Final = 64 * 1024
MAX_PROTOCOLS: Final = 128
MAX_NAME: Final = 256
"""Characters of a protocol or an agent."""
IDENTIFY_TIMEOUT: Final = 10.0
"""Seconds a peer has to say what it is."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a peer says of itself."""

    agent: str
    protocols: frozenset[str]
    addresses: tuple[str, ...]


async def identify(host: Any, peer_id: str) -> Identity:
    """Ask a connected peer, and let the library know the answer too. Raises `RemoteError`."""
    try:
        with trio.fail_after(IDENTIFY_TIMEOUT):
            message = await _ask(host, ID(peer_id_bytes(peer_id)))
    except Exception as error:
        raise RemoteError(f"peer {peer_id} does not say what it is: {error!r}") from error
    addresses = dialable(address_texts(message.listen_addrs))
    protocols = [each[:MAX_NAME] for each in message.protocols[:MAX_PROTOCOLS]]
    trimmed: Any = Identify(
        public_key=message.public_key,
        listen_addrs=[Multiaddr(address).to_bytes() for address in addresses],
        protocols=protocols,
    )
    await update_peerstore_from_identify(host.get_peerstore(), ID(peer_id_bytes(peer_id)), trimmed)
    agent = "".join(each for each in message.agent_version[:MAX_NAME] if each.isprintable())
    return Identity(agent, frozenset(protocols), addresses)


async def _ask(host: Any, peer_id: Any) -> Any:
    stream = await host.new_stream(peer_id, [IDENTIFY])
    try:
        message: Any = Identify()
        message.ParseFromString(await read_varint_prefixed_bytes_limited(stream, MAX_IDENTIFY))
        return message
    finally:
        with trio.move_on_after(1) as scope:
            scope.shield = True
            await quietly(stream.close)
