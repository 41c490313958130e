"""Signatures that were released verify for ever, and old documents pass the gate as they did."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from p2phub.errors import UntrustedError
from p2phub.formats.ids import PublisherId
from p2phub.trust.catalog import TrustedCatalog
from p2phub.trust.envelope import is_envelope, unpack
from p2phub.trust.records import check_head
from p2phub.trust.verdict import Verdict

make = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "make_trust.py")))
FOLDERS = sorted(Path(__file__).parent.glob("v*/trust"))
versions = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.parent.name)


def recorded(folder: Path) -> dict:
    return json.loads((folder / "recorded.json").read_text(encoding="utf-8"))


def documents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / f"{name}.bin").read_bytes() for name in recorded(folder)["documents"]}


@versions
def test_no_golden_file_is_missing(folder):
    assert {file.stem for file in folder.glob("*.bin")} == set(recorded(folder)["documents"])


@versions
def test_old_envelopes_are_unpacked_verified_and_packed_again(folder):
    for name, data in documents(folder).items():
        if is_envelope(data):
            envelope = unpack(data)
            assert len(envelope.signed_by()) == len(envelope.signatures) >= 1, name
            assert envelope.pack() == data, name


@versions
@pytest.mark.parametrize("late", [False, True], ids=["fresh", "stale"])
def test_old_documents_pass_the_gate_with_the_verdict_they_had(folder, late):
    told = recorded(folder)
    now = told["not_after"] + 1 if late else told["now"]
    catalog = TrustedCatalog()
    for name, data in documents(folder).items():
        if name.startswith(("root", "delegation")):
            continue
        accepted = catalog.offer(data, now, PublisherId.parse(told["texts"]["publisher"]))
        expected = Verdict.STALE if late else Verdict.VERIFIED
        assert accepted.judgement.verdict is expected, name
        assert accepted.data == data, name


@versions
def test_an_old_record_lies_where_it_lay(folder):
    told = recorded(folder)["texts"]
    record = check_head(told["head key"], documents(folder)["head"])
    assert str(record.publisher) == told["publisher"]
    assert str(list(record.order)) == told["head order"]
    assert " ".join(link.how for link in record.identity.chain) == told["chain"]


@versions
def test_one_changed_byte_of_an_old_head_is_refused(folder):
    key, data = recorded(folder)["texts"]["head key"], documents(folder)["head"]
    for at in range(0, len(data), 11):
        wrong = bytearray(data)
        wrong[at] ^= 4
        with pytest.raises(UntrustedError):
            check_head(key, bytes(wrong))


def test_todays_code_makes_the_bytes_of_v01():
    assert make.documents() == documents(make.FOLDER)


def test_todays_code_says_the_texts_of_v01():
    assert make.texts() == recorded(make.FOLDER)["texts"]
