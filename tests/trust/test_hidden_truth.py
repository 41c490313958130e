"""What somebody took back stays taken back: whoever tells it late, leaves a signature out or fills
our memory changes no verdict.

Each test is one way in which the order of what came, or what a peer left out, once decided.
"""

from dataclasses import replace

import pytest

from p2phub.formats.notices import RevokedRelease
from p2phub.formats.publisher import Delegation, Ref, ReleaseKey, RepoEntry
from p2phub.testing.forgeries import signed_by_others, unsigned
from p2phub.testing.notices import fork_proof, revoke, revoke_key, revoke_release, withdraw
from p2phub.testing.publishers import FakePublisher
from p2phub.trust import notices
from p2phub.trust.catalog import TrustedCatalog
from p2phub.trust.envelope import Envelope, sign
from p2phub.trust.policy import Rule
from p2phub.trust.refusals import Refusal
from p2phub.trust.verdict import Verdict

NOW = 1_800_000_000
FILES = {"README.md": b"hello"}
EVIL = {"README.md": b"evil"}


def fed(
    *documents: Envelope | bytes, into: TrustedCatalog | None = None, rule: Rule | None = None
) -> TrustedCatalog:
    """A catalog that was offered these, whether it took them or not."""
    given = rule or Rule()
    catalog = into or TrustedCatalog(lambda _: given)
    for document in documents:
        offer(catalog, document)
    return catalog


def offer(catalog: TrustedCatalog, document: Envelope | bytes) -> Verdict:
    data = document.pack() if isinstance(document, Envelope) else document
    try:
        return catalog.offer(data, NOW).judgement.verdict
    except Refusal as error:
        return error.verdict


def count_from(lab: FakePublisher, root_v: int) -> None:
    """The next delegation: revocations by older roots count no more."""
    last = Delegation.from_payload(lab.delegation.payload)
    lab.delegation_version += 1
    made = replace(last, version=lab.delegation_version, revocations_from=root_v)
    lab.delegation = sign(made, lab.root_signers(len(lab.roots)))


def test_what_a_thief_listed_under_an_old_number_before_its_key_was_revoked_does_not_stay_good():
    lab = FakePublisher(1, writers=("release", "stolen"))
    good = lab.publish("demo", FILES, writer="stolen")
    evil = lab.release("demo", EVIL, signers=("stolen",))
    lab.entries["demo"] = RepoEntry("demo", "model", {"main": Ref(evil.digest, 1)})
    index, pages = lab.sign_index(writer="stolen")
    thief = (lab.sign_head(signers=("stolen",)), index, *pages, evil)
    catalog = fed(*good.packed, *thief)
    assert offer(catalog, evil) is Verdict.VERIFIED, "nobody knows better yet"
    fed(revoke_key(lab, "stolen", 1, good.index.digest), into=catalog)
    assert offer(catalog, evil) is Verdict.REVOKED
    catalog.expect(evil.digest, lab.publisher)
    assert offer(catalog, evil) is Verdict.REVOKED


def test_what_a_revoked_key_signed_stays_good_where_an_index_in_force_lists_it():
    lab = FakePublisher(1, writers=("release", "gone"))
    good = lab.publish("demo", FILES, writer="gone")
    lab.delegate("release")
    index, pages = lab.sign_index()
    catalog = fed(lab.sign_head(), revoke_key(lab, "gone", 1, good.index.digest), index, *pages)
    assert offer(catalog, good.release) is Verdict.VERIFIED


@pytest.mark.parametrize("forge", ["unsigned", "signed by a stranger"])
@pytest.mark.parametrize("policy", ["off", "warn"])
def test_leaving_a_signature_out_does_not_hide_that_it_was_taken_back(forge, policy):
    lab = FakePublisher(1)
    made = lab.publish("demo", FILES)
    data = made.release.pack()
    stripped = unsigned(data) if forge == "unsigned" else signed_by_others(data, lab.key("x"))
    catalog = fed(*made.packed[:-1], rule=Rule(policy))
    assert offer(catalog, stripped) in (Verdict.UNSIGNED, Verdict.UNTRUSTED_KEY)
    fed(withdraw(lab, made.release.digest), into=catalog)
    assert offer(catalog, stripped) is Verdict.WITHDRAWN
    fed(revoke_release(lab, made.release.digest), into=catalog)
    assert offer(catalog, stripped) is Verdict.REVOKED


