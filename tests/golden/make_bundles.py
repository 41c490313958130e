"""Makes the golden bundle: `python tests/golden/make_bundles.py` writes it once.

It is law from then on: a test that fails on it shows a change of format. A file that is there is
never written again.
"""

import sys
from dataclasses import replace
from pathlib import Path

from p2phub.formats.bundle import Contents, Meant, Row, write_index
from p2phub.formats.digest import blake3, sha256
from p2phub.testing.publishers import FakePublisher

FOLDER = Path(__file__).parent / "v0.1" / "bundles"
PIECES = (b"first piece", b"second", b"3")


def files() -> dict[str, bytes]:
    """A pack, its index and a list of contents."""
    rows, at = [], 0
    for piece in PIECES:
        rows.append(Row(blake3(piece), at, len(piece)))
        at += len(piece)
    lab = FakePublisher(1)
    release = Meant(lab.publisher.digest, "minilm", "model", sha256(b"release"), at)
    contents = Contents(1_700_000_000, (lab.sign_head().pack(),), (b"a notice",), (release,))
    later = replace(contents, site=b"s" * 32, sites=(b"a" * 32, b"b" * 32), part=2, parts=3)
    return {
        "contents-0002.list": later.to_bytes(),
        "pieces-0001.pack": b"".join(PIECES),
        "pieces-0001.index": write_index(rows),
        "contents-0001.list": contents.to_bytes(),
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
