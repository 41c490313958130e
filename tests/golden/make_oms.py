"""Writes the golden model signature of this version: `python tests/golden/make_oms.py`.

The key is made from a fixed seed and the signature needs no randomness, so the bytes are always the
same. Run once a version, for a new folder; what was released is law.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from p2phub.formats.digest import sha256
from p2phub.formats.ids import PublisherId
from p2phub.formats.oms import Statement, about
from p2phub.trust.model_keys import ModelKey, to_pem
from p2phub.trust.model_signatures import sign_statement

FOLDER = Path(__file__).parent / "v0.1" / "oms"
FILES = {
    ("README.md",): b"---\nlicense: apache-2.0\n---\n# MiniLM\n",
    ("onnx", "a model é.onnx"): b"weights",
    ("empty.txt",): b"",
    (".gitattributes",): b"*.onnx filter=lfs\n",
}


def key() -> ModelKey:
    return ModelKey(sha256(b"golden model key"))


def statement() -> Statement:
    files = [(path, sha256(data)) for path, data in FILES.items()]
    publisher = PublisherId(sha256(b"golden publisher"))
    return about("minilm", files, publisher, sha256(b"golden delegation"))


def main() -> None:
    FOLDER.mkdir(parents=True)
    (FOLDER / "model.sig").write_bytes(sign_statement(statement(), key()))
    (FOLDER / "public.pem").write_bytes(to_pem(key().public))


if __name__ == "__main__":
    main()
