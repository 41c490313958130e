"""What the gateway passes on to an upstream and back: no token of ours, no Xet, no other path."""

from contextlib import asynccontextmanager

import pytest
import trio

from p2phub.errors import BusyError, NoSourceError, RefusedError
from p2phub.formats.digest import git_blob_sha1, sha256
from p2phub.network.hub_client import Reply
from p2phub.node.on_demand import Reading
from p2phub.node.services import DiskThreads
from p2phub.node.upstream import ForeignFile, Said
from p2phub.store.incoming import WholeDigest
from p2phub.testing.hubs import FakeHub
from p2phub.testing.nodes import FakeNode
from p2phub.testing.publishers import FakePublisher
from tests.gateway.conftest import serving

COMMIT, DATA = "c" * 40, b"the bytes of others"


class FakeUpstream:
    """Says `said` to every question, or raises it; has one file."""

    endpoint = "https://hub.example"
    hop = "p2phub; id=ours"

    def __init__(self):
        self.said = Said(Reply(200, {"content-type": "application/json"}, b"{}"))
        self.asked, self.tokens, self.vias = [], [], []
        self.broken = None
        self.digest = sha256(DATA)

    async def means(self, repo):
        return repo.startswith("org/")

    async def ask(self, kind, repo, question, token, via=""):
        await trio.lowlevel.checkpoint()
        self.asked.append((kind, repo, question))
        self.tokens.append(token)
        self.vias.append(via)
        if isinstance(self.said, Exception):
            raise self.said
        return self.said

    async def file(self, kind, repo, revision, path, token, via=""):
        self.asked.append((kind, repo, revision, path))
        self.tokens.append(token)
        self.vias.append(via)
        if isinstance(self.said, Exception):
            raise self.said
        if self.said.reply.status >= 400:
            return self.said
        wanted = WholeDigest(self.digest, len(DATA))
        private = token if self.said.private else None
        url = f"{self.endpoint}/{repo}"
        return ForeignFile(self.endpoint, kind, repo, COMMIT, path, wanted, url, self.said, private)

    @asynccontextmanager
    async def reading(self, file, start, stop):
        if self.broken is not None:
            raise self.broken

        async def chunks():
            yield DATA[start:stop]

        yield Reading(chunks(), -1, DiskThreads(1))


@pytest.fixture
async def hub(tmp_path):
    node = FakeNode()
    node.hub = FakeHub(FakePublisher(1), {"config.json": b"{}", "same.bin": DATA})
    node.hub.upstream = FakeUpstream()
    async with serving(tmp_path, node) as served:
        served.hub, served.upstream = node.hub, node.hub.upstream
        yield served


