"""The read half of the Hugging Face Hub API over a real socket, in front of a hub in memory."""

import json

import httpx
import pytest

from p2phub.errors import (
    BusyError,
    NoSourceError,
    NotFoundError,
    P2PHubError,
    RevokedError,
    UntrustedError,
)
from p2phub.formats.digest import git_blob_sha1, sha256
from p2phub.gateway.hub_paging import expanded
from p2phub.testing.files import README
from p2phub.testing.hubs import FakeHub
from p2phub.testing.nodes import FakeNode
from p2phub.testing.publishers import FakePublisher
from tests.gateway.conftest import serving

FILES = {
    "README.md": README.encode(),
    "config.json": b"{}",
    "onnx/model.onnx": b"o" * 2_000_000,
    "onnx/deep/er.txt": b"deep",
    "model.safetensors": bytes(range(256)) * 8000,
}


@pytest.fixture
async def hub(tmp_path):
    node = FakeNode()
    node.hub = FakeHub(FakePublisher(1), {"README.md": b"before", "config.json": b"{}"})
    node.hub.publish(FILES, message="second\n\nwith a body")
    async with serving(tmp_path, node) as served:
        served.hub = node.hub
        served.commit = node.hub.past[0].commit
        yield served


async def ok(hub, path, **options):
    answer = await hub.stranger.get(path, **options)
    assert answer.status_code == 200, answer.text
    return answer.json()


class TestARepo:
    async def test_has_the_fields_that_clients_read(self, hub):
        told = await ok(hub, "/api/models/lab/minilm")
        assert told["id"] == told["modelId"] == "lab/minilm"
        assert told["sha"] == hub.commit
        assert told["author"] == "lab"
        assert told["lastModified"] == told["createdAt"] == "2023-11-14T22:13:20.000Z"
        assert {each["rfilename"] for each in told["siblings"]} == set(FILES)
        assert told["cardData"]["tags"] == ["tiny", "test"]
        assert told["config"] == {"model_type": "llama"}
        assert (told["private"], told["gated"], told["disabled"]) == (False, False, False)
        assert not any("xet" in key.lower() for key in told)

    async def test_with_blobs_has_sizes_and_digests(self, hub):
        told = await ok(hub, "/api/models/lab/minilm/revision/main?blobs=true")
        files = {each["rfilename"]: each for each in told["siblings"]}
        assert files["config.json"]["blobId"] == git_blob_sha1(b"{}").hex()
        assert "lfs" not in files["config.json"]
        weights = FILES["model.safetensors"]
        assert files["model.safetensors"]["lfs"]["sha256"] == sha256(weights).hex()
        assert files["model.safetensors"]["size"] == len(weights)

    async def test_has_only_what_is_expanded(self, hub):
        told = await ok(hub, "/api/models/lab/minilm?expand=sha&expand=evalResults")
        assert set(told) == {"_id", "id", "sha"}
        assert expanded(told, ()) == told

    async def test_at_a_commit_and_at_an_older_one(self, hub):
        old = hub.hub.past[1].commit
        told = await ok(hub, f"/api/models/lab/minilm/revision/{old}")
        assert told["sha"] == old
        assert len(told["siblings"]) == 2

    async def test_of_another_kind_is_not_there(self, hub):
        answer = await hub.stranger.get("/api/datasets/lab/minilm")
        assert (answer.status_code, answer.headers["x-error-code"]) == (404, "RepoNotFound")


class TestATree:
    async def test_of_one_level_has_folders(self, hub):
        told = await ok(hub, "/api/models/lab/minilm/tree/main")
        assert [(each["type"], each["path"]) for each in told] == [
            ("file", "README.md"),
            ("file", "config.json"),
            ("file", "model.safetensors"),
            ("directory", "onnx"),
        ]

    async def test_below_a_folder_whose_slash_is_quoted(self, hub):
        told = await ok(hub, "/api/models/lab/minilm/tree/main/onnx%2Fdeep")
        assert [each["path"] for each in told] == ["onnx/deep/er.txt"]

    async def test_of_all_levels_comes_in_pages(self, hub):
        found, path = [], "/api/models/lab/minilm/tree/main?recursive=true&limit=2"
        while path:
            answer = await hub.stranger.get(path)
            found += [each["path"] for each in answer.json()]
            path = answer.links.get("next", {}).get("url")
        assert found == sorted([*FILES, "onnx", "onnx/deep"])

    async def test_says_which_commit_changed_a_file_last(self, hub):
        told = await ok(hub, "/api/models/lab/minilm/tree/main?expand=true")
        last = {each["path"]: each["lastCommit"] for each in told}
        assert last["config.json"]["id"] == hub.hub.past[1].commit
        assert last["README.md"] | {"date": ""} == {"id": hub.commit, "title": "second", "date": ""}

    async def test_of_a_folder_that_is_not_there(self, hub):
        for path in ("nowhere", "config.json"):
            answer = await hub.stranger.get(f"/api/models/lab/minilm/tree/main/{path}")
            assert (answer.status_code, answer.headers["x-error-code"]) == (404, "EntryNotFound")