def test_leaving_a_signature_out_does_not_get_round_that_nothing_stale_will_do():
    lab = FakePublisher(1, not_after=NOW - 1)
    made = lab.publish("demo", FILES)
    catalog = fed(*made.packed[:-1], rule=Rule("warn", stale="refuse"))
    with pytest.raises(Refusal) as caught:
        catalog.offer(unsigned(made.release.pack()), NOW)
    assert caught.value.verdict is Verdict.STALE


def test_revoking_a_writer_ends_its_fork_whichever_was_heard_of_first():
    for caught in (False, True):
        lab = FakePublisher(1, writers=("release", "stolen"))
        made = lab.publish("demo", FILES)
        one, _ = lab.sign_index(writer="stolen", writer_seq=7)
        head = lab.sign_head(signers=("stolen",))
        two, _ = lab.sign_index(writer="stolen", writer_seq=7, created=5)
        fork = (one, lab.sign_head(signers=("stolen",)), two) if caught else ()
        fork = fork or (fork_proof(lab, one, two),)
        catalog = fed(*made.packed, head, *fork)
        assert catalog.state(lab.publisher).forked
        fed(revoke_key(lab, "stolen"), into=catalog)
        assert not catalog.state(lab.publisher).forked


def test_a_fork_is_settled_or_not_whether_its_proof_came_before_the_new_delegation_or_after():
    for settled in (False, True):
        lab = FakePublisher(1)
        made = lab.publish("demo", FILES)
        one, _ = lab.sign_index(writer_seq=7, parents=(), seq=1)
        two, _ = lab.sign_index(writer_seq=7, parents=(), seq=1, created=5)
        proof = fork_proof(lab, one, two)
        fresh = 8 if settled else 7
        lab.delegate(ReleaseKey(lab.key("release").public, numbers_from=fresh))
        head = lab.sign_head(index=made.index.digest)
        for order in ((proof, head), (head, proof), (proof, head, proof)):
            state = fed(*made.packed, *order).state(lab.publisher)
            assert bool(state.forked) is not settled


def test_a_fork_of_delegations_by_a_root_that_was_overruled_is_none():
    lab, thief = FakePublisher(1), FakePublisher(1)
    made = lab.publish("demo", FILES)
    thief.rotate()
    one, two = thief.delegate("release", version=9), thief.delegate("evil", version=9)
    head = thief.sign_head(delegation=one, index=made.index.digest)
    catalog = fed(*made.packed, head, fork_proof(lab, one, two))
    assert catalog.state(lab.publisher).forked
    lab.recover()
    fed(lab.sign_head(), into=catalog)
    assert not catalog.state(lab.publisher).forked


def test_a_recovery_that_a_revoked_key_tells_of_is_not_taken():
    lab = FakePublisher(1, writers=("release", "stolen"))
    made = lab.publish("demo", FILES)
    rotated = FakePublisher(1, writers=("release", "stolen"))
    rotated.rotate()
    catalog = fed(rotated.sign_head(index=made.index.digest), revoke_key(lab, "stolen"))
    lab.recover()
    assert offer(catalog, lab.sign_head(signers=("stolen",))) is Verdict.REVOKED
    assert offer(catalog, lab.sign_head()) is Verdict.VERIFIED


def test_after_a_restart_a_withdrawal_by_a_key_that_is_out_and_comes_back_still_counts():
    lab = FakePublisher(1)
    made = lab.publish("demo", FILES)
    notice = withdraw(lab, made.release.digest)
    lab.delegate("other")
    catalog = fed(lab.sign_head(index=made.index.digest, signers=("other",)))
    catalog.offer_known(notice.pack())
    lab.delegate("other", "release")
    fed(lab.sign_head(index=made.index.digest), *made.packed[1:], into=catalog)
    assert offer(catalog, made.release) is Verdict.WITHDRAWN


