"""Tokens that a person makes: what each may do, from when to when, and what is kept of it."""

import dataclasses
import json
import multiprocessing
import stat
from pathlib import Path

import pytest

from p2phub.errors import NotFoundError, RefusedError, UsageError
from p2phub.gateway import tokens as tokens_module
from p2phub.gateway.operation import scope_for
from p2phub.gateway.operations import OPERATIONS
from p2phub.gateway.shapes import from_json
from p2phub.gateway.tokens import PREFIX, Tokens
from p2phub.testing.hubs import FakeHub
from p2phub.testing.nodes import PUBLISHER, FakeNode
from p2phub.testing.publishers import FakePublisher
from tests.gateway.conftest import serving

V1 = "/control/v1"
CREATE = "/api/repos/create"


@pytest.fixture
def tokens(tmp_path):
    return Tokens(tmp_path / "run" / "tokens")


@pytest.fixture
async def hub(tmp_path):
    node = FakeNode()
    node.hub = FakeHub(FakePublisher(1), {"README.md": b"# A"})
    async with serving(tmp_path, node) as served:
        yield served


def shown(token):
    return {"Authorization": f"Bearer {token}"}


def make_some(path, count):
    for _ in range(count):
        Tokens(path).make("read", None, 0)


class TestTheFile:
    def test_keeps_no_token_and_is_for_its_owner_only(self, tokens, tmp_path):
        made, token = tokens.make("write", "ci", 5)
        assert token.startswith(PREFIX)
        path = tmp_path / "run" / "tokens"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        every = b"".join(each.read_bytes() for each in path.parent.iterdir())
        assert token.encode() not in every
        assert token.removeprefix(PREFIX).encode() not in every
        assert tokens.find(token.encode()) == made
        assert tokens.every() == (made,)

    def test_that_could_not_be_read_for_a_moment_holds_its_tokens_after(self, tokens, monkeypatch):
        made, token = tokens.make("read", None, 0)

        def fails(*_, **__):
            raise RefusedError("too many open files")

        with monkeypatch.context() as context:
            context.setattr(tokens_module, "read_private", fails)
            assert tokens.find(token.encode()) is None
        assert tokens.find(token.encode()) == made

    def test_that_others_can_read_holds_no_token(self, tokens, tmp_path):
        _, token = tokens.make("admin", None, 0)
        (tmp_path / "run" / "tokens").chmod(0o644)
        assert Tokens(tmp_path / "run" / "tokens").find(token.encode()) is None
        assert tokens.find(token.encode()) is None  # nor for who had read it before
        with pytest.raises(RefusedError, match="other users"):
            tokens.every()

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "{",
            "[]",
            '{"tokens": 5}',
            '{"tokens": [5]}',
            '{"tokens": [{"name": "x"}]}',
            '{"tokens": [{"name": "x", "scope": "all", "created": 0, "sha256": "%s"}]}'
            % ("0" * 64),
            '{"tokens": [{"name": "x", "scope": [], "created": 0, "sha256": "%s"}]}' % ("0" * 64),
            '{"tokens": [{"name": "x", "scope": "admin", "created": 0, "sha256": ""}]}',
            '{"tokens": [{"name": 5, "scope": "admin", "created": 0, "sha256": "%s"}]}'
            % ("0" * 64),
            "[" * 100_000,
        ],
    )
    def test_that_is_damaged_holds_no_token_and_is_not_written_over(self, tokens, tmp_path, text):
        _, token = tokens.make("admin", None, 0)
        path = tmp_path / "run" / "tokens"
        path.write_text(text)
        assert tokens.find(token.encode()) is None
        for change in (lambda: tokens.make("read", None, 0), lambda: tokens.remove("admin-1")):
            with pytest.raises(RefusedError, match="damaged"):
                change()
        assert path.read_text() == text

    def test_loses_nothing_to_commands_at_the_same_time(self, tokens, tmp_path):
        context = multiprocessing.get_context("fork")
        path = tmp_path / "run" / "tokens"
        every = [context.Process(target=make_some, args=(path, 5)) for _ in range(4)]
        for each in every:
            each.start()
        for each in every:
            each.join()
        assert sorted(each.name for each in tokens.every()) == sorted(
            f"read-{n}" for n in range(1, 21)
        )


class TestNames:
    def test_are_given_once(self, tokens):
        assert tokens.make("read", None, 0)[0].name == "read-1"
        assert tokens.make("read", None, 0)[0].name == "read-2"
        tokens.remove("read-1")
        assert tokens.make("read", None, 0)[0].name == "read-1"
        with pytest.raises(UsageError, match="already"):
            tokens.make("admin", "read-1", 0)

    @pytest.mark.parametrize("name", ["", " ", "-x", "a b", "../x", "x" * 65, "ä", "x\n"])
    def test_that_cannot_be(self, tokens, name):
        with pytest.raises(UsageError):
            tokens.make("read", name, 0)

    def test_of_too_many(self, tokens, monkeypatch):
        monkeypatch.setattr(tokens_module, "MAX_TOKENS", 2)
        make_some(tokens._path, 2)
        with pytest.raises(UsageError, match="2 tokens"):
            tokens.make("read", None, 0)

    def test_of_none_that_is_there(self, tokens):
        with pytest.raises(NotFoundError):
            tokens.remove("x")


