"""Approvals that were signed once are law: they mean what they meant, under the digest they had."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from p2phub.formats.approval import Approval, checks_digest, unpack_checks
from p2phub.trust.envelope import unpack

make = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "make_approvals.py")))
RECORDED = json.loads((make.FOLDER / "recorded.json").read_text())["digests"]


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_old_bytes_parse_mean_the_same_and_keep_their_digest(name):
    data = (make.FOLDER / f"{name}.bin").read_bytes()
    said = Approval.from_payload(data)
    assert said == make.documents()[name]
    assert said.to_payload() == data
    assert said.digest.hex() == RECORDED[name]


def test_an_old_envelope_verifies():
    envelope = unpack((make.FOLDER / "approve.envelope").read_bytes())
    assert envelope.signed_by() == {make.KEY.public}
    assert envelope.pack() == make.files()["approve.envelope"]


def test_old_results_of_checks_have_the_digest_they_had():
    checks = unpack_checks((make.FOLDER / "checks.bin").read_bytes())
    assert checks == make.CHECKS
    assert checks_digest(checks) == make.documents()["reject"].checks


def test_no_golden_file_is_missing():
    assert {file.name for file in make.FOLDER.glob("*.[be]*[nve]*")} == set(make.files())
    assert set(make.documents()) == set(RECORDED)
