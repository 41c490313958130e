"""The write half of the Hugging Face Hub API over a real socket, in front of a hub in memory."""

import base64
import hashlib
import json
import time

import h11
import httpx
import pytest
import trio

from p2phub.gateway import hub_bodies, hub_lfs
from p2phub.node.committing import Drop, Put
from p2phub.testing.hubs import FakeHub
from p2phub.testing.nodes import FakeNode
from p2phub.testing.publishers import FakePublisher
from tests.formats.test_xet import packed, shard
from tests.gateway.conftest import connected, serving

COMMIT = "/api/models/lab/minilm/commit/main"
BATCH = "/lab/minilm.git/info/lfs/objects/batch"
DATA = b"weights" * 1000
SIZE = len(DATA)
OID = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
async def hub(tmp_path):
    node = FakeNode()
    node.hub = FakeHub(FakePublisher(1), {"README.md": b"# A", "old/a.txt": b"a", "b.txt": b"b"})
    async with serving(tmp_path, node) as served:
        served.hub = node.hub
        yield served


def lines(*values, header=True):
    first = [{"key": "header", "value": {"summary": "said", "description": "more"}}]
    return "\n".join(map(json.dumps, (first if header else []) + list(values)))


def file(path, data=b"new"):
    content = base64.b64encode(data).decode()
    return {"key": "file", "value": {"path": path, "content": content, "encoding": "base64"}}


def lfs(path, oid=OID, size=SIZE):
    return {"key": "lfsFile", "value": {"path": path, "algo": "sha256", "oid": oid, "size": size}}


class TestWhoMayWrite:
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("POST", "/api/repos/create"),
            ("POST", "/api/models/lab/minilm/preupload/main"),
            ("POST", COMMIT),
            ("POST", BATCH),
            ("POST", "/api/lfs/verify"),
            ("GET", "/api/models/lab/minilm/xet-write-token/main"),
        ],
    )
    async def test_only_who_shows_our_token(self, hub, method, path):
        for token in ({}, {"authorization": "Bearer hf_of_another_hub"}):
            answer = await hub.stranger.request(method, path, headers=token, content="{}")
            assert answer.status_code == 401, path
            assert answer.headers["x-error-message"]
        assert hub.hub.commits == []

    async def test_nobody_writes_to_a_repo_of_somebody_else(self, hub):
        answer = await hub.client.post("/api/models/other/x/commit/main", content=lines())
        assert answer.status_code == 403
        answer = await hub.client.post(
            "/api/repos/create", json={"name": "x", "organization": "other"}
        )
        assert answer.status_code == 403

    async def test_who_may_write_is_told_so(self, hub):
        told = (await hub.client.get("/api/whoami-v2")).json()
        assert told["auth"]["accessToken"]["role"] == "write"


class TestCreate:
    async def test_makes_a_first_release(self, hub):
        answer = await hub.client.post(
            "/api/repos/create", json={"name": "fresh", "type": "dataset"}
        )
        assert answer.status_code == 200
        assert answer.json()["url"] == f"{hub.gateway.url}/datasets/lab/fresh"
        (made,) = hub.hub.commits
        assert (made.name, made.kind, made.new) == ("fresh", "dataset", True)
        assert [change.path for change in made.changes] == [(".gitattributes",)]

    async def test_of_one_that_is_there_says_where(self, hub):
        answer = await hub.client.post("/api/repos/create", json={"name": "minilm"})
        assert answer.status_code == 409
        assert answer.json()["url"] == f"{hub.gateway.url}/lab/minilm"

    @pytest.mark.parametrize(
        "asked",
        [
            {"name": "x", "private": True},
            {"name": "x", "visibility": "private"},
            {"name": "x", "type": "poem"},
            {"name": 5},
            {},
        ],
    )
    async def test_of_what_cannot_be(self, hub, asked):
        answer = await hub.client.post("/api/repos/create", json=asked)
        assert answer.status_code == 400
        assert hub.hub.commits == []


class TestPreupload:
    async def ask(self, hub, *files):
        path = "/api/models/lab/minilm/preupload/main"
        answer = await hub.client.post(path, json={"files": list(files)})
        assert answer.status_code == 200, answer.text
        return answer.json()["files"]

    async def test_texts_come_inside_and_the_rest_before(self, hub):
        def asked(path, size, sample):
            return {"path": path, "size": size, "sample": base64.b64encode(sample).decode()}

        found = await self.ask(
            hub,
            asked("a.json", 9, b"{}"),
            asked("w.safetensors", 9, b"\0\1"),
            asked("big.txt", 50 << 20, b"text"),
            asked("cut.txt", 900, "\u00e4".encode() * 255 + b"\xc3"),
            asked("latin.txt", 900, b"\xe4" * 100),
            asked("empty", 0, b""),
        )
        assert [each["uploadMode"] for each in found] == [
            "regular",
            "lfs",
            "lfs",
            "regular",
            "lfs",
            "regular",
        ]

    async def test_says_what_is_there(self, hub):
        (found,) = await self.ask(hub, {"path": "b.txt", "size": 1, "sample": "Yg=="})
        git = hashlib.sha1(b"blob 1\0b", usedforsecurity=False).hexdigest()
        assert found["oid"] == git

    async def test_to_another_revision(self, hub):
        path = "/api/models/lab/minilm/preupload/dev"
        answer = await hub.client.post(path, json={"files": []})
        assert answer.headers["x-error-code"] == "RevisionNotFound"

    @pytest.mark.parametrize(
        "files", [None, 5, [5], [{}], [{"path": "x"}], [{"path": "../x", "size": 1}], [{}] * 257]
    )
    async def test_of_what_is_no_list_of_files(self, hub, files):
        path = "/api/models/lab/minilm/preupload/main"
        assert (await hub.client.post(path, json={"files": files})).status_code == 400


