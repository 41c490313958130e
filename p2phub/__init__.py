"""A peer-to-peer registry for machine-learning models.

`from p2phub import Hub, AsyncHub` is the whole public door. It costs milliseconds: the client is
imported when one of the two is asked for, and torch, trio and libp2p not even then.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from p2phub.client import AsyncHub, Hub

__version__ = "0.1.0"
__all__ = ["AsyncHub", "Hub", "__version__"]


def __getattr__(name: str) -> object:
    if name in ("Hub", "AsyncHub"):
        from p2phub import client

        return getattr(client, name)
    raise AttributeError(f"module 'p2phub' has no attribute {name!r}")
