"""Makes the golden bytes of what is taken back: `python tests/golden/make_notices.py` writes them
once.

They are law from then on: a test that fails on them shows a change of format. What is new gets a
file of its own; a file that is there is never written again.
"""

import json
from pathlib import Path

from p2phub.formats.digest import sha256
from p2phub.formats.documents import Document
from p2phub.formats.notices import (
    ForkProof,
    Revocation,
    RevokedFile,
    RevokedKey,
    RevokedRelease,
    Withdrawal,
)
from p2phub.formats.publisher import Delegation, ReleaseKey

FOLDER = Path(__file__).parent / "v0.1" / "notices"
CREATED = 1_700_000_000
UNKNOWN = {"later": [1, "two", b"three", None, {"x": True}]}
PUBLISHER = sha256(b"publisher")


def fixed(name: str) -> bytes:
    return sha256(name.encode())


def documents() -> dict[str, Document]:
    """Every kind of notice, and a delegation with what came with them."""
    kept = ReleaseKey(fixed("kept"), numbers_from=9)
    points = (b"\x02" + fixed("model key"), b"\x03" + fixed("another model key"))
    return {
        "revocation-release": Revocation(
            PUBLISHER, 1, RevokedRelease(fixed("release")), CREATED, "wrong licence"
        ),
        "revocation-file": Revocation(
            PUBLISHER, 2, RevokedFile(fixed("file")), CREATED, "é 中文", extra=UNKNOWN
        ),
        "revocation-key": Revocation(
            PUBLISHER, 3, RevokedKey(fixed("key"), 7, fixed("index")), CREATED, "stolen"
        ),
        "revocation-key-never-good": Revocation(
            PUBLISHER, 3, RevokedKey(fixed("key")), CREATED, "never ours"
        ),
        "withdrawal-small": Withdrawal(PUBLISHER, fixed("release"), CREATED, "a mistake"),
        "withdrawal-full": Withdrawal(
            PUBLISHER, fixed("release"), CREATED, "a mistake", extra=UNKNOWN
        ),
        "fork-small": ForkProof(PUBLISHER, b"one envelope", b"another envelope"),
        "delegation-later": Delegation(
            PUBLISHER, 4, (kept,), revocations_from=3, oms_keys=points, extra=UNKNOWN
        ),
    }


def main() -> None:
    FOLDER.mkdir()
    digests = {}
    for name, document in documents().items():
        payload = document.to_payload()
        (FOLDER / f"{name}.bin").write_bytes(payload)
        digests[name] = sha256(payload).hex()
    text = json.dumps({"digests": digests}, indent=2, sort_keys=True)
    (FOLDER / "recorded.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