class TestQuestions:
    @pytest.mark.parametrize(
        "path",
        [
            "/api/models/org/x",
            "/api/models/org/x/revision/refs%2Fpr%2F1?expand=sha&expand=tags",
            "/api/datasets/org/x/tree/main/a%2Fb?recursive=true&cursor=abc",
            "/api/models/org/x/refs",
            "/api/models/org/x/commits/main",
        ],
    )
    async def test_are_passed_on_as_they_came(self, hub, path):
        answer = await hub.stranger.get(path)
        assert (answer.status_code, answer.content) == (200, b"{}")
        ((_, repo, question),) = hub.upstream.asked
        assert (repo, question.target, question.method) == ("org/x", path, "GET")

    async def test_a_form_is_passed_on(self, hub):
        await hub.stranger.post("/api/models/org/x/paths-info/main", data={"paths": "a"})
        ((_, _, question),) = hub.upstream.asked
        assert (question.method, question.body) == ("POST", b"paths=a")
        assert question.content_type == "application/x-www-form-urlencoded"

    async def test_of_names_that_are_here_are_not(self, hub):
        answer = await hub.stranger.get("/api/models/lab/minilm")
        assert answer.json()["id"] == "lab/minilm"
        assert hub.upstream.asked == []

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("POST", "/api/models/org/x/commit/main"),
            ("POST", "/api/models/org/x/branch/b"),
            ("POST", "/api/models/org/x/discussions"),
            ("POST", "/api/models/org/x/preupload/main"),
            ("DELETE", "/api/models/org/x/tag/v1"),
            ("GET", "/api/models?search=org"),
            ("GET", "/api/whoami-v2"),
        ],
    )
    async def test_that_change_or_are_of_no_repo_are_not(self, hub, method, path):
        await hub.stranger.request(method, path)
        assert hub.upstream.asked == []

    async def test_an_answer_leads_here_and_to_no_other_protocol(self, hub):
        hub.upstream.said = Said(
            Reply(
                200,
                {
                    "content-type": "application/json",
                    "link": '<https://hub.example/api/models/org/x/tree/main?cursor=2>; rel="next"',
                    "set-cookie": "a=b",
                    "x-repo-commit": COMMIT,
                },
                b'[{"path":"a","xetHash":"f","lfs":{"oid":"e","xetHash":"f"}}]',
            )
        )
        answer = await hub.stranger.get("/api/models/org/x/tree/main")
        assert answer.json() == [{"path": "a", "lfs": {"oid": "e"}}]
        here = str(hub.stranger.base_url).rstrip("/")
        assert answer.headers["link"] == f'<{here}/api/models/org/x/tree/main?cursor=2>; rel="next"'
        assert "set-cookie" not in answer.headers
        assert answer.headers["x-repo-commit"] == COMMIT

    async def test_one_of_before_says_so_in_plain_text(self, hub):
        hub.upstream.said = Said(Reply(200, {}, b"{}"), 99, "it is\naway; \u00e4")
        answer = await hub.stranger.get("/api/models/org/x")
        assert answer.headers["age"] == "99"
        said = "upstream; what it said 99 s ago, because it is?away? ?"
        assert answer.headers["x-hf-warning"] == said

    @pytest.mark.parametrize("told", ["text/html", "image/svg+xml", "application/jsonx, text/html"])
    async def test_a_page_is_no_page_here(self, hub, told):
        hub.upstream.said = Said(Reply(200, {"content-type": told}, b"<script>"))
        answer = await hub.stranger.get("/api/models/org/x")
        assert answer.headers["content-type"] in ("application/json", "text/plain; charset=utf-8")
        assert answer.headers["x-content-type-options"] == "nosniff"

    @pytest.mark.parametrize("path", ["/api/models/org/x", "/org/x/resolve/main/a"])
    async def test_that_come_back_are_not_passed_on_again(self, hub, path):
        said = {"cdn-loop": "other, p2phub; id=ours, p2phub; id=theirs"}
        answer = await hub.stranger.get(path, headers=said)
        assert (answer.status_code, answer.headers["x-error-code"]) == (404, "RepoNotFound")
        assert hub.upstream.asked == []
        passed = "p2phub; id=theirs"
        await hub.stranger.get(path, headers={"cdn-loop": passed})
        assert hub.upstream.vias == [passed]

    async def test_a_deep_answer_is_passed_on(self, hub):
        body = b"[" * 100_000 + b'"xetHash"' + b"]" * 100_000
        hub.upstream.said = Said(Reply(200, {}, body))
        assert (await hub.stranger.get("/api/models/org/x")).content == body

    async def test_an_error_is_its_error(self, hub):
        hub.upstream.said = Said(
            Reply(403, {"x-error-code": "GatedRepo", "x-error-message": "ask first"}, b"{}")
        )
        for path in ("/api/models/org/x", "/org/x/resolve/main/a.bin"):
            answer = await hub.stranger.get(path)
            assert (answer.status_code, answer.headers["x-error-code"]) == (403, "GatedRepo")

    async def test_what_the_rules_keep_out_is_refused(self, hub):
        hub.upstream.said = RefusedError("not that one")
        assert (await hub.stranger.get("/api/models/org/x")).status_code == 403

    @pytest.mark.parametrize(
        ("error", "status"), [(NoSourceError("away"), 503), (BusyError("later"), 429)]
    )
    async def test_without_a_copy_its_failure_is_told(self, hub, error, status):
        hub.upstream.said = error
        answer = await hub.stranger.get("/api/models/org/x")
        assert answer.status_code == status
        assert hub.hub.found == [("org/x", None, "model")]

    async def test_a_copy_answers_for_an_upstream_that_is_away(self, hub):
        hub.hub.repo = "org/minilm"
        hub.upstream.said = NoSourceError("away")
        assert (await hub.stranger.get("/api/models/org/minilm")).json()["id"] == "org/minilm"
        answer = await hub.stranger.get("/org/minilm/resolve/main/config.json")
        assert answer.content == b"{}"

    async def test_a_commit_of_ours_is_found_where_the_upstream_knows_none(self, hub):
        hub.hub.repo = "org/minilm"
        unknown = Said(Reply(404, {"x-error-code": "RevisionNotFound"}, b"no"))
        hub.upstream.said = unknown
        commit = hub.hub.past[0].commit
        answer = await hub.stranger.get(f"/api/models/org/minilm/revision/{commit}")
        assert answer.json()["sha"] == commit
        answer = await hub.stranger.get(f"/api/models/org/minilm/revision/{'0' * 40}")
        assert (answer.status_code, answer.content) == (404, b"no")


