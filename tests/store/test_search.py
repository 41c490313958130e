"""Searching: every word, every filter, in each order, and nothing that a query can break."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2phub.formats.ids import PublisherId, RepoId
from p2phub.formats.manifest import Card
from p2phub.formats.publisher import Ref, RepoEntry
from p2phub.store import search
from p2phub.store.index import Index
from p2phub.store.repos import Repos
from p2phub.store.search import EVERYTHING, MAX_WORDS, Filters, match_of
from p2phub.store.statements import query

NOWHERE = Path("/nonexistent/index.db")
ANN, BOB = PublisherId(b"a" * 32), PublisherId(b"b" * 32)


def entry(name, *, size=100, created=1000, kind="model", refs=None, **card):
    refs = refs or {"main": Ref(b"r" * 32, 1)}
    return RepoEntry(name=name, kind=kind, refs=refs, card=Card(**card), size=size, created=created)


@pytest.fixture
def index(tmp_path):
    index = Index.open(tmp_path / "index.db")
    yield index
    index.close()


@pytest.fixture
def repos(index):
    repos = Repos(index)
    repos.record_many(
        ANN,
        [
            entry(
                "all-MiniLM-L6-v2",
                size=90,
                created=3,
                task="sentence-similarity",
                library="sentence-transformers",
                license="apache-2.0",
                languages=("en",),
                tags=("embedding", "onnx"),
                parameters=22_713_728,
            ),
            entry(
                "Llama-3.2-1B",
                size=2000,
                created=2,
                task="text-generation",
                library="transformers",
                license="llama3.2",
                languages=("en", "de", "fr"),
                tags=("chat",),
                parameters=1_235_814_400,
            ),
        ],
    )
    repos.record_many(
        BOB,
        [
            entry(
                "llama_tiny",
                size=5,
                created=1,
                task="text-generation",
                library="transformers",
                license="mit",
                tags=("test", "日本語"),
            ),
            entry("faces", size=700, created=4, kind="dataset", license="mit"),
        ],
    )
    return repos


def names(hits):
    return [hit.repo.name for hit in hits]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("minilm", {"all-MiniLM-L6-v2"}),
        ("MINI", {"all-MiniLM-L6-v2"}),
        ("llama", {"Llama-3.2-1B", "llama_tiny"}),
        ("llama tiny", {"llama_tiny"}),
        ("tiny", {"llama_tiny"}),
        ("embedding", {"all-MiniLM-L6-v2"}),
        ("transformers", {"all-MiniLM-L6-v2", "Llama-3.2-1B", "llama_tiny"}),
        ("text-generation", {"Llama-3.2-1B", "llama_tiny"}),
        ("日本語", {"llama_tiny"}),
        ("llama-3.2", {"Llama-3.2-1B"}),
        ("nothing", set()),
        ("llama nothing", set()),
        (str(BOB), {"llama_tiny", "faces"}),
        ("  ", {"all-MiniLM-L6-v2", "Llama-3.2-1B", "llama_tiny", "faces"}),
        ("---", {"all-MiniLM-L6-v2", "Llama-3.2-1B", "llama_tiny", "faces"}),
    ],
)
def test_every_word_must_occur_somewhere(repos, text, found):
    assert set(names(repos.search(text))) == found


def test_a_word_that_is_an_alias_finds_what_that_publisher_has(repos, index):
    with index.write() as statements:
        statements.run("documents.save_alias", "lab", str(BOB), 1)
    assert set(names(repos.search("lab"))) == {"llama_tiny", "faces"}
    assert names(repos.search("lab llama")) == ["llama_tiny"]


def test_a_readme_is_looked_through_once_it_is_known(repos):
    assert repos.search("paraphrases") == []
    repos.set_summary(RepoId(ANN, "all-MiniLM-L6-v2"), "Finds paraphrases. " + "x" * 10_000)
    assert names(repos.search("paraphrases")) == ["all-MiniLM-L6-v2"]
    repos.set_summary(RepoId(ANN, "all-MiniLM-L6-v2"), "Something else.")
    assert repos.search("paraphrases") == []


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        (Filters(task="text-generation"), ["Llama-3.2-1B", "llama_tiny"]),
        (Filters(task="text"), []),
        (Filters(task="Text-Generation", license="MIT"), ["llama_tiny"]),
        (Filters(library="transformers"), ["Llama-3.2-1B", "llama_tiny"]),
        (Filters(license="llama3.2"), ["Llama-3.2-1B"]),
        (Filters(language="en"), ["Llama-3.2-1B", "all-MiniLM-L6-v2"]),
        (Filters(language="EN", max_size=100), ["all-MiniLM-L6-v2"]),
        (Filters(publisher=BOB), ["faces", "llama_tiny"]),
        (Filters(kind="dataset"), ["faces"]),
        (Filters(publisher=BOB, kind="model"), ["llama_tiny"]),
        (Filters(max_size=0), []),
        (Filters(max_size=10**30, publisher=BOB), ["faces", "llama_tiny"]),
        (Filters(max_size=-(10**30)), []),
        (Filters(min_parameters=10**30), []),
        (Filters(max_parameters=22_713_728), ["all-MiniLM-L6-v2"]),
        (Filters(max_parameters=22_713_727), []),
        (Filters(min_parameters=1_000_000_000), ["Llama-3.2-1B"]),
        (Filters(min_parameters=1, max_parameters=2**53), ["Llama-3.2-1B", "all-MiniLM-L6-v2"]),
        (Filters(max_parameters=2**53, task="text-generation"), ["Llama-3.2-1B"]),
        (Filters(task="--"), []),
        (Filters(task='"'), []),
    ],
    ids=str,
)
def test_every_filter_must_hold_with_and_without_text(repos, filters, found):
    assert sorted(names(repos.search("", filters))) == found
    llamas = [name for name in found if "llama" in name.lower()]
    assert sorted(names(repos.search("llama", filters))) == llamas


@pytest.mark.parametrize(
    ("order", "found"),
    [
        ("created", ["faces", "all-MiniLM-L6-v2", "Llama-3.2-1B", "llama_tiny"]),
        ("relevance", ["faces", "all-MiniLM-L6-v2", "Llama-3.2-1B", "llama_tiny"]),
        ("size", ["Llama-3.2-1B", "faces", "all-MiniLM-L6-v2", "llama_tiny"]),
        ("name", ["all-MiniLM-L6-v2", "faces", "Llama-3.2-1B", "llama_tiny"]),
    ],
)
def test_each_order_with_and_without_text(repos, order, found):
    assert names(repos.search(order=order)) == found
    assert names(repos.search("", order=order, limit=2)) == found[:2]
    if order != "relevance":
        llamas = [name for name in found if "llama" in name.lower()]
        assert names(repos.search("llama", order=order)) == llamas


class TestRelevance:
    def test_prefers_the_very_name_then_words_of_a_name_then_any_word_then_a_beginning(self, repos):
        repos.record_many(
            BOB,
            [
                entry("x", tags=("berta",), created=9),
                entry("y", tags=("bert",), created=8),
                entry("bert-base", created=7),
                entry("bert-base-uncased", created=99),
                entry("BERT", created=1),
                entry("berty", created=50),
            ],
        )
        found = ["BERT", "bert-base", "bert-base-uncased", "y", "x", "berty"]
        assert names(repos.search("bert")) == found
        assert names(repos.search("bert", limit=3)) == found[:3]

    def test_of_equals_prefers_the_new(self, repos):
        repos.record_many(BOB, [entry(f"bert-{n}", created=n) for n in (3, 9, 5)])
        assert names(repos.search("bert")) == ["bert-9", "bert-5", "bert-3"]

    def test_finds_a_repo_once_however_often_it_matches(self, repos):
        repos.record(BOB, entry("bert", task="bert", tags=("bert", "berta")))
        assert names(repos.search("bert")) == ["bert"]

    def test_the_very_name_must_pass_the_filters_too(self, repos):
        repos.record(BOB, entry("bert", license="mit"))
        assert names(repos.search("bert", Filters(license="apache-2.0"))) == []
        assert names(repos.search(" bert ", Filters(license="mit"))) == ["bert"]


class TestManyMatches:
    """More than are looked at: what was met last is, and nothing wrong is said."""

    @pytest.fixture
    def many(self, repos, monkeypatch):
        monkeypatch.setattr(search, "MOST", 20)
        monkeypatch.setattr(search, "ENOUGH", 10)
        repos.record_many(ANN, [entry(f"old-bert-{n:02}", size=9 - n) for n in range(9)])
        repos.record_many(ANN, [entry(f"bert-{n}", size=n, task="a b") for n in range(40)])
        repos.record_many(ANN, [entry(f"other-{n}", license="mit") for n in range(40)])
        return repos

    @pytest.mark.parametrize("order", ["relevance", "created", "size", "name"])
    def test_give_as_many_hits_as_were_asked_for(self, many, order):
        hits = many.search("bert", order=order, limit=7)
        assert len(hits) == len({hit.repo for hit in hits}) == 7
        assert all(hit.repo.name.startswith("bert") for hit in hits)

    def test_hide_no_repo_of_that_very_name(self, many):
        assert names(many.search("old-bert-00", limit=1)) == ["old-bert-00"]

    @pytest.mark.parametrize("odd", ["\0", "a\0b", '"', "' OR 1", "a\nb", "\x0b\x0c"])
    def test_take_any_text_that_a_program_sends(self, many, odd):
        for name in ("task", "library", "license", "language"):
            assert many.search("", Filters(**{name: odd})) == []
        assert many.search("", Filters(tags=(odd, "x"))) == []
        assert many.search(f"bert {odd}", limit=1) is not None

    def test_hide_nothing_that_passes_a_rare_facet(self, many):
        many.record(BOB, entry("rare-bert", task="rare"))
        many.record_many(ANN, [entry(f"late-bert-{n}") for n in range(40)])
        assert names(many.search("bert", Filters(task="rare"))) == ["rare-bert"]
        assert names(many.search("bert", Filters(publisher=BOB))) == ["rare-bert"]

    @pytest.mark.parametrize("order", ["created", "size", "name"])
    @pytest.mark.parametrize(
        ("filters", "count"),
        [
            (Filters(task="a b"), 40),
            (Filters(license="mit"), 42),
            (Filters(license="mit", publisher=BOB), 2),
            (Filters(max_size=5), 12),
            (Filters(max_size=50), 50),
            (Filters(task="a b", max_size=5), 6),
            (Filters(tags=("a b",)), 40),
            (Filters(tags=("A B", "nothing")), 0),
        ],
        ids=str,
    )
    def test_are_all_found_by_filters_alone(self, many, filters, count, order):
        hits = many.search("", filters, order=order, limit=100)
        assert len(hits) == len({hit.repo for hit in hits}) == count
        keys = {
            "created": [-hit.created for hit in hits],
            "size": [-hit.bytes for hit in hits],
            "name": [hit.repo.name.lower() for hit in hits],
        }
        assert keys[order] == sorted(keys[order])


@pytest.mark.parametrize(("limit", "count"), [(0, 0), (-5, 0), (1, 1), (10**30, 4)])
def test_a_limit_of_any_size(repos, limit, count):
    assert len(repos.search(limit=limit)) == count


def test_a_hit_names_main_or_else_the_newest_branch_and_a_tag_last(repos):
    tag, old, new = (Ref(bytes([n]) * 32, n, n == 9) for n in (9, 1, 2))
    repos.record(ANN, entry("refs", refs={"v1": tag, "dev": new, "a": old}))
    (hit,) = repos.search("refs")
    assert (hit.ref, hit.digest) == ("dev", new.release)
    repos.record(ANN, entry("refs", refs={"v1": tag, "dev": new, "main": old}))
    assert repos.search("refs")[0].ref == "main"
    repos.record(ANN, entry("refs", refs={"v1": tag}))
    assert repos.search("refs")[0].ref == "v1"


def test_a_hit_says_what_the_index_says(repos):
    (hit,) = repos.search("minilm")
    assert hit.repo == RepoId(ANN, "all-MiniLM-L6-v2")
    assert (hit.kind, hit.bytes, hit.created, hit.commit) == ("model", 90, 3, "72" * 20)
    assert (hit.languages, hit.tags) == (("en",), ("embedding", "onnx"))


HOSTILE = ['"', "'", ";", '"_OR_1', "name:llama", "llama*", "(", ")", "NEAR(a_b)", "AND", "OR"]
HOSTILE += ["NOT", "^", "{name}:x", "%", "_", "-", "💥", "ﬁ", '" OR 1', "NEAR(a b)", "a AND", "\0"]
HOSTILE += ["a" * 5000, "OR " * 500, "llama\n--"]


@pytest.mark.parametrize("text", HOSTILE, ids=repr)
def test_what_means_something_to_the_index_is_only_a_word(repos, text):
    repos.search(text)
    repos.search("", Filters(task=text, library=text, license=text, language=text))
    repos.search(text, Filters(task=text))


@given(st.text(max_size=50), st.text(max_size=20))
def test_no_text_can_break_the_query(text, task):
    index = Index.open(NOWHERE, read_only=True)
    assert Repos(index).search(text, Filters(task=task)) == []
    index.close()


def test_a_very_long_query_is_cut():
    assert match_of("word " * 1000, EVERYTHING).count("AND") == MAX_WORDS - 1


def plan_of(index, *parts):
    names = ["match", "most", "enough", "limit", "text", "task", "license", "language", "max_size"]
    text = "\n".join(query(f"search.{part}") for part in parts)
    plan = index._writer.execute("EXPLAIN QUERY PLAN " + text, dict.fromkeys(names, "1"))
    return [step for _, _, _, step in plan.fetchall()]


@pytest.mark.parametrize("filters", [[], ["task"], ["license", "language"], ["max_size"]], ids=str)
@pytest.mark.parametrize("order", ["created", "size", "name"])
def test_a_search_without_text_walks_an_index_and_sorts_nothing(index, filters, order):
    steps = plan_of(index, f"every_{order}", *filters, f"order_{order}")
    assert f"USING INDEX repos_by_{order}" in steps[0], steps
    assert not any("TEMP B-TREE" in step for step in steps), steps


def test_a_search_with_text_sorts_only_what_is_enough(index):
    steps = plan_of(index, "matching", "task", "license", "enough", "order_relevance")
    assert steps[:3] == ["CO-ROUTINE repos", "CO-ROUTINE found", steps[2]]
    assert steps[2].startswith("SCAN repo_text VIRTUAL TABLE")
    assert "SEARCH repos USING INTEGER PRIMARY KEY (rowid=?)" in steps
    assert sum("TEMP B-TREE" in step for step in steps) == 1, steps


def test_a_name_is_looked_up(index):
    (step,) = plan_of(index, "named", "task", "order_created")[:1]
    assert step == "SEARCH repos USING INDEX repos_by_name (name=?)"


def test_counting_stops(index):
    assert "SCAN repo_text VIRTUAL TABLE" in plan_of(index, "count_matching")[1]
    assert "COVERING INDEX repos_by_size (bytes<?)" in plan_of(index, "count_small")[1]
