"""Writes the golden envelopes of this version: `python tests/golden/make_trust.py`.

Run once a version, for a new folder; it writes over nothing. Bytes that were released are law: a
test that fails because of them says that the code broke a promise, not that the bytes are to be
made again.
"""

import json
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from p2phub.formats.manifest import Card
from p2phub.formats.publisher import ReleaseKey
from p2phub.testing.publishers import FakePublisher
from p2phub.trust.envelope import pre_authentication, sign_payload
from p2phub.trust.records import check_head

FOLDER = Path(__file__).parent / "v0.1" / "trust"
CREATED = 1_763_769_600
NOT_AFTER = CREATED + 30 * 86_400
FILES = {"README.md": b"# A model\n", "onnx/model.bin": bytes(range(256)) * 5000}


def publisher() -> FakePublisher:
    """A publisher that rotated once and recovered once, with a guest key limited to one repo."""
    lab = FakePublisher(2025, root_keys=3, root_threshold=2, not_after=NOT_AFTER, created=CREATED)
    lab.rotate()
    lab.recover()
    guest = ReleaseKey(lab.key("guest").public, ("demo",), NOT_AFTER)
    lab.delegate("release", guest)
    lab.publish("other", {"empty.txt": b""})
    return lab


def documents() -> dict[str, bytes]:
    """Every golden envelope and page, packed, in the order in which a gate takes them."""
    lab = publisher()
    made = lab.publish(
        "demo",
        FILES,
        message="première",
        card=Card(license="apache-2.0", tags=("测试",)),
        writer="guest",
    )
    both = [lab.key("release"), lab.key("guest")]
    return {
        "root-1": lab.roots[0].pack(),
        "root-2-rotated": lab.roots[1].pack(),
        "root-3-recovered": lab.roots[2].pack(),
        "delegation": lab.delegation.pack(),
        "head": made.head.pack(),
        "index": made.index.pack(),
        "page": made.pages[0],
        "release": made.release.pack(),
        "release-of-two-signers": sign_payload("release", made.release.payload, both).pack(),
    }


def texts() -> dict[str, str]:
    """What people and the DHT call these things."""
    lab = publisher()
    record = check_head(lab.head_key, documents()["head"])
    return {
        "publisher": str(lab.publisher),
        "head key": lab.head_key,
        "head order": str(list(record.order)),
        "chain": " ".join(link.how for link in record.identity.chain),
        "next keys": record.identity.chain[0].root.next.hex(),
        "signed bytes of (head, body)": pre_authentication("head", b"body").decode(),
        "signature of it by key release": lab.key("release")
        .sign(pre_authentication("head", b"body"))
        .hex(),
    }


def write() -> None:
    FOLDER.mkdir(parents=True)
    made = documents()
    for name, data in made.items():
        (FOLDER / f"{name}.bin").write_bytes(data)
    recorded = {"documents": list(made), "texts": texts(), "now": CREATED, "not_after": NOT_AFTER}
    (FOLDER / "recorded.json").write_text(
        json.dumps(recorded, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    write()
