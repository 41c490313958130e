"""What came in bundles waits, unseen and unserved, until it passed the checks and was let in.

`[airgap] quarantine = true` in node.toml turns it on; `licenses`, `scanner` and `approvers` say
what passes and who may let it in. An approver signs with a release key of a publisher, or a key of
their own: here with `approve`, or elsewhere with `sign`, from a file that `request` wrote here.
Everything that is decided is noted: `p2phub audit ls`.
"""

from typing import Final

FOLDER: Final = "p2phub.cli.quarantines"
VERBS: Final = {
    "ls": "what waits, since when, from where, and what the checks found",
    "check": "run the checks of a release again",
    "approve": "sign for a release, or hand over what an approver signed",
    "reject": "keep a release out and drop its files",
    "allow": "let a release that was rejected come again",
    "request": "write what is to be signed to a file, for an approver elsewhere",
    "sign": "sign for, or against, what is in such a file",
}
"""The commands and what they do."""
