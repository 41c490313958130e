"""Writes tests/golden/v0.1/approvals; run once, then the bytes are law.

python tests/golden/make_approvals.py
"""

import json
from pathlib import Path

from p2phub.formats.approval import Approval, Check, checks_digest, pack_checks
from p2phub.trust.envelope import sign
from p2phub.trust.keys import SigningKey

FOLDER = Path(__file__).parent / "v0.1" / "approvals"
KEY = SigningKey(b"a" * 32)
CHECKS = (
    Check("signatures", True, "verified"),
    Check("licence", False, "its card says gpl-3.0, which is not on the list"),
    Check("scanner", True, "it ended with exit code 0: clean\n2 files"),
)


def documents():
    """Every kind of approval, by the name of its file."""
    one = Approval(
        b"r" * 32, b"p" * 32, b"c" * 16, checks_digest(CHECKS[:1]), "approve", "ann", 1_700_000_000
    )
    digest = checks_digest(CHECKS)
    return {
        "approve": one,
        "despite": Approval(
            b"r" * 32,
            b"p" * 32,
            b"c" * 16,
            digest,
            "approve",
            "bob",
            1_700_000_001,
            despite=("licence",),
            reason="agreed with their lawyers",
        ),
        "reject": Approval(
            b"r" * 32, b"p" * 32, b"c" * 16, digest, "reject", "ann", 1_700_000_002, reason="no"
        ),
    }


def files():
    """The bytes of every golden file."""
    found = {f"{name}.bin": said.to_payload() for name, said in documents().items()}
    found["approve.envelope"] = sign(documents()["approve"], [KEY]).pack()
    found["checks.bin"] = pack_checks(CHECKS)
    return found


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, data in files().items():
        (FOLDER / name).write_bytes(data)
    digests = {name: said.digest.hex() for name, said in documents().items()}
    (FOLDER / "recorded.json").write_text(json.dumps({"digests": digests}, indent=1) + "\n")


if __name__ == "__main__":
    main()
