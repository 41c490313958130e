"""What whoever stole keys can do to a node, and how its publisher ends it: each story to its end,
on a node that was away, that was told by the thief first, and that was restarted in between.
"""

import pytest

from p2phub.formats.publisher import Root
from p2phub.trust.envelope import sign
from p2phub.trust.refusals import Refusal
from p2phub.trust.verdict import Verdict
from tests.trust.small_world import Listener, World

GOOD = {Verdict.VERIFIED}


def test_a_node_that_was_away_for_two_rotations_follows_the_chain():
    world = World()
    world.publish("a", "demo")
    listener = Listener(world.lab)
    listener.hear(world.all)
    for _ in range(2):
        world.rotate()
    world.publish("b", "other")
    listener.restart()
    listener.hear(world.batches[-1])
    assert listener.order == (3, 1, world.tips[0].index.seq)
    assert {listener.verdict(each) for each in world.all.releases.values()} == GOOD


def test_a_stolen_root_cannot_rotate():
    """It reveals keys of its own; nobody committed to them."""
    world = World()
    world.publish("a", "demo")
    lab = world.lab
    thief = [lab.key("thief")]
    keys = lab.root_key_set(2, " thief")
    root = Root(2, lab.roots[0].digest, keys, lab.root_key_set(3).digest, lab.recovery)
    forged = sign(root, [*lab.root_signers(1), *lab.root_signers(2, " thief"), *thief])
    head = lab.sign_head(roots=[*lab.roots, forged])
    listener = Listener(lab)
    listener.hear(world.all)
    with pytest.raises(Refusal) as caught:
        listener.knowledge.learn_head(lab.publisher, head.pack())
    assert caught.value.verdict is Verdict.UNTRUSTED_KEY
    assert "does not reveal the keys" in caught.value.message
    assert listener.order == (1, 1, 2)


@pytest.mark.parametrize("restarts", [False, True])
def test_a_thief_with_the_next_keys_loses_to_recovery(restarts):
    world = World()
    world.publish("a", "demo")
    good = next(iter(world.all.releases.values()))
    world.evil_papers(rotates=True, version=3, revokes=good.digest)
    (evil,) = [each for each in world.all.releases.values() if each is not good]
    listener = Listener(world.lab)
    listener.hear(world.all)
    assert listener.verdict(evil) is Verdict.VERIFIED, "nobody knows better yet"
    assert listener.verdict(good) is not Verdict.VERIFIED
    world.recover(2)
    for at in range(3):
        if restarts:
            listener.restart()
        listener.hear(world.all.backwards() if at % 2 else world.all)
        assert listener.verdict(evil) is not Verdict.VERIFIED
        assert listener.verdict(good) is Verdict.VERIFIED
        assert listener.order == (2, world.delegation.version, world.tips[0].index.seq)


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("merged", [False, True])
def test_a_stolen_release_key_is_out_after_one_root_action(restarts, merged):
    world = World()
    world.publish("a", "demo")
    world.publish("b", "other")
    good, last = list(world.all.releases.values()), world.tips[0]
    world.evil_release("a", "demo", old=True, fork=False, base=None)
    (evil,) = [each for each in world.all.releases.values() if each not in good]
    if merged:
        world.tips = [*world.all.indexes.values()][-1:]
        world.publish("b", "other")
    listener = Listener(world.lab)
    listener.hear(world.all)
    assert listener.verdict(evil) is Verdict.VERIFIED, "nobody knows better yet"
    world.revoke_key("a", last)
    for _ in range(2):
        if restarts:
            listener.restart()
        listener.hear(world.all)
        assert listener.verdict(evil) is Verdict.REVOKED
        assert not listener.forked
    assert {listener.verdict(each) for each in good} == GOOD


@pytest.mark.parametrize("restarts", [False, True])
def test_a_settled_fork_does_not_come_back_by_its_proof(restarts):
    """Its writer stays a release key: its numbers begin afresh."""
    world = World()
    world.publish("a", "demo")
    world.publish("a", "demo", restored=True)
    listener = Listener(world.lab)
    listener.hear(world.all)
    assert listener.forked
    world.settle()
    listener.hear(world.all)
    for _ in range(2):
        if restarts:
            listener.restart()
        listener.hear(world.all.backwards())
        assert not listener.forked
        assert {listener.verdict(each) for each in world.all.releases.values()} == GOOD
    assert "a" in world.writers
    world.publish("a", "demo", restored=True)
    listener.hear(world.all)
    assert listener.forked, "and it can fork again"
