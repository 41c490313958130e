"""Your own keys: who may publish in your name, and what was taken back.

The root says who you are. It comes from the recovery phrase and is needed only to change something:
commands that need it ask for the passphrase that locks it here, or for the phrase. A release key
signs what this machine publishes; the root lets it in and takes it back.
"""

from typing import Final

FOLDER: Final = "p2phub.cli.keys"
VERBS: Final = {
    "ls": "the keys of your publisher, and which of them are here",
    "new": "make a key",
    "backup": "write a backup file, show the recovery phrase",
    "lock": "keep the root on this machine, behind a passphrase",
}
"""The commands and what they do."""
