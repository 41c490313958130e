"""Writers of one publisher who hear of each other in any order: every gate takes what every one of
them signs, they end with one index, soon, and what anybody published is in it.
"""

from hypothesis import given, settings
from hypothesis import strategies as st

from p2phub.formats.limits import MAX_PARENTS
from p2phub.formats.publisher import Page, Ref, RepoEntry
from p2phub.testing.publishers import FakePublisher
from p2phub.trust.catalog import TrustedCatalog
from p2phub.trust.merging import holds, merge
from p2phub.trust.refusals import Refusal
from p2phub.trust.verdict import Verdict

WRITERS = ("one", "two", "three", "four")
NOW = 1_700_000_100


class Said:
    """What a writer signed: an index with all it lists, and the head that names it."""

    def __init__(self, index, pages, head, entries, seq):
        self.index, self.pages, self.head, self.entries, self.seq = index, pages, head, entries, seq


class Writer:
    """One node: its gate, and the ends of the history that it knows."""

    def __init__(self, lab, name, said):
        self.lab, self.name, self.said = lab, name, said
        self.gate = TrustedCatalog()
        self.tips = set()
        self.signed = 0

    @property
    def newest(self):
        state = self.gate.state(self.lab.publisher)
        return None if state is None else self.said[state.index]

    def publish(self, repo):
        base = self._base()
        seq = max((each.seq for each in base), default=0) + 1
        number = len(self.said) + 1
        ref = Ref(number.to_bytes(32, "big"), seq)
        self._sign(base, RepoEntry(repo, "model", {"main": ref}, size=number))
        return repo, ref

    def hear(self, other):
        """Take what another one has, and join it where it lacks ours; whether that was needed."""
        if other.newest is not None and self._takes(other.newest):
            return self._join()
        return False

    def _takes(self, said):
        try:
            self.gate.offer(said.head.pack(), NOW)
        except Refusal as error:
            if error.verdict is Verdict.ROLLED_BACK:
                return False
            raise
        self._accept(self.newest)
        return True

    def _join(self):
        if all(holds(self.newest.entries, self.said[tip].entries) for tip in self.tips):
            self.tips = {self.newest.index.digest}
            return False
        self._sign(self._base())
        return True

    def _base(self):
        newest = [self.newest] if self.newest is not None else []
        others = [self.said[tip] for tip in self.tips if [self.said[tip]] != newest]
        lacking = [each for each in others if not holds(newest[0].entries, each.entries)]
        return (newest + lacking)[:MAX_PARENTS]

    def _sign(self, base, *entries):
        self.signed += 1
        seq = max((each.seq for each in base), default=0) + 1
        listed = {entry.name: entry for entry in merge([each.entries for each in base])}
        for entry in entries:
            before = listed.get(entry.name)
            refs = {**(before.refs if before else {}), **entry.refs}
            listed[entry.name] = RepoEntry(entry.name, "model", refs, size=entry.size)
        index, pages = self.lab.sign_index(
            writer=self.name,
            parents=[each.index.digest for each in base],
            seq=seq,
            entries=list(listed.values()),
        )
        head = self.lab.sign_head(index=index.digest, seq=seq, signers=(self.name,))
        made = Said(index, pages, head, tuple(listed[name] for name in sorted(listed)), seq)
        self.said[index.digest] = made
        self.gate.offer(head.pack(), NOW)
        self._accept(made)
        self.tips = {index.digest}

    def _accept(self, said):
        self.gate.offer(said.index.pack(), NOW)
        for page in said.pages:
            self.gate.offer(page, NOW)
        self.tips.add(said.index.digest)


writers = st.integers(0, len(WRITERS) - 1)
actions = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), writers, st.sampled_from("abc")),
        st.tuples(st.just("hear"), writers, writers),
    ),
    max_size=25,
)


@settings(max_examples=25, deadline=None)
@given(actions)
def test_writers_end_with_one_index_that_has_everything(script):
    said = {}
    lab = FakePublisher(3, writers=WRITERS)
    nodes = [Writer(lab, name, said) for name in WRITERS]
    published = []
    for what, who, other in script:
        if what == "publish":
            published.append(nodes[who].publish(other))
        else:
            nodes[who].hear(nodes[other])
    for node in nodes:
        node.signed = 0
    rounds = 0
    while sum(node.hear(other) for node in nodes for other in nodes if node is not other):
        rounds += 1
        assert rounds <= len(WRITERS), "they answer each other for ever"
    if not published:
        return
    assert len({node.newest.index.digest for node in nodes}) == 1
    assert sum(node.signed for node in nodes) <= len(WRITERS) ** 2
    entries = {entry.name: entry for entry in nodes[0].newest.entries}
    for repo in {repo for repo, _ in published}:
        refs = [ref for name, ref in published if name == repo]
        best = max(refs, key=lambda ref: (ref.seq, ref.release))
        assert entries[repo].refs["main"] == best
    Page.from_payload(nodes[0].newest.pages[0])
