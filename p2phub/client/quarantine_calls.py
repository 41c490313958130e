"""The calls of the control API about what waits at the gate of a node, as values.

>>> allow("lab/minilm").name
'quarantine/allow'
"""

from base64 import b64encode

from p2phub.airgap_results import Quarantined
from p2phub.client.calls import Call
from p2phub.client.results import read, read_list


def waiting() -> Call[list[Quarantined]]:
    return Call("quarantine/ls", lambda answer: read_list(Quarantined, answer.get("quarantined")))


def look(reference: str) -> Call[Quarantined]:
    query = {"reference": reference}
    return Call("quarantine/look", lambda answer: read(Quarantined, answer), query=query)


def check(reference: str) -> Call[Quarantined]:
    return _call("check", {"reference": reference}, streams=True)


def decide(approval: bytes) -> Call[Quarantined]:
    return _call("decide", {"approval": b64encode(approval).decode("ascii")})


def reject(reference: str, reason: str) -> Call[Quarantined]:
    return _call("reject", {"reference": reference, "reason": reason})


def allow(reference: str) -> Call[Quarantined]:
    return _call("allow", {"reference": reference})


def _call(verb: str, body: dict[str, str], *, streams: bool = False) -> Call[Quarantined]:
    name = f"quarantine/{verb}"
    return Call(name, lambda answer: read(Quarantined, answer), body=body, streams=streams)
