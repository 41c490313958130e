"""A model that answers, and the pedigree that goes with every answer of it.

`InferenceApi.serve` of the gateway's ports hands one out for the length of a request; nothing here
does anything by itself.
"""

from dataclasses import dataclass

from p2phub.inference.engine import Engine


@dataclass(frozen=True, slots=True)
class Served:
    """One loaded model, held for one request."""

    engine: Engine
    release: str
    """The digest of the release whose bytes were verified and loaded, in hex."""
    publisher: str
    """The id of who signed it."""
    verdict: str
    """What its signatures are worth: verified, stale, …"""
    name: str
    """What a request calls it: `publisher/name`, with `@revision` unless it is main."""
    policy: str = "enforce"
    """The rule for its publisher under which it may answer."""
    adapter: str = ""
    """What the engine calls the adapter that the request named; empty: the model itself."""
    base_release: str = ""
    """The digest of the release that this is an adapter of, in hex; empty: it is none."""
    base_publisher: str = ""
    """The id of who signed that."""
