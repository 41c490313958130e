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
    "allow": "let a release key publish in your name",
    "remove": "let a release key publish no more; what it signed is signed again",
    "rotate": "replace the root by the next one",
    "holder": "hold a share of a root that several people sign together",
    "recover": "replace a lost or stolen root with the recovery keys",
    "sign": "sign what somebody prepared, after a look at what it says",
    "revoke": "take back a key, a release or a file",
    "adopt": "take over a change that was made elsewhere",
    "join": "let this machine publish for a publisher that lets its key in",
    "proposals": "releases that wait for signatures: list, sign or drop them",
    "export": "write the public documents of a publisher to a file",
    "backup": "write a backup file, show the recovery phrase",
    "lock": "keep the root on this machine, behind a passphrase",
    "certify-oms": "let the root certify a key of model signatures",
    "export-oms": "write a public key of model signatures to a file",
}
"""The commands and what they do."""
