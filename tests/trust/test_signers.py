"""Which signatures count: verifying ones, of release keys, within their limits."""

import pytest

from p2phub.formats.publisher import ReleaseKey
from p2phub.testing.forgeries import damaged_signature, unsigned
from p2phub.testing.publishers import CREATED, FakePublisher
from p2phub.trust.envelope import unpack
from p2phub.trust.identity import Identity, verify_chain, verify_identity
from p2phub.trust.refusals import Refusal, Trail
from p2phub.trust.signers import may_write, objection, require_release_keys, require_signers
from p2phub.trust.verdict import Verdict

LAB = FakePublisher(1)
FREE, GUEST, OLD, STRANGER = (LAB.key(name).public for name in ("free", "guest", "old", "none"))
LAB.delegate("free", ReleaseKey(GUEST, ("demo", "toy")), ReleaseKey(OLD, (), CREATED), threshold=1)


def identity() -> Identity:
    return verify_identity(verify_chain(LAB.roots), LAB.delegation)


def counted(*signers: bytes, needed: int = 1, repo: str = "demo", created: int = CREATED):
    return require_release_keys(
        identity(), frozenset(signers), needed, repo, created, Trail("this release")
    )


def test_keys_count_within_their_limits():
    assert counted(FREE, GUEST, OLD, STRANGER) == {FREE, GUEST, OLD}
    assert counted(FREE, GUEST, OLD, repo="big") == {FREE, OLD}
    assert counted(FREE, GUEST, OLD, created=CREATED + 1) == {FREE, GUEST}


@pytest.mark.parametrize(
    ("signers", "repo", "created", "why"),
    [
        ((), "demo", CREATED, "0 of 1 needed"),
        ((STRANGER,), "demo", CREATED, "is no release key"),
        ((GUEST,), "big", CREATED, "may not write big"),
        ((OLD,), "demo", CREATED + 1, "expired"),
    ],
)
def test_too_few_that_count_are_an_untrusted_key_and_it_says_why(signers, repo, created, why):
    with pytest.raises(Refusal, match=why) as caught:
        counted(*signers, repo=repo, created=created)
    assert caught.value.verdict is Verdict.UNTRUSTED_KEY


def test_a_key_without_limits_may_do_everything():
    key = ReleaseKey(FREE)
    assert may_write(key, "anything")
    assert objection(key, "anything", 2**40) == ""


def test_limits_on_repos_do_not_keep_a_key_from_signing_indexes():
    assert objection(ReleaseKey(GUEST, ("demo",)), None, CREATED) == ""


def test_nobody_and_a_bad_signature_are_two_verdicts():
    release = LAB.release("demo", {"a": b"a"}, signers=("free",)).pack()
    assert require_signers(unpack(release), Trail("it")) == {FREE}
    for data, verdict in (
        (unsigned(release), Verdict.UNSIGNED),
        (damaged_signature(release), Verdict.CORRUPT),
    ):
        with pytest.raises(Refusal) as caught:
            require_signers(unpack(data), Trail("it"))
        assert caught.value.verdict is verdict
