"""Writes the golden secrets of this version: `python tests/golden/make_secrets.py`.

Run once a version, for a new folder; it writes over nothing. What somebody wrote on paper or put
away on a stick is law: a test that fails because of them says that the code broke a promise, not
that they are to be made again. None of these secrets is anybody's.
"""

import json
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from p2phub.formats.publisher import PublisherId
from p2phub.node.initialise import first_documents
from p2phub.store.backup import Backup, backup_text
from p2phub.trust.holders import Holder, write_holder
from p2phub.trust.keys import SigningKey
from p2phub.trust.sealing import lock
from p2phub.trust.secrets import Master, RootSecret

FOLDER = Path(__file__).parent / "v0.1" / "secrets"
MASTER = Master(bytes(range(7, 39)))
LONE, RELEASE = bytes(range(100, 132)), SigningKey(bytes(range(200, 232)))
PASSPHRASE = "Schlüssel für später"
CREATED = 1_763_769_600
ROOT = RootSecret(MASTER, ((1, LONE),))


def texts() -> dict[str, object]:
    """What a phrase is, and which keys come from it."""
    return {
        "master": MASTER.secret.hex(),
        "phrase": str(MASTER.phrase()),
        "root keys": [MASTER.root_key(v).public.hex() for v in (1, 2, 3, 1000)],
        "root seeds": [MASTER.root_key(v).seed.hex() for v in (1, 2)],
        "backup key": MASTER.backup_key().hex(),
        "packed": ROOT.pack().hex(),
        "passphrase": PASSPHRASE,
    }


def files() -> dict[str, bytes]:
    """A locked root, a backup of this version, and one as the version before wrote it."""
    master = Master(MASTER.secret)
    documents = first_documents(master.root_key(1), master.root_key(2).public, RELEASE.public)
    publisher = PublisherId(documents[0].digest)
    root, delegation = (each.pack() for each in documents)
    made = Backup(publisher, ROOT, {"release": RELEASE.seed}, (root,), delegation, CREATED)
    return {
        "root.key": lock(ROOT.pack(), PASSPHRASE, salt=bytes(range(16)), nonce=bytes(12)),
        "backup-2.json": backup_text(made, bytes(range(12))),
        "backup-1.json": _first_backup(),
        "ann.holder": write_holder(Holder.of("ann", MASTER)).encode(),
    }


def _first_backup() -> bytes:
    root, later = SigningKey(LONE), SigningKey(bytes(range(50, 82)))
    signed, _ = first_documents(root, later.public, RELEASE.public)
    fields = {
        "what_this_is": "The secret keys of a p2phub publisher.",
        "version": 1,
        "publisher_id": str(PublisherId(signed.digest)),
        "root": root.seed.hex(),
        "next": [later.seed.hex()],
        "release": RELEASE.seed.hex(),
    }
    return json.dumps(fields, indent=2).encode() + b"\n"


def write() -> None:
    FOLDER.mkdir(parents=True)
    for name, data in files().items():
        (FOLDER / name).write_bytes(data)
    text = json.dumps(texts(), indent=1, ensure_ascii=False) + "\n"
    (FOLDER / "recorded.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