class TestTokens:
    async def test_of_ours_go_nowhere(self, hub):
        await hub.client.get("/api/models/org/x")
        await hub.client.get("/org/x/resolve/main/a")
        assert hub.upstream.tokens == [None, None]

    @pytest.mark.parametrize(
        ("shown", "passed"),
        [
            ("Bearer hf_x", "hf_x"),
            ("bearer hf_x", "hf_x"),
            ("Basic hf_x", None),
            ("Bearer p2phub_that_was_removed", None),
            ("Bearer " + "x" * 2000, None),
            ("Bearer \u00e4".encode(), None),
        ],
    )
    async def test_of_others_go_with_their_call(self, hub, shown, passed):
        await hub.stranger.get("/api/models/org/x", headers={"authorization": shown})
        assert hub.upstream.tokens == [passed]

    async def test_what_took_one_is_kept_by_nobody_on_the_way(self, hub):
        hub.upstream.said = Said(Reply(200, {}, b"{}"), private=True)
        for path in ("/api/models/org/x", "/org/x/resolve/main/a"):
            answer = await hub.stranger.get(path, headers={"authorization": "Bearer hf_x"})
            assert "no-store" in answer.headers["cache-control"]


class TestFiles:
    async def test_are_offered_as_the_upstream_names_them(self, hub):
        answer = await hub.stranger.head("/org/x/resolve/main/a/b.bin")
        assert answer.headers["x-repo-commit"] == COMMIT
        assert answer.headers["etag"] == f'"{sha256(DATA).hex()}"'
        assert answer.headers["content-length"] == str(len(DATA))
        assert answer.headers["p2phub-upstream"] == "https://hub.example"
        assert (await hub.stranger.get("/org/x/resolve/main/a/b.bin")).content == DATA
        asked = {"range": "bytes=4-6"}
        part = await hub.stranger.get("/org/x/resolve/main/a/b.bin", headers=asked)
        assert (part.status_code, part.content) == (206, DATA[4:7])

    @pytest.mark.parametrize("path", ["a%2F..%2Fb", "..%2Fx", "%2Fetc", "a%00b", "a%2F%2Fb", "."])
    async def test_of_no_repo_are_not_asked_for(self, hub, path):
        answer = await hub.stranger.get(f"/org/x/resolve/main/{path}")
        assert answer.status_code == 404
        assert hub.upstream.asked == []

    async def test_that_cannot_be_had_come_from_a_copy(self, hub):
        hub.upstream.broken = NoSourceError("away")
        hub.upstream.digest = git_blob_sha1(DATA)
        hub.hub.repo = "org/minilm"
        hub.hub.refs[COMMIT] = hub.hub.refs["main"]
        answer = await hub.stranger.get("/org/minilm/resolve/main/same.bin")
        assert answer.content == DATA
        answer = await hub.stranger.get("/org/minilm/resolve/main/config.json")
        assert answer.status_code == 503  # the copy has other bytes under this name

    async def test_that_took_a_token_come_from_no_copy(self, hub):
        hub.upstream.broken = NoSourceError("away")
        hub.upstream.said = Said(Reply(200, {}, b""), private=True)
        hub.hub.repo = "org/minilm"
        answer = await hub.stranger.get(
            "/org/minilm/resolve/main/same.bin", headers={"authorization": "Bearer hf_x"}
        )
        assert answer.status_code == 503
        assert hub.hub.found == []
