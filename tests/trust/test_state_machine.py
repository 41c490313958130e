"""One publisher, a thief, three nodes that hear of it in any order: what the model refuses no node
takes, and when all have heard of everything they say the same.
"""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from p2phub.trust.verdict import Verdict
from tests.trust.model import Model
from tests.trust.small_world import REPOS, WRITERS, Listener, World

repos = st.sampled_from(REPOS)
writers = st.sampled_from(WRITERS)
places = st.integers(0, 50)
nodes = st.integers(0, 2)


def any_of(items, place):
    every = list(items)
    return every[place % len(every)]


class Publishing(RuleBasedStateMachine):
    """Any sequence of what a publisher and a thief can do, and what nodes hear of it."""

    @initialize(threshold=st.sampled_from([1, 1, 2]))
    def begin(self, threshold):
        self.world = World(threshold)
        self.listeners = [Listener(self.world.lab) for _ in range(3)]
        for listener in self.listeners:
            listener.hear(self.world.batches[0])

    # ------------------------------------------------------------ the publisher

    @rule(place=places, repo=repos, behind=st.booleans(), alone=st.booleans())
    def publish(self, place, repo, behind, alone):
        writer = any_of(self.world.writers, place)
        self.world.publish(writer, repo, behind=behind, alone=alone)

    @rule(place=places, repo=repos)
    def publish_after_a_backup_was_restored(self, place, repo):
        self.world.publish(any_of(self.world.writers, place), repo, restored=True)

    @rule(names=st.lists(writers, min_size=1, max_size=3), limited=st.booleans())
    def delegate(self, names, limited):
        free = set(names) - self.world.revoked
        self.world.delegate(free, limited=limited)

    @precondition(lambda self: len(self.world.lab.roots) < 5)
    @rule()
    def rotate(self):
        self.world.rotate()

    @precondition(lambda self: len(self.world.lab.roots) < 5 and not self.world.overrule)
    @rule()
    def recover(self):
        self.world.recover(len(self.world.lab.roots) + 1)

    @rule(place=places, which=places)
    def revoke_key(self, place, which):
        last = any_of([None, *self.world.before], which)
        self.world.revoke_key(any_of(self.world.writers, place), last)

    @precondition(lambda self: self.world.all.releases)
    @rule(place=places)
    def revoke_release(self, place):
        self.world.revoke_release(any_of(self.world.all.releases, place))

    @precondition(lambda self: self.world.all.releases)
    @rule(place=places, which=places)
    def withdraw(self, place, which):
        digest = any_of(self.world.all.releases, place)
        self.world.withdraw(digest, any_of(self.world.writers, which))

    # ------------------------------------------------------------ the thief

    @rule(name=writers, repo=repos, old=st.booleans(), fork=st.booleans(), base=places, node=nodes)
    def steal_a_release_key(self, name, repo, old, fork, base, node):
        every = [None, *self.world.all.indexes.values()]
        made = any_of(every, base)
        self.world.evil_release(name, repo, old=old, fork=fork, base=made)
        self.listeners[node].hear(self.world.batches[-1])

    @precondition(lambda self: self.world.stolen & set(self.world.writers))
    @rule()
    def revoke_a_stolen_key(self):
        self.world.revoke_key(min(self.world.stolen & set(self.world.writers)))
        self.everybody_hears_of_everything()
        for listener in self.listeners:
            self.nobody_takes_what_the_model_refuses(listener)

    @precondition(lambda self: len(self.world.lab.roots) < 5)
    @rule(rotates=st.booleans(), version=st.integers(-1, 3), place=st.none() | places)
    def steal_root_keys(self, rotates, version, place):
        releases = self.world.all.releases
        revokes = any_of(releases, place) if releases and place is not None else None
        self.world.evil_papers(rotates=rotates, version=version, revokes=revokes)

    # ------------------------------------------------------------ the nodes

    @rule(node=nodes, place=places)
    def hear(self, node, place):
        self.listeners[node].hear(any_of(self.world.batches, place))
        self.nobody_takes_what_the_model_refuses(self.listeners[node])

    @rule(node=nodes)
    def restart(self, node):
        self.listeners[node].restart()

    def nobody_takes_what_the_model_refuses(self, listener):
        model = Model(listener.heard)
        for release in self.world.all.releases.values():
            if listener.verdict(release) is Verdict.VERIFIED:
                assert Verdict.VERIFIED in model.verdicts(release)

    def teardown(self):
        if hasattr(self, "world"):
            self.everybody_hears_of_everything()
            for listener in self.listeners:
                self.nobody_takes_what_the_model_refuses(listener)
            self.world.settle()
            self.everybody_hears_of_everything()
            self.all_agree()

    def everybody_hears_of_everything(self):
        for at, listener in enumerate(self.listeners):
            listener.hear(self.world.all.backwards() if at == 1 else self.world.all)

    def all_agree(self):
        model = Model(self.world.all)
        assert not model.forked, "a publisher can always settle what happened"
        fresh = Listener(self.world.lab)
        fresh.hear(self.world.all)
        for listener in (*self.listeners, fresh):
            assert not listener.forked, listener.knowledge.state(self.world.lab.publisher).forked
            assert (listener.order, listener.index) == (model.order, model.index)
            for release in self.world.all.releases.values():
                assert listener.verdict(release) in model.verdicts(release)


def at_most(examples, steps):
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


TestPublishing = Publishing.TestCase
TestPublishing.settings = at_most(15, 8)


@pytest.mark.slow
def test_long_stories_of_a_publisher_and_its_thief():
    run_state_machine_as_test(Publishing, settings=at_most(60, 18))
