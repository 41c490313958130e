"""What came and left by bundles and who let it in, line by line, and whether the log is whole.

Every line names the one before it by its digest, and is signed by the node; the store knows the
last one. `audit verify` finds a line that was removed, changed, moved or torn. Write down what
`audit head` prints where nobody who has this machine can change it: with that, `audit verify
--head` also finds a log that was written anew. No node is needed.
"""

from typing import Final

FOLDER: Final = "p2phub.cli.audits"
VERBS: Final = {
    "ls": "what was logged",
    "verify": "whether anything was taken from the log, changed or added by another hand",
    "head": "the number and the digest of the last line, to write down elsewhere",
}
"""The commands and what they do."""
