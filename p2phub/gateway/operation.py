"""One thing that can be asked of a node over HTTP. What there is stands in `operations`.

>>> Operation("id", "Who this node is", Nothing, Nothing, lambda node, request, report: node).path
'/control/v1/id'
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from p2phub.gateway.ports import NodeApi
from p2phub.gateway.tokens import TokenScope
from p2phub.node.values import Report

PREFIX: Final = "/control/v1/"


@dataclass(frozen=True, slots=True)
class Nothing:
    """A call without arguments."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that can be asked of a node."""

    name: str
    """The path below `/control/v1/`."""
    summary: str
    takes: type
    """The dataclass of the request: a query string for GET, a JSON body for POST."""
    gives: type
    """The dataclass of the answer, or of each item of it; `bytes` where it is just that."""
    call: Callable[[NodeApi, Any, Report], Awaitable[Any]]
    under: str = ""
    """The key that holds the list, where the answer is one."""
    method: str = "POST"
    open: bool = False
    """Whether anyone on loopback may ask without a token, and with any token elsewhere."""
    scope: TokenScope = "write"
    """What a token must be for, where it is not open."""
    streams: bool = False
    """Whether the answer is lines of JSON: events, then one `done` or one `error`."""
    example: Mapping[str, object] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return PREFIX + self.name


def scope_for(operation: Operation, wanted: Any) -> TokenScope:
    """What a token must be for to ask this.

    Whoever names a file or a folder of this machine takes `admin`: what is published from anywhere,
    or pulled to anywhere, could be the token of the node itself.
    """
    values = [getattr(wanted, each.name) for each in fields(wanted)]
    return "admin" if any(isinstance(each, Path) for each in values) else operation.scope