class TestCommit:
    async def test_adds_replaces_and_deletes(self, hub):
        hub.hub.kept.clear()
        url = await sent(hub)
        assert (await hub.client.put(url, content=DATA)).status_code == 200
        body = lines(
            file("n/ew.txt"),
            file("b.txt", b"other"),
            lfs("model.bin"),
            {"key": "deletedFolder", "value": {"path": "old/"}},
            {"key": "deletedFile", "value": {"path": "README.md"}},
        )
        answer = await hub.client.post(COMMIT, content=body)
        assert answer.status_code == 200, answer.text
        (made,) = hub.hub.commits
        assert made.message == "said\n\nmore"
        assert [type(change) for change in made.changes] == [Put, Put, Put, Drop, Drop]
        release = hub.hub.past[0].release
        assert ["/".join(each.path) for each in release.files] == ["b.txt", "model.bin", "n/ew.txt"]
        assert answer.json()["commitOid"] == hub.hub.past[0].commit

    async def test_after_another_one_is_told(self, hub):
        header = {"key": "header", "value": {"summary": "x", "parentCommit": "0" * 40}}
        body = lines(header, file("x"), header=False)
        assert (await hub.client.post(COMMIT, content=body)).status_code == 412

    @pytest.mark.parametrize(
        ("line", "status"),
        [
            (file("../x"), 400),
            (file("a//b"), 400),
            (lfs("w.bin"), 400),
            (lfs("w.bin", oid="xyz"), 400),
            (lfs("w.bin", size=-1), 400),
            ({"key": "file", "value": {"path": "x", "content": "%%%"}}, 400),
            ({"key": "file", "value": {"path": "x"}}, 400),
            ({"key": "strange", "value": {"path": "x"}}, 400),
            ({"key": "file"}, 400),
            ({"key": "deletedFile", "value": {"path": "nope"}}, 404),
        ],
    )
    async def test_with_a_line_that_cannot_be_changes_nothing(self, hub, line, status):
        before = len(hub.hub.past)
        answer = await hub.client.post(COMMIT, content=lines(file("fine"), line))
        assert answer.status_code == status
        assert answer.headers["x-error-message"]
        assert len(hub.hub.past) == before

    @pytest.mark.parametrize("body", ["{", "[]", "null", "\0", "5\n", '{"key": 5, "value": {}}'])
    async def test_that_is_no_lines_of_json(self, hub, body):
        assert (await hub.client.post(COMMIT, content=body)).status_code == 400

    async def test_of_a_line_without_end_is_cut_off(self, hub, monkeypatch):
        monkeypatch.setattr(hub_bodies, "MAX_LINE", 1000)
        answer = await hub.client.post(COMMIT, content=b"x" * 5_000_000)
        assert answer.status_code == 413

    async def test_as_a_pull_request_is_a_branch_of_its_own(self, hub):
        for number in (1, 2):
            answer = await hub.client.post(f"{COMMIT}?create_pr=1", content=lines(file("x")))
            url = f"{hub.gateway.url}/lab/minilm/discussions/{number}"
            assert answer.json()["pullRequestUrl"] == url
            assert hub.hub.commits[-1].ref == f"refs/pr/{number}"

    async def test_to_what_is_no_branch(self, hub):
        commit = hub.hub.past[0].commit
        path = f"/api/models/lab/minilm/commit/{commit}"
        assert (await hub.client.post(path, content=lines(file("x")))).status_code == 400
        path = "/api/models/lab/minilm/commit/nope"
        answer = await hub.client.post(path, content=lines(file("x")))
        assert answer.headers["x-error-code"] == "RevisionNotFound"

    async def test_that_is_slow_is_not_waited_for(self, hub, monkeypatch):
        monkeypatch.setattr(hub_bodies, "PATIENCE", 0.1)
        gate = trio.Event()

        async def slow():
            yield b"{"
            await gate.wait()
            yield b"}"

        async with trio.open_nursery() as nursery:

            async def ask():
                answer = await hub.client.post(COMMIT, content=slow())
                assert answer.status_code == 408

            nursery.start_soon(ask)
            await trio.sleep(0.5)
            gate.set()


