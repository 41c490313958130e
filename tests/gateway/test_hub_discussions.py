"""Discussions and pull requests over a real socket, in front of a hub in memory."""

import pytest

from p2phub.gateway import hub_discussions
from p2phub.testing.hubs import FakeHub
from p2phub.testing.nodes import FakeNode
from p2phub.testing.publishers import FakePublisher
from tests.gateway.conftest import serving
from tests.gateway.test_hub_writes import COMMIT, file, lines

REPO = "/api/models/lab/minilm"
TALK = f"{REPO}/discussions"


@pytest.fixture
async def hub(tmp_path):
    node = FakeNode()
    node.hub = FakeHub(FakePublisher(1), {"a": b"1"})
    node.hub.publish({"a": b"2"}, message="second")
    async with serving(tmp_path, node) as served:
        served.hub = node.hub
        yield served


async def begin(hub, *, pull_request=False, title="hello", description=""):
    body = {"title": title, "description": description, "pullRequest": pull_request}
    answer = await hub.client.post(TALK, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["num"]


async def change(hub, number):
    """A commit to a pull request."""
    path = f"{REPO}/commit/refs%2Fpr%2F{number}"
    answer = await hub.client.post(path, content=lines(file("b")))
    assert answer.status_code == 200, answer.text
    return answer.json()["commitOid"]


async def listed(hub, **filters):
    told = (await hub.stranger.get(TALK, params=filters)).json()
    return [(each["num"], each["title"], each["status"]) for each in told["discussions"]]


async def details(hub, number):
    answer = await hub.stranger.get(f"{TALK}/{number}?diff=1")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def post(hub, path, **body):
    return await hub.client.post(f"{TALK}/{path}", json=body)


class TestADiscussion:
    async def test_is_told_with_what_was_said(self, hub):
        number = await begin(hub, description="first <b>")
        told = (await post(hub, f"{number}/comment", comment="second")).json()["newMessage"]
        assert (told["type"], told["data"]["latest"]["raw"]) == ("comment", "second")
        found = await details(hub, number)
        assert (found["title"], found["status"], found["isPullRequest"]) == ("hello", "open", False)
        latest = [each["data"]["latest"] for each in found["events"]]
        assert [each["raw"] for each in latest] == ["first <b>", "second"]
        assert latest[0]["html"] == "<p>first &lt;b&gt;</p>"

    async def test_gets_another_title_and_is_closed_and_opened(self, hub):
        number = await begin(hub)
        told = (await post(hub, f"{number}/title", title="better")).json()["newTitle"]
        assert told["data"] == {"from": "hello", "to": "better"}
        answer = await post(hub, f"{number}/status", status="closed", comment="done")
        assert answer.json()["newStatus"]["data"] == {"status": "closed"}
        assert await listed(hub) == [(number, "better", "closed")]
        assert (await post(hub, f"{number}/status", status="closed")).status_code == 409
        assert (await post(hub, f"{number}/status", status="open")).status_code == 200
        kinds = [each["type"] for each in (await details(hub, number))["events"]]
        assert kinds == ["title-change", "comment", "status-change", "status-change"]

    async def test_has_comments_that_are_changed_and_hidden(self, hub):
        number = await begin(hub, description="wrnog")
        (event,) = (await details(hub, number))["events"]
        path = f"{number}/comment/{event['id']}"
        told = (await post(hub, f"{path}/edit", content="wrong")).json()["updatedComment"]
        assert (told["data"]["latest"]["raw"], told["data"]["edited"]) == ("wrong", True)
        told = (await post(hub, f"{path}/hide")).json()["updatedComment"]
        assert (told["data"]["latest"]["raw"], told["data"]["hidden"]) == ("", True)
        assert (await post(hub, f"{path}/edit", content="x")).status_code == 404

    async def test_changes_nothing_that_can_be_merged(self, hub):
        number = await begin(hub)
        assert (await post(hub, f"{number}/merge")).status_code == 400

    @pytest.mark.parametrize("path", ["7", "0", "x", "-1", "9" * 30, "1.0"])
    async def test_that_is_none(self, hub, path):
        await begin(hub)
        assert (await hub.stranger.get(f"{TALK}/{path}")).status_code == 404
        for what in ("merge", "comment", "status", "title", "comment/x/edit"):
            answer = await post(hub, f"{path}/{what}", comment="x", title="x", content="x")
            assert answer.status_code == 404

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("1/comment", {}),
            ("1/comment", {"comment": 5}),
            ("1/title", {"title": []}),
            ("1/status", {"status": "merged"}),
            ("1/status", {"status": "draft"}),
            ("1/comment/x/edit", {}),
        ],
    )
    async def test_that_is_told_nonsense(self, hub, path, body):
        await begin(hub)
        assert (await post(hub, path, **body)).status_code == 400

    @pytest.mark.parametrize("path", ["1/pin", "1/comment/x/like", "1/status/x", "1"])
    async def test_takes_no_other_calls(self, hub, path):
        await begin(hub)
        assert (await post(hub, path)).status_code == 405

    async def test_of_a_repo_of_somebody_else_is_not_kept_here(self, hub):
        answer = await hub.client.post("/api/models/other/x/discussions", json={"title": "x"})
        assert answer.status_code == 403

    @pytest.mark.parametrize("path", ["", "/1/comment", "/1/title", "/1/status", "/1/merge"])
    async def test_is_written_only_by_who_shows_our_token(self, hub, path):
        await begin(hub)
        answer = await hub.stranger.post(TALK + path, json={})
        assert answer.status_code == 401


