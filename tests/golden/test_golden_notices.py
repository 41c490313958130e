"""Notices that were signed once are law: they mean what they meant, under the digest they had."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from p2phub.formats.digest import sha256
from p2phub.formats.notices import NOTICES
from p2phub.formats.publisher import Delegation

make = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "make_notices.py")))
CLASSES = {**NOTICES, Delegation.TYPE: Delegation}
RECORDED = json.loads((make.FOLDER / "recorded.json").read_text())["digests"]


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_old_bytes_parse_mean_the_same_and_keep_their_digest(name):
    data = (make.FOLDER / f"{name}.bin").read_bytes()
    document = CLASSES[name.split("-")[0]].from_payload(data)
    assert document == make.documents()[name]
    assert document.to_payload() == data
    assert document.digest.hex() == sha256(data).hex() == RECORDED[name]


def test_no_golden_file_is_missing():
    assert {file.stem for file in make.FOLDER.glob("*.bin")} == set(RECORDED)
    assert set(make.documents()) == set(RECORDED)
    assert {name.split("-")[0] for name in RECORDED} == set(CLASSES)
