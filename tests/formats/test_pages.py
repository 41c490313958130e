"""The tree of pages: deterministic, small pages, and nothing in it can point astray."""

import pytest

from p2phub.errors import MalformedError, UsageError
from p2phub.formats import limits
from p2phub.formats.codec import decode, encode
from p2phub.formats.digest import sha256
from p2phub.formats.manifest import Card
from p2phub.formats.pages import Page, Ref, RepoEntry, build_pages, find_in_page

CARD = Card(license="mit", task="text-generation", tags=("a", "b"))


def entry(name, **more):
    return RepoEntry(name, "model", {"main": Ref(sha256(name.encode()), 1)}, CARD, 5, 6, **more)


def many(count):
    return [entry(f"repo-{number:05}") for number in range(count)]


def walk(root, pages):
    """Every repo of the tree, each page checked against its parent."""
    page = Page.from_payload(pages[root])
    if page.level == 0:
        return list(page.entries)
    found = []
    for _, digest in page.children:
        page.check_child(digest, Page.from_payload(pages[digest]))
        found += walk(digest, pages)
    return found


@pytest.mark.parametrize("count", [0, 1, 2, 100, 3000])
def test_every_repo_is_in_the_tree_once_and_in_order(count):
    root, pages = build_pages(many(count)[::-1])
    assert walk(root, pages) == many(count)
    assert build_pages(many(count)) == (root, pages)


def test_no_page_is_larger_than_its_limit():
    _, pages = build_pages(many(3000))
    assert len(pages) > 10
    assert max(map(len, pages.values())) <= limits.MAX_PAGE
    assert all(sha256(data) == digest for digest, data in pages.items())


def test_one_changed_repo_changes_one_path_through_the_tree():
    before = build_pages(many(3000))[1]
    changed = [
        entry("repo-01500", extra={"x": 1}) if e.name == "repo-01500" else e for e in many(3000)
    ]
    after = build_pages(changed)[1]
    levels = Page.from_payload(after[build_pages(changed)[0]]).level + 1
    assert len(set(after) - set(before)) == levels


def test_a_new_repo_leaves_pages_far_from_it_alone():
    before = build_pages(many(3000))[1]
    after = build_pages([*many(3000), entry("repo-00000x")])[1]
    assert len(set(after) - set(before)) <= 4


def test_names_chosen_to_end_every_page_cannot_make_a_tower():
    """Each of these ends its page on levels 0 and 1; yet every page above them holds two."""
    names = (f"x{number}" for number in range(200_000))
    chosen = [n for n in names if all(sha256(b"%d:" % at + n.encode())[0] < 4 for at in (0, 1))]
    assert len(chosen) > 20
    _, pages = build_pages(map(entry, chosen))
    above = [page for page in map(Page.from_payload, pages.values()) if page.level]
    assert sum(len(page.children) < 2 for page in above) <= max(page.level for page in above)


def find(root, pages, name):
    page = Page.from_payload(pages[root])
    while isinstance(found := find_in_page(page, name), bytes):
        page = Page.from_payload(pages[found])
    return found


def test_a_repo_is_found_and_a_missing_one_is_not():
    root, pages = build_pages(many(3000))
    for number in (0, 1, 1499, 2999):
        name = f"repo-{number:05}"
        assert find(root, pages, name).name == name
    for name in ("a", "repo-00000a", "repo-01499-", "zzz"):
        assert find(root, pages, name) is None
    assert find_in_page(Page(0), "a") is None


def test_the_largest_repo_fits_a_page():
    refs = {f"{n:0100}": Ref(bytes(32), limits.MAX_INTEGER, True) for n in range(limits.MAX_REFS)}
    card = Card(
        license="x" * limits.MAX_WORD,
        languages=tuple(f"{n:032}" for n in range(limits.MAX_LANGUAGES)),
        tags=tuple(f"{n:096}" for n in range(limits.MAX_TAGS)),
        base=tuple(f"{n:0160}" for n in range(limits.MAX_BASES)),
    )
    largest = RepoEntry("x" * 96, "model", refs, card)
    root, pages = build_pages([largest, entry("a"), entry("z")])
    assert find(root, pages, largest.name) == largest


def test_a_repo_too_large_for_any_page_is_refused():
    with pytest.raises(MalformedError, match="at most 65536"):
        build_pages([entry("a", extra={"x": bytes(limits.MAX_PAGE)})])