class TestAPullRequest:
    async def test_is_told_and_merged(self, hub):
        number = await begin(hub, pull_request=True, title="better")
        assert await listed(hub) == [(number, "better", "open")]
        commit = await change(hub, number)
        found = await details(hub, number)
        assert (found["status"], found["filesWithConflicts"]) == ("open", False)
        assert (await post(hub, f"{number}/merge", comment="good")).status_code == 200
        assert hub.hub.refs["main"].release == hub.hub.past[0].digest
        found = await details(hub, number)
        assert (found["title"], found["status"]) == ("better", "merged")
        assert found["changes"] == {"base": "refs/heads/main", "mergeCommitId": commit}
        kinds = [each["type"] for each in found["events"]]
        assert kinds == ["commit", "comment", "status-change"]
        assert (await post(hub, f"{number}/status", status="closed")).status_code == 409

    async def test_of_which_nothing_is_kept_is_called_as_its_commit(self, hub):
        await hub.client.post(f"{COMMIT}?create_pr=1", content=lines(file("x")))
        assert await listed(hub) == [(1, "said", "open")]
        assert (await post(hub, "1/comment", comment="x")).status_code == 200
        assert await listed(hub) == [(1, "said", "open")]
        assert (await post(hub, "1/title", title="better")).status_code == 200
        assert await listed(hub) == [(1, "better", "open")]

    async def test_after_which_main_moved_on_is_told_so_and_not_merged(self, hub):
        number = await begin(hub, pull_request=True)
        await change(hub, number)
        main = hub.hub.publish({"a": b"3"}, message="meanwhile")
        await hub.client.post(COMMIT, content=lines(file("c")))
        assert main
        assert (await details(hub, number))["filesWithConflicts"] is True
        assert (await post(hub, f"{number}/merge")).status_code == 409

    async def test_that_is_closed_is_not_merged(self, hub):
        number = await begin(hub, pull_request=True)
        await change(hub, number)
        assert (await post(hub, f"{number}/status", status="closed")).status_code == 200
        assert (await post(hub, f"{number}/merge")).status_code == 409

    async def test_takes_no_number_of_a_discussion(self, hub):
        assert await begin(hub) == 1
        answer = await hub.client.post(f"{COMMIT}?create_pr=1", content=lines(file("x")))
        assert answer.json()["pullRequestUrl"].endswith("/discussions/2")
        assert await begin(hub, pull_request=True) == 3
        assert await begin(hub) == 4


class TestAList:
    async def test_is_filtered(self, hub):
        await begin(hub, title="one")
        await begin(hub, title="two", pull_request=True)
        await begin(hub, title="three")
        await post(hub, "3/status", status="closed")
        for filters, wanted in (
            ({"type": "discussion"}, [3, 1]),
            ({"type": "pull_request"}, [2]),
            ({"type": "all", "status": "open"}, [2, 1]),
            ({"status": "closed"}, [3]),
            ({"status": "all", "author": "lab"}, [3, 2, 1]),
            ({"author": "other"}, []),
        ):
            assert [number for number, *_ in await listed(hub, **filters)] == wanted, filters

    async def test_comes_in_pages(self, hub, monkeypatch):
        monkeypatch.setattr(hub_discussions, "PAGE", 2)
        for _ in range(3):
            await begin(hub)
        for page, wanted in (("0", [3, 2]), ("1", [1]), ("2", []), ("x", [3, 2]), ("-1", [3, 2])):
            assert [number for number, *_ in await listed(hub, p=page)] == wanted
