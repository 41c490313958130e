"""Requests of the Hugging Face Hub API that nobody makes: none of them is a bug of ours.

`serving` raises whatever the gateway took for a bug of its own.
"""

import random

import httpx
import pytest

from p2phub.gateway.hub_paths import OTHERS, VERBS
from p2phub.testing.hubs import FakeHub
from p2phub.testing.nodes import FakeNode
from p2phub.testing.publishers import FakePublisher
from tests.gateway.conftest import serving

REQUESTS = 250
ODD = [
    "",
    "x",
    "..",
    "%2e%2e",
    "a%2Fb",
    "%00",
    "%ff",
    "main",
    "lab",
    "minilm",
    "0" * 40,
    "%C3%A9",
    "%C2%B2",
    "x" * 2000,
]
PIECES = [
    *ODD,
    "api",
    "models",
    "datasets",
    "spaces",
    "resolve",
    "raw",
    "minilm.git",
    "info",
    "lfs",
]
PIECES += [
    "objects",
    "batch",
    "xet",
    "verify",
    "create",
    "v1",
    "shards",
    "xorbs",
    "default",
    "merge",
]
KEYS = [
    "search",
    "filter",
    "sort",
    "limit",
    "cursor",
    "expand",
    "rows",
    "recursive",
    "until",
    "proof",
]
VALUES = ["", "true", "-1", "9" * 30, "\0", "a:b", "license:mit", '"', "é", "sha", "NaN"]
BODIES = [b"", b"{", b"{}", b"[]", b"null", b"\xff", b"NaN", b'{"files": 1}', b'{"paths": [1]}']
BODIES += [b'{"key": "header", "value": {"summary": 1}}', b'{"name": "../x"}', b'{"objects": [{}]}']
BODIES += [b'{"key": "file", "value": {"path": "a", "content": "\\ud800"}}', b"[" * 50_000]
HEADERS = ["range", "if-range", "if-none-match", "content-type", "authorization", "accept-encoding"]
SAID = ["", "bytes=0-", "bytes=-1,5-", "*", '"', "application/json", "Bearer x", "x" * 5000]


def made(chance):
    """A request: its method, address, headers and body."""
    depth = chance.randint(1, 7)
    pieces = [chance.choice([*PIECES, *sorted(VERBS), *sorted(OTHERS)]) for _ in range(depth)]
    begins = [["api", "models", "lab", "minilm"], ["lab", "minilm"], ["api"], []]
    path = "/" + "/".join([*chance.choice(begins), *pieces])
    query = [(chance.choice(KEYS), chance.choice(VALUES)) for _ in range(chance.randint(0, 3))]
    said = {chance.choice(HEADERS): chance.choice(SAID) for _ in range(chance.randint(0, 2))}
    method = chance.choice(["GET", "HEAD", "POST", "PUT", "DELETE"])
    return method, path, query, said, chance.choice(BODIES)


@pytest.mark.parametrize("seed", range(4))
async def test_any_request_is_answered_without_a_bug(tmp_path, seed):
    node, chance = FakeNode(), random.Random(seed)
    node.hub = FakeHub(FakePublisher(1), {"a": b"1", "b/c.csv": b"n\n1\n"})
    async with serving(tmp_path, node) as served:
        for _ in range(REQUESTS):
            method, path, query, said, body = made(chance)
            client = chance.choice([served.client, served.stranger])
            told = str(httpx.QueryParams(query))
            url = httpx.URL(served.gateway.url, raw_path=f"{path}?{told}".encode())
            answer = await client.request(method, url, headers=said, content=body)
            assert answer.status_code < 500, (method, path, query, said, body, answer.text)


HALF = '"\\ud800x"'
"""Half a character, as JSON can spell it and UTF-8 cannot."""
REPO = "/api/models/lab/minilm"
COMMIT = ("POST", f"{REPO}/commit/main")
NAMED = [
    ("POST", f"{REPO}/discussions", '{"title": %s}'),
    ("POST", f"{REPO}/discussions", '{"title": "x", "description": %s}'),
    ("PUT", f"{REPO}/settings", "{%s: 1}"),
    ("DELETE", "/api/repos/delete", '{"name": %s}'),
    ("DELETE", "/api/repos/delete", '{"name": "x", "organization": %s}'),
    ("POST", "/api/repos/move", '{"fromRepo": "lab/minilm", "toRepo": %s}'),
    ("POST", "/api/repos/create", '{"name": %s}'),
    ("POST", "/api/repos/create", '{"name": "x", "organization": %s}'),
    ("POST", f"{REPO}/branch/x", '{"startingPoint": %s}'),
    ("POST", f"{REPO}/tag/main", '{"tag": %s}'),
    (*COMMIT, '{"key": "header", "value": {"summary": %s}}'),
    (*COMMIT, '{"key": %s, "value": {"path": "x"}}'),
    (*COMMIT, '{"key": "file", "value": {"path": %s, "content": ""}}'),
    ("POST", "/lab/minilm.git/info/lfs/objects/batch", '{"operation": %s}'),
    ("POST", "/control/v1/resolve", '{"reference": %s}'),
    ("POST", "/control/v1/trust/add", '{"alias": %s, "publisher_id": "x"}'),
    ("POST", "/control/v1/connect", "{%s: 1}"),
]


@pytest.fixture
async def hub(tmp_path):
    node = FakeNode()
    node.hub = FakeHub(FakePublisher(1), {"a": b"1"})
    async with serving(tmp_path, node) as served:
        yield served


@pytest.mark.parametrize(("method", "path", "body"), NAMED)
async def test_half_a_character_is_no_json(hub, method, path, body):
    """Else no answer could name it, and no row keep it."""
    answer = await hub.client.request(method, path, content=body % HALF)
    assert answer.status_code == 400, answer.text
    raw = (body % HALF).encode().replace(b"\\ud800", b"\xed\xa0\x80")
    assert (await hub.client.request(method, path, content=raw)).status_code == 400
    assert hub.node.hub.commits == []