def test_after_a_restart_a_revocation_that_counts_again_still_counts():
    lab = FakePublisher(1)
    made = lab.publish("demo", FILES)
    notice = revoke_release(lab, made.release.digest)
    lab.rotate()
    catalog = TrustedCatalog()
    count_from(lab, 2)
    fed(lab.sign_head(index=made.index.digest), into=catalog)
    catalog.offer_known(notice.pack())
    fed(*made.packed[1:], into=catalog)
    assert offer(catalog, made.release) is Verdict.VERIFIED
    lab.delegate("release")
    fed(lab.sign_head(index=made.index.digest), into=catalog)
    assert offer(catalog, made.release) is Verdict.REVOKED


class TestAThiefWhoFilledOurMemory:
    def test_with_revocations_leaves_room_once_its_root_is_out(self, monkeypatch):
        monkeypatch.setattr(notices, "MAX_REVOCATIONS", 2)
        lab = FakePublisher(1)
        made = lab.publish("demo", FILES)
        flood = [revoke_release(lab, bytes([n]) * 32) for n in (1, 2)]
        lab.rotate()
        count_from(lab, 2)
        head = lab.sign_head(index=made.index.digest)
        catalog = fed(*made.packed, *flood, head)
        assert offer(catalog, revoke_release(lab, made.release.digest)) is Verdict.VERIFIED
        assert offer(catalog, made.release) is Verdict.REVOKED

    def test_with_forks_leaves_room_once_they_are_settled(self, monkeypatch):
        monkeypatch.setattr(notices, "MAX_FORKS", 2)
        lab = FakePublisher(1)
        made = lab.publish("demo", FILES)

        def proof(number: int) -> Envelope:
            one, _ = lab.sign_index(writer_seq=number, parents=(), seq=1)
            two, _ = lab.sign_index(writer_seq=number, parents=(), seq=1, created=5)
            return fork_proof(lab, one, two)

        first, second, third = proof(7), proof(8), proof(9)
        catalog = fed(*made.packed, first, second)
        lab.delegate(ReleaseKey(lab.key("release").public, numbers_from=9))
        fed(lab.sign_head(index=made.index.digest), into=catalog)
        assert not catalog.state(lab.publisher).forked
        assert offer(catalog, third) is Verdict.VERIFIED
        assert catalog.state(lab.publisher).forked

    def test_with_withdrawals_does_not_keep_others_from_withdrawing_with_it(self, monkeypatch):
        monkeypatch.setattr(notices, "MAX_WITHDRAWALS", 1)
        lab = FakePublisher(1, writers=("release", "stolen"))
        made = lab.publish("demo", FILES)
        catalog = fed(*made.packed, withdraw(lab, b"x" * 32, signers=["stolen"]))
        both = withdraw(lab, made.release.digest, signers=["release", "stolen"])
        assert offer(catalog, both) is Verdict.VERIFIED
        assert offer(catalog, made.release) is Verdict.WITHDRAWN


def test_a_revocation_of_a_release_by_two_roots_counts_while_either_does():
    lab = FakePublisher(1)
    made = lab.publish("demo", FILES)
    old = revoke_release(lab, made.release.digest)
    lab.rotate()
    new = revoke(lab, RevokedRelease(made.release.digest), root_v=2)
    count_from(lab, 2)
    for order in ((old, new), (new, old)):
        catalog = fed(*made.packed, *order, lab.sign_head(index=made.index.digest), *order)
        assert offer(catalog, made.release) is Verdict.REVOKED


def test_what_another_writer_took_over_from_a_thief_in_good_faith_does_not_stay_good():
    lab = FakePublisher(1, writers=("release", "stolen"))
    good = lab.publish("demo", FILES, writer="stolen")
    evil = lab.release("other", EVIL, signers=("stolen",))
    lab.entries["other"] = RepoEntry("other", "model", {"main": Ref(evil.digest, 1)})
    index, pages = lab.sign_index()
    catalog = fed(*good.packed, lab.sign_head(), index, *pages)
    assert offer(catalog, evil) is Verdict.VERIFIED
    fed(revoke_key(lab, "stolen", 1, good.index.digest), into=catalog)
    assert offer(catalog, evil) is Verdict.REVOKED, "even before the publisher has cleaned up"
    del lab.entries["other"]
    lab.delegate("release")
    index, pages = lab.sign_index()
    fed(lab.sign_head(), index, *pages, into=catalog)
    assert offer(catalog, evil) is Verdict.REVOKED
    assert offer(catalog, good.release) is Verdict.VERIFIED
