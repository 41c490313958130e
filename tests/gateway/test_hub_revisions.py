"""Branches and tags over a real socket, in front of a hub in memory."""

import pytest

from p2phub.testing.hubs import FakeHub
from p2phub.testing.nodes import FakeNode
from p2phub.testing.publishers import FakePublisher
from tests.gateway.conftest import serving

REPO = "/api/models/lab/minilm"


@pytest.fixture
async def hub(tmp_path):
    node = FakeNode()
    node.hub = FakeHub(FakePublisher(1), {"a": b"1"})
    node.hub.publish({"a": b"2"}, message="second")
    async with serving(tmp_path, node) as served:
        served.hub = node.hub
        yield served


async def refs(hub):
    told = (await hub.stranger.get(f"{REPO}/refs?include_prs=1")).json()
    return {
        kind: {each["name"]: each["targetCommit"] for each in told[kind]}
        for kind in ("branches", "tags", "pullRequests")
    }


async def test_a_branch_begins_where_it_is_told(hub):
    main, old = (past.commit for past in hub.hub.past)
    assert (await hub.client.post(f"{REPO}/branch/dev")).status_code == 200
    body = {"startingPoint": old}
    assert (await hub.client.post(f"{REPO}/branch/fix%2Fone", json=body)).status_code == 200
    assert (await refs(hub))["branches"] == {"main": main, "dev": main, "fix/one": old}


async def test_a_tag_is_a_tag(hub):
    main, old = (past.commit for past in hub.hub.past)
    assert (await hub.client.post(f"{REPO}/tag/main", json={"tag": "v2"})).status_code == 200
    assert (await hub.client.post(f"{REPO}/tag/{old}", json={"tag": "v1"})).status_code == 200
    assert (await refs(hub))["tags"] == {"v1": old, "v2": main}


async def test_what_is_there_is_a_conflict(hub):
    for path, body in ((f"{REPO}/branch/main", {}), (f"{REPO}/tag/main", {"tag": "main"})):
        assert (await hub.client.post(path, json=body)).status_code == 409


@pytest.mark.parametrize("name", ["a" * 40, "%2E%2E", "a%2F..%2Fb", "a b", "x" * 300])
async def test_a_name_that_none_can_have(hub, name):
    assert (await hub.client.post(f"{REPO}/branch/{name}")).status_code == 400


async def test_of_a_revision_that_is_not_there(hub):
    answer = await hub.client.post(f"{REPO}/branch/dev", json={"startingPoint": "nope"})
    assert answer.headers["x-error-code"] == "RevisionNotFound"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "branch/dev"),
        ("DELETE", "branch/dev"),
        ("POST", "tag/main"),
        ("POST", "discussions"),
        ("POST", "discussions/1/merge"),
    ],
)
async def test_only_who_shows_our_token_changes_anything(hub, method, path):
    answer = await hub.stranger.request(method, f"{REPO}/{path}", content="{}")
    assert answer.status_code == 401
