"""Changes of an identity, and everything that is refused before it is signed."""

from dataclasses import replace

import pytest

from p2phub.errors import NotFoundError, RefusedError, UntrustedError, UsageError
from p2phub.formats import limits
from p2phub.formats.notices import (
    Revocation,
    RevokedFile,
    RevokedKey,
    RevokedRelease,
    Withdrawal,
)
from p2phub.formats.publisher import Delegation, KeySet, ReleaseKey, Root
from p2phub.trust import changes
from p2phub.trust.envelope import sign
from p2phub.trust.identity import Comparison, compare, verify_chain
from p2phub.trust.keys import SigningKey
from p2phub.trust.papers import Papers, find_papers

NOW = 1_700_000_000


def key(name):
    return SigningKey(name.encode().ljust(32, b"."))


def key_set(*names, threshold=1):
    return KeySet(tuple(key(name).public for name in names), threshold)


def make(recovery=None, *, release=("release",), threshold=1):
    """A publisher with the root keys "root 1", "root 2", … of which each commits to the next."""
    root = Root(1, b"", key_set("root 1"), key_set("root 2").digest, recovery)
    keys = tuple(ReleaseKey(key(name).public) for name in release)
    delegation = Delegation(root.digest, 1, keys, threshold)
    return Papers.of([sign(root, [key("root 1")])], sign(delegation, [key("root 1")]))


THREE = key_set("ann", "ben", "cem", threshold=2)


def rotated(papers, v, recovery=None, signers=None):
    """`papers` after the rotation to root `v`."""
    chain = papers.identity.chain
    root = changes.rotation(chain, key_set(f"root {v}"), key_set(f"root {v + 1}"), recovery)
    delegation = replace(papers.identity.delegation, version=v)
    signed = sign(root, signers or [key(f"root {v}")])
    return changes.rooted((*papers.roots, signed), delegation, [key(f"root {v}")])


# ---------------------------------------------------------------- rotation


def test_a_rotation_reveals_the_committed_keys_and_commits_to_the_following():
    papers = rotated(make(THREE), 2, THREE)
    assert papers.identity.chain[-1].how == "rotation"
    assert papers.identity.root.next == key_set("root 3").digest
    assert papers.identity.root.recovery == THREE
    assert compare(make(THREE).identity.chain, papers.identity.chain) is Comparison.EXTENDED


def test_a_stolen_root_cannot_rotate():
    chain = make().identity.chain
    with pytest.raises(UsageError, match="committed to"):
        changes.rotation(chain, key_set("thief"), key_set("thief 2"), None)
    forged = Root(2, chain[-1].digest, key_set("thief"), key_set("thief 2").digest)
    with pytest.raises(UntrustedError, match="does not reveal"):
        changes.rooted(
            (*make().roots, sign(forged, [key("root 1"), key("thief")])),
            make().identity.delegation,
            [key("thief")],
        )


def test_a_committed_key_with_another_threshold_is_not_what_was_committed_to():
    chain = make().identity.chain
    with pytest.raises(UsageError, match="committed to"):
        changes.rotation(chain, key_set("root 2", "x", threshold=2), key_set("y"), None)


def test_a_root_does_not_commit_to_a_key_that_it_reveals_or_had_before():
    chain = make().identity.chain
    with pytest.raises(UsageError, match="no root had before"):
        changes.rotation(chain, key_set("root 2"), key_set("root 2"), None)
    looped = make().identity.chain
    again = replace(looped[-1], root=replace(looped[-1].root, next=key_set("root 1").digest))
    with pytest.raises(UsageError, match="no root had before"):
        changes.rotation((again,), key_set("root 1"), key_set("root 9"), None)


def test_a_root_key_cannot_be_a_recovery_key_too():
    chain = make().identity.chain
    for name in ("root 2", "root 3"):
        with pytest.raises(UsageError, match="recovery key too"):
            changes.rotation(chain, key_set("root 2"), key_set("root 3"), key_set(name))