def test_two_repos_of_one_name_are_refused():
    with pytest.raises(UsageError, match="two repos called 'a'"):
        build_pages([entry("a"), entry("a")])


def fields(**changes):
    return {"level": 0, "entries": [entry("a").write(), entry("b").write()]} | changes


def page_of(**changes):
    return encode({"type": "page", "requires": []} | changes)


def refs(**changes):
    return {"main": {"release": bytes(32), "seq": 1} | changes}


@pytest.mark.parametrize(
    "data",
    [
        page_of(level=0),
        page_of(level=-1, entries=[]),
        page_of(level=limits.MAX_PAGE_LEVEL + 1, children=[]),
        page_of(level=1, children=[]),
        page_of(level=1, entries=[]),
        page_of(level=0, entries=[entry("b").write(), entry("a").write()]),
        page_of(level=0, entries=[entry("a").write()] * 2),
        page_of(level=0, entries=[entry("a").write() | {"name": "../a"}]),
        page_of(level=0, entries=[entry("a").write() | {"kind": "virus"}]),
        page_of(level=0, entries=[entry("a").write() | {"refs": {}}]),
        page_of(level=0, entries=[entry("a").write() | {"refs": {"../x": {}}}]),
        page_of(level=0, entries=[entry("a").write() | {"refs": {"0" * 40: refs()["main"]}}]),
        page_of(level=0, entries=[entry("a").write() | {"refs": refs(seq=0)}]),
        page_of(level=0, entries=[entry("a").write() | {"refs": refs(release=b"x")}]),
        page_of(level=0, entries=[entry("a").write() | {"refs": refs(tag=False)}]),
        page_of(level=0, entries=[entry("a").write() | {"card": {}}]),
        page_of(level=0, entries=[entry("a").write() | {"card": {"license": ""}}]),
        page_of(level=0, entries=[entry("a").write() | {"size": -1}]),
        page_of(level=1, children=[{"first": "a", "page": b"short"}]),
        page_of(level=1, children=[{"first": "", "page": bytes(32)}]),
        page_of(level=1, children=[{"first": "a", "page": bytes(32), "x": 1}]),
        page_of(level=1, children=[{"first": name, "page": bytes(32)} for name in "ba"]),
        page_of(level=1, children=[{"first": f"a{n:04}", "page": bytes(32)} for n in range(1025)]),
    ],
)
def test_a_broken_page_is_refused(data):
    with pytest.raises(MalformedError):
        Page.from_payload(data)


def test_unknown_keys_of_repos_and_refs_survive():
    made = entry("a").write() | {"new": 1, "refs": refs(also=[b"x"])}
    data = page_of(level=0, entries=[made], more={})
    page = Page.from_payload(data)
    assert page.entries[0].extra == {"new": 1}
    assert page.entries[0].refs["main"].extra == {"also": [b"x"]}
    assert page.to_payload() == data


class TestAPageUnderItsParent:
    LEFT, RIGHT = Page(0, (entry("a"), entry("c"))), Page(0, (entry("m"),))
    PARENT = Page(1, children=(("a", LEFT.digest), ("m", RIGHT.digest)))

    def test_may_be_what_the_parent_names(self):
        self.PARENT.check_child(self.LEFT.digest, self.LEFT)
        self.PARENT.check_child(self.RIGHT.digest, self.RIGHT)

    @pytest.mark.parametrize(
        "child",
        [
            Page(0, (entry("b"),)),
            Page(0, (entry("a"), entry("m"))),
            Page(0, (entry("a"), entry("z"))),
            Page(0),
            Page(1, children=(("a", bytes(32)),)),
        ],
    )
    def test_cannot_reach_into_another_or_begin_elsewhere(self, child):
        with pytest.raises(MalformedError):
            self.PARENT.check_child(self.LEFT.digest, child)

    def test_cannot_come_from_nowhere(self):
        with pytest.raises(MalformedError, match="does not name"):
            self.PARENT.check_child(bytes(32), self.LEFT)


def test_the_fields_of_a_page_are_those_of_its_level():
    value = decode(Page(0, (entry("a"),)).to_payload(), limit=limits.MAX_PAGE)
    assert set(value) == {"type", "requires", "level", "entries"}
