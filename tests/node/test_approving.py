"""Signing for what waits elsewhere: a file that asks for it may come from anybody."""

import json
from dataclasses import replace

import pytest

from p2phub.errors import MalformedError, NotFoundError, UsageError
from p2phub.formats.approval import Approval, checks_digest
from p2phub.formats.ids import PublisherId
from p2phub.node.approving import (
    MAX_REQUEST,
    read_asked,
    read_request,
    signed_approval,
    write_approval_file,
    write_request,
)
from p2phub.node.values import as_json
from p2phub.testing.quarantines import CHECKS, WAITS
from p2phub.trust.envelope import unpack
from p2phub.trust.keys import SigningKey

KEY = SigningKey(b"a" * 32)
ROW = as_json(WAITS)


def test_what_is_signed_is_what_was_shown(tmp_path):
    write_request(tmp_path / "ask", ROW)
    asked = read_request(tmp_path / "ask")
    assert asked == read_asked(ROW)
    envelope = unpack(signed_approval(asked, KEY, "ann", 5, despite=["licence"]))
    said = Approval.from_payload(envelope.payload)
    assert envelope.signed_by() == {KEY.public}
    assert (said.release.hex(), said.case.hex()) == (WAITS.digest, WAITS.case)
    assert (said.checks, said.despite) == (checks_digest(CHECKS), ("licence",))
    assert (said.decision, said.approver, said.created) == ("approve", "ann", 5)


def test_the_digest_of_the_results_is_made_of_those_that_are_shown():
    lying = ROW | {"checks": [each | {"ok": True} for each in ROW["checks"]]}
    said = Approval.from_payload(unpack(signed_approval(read_asked(lying), KEY, "ann", 5)).payload)
    assert said.checks != checks_digest(CHECKS)


def test_a_check_that_did_not_fail_is_not_answered_for():
    with pytest.raises(UsageError, match="scanner"):
        signed_approval(read_asked(ROW), KEY, "ann", 5, despite=["scanner"])


def test_who_signs_is_known_by_key_or_by_publisher():
    who = PublisherId(b"q" * 32)
    asked = replace(read_asked(ROW), approvers=(f"lab={who}", *WAITS.approvers))
    assert asked.name_of(None, KEY.public) == "ann"
    assert asked.name_of(who, b"k" * 32) == "lab"
    with pytest.raises(UsageError):
        asked.name_of(None, b"k" * 32)


@pytest.mark.parametrize(
    "change",
    [
        {"digest": "zz"},
        {"digest": None},
        {"checks": []},
        {"checks": [{"name": "x"}]},
        {"checks": [{"name": "x", "ok": True, "detail": "\x1b[2J"}]},
        {"checks": 5},
        {"name": "x\x1b[2J"},
        {"publisher_id": "nobody"},
        {"approvers": ["ann=nonsense"]},
        {"approvers": 7},
        {"case": 7},
    ],
)
def test_what_asks_for_nothing_that_could_be_signed_is_refused(tmp_path, change):
    write_request(tmp_path / "ask", ROW | change)
    with pytest.raises(MalformedError):
        read_request(tmp_path / "ask")


def test_another_file_is_no_request(tmp_path):
    for data in (b"", b"[]", b"{}", b"\xff", b"[" * 100_000, json.dumps(ROW).encode()):
        (tmp_path / "ask").write_bytes(data)
        with pytest.raises(MalformedError):
            read_request(tmp_path / "ask")
    (tmp_path / "ask").write_bytes(bytes(MAX_REQUEST + 1))
    with pytest.raises(UsageError):
        read_request(tmp_path / "ask")
    with pytest.raises(NotFoundError):
        read_request(tmp_path / "none")
    with pytest.raises(UsageError):
        read_request(tmp_path)


def test_no_file_is_overwritten(tmp_path):
    write_approval_file(tmp_path / "a", b"signed")
    with pytest.raises(UsageError):
        write_approval_file(tmp_path / "a", b"other")
    with pytest.raises(UsageError):
        write_request(tmp_path / "a", ROW)
    assert (tmp_path / "a").read_bytes() == b"signed"