async def sent(hub, oid=OID, size=SIZE):
    """The address that a file is to be sent to."""
    asked = {"operation": "upload", "objects": [{"oid": oid, "size": size}], "hash_algo": "sha256"}
    answer = await hub.client.post(BATCH, json=asked)
    assert answer.status_code == 200, answer.text
    (told,) = answer.json()["objects"]
    return told["actions"]["upload"]["href"]


class TestLfs:
    async def test_takes_a_file_without_a_token_at_the_address_it_told(self, hub):
        url = await sent(hub)
        assert (await hub.stranger.put(url, content=DATA)).status_code == 200
        verify = {"oid": OID, "size": len(DATA)}
        assert (await hub.client.post("/api/lfs/verify", json=verify)).status_code == 200
        asked = {"operation": "upload", "objects": [{"oid": OID, "size": len(DATA)}]}
        (told,) = (await hub.client.post(BATCH, json=asked)).json()["objects"]
        assert "actions" not in told  # it is here now

    async def test_refuses_another_file_than_was_told(self, hub):
        url = await sent(hub)
        for wrong in (DATA[:-1], DATA + b"x", b"x" * len(DATA)):
            assert (await hub.stranger.put(url, content=wrong)).status_code == 422
        assert hub.hub.kept == {}
        verify = {"oid": OID, "size": len(DATA)}
        assert (await hub.client.post("/api/lfs/verify", json=verify)).status_code == 404

    async def test_refuses_an_address_that_it_did_not_tell(self, hub, monkeypatch):
        url = await sent(hub)
        for wrong in (
            url.replace(OID, "0" * 64),
            url.replace(f"/{len(DATA)}?", "/5?"),
            url.replace("until=", "until=9"),
            url[:-1] + ("0" if url[-1] != "0" else "1"),
        ):
            assert (await hub.stranger.put(wrong, content=DATA)).status_code in (400, 403)
        now = time.time()
        monkeypatch.setattr(hub_lfs.time, "time", lambda: now + hub_lfs.LASTS + 1)
        assert (await hub.stranger.put(url, content=DATA)).status_code == 403
        assert hub.hub.kept == {}

    async def test_tells_of_each_object_that_cannot_be(self, hub):
        asked = {"operation": "upload", "objects": [{"oid": "x", "size": 1}]}
        (told,) = (await hub.client.post(BATCH, json=asked)).json()["objects"]
        assert told["error"]["code"] == 422

    @pytest.mark.parametrize(
        "asked", [{}, {"operation": "download"}, {"operation": "upload", "objects": 5}]
    )
    async def test_refuses_what_is_no_batch(self, hub, asked):
        assert (await hub.client.post(BATCH, json=asked)).status_code == 400


class TestXet:
    async def cas(self, hub):
        answer = await hub.client.get("/api/models/lab/minilm/xet-write-token/main")
        told = answer.json()
        assert answer.headers["x-xet-cas-url"] == told["casUrl"]
        return told["casUrl"]

    async def test_takes_xorbs_and_shards_at_the_address_it_told(self, hub):
        cas, name = await self.cas(hub), "a" * 64
        data = packed(b"hello", 0)
        answer = await hub.stranger.post(f"{cas}/v1/xorbs/default/{name}", content=data)
        assert answer.json() == {"was_inserted": True}
        answer = await hub.stranger.post(f"{cas}/v1/shards", content=shard())
        assert answer.json() == {"result": 1}
        ((session, _),) = hub.hub.xorbs
        assert hub.hub.shards == [(session, shard())]

    async def test_loses_a_client_in_the_middle_without_a_bug(self, hub):
        cas = httpx.URL(await self.cas(hub))
        host = hub.gateway.url.removeprefix("http://")
        target = f"{cas.path}/v1/xorbs/default/{'a' * 64}"
        headers = [("Host", host), ("Content-Length", "1000")]
        for _ in range(3):
            async with connected(hub) as lines:
                await lines.send(h11.Request(method="POST", target=target, headers=headers))
                await lines.send(h11.Data(data=b"x" * 100))
        await trio.sleep(0.2)
        assert hub.hub.xorbs == {}

    async def test_knows_no_other_questions(self, hub):
        cas = await self.cas(hub)
        for method, path in [
            ("GET", f"/v1/chunks/default/{'a' * 64}"),
            ("POST", f"/v1/xorb-grants/default/{'a' * 64}"),
            ("POST", "/v2/shards"),
            ("POST", "/v1/xorbs/default/..%2Fx"),
        ]:
            answer = await hub.stranger.request(method, cas + path, content=b"")
            assert answer.status_code == 404, path

    async def test_is_an_address_of_its_own_each_time_and_of_nobody_else(self, hub):
        one, two = await self.cas(hub), await self.cas(hub)
        assert one != two
        for wrong in (one[:-1], one.replace("/xet/", "/xet/0"), one + "0"):
            answer = await hub.stranger.post(f"{wrong}/v1/shards", content=shard())
            assert answer.status_code in (403, 404)
        assert hub.hub.shards == []
