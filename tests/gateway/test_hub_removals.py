"""Nothing is deleted, renamed or hidden, and each refusal tells what to do instead."""

import pytest

from p2phub.testing.hubs import FakeHub
from p2phub.testing.nodes import FakeNode
from p2phub.testing.publishers import FakePublisher
from tests.gateway.conftest import serving

REPO = "/api/models/lab/minilm"
MINILM = {"name": "minilm", "organization": "lab"}
MOVE = {"fromRepo": "lab/minilm", "toRepo": "lab/other", "type": "model"}
CALLS = [
    ("DELETE", "/api/repos/delete", MINILM, "p2phub key revoke --release lab/minilm"),
    ("DELETE", "/api/repos/delete", MINILM, "p2phub rm lab/minilm"),
    ("POST", "/api/repos/move", MOVE, "Publish the files as lab/other"),
    ("POST", f"{REPO}/super-squash/main", {"message": "x"}, "p2phub rm lab/minilm@COMMIT"),
    ("PUT", f"{REPO}/settings", {"visibility": "private"}, "p2phub key revoke"),
    ("PUT", f"{REPO}/settings", {"private": True}, "public"),
    ("PUT", f"{REPO}/settings", {"gated": "auto"}, "public"),
    ("PUT", f"{REPO}/settings", {"theme": []}, "public"),
    ("DELETE", f"{REPO}/branch/main", None, "no revision can be deleted"),
    ("DELETE", f"{REPO}/tag/main", None, "no revision can be deleted"),
]


@pytest.fixture
async def hub(tmp_path):
    node = FakeNode()
    node.hub = FakeHub(FakePublisher(1), {"README.md": b"# A"})
    async with serving(tmp_path, node) as served:
        served.hub = node.hub
        yield served


@pytest.mark.parametrize(("method", "path", "body", "told"), CALLS)
async def test_what_cannot_be_says_what_can(hub, method, path, body, told):
    answer = await hub.client.request(method, path, json=body)
    assert answer.status_code == 405
    assert told in answer.headers["x-error-message"]
    assert list(hub.hub.refs) == ["main"]


@pytest.mark.parametrize(("method", "path", "body", "told"), CALLS)
async def test_only_who_may_write_is_told_so(hub, method, path, body, told):
    assert (await hub.stranger.request(method, path, json=body)).status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("DELETE", "/api/repos/delete", {"name": "x", "organization": "other"}, 403),
        ("DELETE", "/api/repos/delete", {"name": "nope", "organization": "lab"}, 404),
        ("DELETE", "/api/repos/delete", MINILM | {"type": "dataset"}, 404),
        ("DELETE", "/api/repos/delete", MINILM | {"type": "poem"}, 400),
        ("DELETE", "/api/repos/delete", MINILM | {"type": ["model"]}, 400),
        ("DELETE", "/api/repos/delete", {"name": 5}, 400),
        ("DELETE", "/api/repos/delete", {}, 400),
        ("POST", "/api/repos/move", {"fromRepo": "lab/nope", "toRepo": "lab/x"}, 404),
        ("POST", "/api/repos/move", {"fromRepo": "lab/minilm"}, 400),
        ("POST", "/api/models/lab/nope/super-squash/main", {}, 404),
        ("POST", f"{REPO}/super-squash/nope", {}, 404),
        ("PUT", "/api/models/other/x/settings", {"private": True}, 403),
        ("DELETE", f"{REPO}/branch/nope", None, 404),
        ("GET", "/api/repos/delete", None, 405),
    ],
)
async def test_of_what_is_not_there_or_not_ours_that_is_told_first(hub, method, path, body, status):
    answer = await hub.client.request(method, path, json=body)
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize(
    "settings", [{"private": False}, {"visibility": "public"}, {"gated": False}, {}]
)
async def test_settings_that_hold_already_are_fine(hub, settings):
    assert (await hub.client.put(f"{REPO}/settings", json=settings)).status_code == 200
