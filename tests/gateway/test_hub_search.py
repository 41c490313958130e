"""Lists of repos: filters become a search, and pages lead to the next one."""

from dataclasses import replace

import pytest

from p2phub.errors import NotFoundError
from p2phub.gateway import hub_search
from p2phub.node.values import Hit
from p2phub.testing.nodes import FakeNode
from tests.gateway.conftest import serving


def hit(number, verdict="verified", kind="model"):
    ref, commit = f"lab/repo-{number:03}@main", f"{number:040x}"
    tags, languages = ("tiny",), ("en",)
    said = ("fill-mask", "mit", "lib")
    return Hit(ref, commit, *said, 5, verdict, kind, tags, languages, 7, "a" * 52)


class SearchedNode(FakeNode):
    """Finds what it is told to, and keeps what it was asked."""

    def __init__(self, hits):
        super().__init__()
        self.hits, self.queries = hits, []

    async def search(self, query):
        self.queries.append(query)
        if query.publisher == "nobody":
            raise NotFoundError("nobody is called nobody")
        return self.hits[: query.limit]


@pytest.fixture
async def hub(tmp_path):
    node = SearchedNode([hit(n) for n in range(25)])
    async with serving(tmp_path, node) as served:
        yield served


async def ids(hub, path):
    answer = await hub.stranger.get(path)
    assert answer.status_code == 200, answer.text
    return [each["id"] for each in answer.json()]


async def test_pages_lead_through_everything_once(hub):
    found, path = [], "/api/models?limit=10&search=a+b&filter=x"
    while path:
        found += await ids(hub, path)
        answer = await hub.stranger.get(path)
        path = answer.links.get("next", {}).get("url")
    assert found == [f"lab/repo-{n:03}" for n in range(25)]
    assert {query.text for query in hub.node.queries} == {"a b"}


async def test_no_page_is_longer_than_ours(hub, monkeypatch):
    monkeypatch.setattr(hub_search, "PAGE", 4)
    assert len(await ids(hub, "/api/models?limit=1000")) == 4
    assert await ids(hub, "/api/models?limit=0") == []


async def test_filters_become_a_search(hub):
    await ids(
        hub,
        "/api/datasets?search=one&search=two&author=lab&filter=license:mit&filter=tiny"
        "&filter=language:en&filter=region:us&pipeline_tag=fill-mask&sort=lastModified",
    )
    query = hub.node.queries[-1]
    assert (query.text, query.publisher, query.kind) == ("one two", "lab", "dataset")
    assert (query.license, query.language, query.task) == ("mit", "en", "fill-mask")
    assert (query.tags, query.sort) == (("tiny",), "updated")


async def test_a_number_of_parameters_is_a_filter_and_told_where_it_is_known(hub):
    hub.node.hits = [replace(hit(0), parameters=22_713_728), hit(1)]
    path = "/api/models?num_parameters=min:1M,max:9B&expand=safetensors"
    told = (await hub.stranger.get(path)).json()
    assert [each.get("safetensors") for each in told] == [
        {"parameters": {}, "total": 22_713_728},
        None,
    ]
    query = hub.node.queries[-1]
    assert (query.min_params, query.max_params) == (10**6, 9 * 10**9)
    await ids(hub, "/api/models?num_parameters=min:999999999999999T")
    assert hub.node.queries[-1].min_params == 2**53 - 1


@pytest.mark.parametrize("text", ["7B", "min:", "max:huge", "min:-1", "mean:7B", "min:1,,max:x"])
async def test_a_number_of_parameters_that_is_none(hub, text):
    answer = await hub.stranger.get("/api/models", params={"num_parameters": text})
    assert answer.status_code == 400
    assert "min:1M,max:9B" in answer.text


async def test_an_author_whom_nobody_knows_has_no_repos(hub):
    assert await ids(hub, "/api/models?author=nobody") == []


async def test_what_would_be_refused_is_not_listed_and_ends_no_list(hub):
    hub.node.hits = [hit(0), hit(1, "revoked"), hit(2, "corrupt"), hit(3, "unsigned"), hit(4)]
    answer = await hub.stranger.get("/api/models?limit=3")
    assert [each["id"] for each in answer.json()] == ["lab/repo-000"]
    assert await ids(hub, answer.links["next"]["url"]) == ["lab/repo-003", "lab/repo-004"]


async def test_fields_are_those_that_are_asked_for(hub):
    (first, *_) = (await hub.stranger.get("/api/models")).json()
    assert first["tags"] == ["lib", "fill-mask", "tiny", "en", "license:mit"]
    assert not {"cardData", "sha", "p2phub"} & set(first)
    (first, *_) = (await hub.stranger.get("/api/models?expand=cardData&expand=likes")).json()
    assert set(first) == {"_id", "id", "cardData", "likes"}
    assert first["cardData"]["license"] == "mit"


@pytest.mark.parametrize("query", ["gated=true", "inference=warm", "inference_provider=x"])
async def test_what_no_repo_here_is(hub, query):
    assert await ids(hub, f"/api/models?{query}") == []


async def test_an_order_that_nobody_knows(hub):
    assert (await hub.stranger.get("/api/models?sort=beauty")).status_code == 400
