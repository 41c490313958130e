"""The table [gateway] of node.toml; how tables are read and shown is `config`'s business.

>>> GatewaySettings().upstream
''
"""

from dataclasses import dataclass
from typing import Annotated

from p2phub.kinds import ENDPOINT, REPOS, SWITCH, TOKEN, UPSTREAM, Addresses, Endpoint

GATEWAY = Endpoint("127.0.0.1", 8642)


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """HTTP for people and programs on this machine."""

    listen: Annotated[
        Endpoint,
        ENDPOINT,
        "Where the gateway listens. On any address but loopback every call needs the token."
        " Port 0: any free one.",
    ] = GATEWAY
    token: Annotated[
        str,
        TOKEN,
        "A token that opens every call, for programs on other machines. The one in the file"
        " run/token under the home, made at the first start, opens them too.",
    ] = ""
    upstream: Annotated[
        str,
        UPSTREAM,
        "A hub that answers like Hugging Face's, such as https://huggingface.co. What its names"
        " mean, and no alias of yours, is fetched from there once, checked, and shared with peers"
        ' unless it took a token. "": none.',
    ] = ""
    upstream_offline: Annotated[
        bool, SWITCH, "Never ask the upstream; tell what is known of it, and how old that is."
    ] = False
    upstream_allow: Annotated[
        Addresses,
        REPOS,
        "The only repos of the upstream that may be asked for, with * and ?; those of one kind with"
        ' "datasets/" before them. Empty: all.',
    ] = ()
    upstream_deny: Annotated[
        Addresses, REPOS, "Repos of the upstream that must not be asked for, written alike."
    ] = ()