def test_the_sixty_fifth_root_is_refused():
    link = make().identity.chain[-1]

    def chain_of(length):
        root = replace(link.root, v=length, previous=bytes(32) if length > 1 else b"")
        return (replace(link, root=root),)

    most = limits.MAX_ROOT_CHAIN
    made = changes.rotation(chain_of(most - 1), key_set("root 2"), key_set("root 3"), None)
    assert made.v == most
    with pytest.raises(RefusedError, match="at most 64"):
        changes.rotation(chain_of(most), key_set("root 2"), key_set("root 3"), None)


# ---------------------------------------------------------------- recovery


def recovered(papers, signers, after=None):
    """`papers` after their recovery by keys of these names."""
    roots = papers.roots[:after]
    chain = verify_chain(roots)
    root = changes.recovery(chain, key_set("fresh 1"), key_set("fresh 2"), THREE)
    delegation = replace(papers.identity.delegation, version=9)
    signed = sign(root, [key(name) for name in signers])
    return changes.rooted((*roots, signed), delegation, [key("fresh 1")])


@pytest.mark.parametrize("pair", [("ann", "ben"), ("ann", "cem"), ("ben", "cem")])
def test_a_lost_root_is_recovered_by_two_of_three(pair):
    assert recovered(make(THREE), pair).identity.chain[-1].how == "recovery"


@pytest.mark.parametrize(
    "few", [(), ("ann",), ("ben",), ("cem",), ("fresh 1",), ("ann", "root 1", "fresh 1")]
)
def test_one_of_three_is_refused_whoever_else_signs(few):
    with pytest.raises(UntrustedError):
        recovered(make(THREE), few)


def test_a_thief_with_the_next_keys_loses_to_recovery():
    honest = make(THREE)
    thief = rotated(rotated(honest, 2), 3)
    back = recovered(thief, ("ann", "cem"), after=1)
    assert compare(thief.identity.chain, back.identity.chain) is Comparison.OVERRULES
    assert find_papers([*thief.envelopes, *back.envelopes]).identity == back.identity


def test_a_recovery_needs_fresh_keys_and_somebody_who_may():
    with pytest.raises(UsageError, match="fresh"):
        changes.recovery(make(THREE).identity.chain, key_set("root 2"), key_set("x"), THREE)
    with pytest.raises(RefusedError, match="nobody can recover"):
        changes.recovery(make().identity.chain, key_set("x"), key_set("y"), THREE)


def test_recovery_keys_need_a_threshold_that_they_can_reach():
    names = [key(f"k{n}").public for n in range(limits.MAX_ROLE_KEYS + 1)]
    assert changes.recovery_set([]) is None
    assert changes.recovery_set(names[:5]).threshold == 3
    assert changes.recovery_set(names[:3], 1).threshold == 1
    assert changes.recovery_set(names[:3], 3).threshold == 3
    for wrong in ((names, None), (names[:3], 0), (names[:3], 4), ([], 1), (names[:1] * 2, None)):
        with pytest.raises(UsageError):
            changes.recovery_set(*wrong)


# ---------------------------------------------------------------- release keys


def signed(papers, delegation):
    return changes.changed(papers, delegation, [key("root 1")])


def test_a_key_is_allowed_with_its_limits_and_burns_no_root():
    papers = make()
    bob = ReleaseKey(key("bob").public, ("demo",), NOW + 1)
    after = signed(papers, changes.allow(papers.identity, bob, now=NOW))
    assert after.identity.release_key(bob.key) == bob
    assert after.identity.delegation.version == 2
    assert after.roots == papers.roots


def test_new_limits_replace_the_old_ones_but_not_the_numbers():
    papers = make()
    bob = ReleaseKey(key("bob").public, ("demo",), numbers_from=7)
    papers = signed(papers, changes.allow(papers.identity, bob, now=NOW))
    again = changes.allow(papers.identity, ReleaseKey(bob.key), now=NOW)
    assert again.find(bob.key) == ReleaseKey(bob.key, numbers_from=7)
    assert len(again.keys) == 2