class TestScopes:
    async def test_a_read_token_that_writes_is_refused_with_a_reason(self, hub, tmp_path):
        _, token = Tokens(tmp_path / "run" / "tokens").make("read", None, 0)
        for method, path in (
            ("POST", CREATE),
            ("POST", "/api/models/lab/minilm/commit/main"),
            ("POST", "/api/models/lab/minilm/preupload/main"),
            ("POST", "/lab/minilm.git/info/lfs/objects/batch"),
            ("POST", "/api/models/lab/minilm/branch/x"),
            ("POST", "/api/models/lab/minilm/discussions"),
            ("GET", "/api/models/lab/minilm/xet-write-token/main"),
        ):
            answer = await hub.stranger.request(method, path, headers=shown(token), content="{}")
            assert answer.status_code == 403, path
            assert "scope" in answer.headers["x-error-message"]
        assert hub.node.hub.commits == []
        answer = await hub.stranger.get("/api/models/lab/minilm", headers=shown(token))
        assert answer.status_code == 200

    @pytest.mark.parametrize("scope", ["read", "write", "admin"])
    async def test_each_operation_obeys_them(self, served, tmp_path, scope):
        _, token = Tokens(tmp_path / "run" / "tokens").make(scope, None, 0)
        served.node.pins["other"] = PUBLISHER
        order = ["read", "write", "admin"]
        for each in OPERATIONS:
            if each.open or each.streams:
                continue
            query = {"params": each.example} if each.method == "GET" else {"json": each.example}
            needed = scope_for(each, from_json(each.takes, dict(each.example)))
            answer = await served.stranger.request(
                each.method, each.path, headers=shown(token), **query
            )
            refused = order.index(scope) < order.index(needed)
            assert (answer.status_code == 403) == refused, (each.name, answer.text)

    @pytest.mark.parametrize("name", ["pull", "publish", "adopt", "proposals/fetch"])
    async def test_a_write_token_names_no_folder_of_the_machine(self, served, tmp_path, name):
        """Else it could publish the node's own token, or pull over it."""
        _, token = Tokens(tmp_path / "run" / "tokens").make("write", None, 0)
        operation = next(each for each in OPERATIONS if each.name == name)
        body = dict(operation.example)
        if name == "pull":
            body |= {"to": str(tmp_path / "run")}
        url = operation.path
        answer = await served.stranger.post(url, headers=shown(token), json=body)
        assert answer.status_code == 403
        assert served.node.asked == []

    def test_every_operation_that_must_name_a_folder_says_admin(self):
        for each in OPERATIONS:
            required = [
                field
                for field in dataclasses.fields(each.takes)
                if field.type in (Path, "Path")
                and field.default is dataclasses.MISSING
                and field.default_factory is dataclasses.MISSING
            ]
            assert not required or each.scope == "admin", each.name

    def test_trust_identities_and_signatures_take_admin(self):
        wanted = {
            each.name for each in OPERATIONS if each.name.split("/")[0] in ("trust", "identity")
        }
        wanted |= {"proposals/sign", "publish"}
        assert len(wanted) > 8
        assert {each.name for each in OPERATIONS if each.scope == "admin"} >= wanted

    @pytest.mark.parametrize(
        ("scope", "role"), [("read", "read"), ("write", "write"), ("admin", "write")]
    )
    async def test_who_asks_is_told_what_the_token_may(self, served, tmp_path, scope, role):
        _, token = Tokens(tmp_path / "run" / "tokens").make(scope, "mine", 0)
        told = (await served.stranger.get("/api/whoami-v2", headers=shown(token))).json()
        assert told["auth"]["accessToken"] == {"displayName": "mine", "role": role}


class TestARunningGateway:
    async def test_obeys_a_token_that_is_made_or_removed_meanwhile(self, served, tmp_path):
        tokens = Tokens(tmp_path / "run" / "tokens")

        async def status(token):
            return (await served.stranger.get(f"{V1}/peers", headers=shown(token))).status_code

        one, first = tokens.make("write", None, 0)
        assert await status(first) == 200
        _, second = tokens.make("write", None, 0)
        assert [await status(each) for each in (first, second)] == [200, 200]
        tokens.remove(one.name)
        assert [await status(each) for each in (first, second)] == [401, 200]
        (tmp_path / "run" / "tokens").unlink()
        assert await status(second) == 401

    async def test_asks_for_a_token_of_any_scope_elsewhere_than_on_loopback(self, tmp_path):
        async with serving(tmp_path, listen="0.0.0.0:0") as served:
            _, token = Tokens(tmp_path / "run" / "tokens").make("read", None, 0)
            for path in (f"{V1}/search", "/healthz"):
                assert (await served.stranger.get(path, headers=shown(token))).status_code == 200
                assert (await served.stranger.get(path)).status_code == 401
            answer = await served.stranger.get(f"{V1}/peers", headers=shown(token))
            assert answer.status_code == 403

    async def test_lets_only_addresses_through_that_prove_themselves(self, tmp_path):
        node = FakeNode()
        node.hub = FakeHub(FakePublisher(1), {"README.md": b"# A"})
        async with serving(tmp_path, node, listen="0.0.0.0:0") as served:
            for path in (f"/api/lfs/{'0' * 64}/5?until=9&proof=x", "/xet/a/9/x/v1/shards"):
                answer = await served.stranger.request(
                    "PUT" if "lfs" in path else "POST", path, content=b"x"
                )
                assert answer.status_code == 403, path
            for path in ("/api/lfs/verify", "/api/lfs", CREATE):
                assert (await served.stranger.post(path, content=b"{}")).status_code == 401, path
            assert node.hub.kept == {}

    def test_keeps_the_node_token_out_of_the_list(self, tmp_path):
        Tokens(tmp_path / "run" / "tokens").make("read", None, 0)
        text = (tmp_path / "run" / "tokens").read_text()
        assert [each["name"] for each in json.loads(text)["tokens"]] == ["read-1"]
