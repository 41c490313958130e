"""The Python API: a small HTTP client of a node. Imports nothing heavy.

`Hub` and `AsyncHub` are loaded when they are asked for: who only looks for a running node
(`running`) needs no HTTP library.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from p2phub.client.async_hub import AsyncHub
    from p2phub.client.hub import Hub

__all__ = ["AsyncHub", "Hub"]


def __getattr__(name: str) -> object:
    if name == "Hub":
        from p2phub.client.hub import Hub

        return Hub
    if name == "AsyncHub":
        from p2phub.client.async_hub import AsyncHub

        return AsyncHub
    raise AttributeError(f"module 'p2phub.client' has no attribute {name!r}")