@pytest.mark.parametrize("name", ["root 1", "ann"])
def test_a_root_or_recovery_key_is_never_put_on_a_node(name):
    with pytest.raises(UsageError, match="off the network"):
        changes.allow(make(THREE).identity, ReleaseKey(key(name).public), now=NOW)


def test_a_key_that_has_expired_already_is_refused():
    identity = make().identity
    for not_after, fine in ((NOW, False), (NOW + 1, True), (0, True)):
        bob = ReleaseKey(key("bob").public, not_after=not_after)
        if fine:
            assert changes.allow(identity, bob, now=NOW).find(bob.key)
        else:
            with pytest.raises(UsageError, match="expired"):
                changes.allow(identity, bob, now=NOW)


def test_the_seventeenth_release_key_is_refused():
    papers = make(release=[f"r{n}" for n in range(limits.MAX_RELEASE_KEYS - 1)])
    full = changes.allow(papers.identity, ReleaseKey(key("bob").public), now=NOW)
    papers = signed(papers, full)
    with pytest.raises(RefusedError, match="16 are allowed"):
        changes.allow(papers.identity, ReleaseKey(key("eve").public), now=NOW)


def test_a_threshold_that_nobody_can_reach_is_refused():
    papers, bob = make(), ReleaseKey(key("bob").public)
    for threshold, fine in ((0, False), (1, True), (2, True), (3, False)):
        if fine:
            assert changes.allow(papers.identity, bob, now=NOW, threshold=threshold)
        else:
            with pytest.raises(UsageError, match="cannot sign"):
                changes.allow(papers.identity, bob, now=NOW, threshold=threshold)


def test_a_repo_that_cannot_be_a_repo_is_refused_before_signing():
    bob = ReleaseKey(key("bob").public, ("../etc",))
    with pytest.raises(UsageError):
        changes.allow(make().identity, bob, now=NOW)


def test_the_last_release_key_stays_unless_it_is_replaced():
    identity = make().identity
    with pytest.raises(RefusedError, match="last release key"):
        changes.remove(identity, key("release").public)
    made = changes.remove(
        identity, key("release").public, replacement=ReleaseKey(key("new").public)
    )
    assert [each.key for each in made.keys] == [key("new").public]


def test_a_key_is_not_removed_where_too_few_would_be_left_to_sign():
    identity = make(release=("a", "b"), threshold=2).identity
    with pytest.raises(UsageError, match="2 of 1"):
        changes.remove(identity, key("a").public)
    assert changes.remove(identity, key("a").public, threshold=1).threshold == 1


def test_a_stranger_cannot_be_removed():
    with pytest.raises(NotFoundError):
        changes.remove(make().identity, key("eve").public)


def test_a_delegation_is_signed_by_the_newest_root_and_nobody_else():
    papers = rotated(make(), 2)
    made = changes.allow(papers.identity, ReleaseKey(key("bob").public), now=NOW)
    for wrong in ([], [key("root 1")], [key("release")]):
        with pytest.raises(UntrustedError):
            changes.changed(papers, made, wrong)
    assert changes.changed(papers, made, [key("root 1"), key("root 2")]).delegation.signed_by() == {
        key("root 2").public
    }


def test_after_a_fork_the_writers_count_from_beyond_what_was_seen():
    papers = make(release=("a", "b"))
    made = changes.after_fork(papers.identity.delegation, {key("a").public: 41})
    assert made.find(key("a").public).numbers_from == 42
    assert made.find(key("b").public).numbers_from == 1
    again = changes.after_fork(made, {key("a").public: 3})
    assert again.find(key("a").public).numbers_from == 42


def test_after_a_theft_only_what_was_named_is_kept():
    papers = make(release=("a", "thief", "b"), threshold=3)
    keep = [key("a").public, key("b").public]
    made = changes.after_theft(papers.identity.delegation, 2, keep)
    assert {each.key for each in made.keys} == set(keep)
    assert (made.threshold, made.revocations_from) == (2, 2)


