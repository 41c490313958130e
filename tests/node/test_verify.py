"""`verify` explains itself: numbered steps, what was compared, who signed, how old; no network."""

import pytest

from p2phub.formats.digest import sha256
from p2phub.formats.publisher import Index, Page
from p2phub.node.inspect import Inspector
from p2phub.node.values import SearchQuery
from p2phub.testing.notices import revoke_release
from p2phub.testing.publishers import CREATED, FakePublisher
from p2phub.trust.catalog import TrustedCatalog
from p2phub.trust.envelope import unpack
from p2phub.trust.policy import Rule
from tests.node.test_knowledge import FILES, Home


class Shop:
    def __init__(self, path, **options):
        self.home, self.lab = Home(path), FakePublisher(1, **options)
        self.made = self.lab.publish("demo", FILES)
        self.home.learn(self.lab, self.made)

    def verify(self, rule=None):
        store = self.home.store
        knowledge = self.home.knowledge
        if rule is not None:
            knowledge = type(knowledge)(store, TrustedCatalog(lambda _: rule), lambda: 1)
        (found,) = Inspector(store, knowledge).verify(f"{self.lab.publisher}/demo")
        return found


@pytest.fixture
def shop(tmp_path):
    made = Shop(tmp_path)
    yield made
    made.home.store.close()


def test_steps_are_numbered_in_the_order_in_which_they_were_taken(shop):
    found = shop.verify()
    assert [step.number for step in found.steps] == list(range(1, len(found.steps) + 1))
    names = [step.name for step in found.steps]
    assert names.index("head: the roots form a chain") < names.index("head: the root delegates")
    assert names.index("index") < names.index("release: signed by release keys in force")


def test_steps_say_what_was_compared_with_what(shop):
    told = {step.name: step.detail for step in shop.verify().steps}
    key = shop.lab.key("release").public.hex()
    assert told["head: the roots form a chain"] == (
        f"root 1 by first; the digest of root 1 is {shop.lab.publisher}"
    )
    assert key[:16] in told["head: the root delegates"]
    assert key[:16] in told["release: signed by release keys in force"]
    assert told["release: not withdrawn"]
    assert told["release: not revoked"]


def test_every_piece_that_is_read_is_one_after_which_others_may_be_yielded_to(shop, tmp_path):
    read = []
    store, knowledge = shop.home.store, shop.home.knowledge
    (tmp_path / "README.md").write_bytes(FILES["README.md"])
    store.blobs.ingest_many([tmp_path / "README.md"])
    Inspector(store, knowledge, read.append).verify(f"{shop.lab.publisher}/demo")
    assert sum(read) == sum(map(len, FILES.values()))


def test_it_says_who_signed_and_how_old_that_is(tmp_path):
    shop = Shop(tmp_path, not_after=1_900_000_000)
    found = shop.verify()
    assert found.signed_by == (shop.lab.key("release").public.hex(),)
    assert found.publisher_id == str(shop.lab.publisher)
    assert (found.created, found.heard, found.fresh_until) == (
        CREATED,
        1_800_000_000,
        1_900_000_000,
    )
    index = shop.home.knowledge.state(shop.lab.publisher).index
    dated = Index.from_payload(unpack(shop.home.store.documents.get(index)).payload).created
    assert found.as_of == dated < found.heard
    shop.home.store.close()


def test_what_was_revoked_says_by_which_step_and_still_who_signed_it(shop):
    shop.home.knowledge.learn_notice(revoke_release(shop.lab, shop.made.release.digest).pack())
    found = shop.verify()
    assert found.verdict == "revoked"
    assert found.steps[-1].ok is False
    assert found.steps[-1].name == "documents: not revoked"
    assert found.signed_by


def test_what_the_rule_lets_through_keeps_its_verdict(shop):
    shop.home.knowledge.learn_notice(revoke_release(shop.lab, shop.made.release.digest).pack())
    found = shop.verify(Rule("warn"))
    assert found.verdict == "corrupt"  # none of its files is here
    assert not found.ok


def test_search_and_ls_say_what_was_taken_back(shop):
    lab, home = shop.lab, shop.home
    other = lab.publish("other", {"README.md": b"other"})
    home.learn(lab, other)
    elsewhere = lab.publish("elsewhere", {"README.md": b"not pulled"})
    head, index, *pages, _ = elsewhere.packed
    home.knowledge.learn_head(lab.publisher, head)
    home.knowledge.learn(index, elsewhere.index.digest, Index)
    for page in pages:
        home.knowledge.learn(page, sha256(page), Page)
    for made in (shop.made, other):
        home.store.repos.pulling(made.release.digest, "main", 5)
    look = Inspector(home.store, home.knowledge)
    assert {hit.verdict for hit in look.search(SearchQuery())} == {"verified"}
    for made in (shop.made, elsewhere):
        home.knowledge.learn_notice(revoke_release(lab, made.release.digest).pack())
    worth = {"demo": "revoked", "other": "verified", "elsewhere": "revoked"}
    found = {name_in(hit.ref): hit.verdict for hit in look.search(SearchQuery())}
    assert found == worth
    rows = {name_in(row.ref): row.verdict for row in look.ls(None)}
    assert rows == {name: worth[name] for name in ("demo", "other")}


def name_in(ref):
    return ref.partition("/")[2].partition("@")[0]