class TestPathsInfo:
    async def test_leaves_out_what_is_not_there(self, hub):
        form = {"paths": ["config.json", "onnx", "nope", "../x", ""], "expand": "false"}
        answer = await hub.stranger.post("/api/models/lab/minilm/paths-info/main", data=form)
        assert [each["path"] for each in answer.json()] == ["config.json", "onnx"]

    async def test_takes_json_too(self, hub):
        body = {"paths": ["config.json"], "expand": True}
        answer = await hub.stranger.post("/api/models/lab/minilm/paths-info/main", json=body)
        assert [each["lastCommit"]["title"] for each in answer.json()] == ["no message"]

    @pytest.mark.parametrize("body", ["", "[]", "{", '{"paths": 3}', '{"paths": [3]}', "null"])
    async def test_refuses_what_is_no_list_of_paths(self, hub, body):
        headers = {"content-type": "application/json"}
        path = "/api/models/lab/minilm/paths-info/main"
        answer = await hub.stranger.post(path, content=body, headers=headers)
        assert answer.status_code == 400

    async def test_refuses_too_many(self, hub):
        body = {"paths": ["x"] * 10_001}
        answer = await hub.stranger.post("/api/models/lab/minilm/paths-info/main", json=body)
        assert answer.status_code == 400


async def test_refs_are_branches_tags_and_pull_requests(hub):
    hub.hub.publish({"x": b""}, ref="v1")
    hub.hub.publish({"y": b""}, ref="refs/pr/1")
    hub.hub.refs["dev"] = hub.hub.refs["main"]
    told = await ok(hub, "/api/models/lab/minilm/refs")
    assert [each["name"] for each in told["branches"]] == ["dev", "main"]
    assert [each["ref"] for each in told["tags"]] == ["refs/tags/v1"]
    assert "pullRequests" not in told
    told = await ok(hub, "/api/models/lab/minilm/refs?include_prs=1")
    assert [each["ref"] for each in told["pullRequests"]] == ["refs/pr/1"]


async def test_commits_are_the_history(hub):
    for n in range(60):
        hub.hub.publish({"n": b"%d" % n}, message=f"number {n}")
    first = await hub.stranger.get("/api/models/lab/minilm/commits/main")
    second = await ok(hub, first.links["next"]["url"])
    titles = [each["title"] for each in first.json() + second]
    assert titles == [*(f"number {n}" for n in reversed(range(60))), "second", "no message"]
    assert second[-2]["message"] == "with a body"


