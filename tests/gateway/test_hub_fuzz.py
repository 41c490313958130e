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
