"""The table [airgap] of node.toml; how tables are read and shown is `config`'s business.

>>> AirgapSettings().quarantine, AirgapSettings().approvals
(False, 1)
"""

from dataclasses import dataclass
from typing import Annotated

from p2phub.kinds import APPROVERS, LICENSES, SCANNER, SITES, SWITCH, Addresses, whole


@dataclass(frozen=True, slots=True)
class AirgapSettings:
    """The gate to other networks: what comes in bundles."""

    quarantine: Annotated[
        bool,
        SWITCH,
        "What a bundle brings waits, unseen and unserved, until it passed every check and the"
        " approvers signed for it: `p2phub quarantine`. What waits when this is turned off goes on"
        " waiting.",
    ] = False
    licenses: Annotated[
        Addresses,
        LICENSES,
        "The licences that pass, as model cards write them; case does not matter. Empty: any.",
    ] = ()
    scanner: Annotated[
        str,
        SCANNER,
        "A program that looks through what came, run with a folder of copies as its last argument;"
        " exit code 0 passes it. It runs as the user of this node, without a shell.",
    ] = ""
    scanner_timeout: Annotated[
        int, whole(1, 86400), "Seconds after which it is stopped, and has not passed anything."
    ] = 600
    approvers: Annotated[
        Addresses,
        APPROVERS,
        "Who may let in what waits: a name, and the publisher id whose release keys sign for it, or"
        " the 64 digits of one Ed25519 key.",
    ] = ()
    approvals: Annotated[int, whole(1, 16), "How many of them have to sign."] = 1
    sites: Annotated[
        Addresses,
        SITES,
        "The only sites that `p2phub swap` gives anything, by the peer ids of their nodes"
        " (`p2phub id`). Empty: every site that left its inventory on the stick.",
    ] = ()