class TestErrors:
    async def test_are_told_by_the_header_that_clients_read(self, hub):
        for path, status, code in [
            ("/api/models/lab/nope", 404, "RepoNotFound"),
            ("/api/models/UPPER/case", 404, "RepoNotFound"),
            ("/api/models/lab/minilm/revision/nope", 404, "RevisionNotFound"),
            ("/lab/minilm/resolve/nope/config.json", 404, "RevisionNotFound"),
            ("/lab/minilm/resolve/main/nope.json", 404, "EntryNotFound"),
            ("/lab/nope/resolve/main/config.json", 404, "RepoNotFound"),
        ]:
            answer = await hub.stranger.get(path)
            assert (answer.status_code, answer.headers["x-error-code"]) == (status, code), path
            assert answer.json()["error"].startswith(answer.headers["x-error-message"][:20])

    async def test_of_a_file_name_the_commit_so_that_clients_need_not_ask_again(self, hub):
        answer = await hub.stranger.head("/lab/minilm/resolve/main/nope.json")
        assert answer.headers["x-repo-commit"] == hub.commit

    @pytest.mark.parametrize(
        ("error", "status"),
        [
            (RevokedError("it was taken back"), 410),
            (UntrustedError("not believed\nä" * 500), 403),
            (NoSourceError("nobody has it"), 503),
            (BusyError("full", retry_after=7), 429),
        ],
        ids=lambda value: type(value).__name__,
    )
    async def test_say_what_happened(self, hub, error: P2PHubError, status):
        hub.hub.fails = error
        answer = await hub.stranger.get("/api/models/lab/minilm")
        assert answer.status_code == status
        assert "x-error-code" not in answer.headers
        assert len(answer.headers["x-error-message"]) <= 1000
        assert ("retry-after" in answer.headers) == (status == 429)

    @pytest.mark.parametrize(
        "path",
        [
            "/lab/minilm/resolve/main/..%2F..%2Fsecret",
            "/lab/minilm/resolve/main/a%2F%2Fb",
            "/lab/minilm/resolve/main/a%00b",
            "/lab/minilm/resolve/main/c:%5Cx",
            "/api/models/lab/minilm/tree/main/..%2F..",
        ],
    )
    async def test_a_path_that_leaves_the_folder_is_refused(self, hub, path):
        answer = await hub.stranger.get(path)
        assert answer.status_code == 400
        assert answer.headers["x-error-message"]
        assert hub.hub.found == []

    async def test_a_way_that_nobody_knows_is_no_missing_repo(self, hub):
        answer = await hub.stranger.get("/api/users/lab/likes/none")
        assert answer.status_code == 404
        assert "x-error-code" not in answer.headers

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
    @pytest.mark.parametrize(
        "path",
        ["/api/models/lab/minilm", "/api/models", "/lab/minilm/resolve/main/x", "/api/tasks"],
    )
    async def test_nothing_is_written_by_reading(self, hub, method, path):
        answer = await hub.stranger.request(method, path)
        assert answer.status_code == 405

    @pytest.mark.parametrize("query", ["cursor=-1", "cursor=x", "limit=1e9", "cursor=" + "9" * 40])
    async def test_a_page_that_is_none(self, hub, query):
        answer = await hub.stranger.get(f"/api/models/lab/minilm/tree/main?{query}")
        assert answer.status_code == 400


class TestATokenOfAnotherHub:
    async def test_is_not_looked_at(self, hub):
        headers = {"authorization": "Bearer hf_somebodyelses"}
        async with httpx.AsyncClient(base_url=hub.gateway.url, trust_env=False) as client:
            for path in ("/api/models/lab/minilm", "/api/whoami-v2", "/lab/minilm/resolve/main/x"):
                answer = await client.get(path, headers=headers)
                assert answer.status_code in (200, 404)

    async def test_is_in_no_log(self, hub, caplog):
        caplog.set_level("DEBUG")
        headers = {"authorization": "Bearer hf_somebodyelses"}
        hub.hub.fails = NotFoundError("gone")
        await hub.stranger.get("/api/models/lab/minilm", headers=headers)
        ours = [each.getMessage() for each in caplog.records if each.name.startswith("p2phub")]
        assert not any("hf_somebodyelses" in each for each in ours)


async def test_what_clients_ask_at_their_start_costs_nothing(hub):
    assert (await ok(hub, "/api/agent-harnesses")) == {"standardEnvVars": [], "harnesses": {}}
    assert (await hub.stranger.head("/api/telemetry/x")).status_code == 204
    told = await ok(hub, "/api/whoami-v2")
    assert told["name"] == "lab"
    assert told["auth"]["accessToken"]["role"] == "read"
    assert hub.hub.found == []


async def test_discussions_of_a_repo_are_none(hub):
    told = await ok(hub, "/api/models/lab/minilm/discussions?p=0")
    assert told == {"discussions": [], "count": 0, "start": 0}
    answer = await hub.stranger.get("/api/models/lab/minilm/discussions/3")
    assert answer.status_code == 404
    assert (await ok(hub, "/api/models/lab/minilm/likers")) == []
    assert (await ok(hub, "/api/models/lab/minilm/auth-check")) == {}


async def test_headers_of_all_shards(hub):
    hub.hub.publish({"model.safetensors": json.dumps({}).encode()})
    answer = await hub.stranger.get("/api/models/lab/minilm/safetensors-metadata/x")
    assert answer.status_code == 404  # this hub describes no file of weights
