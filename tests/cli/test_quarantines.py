"""What waits at the gate, from the command line; keys stay where they are."""

import pytest

from p2phub.formats.approval import Approval
from p2phub.store.keyring import Keyring
from p2phub.store.layout import Layout
from p2phub.testing.quarantines import WAITS
from p2phub.trust.envelope import unpack
from p2phub.trust.keys import SigningKey


@pytest.fixture
def ann(home):
    """The home has the key of ann, whom the fake node lists."""
    Keyring(Layout.of(home)).save("ann", b"a" * 32)
    return SigningKey(b"a" * 32)


def said(node):
    (data,) = node.quarantine.decided
    envelope = unpack(data)
    return Approval.from_payload(envelope.payload), envelope


def test_ls_shows_what_waits_and_why(cli, node):
    out = cli("quarantine", "ls").out
    for text in ("lab/minilm@", "FAILED licence: gpl-3.0", "passed signatures", "/media/stick"):
        assert text in out
    (row,) = cli("--json", "quarantine", "ls").objects
    assert (row["state"], row["needed"], row["checks"][1]["ok"]) == ("waiting", 1, False)


def test_approve_signs_here_and_hands_over_what_was_signed(cli, node, ann):
    result = cli(
        "quarantine", "approve", "lab/minilm", "--sign-with", "ann", "--despite", "licence"
    )
    assert (result.code, "let in" in result.out) == (0, True)
    assert f"commit: {WAITS.commit[:5]}" in result.err
    approval, envelope = said(node)
    assert envelope.signed_by() == {ann.public}
    assert (approval.approver, approval.despite) == ("ann", ("licence",))


def test_an_approval_is_carried_from_another_machine(cli, node, ann, tmp_path):
    ask = tmp_path / "ask"
    assert cli("quarantine", "request", "lab/minilm", "--to", ask).code == 0
    assert cli("quarantine", "request", "lab/minilm", "--to", ask).code == 2
    sign = ("quarantine", "sign", ask, "--sign-with", "ann", "--as", "ann")
    assert cli(*sign).code == 7  # nobody has looked
    assert cli(*sign, "--yes").code == 0
    result = cli("quarantine", "approve", "--approval", f"{ask}.approval")
    assert result.code == 0
    assert said(node)[0].decision == "approve"


def test_a_rejection_is_signed_only_if_somebody_says_who(cli, node, ann, tmp_path):
    assert cli("quarantine", "reject", "lab/minilm", "--reason", "no").code == 0
    assert ("reject", "lab/minilm", "no") in node.asked
    assert not node.quarantine.decided
    more = ("--reason", "no", "--sign-with", "ann")
    assert cli("quarantine", "reject", "lab/minilm", *more).code == 0
    assert (said(node)[0].decision, said(node)[0].reason) == ("reject", "no")


def test_mistakes_are_told_and_sign_nothing(cli, node, ann, tmp_path):
    for code, *words in (
        (2, "approve"),
        (2, "approve", "lab/minilm", "--approval", "x"),
        (3, "approve", "lab/minilm"),
        (3, "approve", "lab/minilm", "--sign-with", "nobody"),
        (2, "approve", "lab/minilm", "--sign-with", "node"),
        (2, "approve", "lab/minilm", "--sign-with", "ann", "--despite", "scanner"),
        (3, "approve", "other", "--sign-with", "ann"),
        (3, "approve", "--approval", tmp_path / "none"),
        (2, "reject", "lab/minilm"),
        (3, "sign", tmp_path / "none", "--yes"),
        (7, "check", "lab/minilm"),
        (0, "allow", "lab/minilm"),
    ):
        result = cli("quarantine", *words)
        assert result.code == code, (words, result.err)
    assert not node.quarantine.decided
