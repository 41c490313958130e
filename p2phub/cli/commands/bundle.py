"""Carry releases on a stick or a disk to where no network reaches, and take them in there.

A bundle is a plain folder on any medium, FAT included. The far side checks everything as if it had
come over the network, and reaches the same verdict.
"""

from typing import Final

FOLDER: Final = "p2phub.cli.bundles"
VERBS: Final = {
    "export": "put releases of this disk into a bundle",
    "import": "take what is in a bundle, and say what came and what was refused",
    "inspect": "what a bundle says of itself",
    "inventory": "what this site has and wants, signed: as a file, as text or as QR codes",
    "sites": "the sites that were heard of, and the receipts that were signed either way",
}
"""The commands and what they do."""