def test_more_roots_than_a_head_has_room_for_are_refused_before_they_are_told():
    recovery = key_set("a", "b", "c", "d", "e", threshold=3)
    papers = make(recovery)
    for v in range(2, limits.MAX_ROOTS + 1):
        papers = rotated(papers, v, recovery)

    def go_on():
        more = papers
        for v in range(limits.MAX_ROOTS + 1, limits.MAX_ROOT_CHAIN + 1):
            more = rotated(more, v, recovery)

    with pytest.raises(RefusedError, match="do not fit into a head"):
        go_on()


# ---------------------------------------------------------------- taking back


@pytest.mark.parametrize(
    "revoked",
    [RevokedKey(key("release").public), RevokedRelease(bytes(32)), RevokedFile(bytes(32))],
    ids=lambda made: type(made).__name__,
)
def test_a_revocation_is_by_the_newest_root(revoked):
    identity = rotated(make(), 2).identity
    made = changes.revoke(identity, revoked, " stolen ", NOW, [key("root 1"), key("root 2")])
    notice = Revocation.from_payload(made.payload)
    assert (notice.root_v, notice.revoked, notice.reason) == (2, revoked, "stolen")
    assert made.signed_by() == {key("root 2").public}


def test_a_revocation_without_signers_is_left_unsigned_for_others():
    identity = rotated(make(), 2).identity
    made = changes.revoke(identity, RevokedFile(bytes(32)), "x", NOW, [])
    assert made.signed_by() == frozenset()


@pytest.mark.parametrize("names", [["root 1"], ["release"], ["root 3"]])
def test_nobody_else_revokes(names):
    identity = rotated(make(), 2).identity
    with pytest.raises(UntrustedError, match="0 of 1"):
        changes.revoke(identity, RevokedFile(bytes(32)), "x", NOW, [key(name) for name in names])


def test_after_a_theft_honest_revocations_are_signed_again_and_the_others_are_not():
    old = make().identity
    notices = [
        Revocation.from_payload(
            changes.revoke(old, RevokedFile(bytes([n]) * 32), "bad", NOW, [key("root 1")]).payload
        )
        for n in range(2)
    ]
    new = rotated(make(), 2).identity
    (again,) = changes.revoke_again(new.root, notices[:1], [key("root 2")])
    kept = Revocation.from_payload(again.payload)
    assert kept == replace(notices[0], root_v=2)


def test_honest_revocations_by_a_root_that_a_recovery_overruled_are_signed_again_as_news():
    """Its number is that of the new root: the same digest would not be asked for by anybody."""
    new = rotated(make(), 2).identity
    for v in (2, 3):
        overruled = Revocation(new.publisher.digest, v, RevokedFile(bytes(32)), NOW, "bad")
        (again,) = changes.revoke_again(new.root, [overruled], [key("root 2")])
        kept = Revocation.from_payload(again.payload)
        assert again.digest != overruled.digest
        assert (kept.root_v, kept.revoked) == (2, overruled.revoked)


def test_only_a_release_key_withdraws():
    identity = make().identity
    made = changes.withdraw(identity, b"r" * 32, "wrong licence", NOW, key("release"))
    notice = Withdrawal.from_payload(made.payload)
    assert (notice.release, notice.reason) == (b"r" * 32, "wrong licence")
    with pytest.raises(UntrustedError, match="no release key"):
        changes.withdraw(identity, b"r" * 32, "x", NOW, key("root 1"))


def test_a_reason_is_one_short_line():
    assert changes.check_reason("x" * limits.MAX_REASON) == "x" * limits.MAX_REASON
    for wrong in ("", "  ", "x" * (limits.MAX_REASON + 1), "a\nb", "a\x1b[2J", "\u202eb"):
        with pytest.raises(UsageError):
            changes.check_reason(wrong)
