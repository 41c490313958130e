"""Where networks are tried: on sockets of this machine, and in one world in memory."""

from p2phub.network.libp2p_host import Libp2pNetwork, NetworkSettings
from p2phub.testing.networks import MemoryNetwork, MemoryWorld
from tests.network.loopback import AT_LEISURE, LISTEN, kill, seed, select, validate

RULES = {"validate": validate, "select": select}


class Real:
    """Networks on 127.0.0.1."""

    def network(self, name: str, **options) -> Libp2pNetwork:
        usual = {"listen": LISTEN, "agent": name} | AT_LEISURE
        return Libp2pNetwork(seed(name), NetworkSettings(**usual | options), **RULES)

    def kill(self, network) -> None:
        kill(network)


class InMemory:
    """Networks in one world and in virtual time."""

    def __init__(self) -> None:
        self.world = MemoryWorld()

    def network(self, name: str, **options) -> MemoryNetwork:
        return MemoryNetwork(self.world, seed(name), agent=name, **RULES, **options)

    def kill(self, network) -> None:
        network.die()
