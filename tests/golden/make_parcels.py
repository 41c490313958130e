"""Makes the golden parcels: `python tests/golden/make_parcels.py` writes them once.

They are law from then on: a test that fails on them shows a change of format. A file that is there
is never written again.
"""

import sys
from pathlib import Path

from p2phub.formats.parcel import SUFFIX, Parcel
from p2phub.formats.publisher import KeySet
from p2phub.testing.publishers import FakePublisher
from p2phub.trust import changes
from p2phub.trust.envelope import sign
from p2phub.trust.papers import Papers
from p2phub.trust.parcels import packed

FOLDER = Path(__file__).parent / "v0.1" / "parcels"
LAB = FakePublisher(1)


def parcels() -> dict[str, Parcel]:
    """Papers, a recovery that nobody has signed yet, and the same signed."""
    papers = Papers.of(LAB.roots, LAB.delegation)
    fresh = [KeySet((LAB.key(name).public,)) for name in ("fresh 1", "fresh 2")]
    root = changes.recovery(papers.identity.chain, *fresh, LAB.recovery)
    return {
        "papers": packed(papers.envelopes),
        "recovery-unsigned": packed([*papers.envelopes, sign(root, [])]),
        "recovery-signed": packed([*papers.envelopes, sign(root, [LAB.key("recovery")])]),
    }


def main() -> int:
    FOLDER.mkdir(exist_ok=True)
    for name, parcel in parcels().items():
        path = FOLDER / f"{name}{SUFFIX}"
        if not path.exists():
            path.write_bytes(parcel.to_bytes())
    return 0


if __name__ == "__main__":
    sys.exit(main())
