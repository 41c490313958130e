"""Who may let in what waits: keys that were revoked, have expired or are limited sign nothing."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from p2phub.airgap_settings import AirgapSettings
from p2phub.config import Config
from p2phub.errors import MalformedError, NotFoundError, QuarantinedError, UntrustedError
from p2phub.formats.approval import Approval, Check, checks_digest, pack_checks
from p2phub.formats.publisher import ReleaseKey
from p2phub.node.approvers import (
    read_approval,
    require_about,
    require_approver,
    require_passed,
)
from p2phub.store.quarantine import Case
from p2phub.testing.identities import learn, open_home
from p2phub.testing.notices import revoke_key
from p2phub.testing.publishers import CREATED, FakePublisher
from p2phub.trust.envelope import sign
from p2phub.trust.keys import SigningKey

CHECKS = (Check("signatures", True, "verified"), Check("licence", False, "gpl-3.0"))
CASE = Case(
    b"r" * 32, b"c" * 16, "main", "/media/stick", CREATED, "waiting", "", pack_checks(CHECKS)
)
SAID = Approval(b"r" * 32, b"p" * 32, b"c" * 16, checks_digest(CHECKS), "approve", "lab", CREATED)


@pytest.fixture
def desk(tmp_path):
    with open_home(tmp_path / "home") as desk:
        yield desk


def gate(desk, *approvers, now=CREATED):
    config = Config(airgap=AirgapSettings(quarantine=True, approvers=approvers))
    return SimpleNamespace(
        config=config, store=desk.store, knowledge=desk.knowledge, now=lambda: now
    )


def signed(*keys, said=SAID):
    return read_approval(sign(said, keys).pack())


@pytest.fixture
def lab(desk):
    """A publisher with a second key, of which this desk knows."""
    limited = ReleaseKey(SigningKey(b"l" * 32).public, repos=("x",))
    short = ReleaseKey(SigningKey(b"s" * 32).public, not_after=CREATED + 10)
    lab = FakePublisher(5)
    lab.delegate("release", "other", limited, short)
    learn(desk, lab, lab.publish("x", {"README.md": b"x"}))
    return lab


def test_any_release_key_of_the_pinned_publisher_signs(desk, lab):
    services = gate(desk, f"lab={lab.publisher}")
    for key in (lab.key("release"), lab.key("other"), SigningKey(b"s" * 32)):
        require_approver(services, signed(key))


def test_a_key_that_is_not_good_today_signs_nothing(desk, lab):
    services = gate(desk, f"lab={lab.publisher}", now=CREATED + 11)
    for key, why in (
        (SigningKey(b"m" * 32), "no release key"),
        (SigningKey(b"l" * 32), "some repos only"),
        (SigningKey(b"s" * 32), "has expired"),
    ):
        with pytest.raises(UntrustedError, match=why):
            require_approver(services, signed(key))
    require_approver(services, signed(lab.key("other")))
    desk.knowledge.learn_notice(revoke_key(lab, "other").pack())
    with pytest.raises(UntrustedError, match="was revoked"):
        require_approver(services, signed(lab.key("other")))


def test_a_key_that_the_newest_delegation_does_not_name_signs_no_more(desk, lab):
    services = gate(desk, f"lab={lab.publisher}")
    lab.delegate("release")
    learn(desk, lab, lab.publish("x", {"README.md": b"y"}))
    with pytest.raises(UntrustedError, match="no release key"):
        require_approver(services, signed(lab.key("other")))


def test_a_publisher_that_nobody_heard_of_signs_nothing(desk):
    unknown = FakePublisher(6)
    services = gate(desk, f"lab={unknown.publisher}")
    with pytest.raises(NotFoundError, match="nothing is known"):
        require_approver(services, signed(unknown.key("release")))


def test_a_changed_or_forged_envelope_signs_nothing(desk):
    key = SigningKey(b"a" * 32)
    services = gate(desk, f"lab={key.public.hex()}")
    require_approver(services, signed(key))
    good = sign(SAID, [key])
    other = replace(good, payload=replace(SAID, despite=("licence",)).to_payload())
    for wrong in (other, replace(good, signatures=())):
        with pytest.raises(UntrustedError, match="not signed with the key"):
            require_approver(services, read_approval(wrong.pack()))
    with pytest.raises(UntrustedError, match="no approver"):
        require_approver(gate(desk), signed(key))


def test_another_document_is_no_approval(lab):
    for data in (lab.head.pack(), b"", b"x" * 9000):
        with pytest.raises(MalformedError):
            read_approval(data)


@pytest.mark.parametrize(
    ("change", "error", "why"),
    [
        ({"case": b"d" * 16}, QuarantinedError, "another time"),
        ({"publisher": b"q" * 32}, UntrustedError, "another publisher"),
        ({"checks": b"d" * 32}, QuarantinedError, "other results"),
        ({"created": CREATED + 3600}, UntrustedError, "future"),
    ],
)
def test_what_is_about_something_else_does_not_count(change, error, why):
    require_about(CASE, b"p" * 32, SAID, CREATED)
    with pytest.raises(error, match=why):
        require_about(CASE, b"p" * 32, replace(SAID, **change), CREATED)


def test_what_has_not_come_whole_is_not_approved():
    with pytest.raises(QuarantinedError, match="not all of it"):
        require_about(replace(CASE, state="coming", checks=b""), b"p" * 32, SAID, CREATED)


def test_a_failed_check_has_to_be_named():
    with pytest.raises(QuarantinedError, match=r"licence: gpl-3\.0"):
        require_passed(CASE, replace(SAID, despite=("scanner",)))
    require_passed(CASE, replace(SAID, despite=("licence",)))
