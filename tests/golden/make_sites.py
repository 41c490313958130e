"""Makes the golden inventories and receipts: `python tests/golden/make_sites.py` writes them once.

They are law from then on. A file that is there is never written again.
"""

import sys
from pathlib import Path

from p2phub.formats.digest import sha256
from p2phub.formats.documents import Document
from p2phub.formats.inventory import Inventory, Receipt, Wanted, prefixes
from p2phub.trust.keys import SigningKey
from p2phub.trust.sites import sign_as_site

FOLDER = Path(__file__).parent / "v0.1" / "sites"
MADE = 1_763_769_600
KEY = SigningKey(sha256(b"the node of a site"))
UNKNOWN = {"x-colour": "bleu clair é", "x-list": [1, {"deep": b"\x00\xff"}]}
RELEASES = tuple(sorted(sha256(b"release %d" % number) for number in range(5)))


def documents() -> dict[str, Document]:
    """The smallest of each, and one with everything, unknown keys too."""
    wants = (Wanted(b"a" * 32, "minilm"), Wanted(b"b" * 32, "smollm", {"x-ref": "main"}))
    return {
        "inventory-small": Inventory(KEY.public, 1, MADE),
        "inventory-full": Inventory(
            KEY.public, 9, MADE, prefixes(RELEASES), "Laboratoire é", wants, b"r" * 32, (), UNKNOWN
        ),
        "inventory-sated": Inventory(KEY.public, 2, MADE, wants=()),
        "receipt-small": Receipt(KEY.public, b"s" * 32, 3, MADE, RELEASES[:1], 0),
        "receipt-full": Receipt(KEY.public, b"s" * 32, 4, MADE, RELEASES, 2**40, (), UNKNOWN),
    }


def files() -> dict[str, bytes]:
    """Each as its site signed it."""
    return {
        f"{name}.bin": sign_as_site(document, KEY).pack() for name, document in documents().items()
    }


def main() -> int:
    FOLDER.mkdir(exist_ok=True)
    for name, data in files().items():
        path = FOLDER / name
        if not path.exists():
            path.write_bytes(data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
