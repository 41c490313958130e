"""A hub of other people behind a node: fetched from it once, checked, and shared with peers."""

import hashlib
from functools import partial
from types import SimpleNamespace

import pytest
import trio

from p2phub.errors import (
    BusyError,
    NoRevisionError,
    NoSourceError,
    NoSpaceError,
    NotFoundError,
    QuotaError,
    RefusedError,
    UntrustedError,
    UsageError,
)
from p2phub.formats.ids import ContentId, commit_id
from p2phub.network.hub_client import Question
from p2phub.network.peer_source import PeerSource
from p2phub.node import upstream, upstream_records, upstream_swarm, upstream_transfer
from p2phub.node.events import FileDone, Planned, Progress, Warned
from p2phub.node.library import Library
from p2phub.node.upstream import ForeignFile, Said
from p2phub.node.values import PullRequest
from p2phub.store import incoming
from p2phub.testing import web
from p2phub.testing.files import random_bytes
from p2phub.testing.foreign_hubs import ForeignHub, status
from p2phub.testing.publishers import fake_file
from tests.network.loopback import until
from tests.scenarios.nodes import MIB, consumer, contents, new_publisher, node, publish, pull

pytestmark = pytest.mark.slow
WEIGHTS = random_bytes("weights", 20 * MIB + 7)
FILES = {
    "README.md": b"---\nlicense: mit\n---\n# A model of others",
    "config.json": b"{}",
    "model.safetensors": WEIGHTS,
    "empty.txt": b"",
}


@pytest.fixture
def hub():
    with ForeignHub() as running:
        running.commit = running.put("org/Model", FILES)
        yield running


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(upstream_records, "QUIET", 0.3)
    monkeypatch.setattr(upstream_transfer, "PAUSE", 0.05)


async def file_of(running, path="model.safetensors", repo="org/Model", **more):
    token, revision = more.get("token"), more.get("revision", "main")
    found = await running.hub.upstream.file("model", repo, revision, path, token)
    assert isinstance(found, ForeignFile), found
    return found


async def read(running, path="model.safetensors", start=0, stop=None, **more):
    file = await file_of(running, path, **more)
    stop = file.wanted.size if stop is None else stop
    async with running.hub.upstream.reading(file, start, stop) as reading:
        return b"".join([data async for data in reading])


def there(hub, **more):
    return {"GATEWAY_UPSTREAM": hub.url} | more


class TestFetching:
    @pytest.mark.parametrize("path", FILES)
    async def test_a_file_is_the_one_that_the_upstream_names(self, tmp_path, hub, path):
        async with node(tmp_path, **there(hub)) as running:
            assert await read(running, path) == FILES[path]
            assert await read(running, path) == FILES[path]
        assert hub.count("HEAD", f"/resolve/main/{path}") == 1
        assert hub.count("GET", "/resolve/") <= 1 + 2 * path.endswith(".safetensors")

    async def test_ranges_come_from_the_whole(self, tmp_path, hub):
        async with node(tmp_path, **there(hub)) as running:
            assert await read(running, start=5, stop=3 * MIB) == WEIGHTS[5 : 3 * MIB]
            assert await read(running, start=7, stop=7) == b""

    async def test_fifty_readers_are_one_fetch(self, tmp_path, hub):
        async with node(tmp_path, **there(hub)) as running:
            got = []

            async def one():
                got.append(hashlib.sha256(await read(running)).digest())

            async with trio.open_nursery() as nursery:
                for _ in range(50):
                    nursery.start_soon(one)
            assert set(got) == {hashlib.sha256(WEIGHTS).digest()}
            sent = sum(span(each) for each in hub.cdn.asked)
            assert sent <= len(WEIGHTS) + 2  # a byte or two to find out whether it knows ranges
            assert hub.count("HEAD", "model.safetensors") == 1

    async def test_what_is_here_already_is_not_fetched(self, tmp_path, hub):
        new_publisher(tmp_path / "home")
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "mine.bin").write_bytes(WEIGHTS)
        async with node(tmp_path / "home", **there(hub)) as running:
            await publish(running, tmp_path / "in")
            assert await read(running) == WEIGHTS
        assert not hub.cdn.asked

    async def test_a_connection_that_breaks_is_gone_on_with(self, tmp_path, hub):
        honest, sent = hub.cdn.answer, []

        def broken(exchange):
            sent.append(exchange)
            (web.truncated if len(sent) % 2 else honest)(exchange)

        hub.cdn.answer = broken
        async with node(tmp_path, **there(hub)) as running:
            assert await read(running) == WEIGHTS

    async def test_a_node_that_dies_goes_on_where_it_was(self, tmp_path, hub, monkeypatch):
        monkeypatch.setattr(incoming, "RUN", 2)
        honest, sent = hub.cdn.answer, []

        def for_a_while(exchange):
            sent.append(exchange)
            (honest if len(sent) < 6 else web.failing(500))(exchange)

        hub.cdn.answer = for_a_while
        async with node(tmp_path, **there(hub)) as running:
            with pytest.raises(NoSourceError):
                await read(running)
        hub.cdn.answer = honest
        before = len(hub.cdn.asked)
        async with node(tmp_path, **there(hub)) as running:
            assert await read(running) == WEIGHTS
        assert sum(span(each) for each in hub.cdn.asked[before:]) < len(WEIGHTS) - 3 * MIB

    async def test_what_there_is_no_room_for_is_said_before_it_is_fetched(self, tmp_path, hub):
        async with node(tmp_path, **there(hub, STORE_QUOTA="10M")) as running:
            with pytest.raises(QuotaError):
                await read(running)
            assert await read(running, "config.json") == b"{}"
        assert not hub.cdn.asked

    async def test_a_disk_that_fills_up_meanwhile_is_said_and_gone_on_with(
        self, tmp_path, hub, monkeypatch
    ):
        async with node(tmp_path, **there(hub)) as running:
            disk = running._services.store.disk
            honest, written = disk.write, []

            def full(fd, data, offset, path):
                written.append(len(data))
                if sum(written) > 8 * MIB:
                    raise NoSpaceError("the disk is full")
                honest(fd, data, offset, path)

            monkeypatch.setattr(disk, "write", full)
            with pytest.raises(NoSpaceError):
                await read(running)
            monkeypatch.undo()
            before = len(hub.cdn.asked)
            assert await read(running) == WEIGHTS
            assert sum(map(span, hub.cdn.asked[before:])) < len(WEIGHTS)

    async def test_wrong_bytes_are_never_read(self, tmp_path, hub):
        digest = hashlib.sha256(WEIGHTS).hexdigest()
        hub.cdn.files = {f"/{digest}": WEIGHTS[:-1] + b"\0"}
        async with node(tmp_path, **there(hub)) as running:
            with pytest.raises(Exception, match="what came is not the file"):
                await read(running)
            assert running.hub.upstream is not None


class TestPeers:
    @pytest.fixture
    def folder(self, tmp_path):
        path = tmp_path / "in"
        path.mkdir()
        (path / "weights.bin").write_bytes(WEIGHTS)
        return path

    async def test_a_file_of_which_a_peer_knows_the_sha256_comes_from_it(
        self, tmp_path, hub, folder
    ):
        new_publisher(tmp_path / "lab")
        async with node(tmp_path / "lab") as lab:
            await publish(lab, folder)
            async with node(tmp_path / "home", lab, **there(hub)) as running:
                await until(lambda: len(running._network.peers()) > 0)
                assert await read(running) == WEIGHTS
        assert not hub.cdn.asked

    async def test_a_peer_that_names_another_file_is_not_believed(
        self, tmp_path, hub, folder, monkeypatch
    ):
        (folder / "weights.bin").write_bytes(WEIGHTS[:-1] + b"\0")
        new_publisher(tmp_path / "lab")
        wrong = ContentId(len(WEIGHTS), fake_file("x", WEIGHTS[:-1] + b"\0").entry.content.digest)
        async with node(tmp_path / "lab") as lab:
            await publish(lab, folder)
            monkeypatch.setattr(Library, "content_of_sha256", lambda *_: wrong)
            async with node(tmp_path / "home", lab, **there(hub)) as running:
                await until(lambda: len(running._network.peers()) > 0)
                assert await read(running) == WEIGHTS
                assert not running._services.store.blobs.has(wrong)
        assert hub.cdn.asked

    async def test_a_peer_that_never_says_anything_is_waited_for_once(
        self, tmp_path, hub, monkeypatch
    ):
        async def silence(*_):
            await trio.sleep_forever()

        monkeypatch.setattr(PeerSource, "content_of", silence)
        hub.put("org/Many", {f"{number}.bin": bytes([number]) for number in range(9)})
        async with (
            node(tmp_path / "silent") as silent,
            node(tmp_path / "home", silent, **there(hub)) as running,
        ):
            await until(lambda: len(running._network.peers()) > 0)
            started = trio.current_time()
            for number in range(9):
                assert await read(running, f"{number}.bin", repo="org/Many") == bytes([number])
            assert trio.current_time() - started < 2 * upstream_swarm.LOOK

    async def test_what_one_fetched_the_next_gets_from_it(self, tmp_path, hub):
        async with node(tmp_path / "a", **there(hub)) as first:
            assert await read(first) == WEIGHTS
            before = len(hub.cdn.asked)
            async with node(tmp_path / "b", first, **there(hub)) as second:
                await until(lambda: len(second._network.peers()) > 0)
                assert await read(second) == WEIGHTS
        assert len(hub.cdn.asked) == before


class TestTokens:
    @pytest.fixture
    def hub(self):
        with ForeignHub() as running:
            running.put("org/Gated", FILES, token="hf_mine")
            running.put("org/Hidden", FILES, token="hf_mine", hidden=True)
            yield running

    @pytest.mark.parametrize("repo", ["org/Gated", "org/Hidden"])
    async def test_open_what_they_open_and_go_nowhere_else(self, tmp_path, hub, repo):
        new_publisher(tmp_path / "home")
        async with node(tmp_path / "home", **there(hub)) as running:
            assert await read(running, repo=repo, token="hf_mine") == WEIGHTS
            blobs = running._services.store.blobs
            assert blobs.every() == []
            assert (
                running._services.store.upstream.files(
                    (await file_of(running, repo=repo, token="hf_mine")).origin
                )
                == []
            )
            await trio.sleep(1)
            assert [row.ref for row in await running.ls(None)] == []
        assert not [each for each in hub.cdn.asked if "hf_mine" in str(each)]
        assert list((tmp_path / "home" / "store" / "upstream").iterdir()) == []

    @pytest.mark.parametrize(
        ("repo", "code"), [("org/Gated", "GatedRepo"), ("org/Hidden", "RepoNotFound")]
    )
    @pytest.mark.parametrize("token", [None, "hf_of_somebody_else"])
    async def test_without_the_right_one_the_upstream_refuses(
        self, tmp_path, hub, repo, code, token
    ):
        async with node(tmp_path, **there(hub)) as running:
            assert await read(running, repo=repo, token="hf_mine") == WEIGHTS  # is nobody else's
            said = await running.hub.upstream.file(
                "model", repo, "main", "model.safetensors", token
            )
            assert isinstance(said, Said)
            assert said.reply.headers["x-error-code"] == code

    async def test_none_is_shown_where_none_is_wanted(self, tmp_path, hub):
        hub.put("org/Open", FILES)
        async with node(tmp_path, **there(hub)) as running:
            assert await read(running, repo="org/Open", token="hf_mine") == WEIGHTS
        assert {each.token for each in hub.asked} == {""}


BROKEN = status(500)


class TestAway:
    @pytest.mark.parametrize(
        ("fault", "error"),
        [
            (status(503), NoSourceError),
            (BROKEN, NoSourceError),
            (status(429, Retry_After="7"), BusyError),
        ],
    )
    async def test_what_it_said_before_is_told_with_its_age(
        self, tmp_path, hub, fault, error, monkeypatch
    ):
        monkeypatch.setattr(upstream, "FRESH", -1)
        question = Question("/api/models/org/Model")
        async with node(tmp_path, **there(hub)) as running:
            desk = running.hub.upstream
            first = await desk.ask("model", "org/Model", question, None)
            assert (first.reply.status, first.why) == (200, "")
            hub.fault = fault
            again = await desk.ask("model", "org/Model", question, None)
            assert again.reply.body == first.reply.body
            assert again.why
            with pytest.raises(error):
                await desk.ask("model", "org/Other", Question("/api/models/org/Other"), None)
            asked = len(hub.asked)
            await desk.ask("model", "org/Model", question, None)
            alone = fault is not BROKEN  # one question that it cannot answer is no reason
            assert len(hub.asked) == asked + (not alone)

    async def test_offline_it_is_not_asked_and_what_is_here_is_read(self, tmp_path, hub):
        async with node(tmp_path, **there(hub)) as running:
            assert await read(running) == WEIGHTS
        asked = len(hub.asked)
        async with node(tmp_path, **there(hub, GATEWAY_UPSTREAM_OFFLINE="true")) as running:
            assert await read(running) == WEIGHTS
            with pytest.raises(NoSourceError, match="upstream_offline"):
                await file_of(running, "config.json")
        assert len(hub.asked) == asked

    async def test_what_a_commit_has_is_asked_for_once(self, tmp_path, hub, monkeypatch):
        monkeypatch.setattr(upstream, "FRESH", -1)
        async with node(tmp_path, **there(hub)) as running:
            for _ in range(3):
                await file_of(running, revision=hub.commit)
        assert hub.count("HEAD", hub.commit) == 1


class TestNames:
    async def test_what_must_not_be_asked_for_is_not(self, tmp_path, hub):
        rules = {"GATEWAY_UPSTREAM_ALLOW": "org/*", "GATEWAY_UPSTREAM_DENY": "*/Secret"}
        async with node(tmp_path, **there(hub, **rules)) as running:
            assert await read(running, "config.json") == b"{}"
            asked = len(hub.asked)
            for repo in ("other/Model", "org/Secret"):
                with pytest.raises(RefusedError, match="does not get"):
                    await file_of(running, repo=repo)
        assert len(hub.asked) == asked

    async def test_a_pinned_alias_and_an_own_repo_are_not_its(self, tmp_path, hub):
        publisher = new_publisher(tmp_path / "home")
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "a.txt").write_text("mine")
        async with node(tmp_path / "home", **there(hub)) as running:
            await publish(running, tmp_path / "in", "mine")
            means = running.hub.upstream.means
            assert not await means("lab/anything")
            assert not await means("mine")
            assert not await means(f"{publisher}/x")
            assert await means("gpt2")
            assert await means("org/Model")
            for bad in ("../x", "org/..", "a/b/c", "org/x--y", "", "org/x.git"):
                with pytest.raises(NotFoundError):
                    await means(bad)


class TestRecords:
    async def test_what_was_fetched_is_a_signed_release_that_others_read(self, tmp_path, hub):
        publisher = new_publisher(tmp_path / "a")
        async with node(tmp_path / "a", **there(hub)) as first:
            for path in ("README.md", "model.safetensors"):
                await read(first, path)
            await recorded(first, 2)
            hub.stop()
            async with consumer(tmp_path / "b", first, publisher, **there(hub)) as second:
                copy = await second.hub.find("org/Model", None, "model")
                assert copy.commit == hub.commit
                assert copy.called == "org/Model@main"
                names = ["/".join(file.path) for file in copy.release.files]
                assert names == ["README.md", "model.safetensors"]
                assert copy.release.files[0].git_sha1
                assert copy.release.files[1].git_sha1 is None
                assert copy.release.card.license == "mit"
                for revision in (hub.commit, commit_id(copy.digest)):
                    again = await second.hub.find("org/Model", revision, "model")
                    assert (again.digest, again.commit) == (copy.digest, revision)
                    mine = await second.hub.find("lab/upstream.org.Model", revision, "model")
                    assert mine.digest == copy.digest
                with pytest.raises(NoRevisionError):
                    await second.hub.find("org/Model", "0" * 40, "model")
                pulled = await pull(second, "lab/upstream.org.Model")
                assert (pulled.path / "model.safetensors").read_bytes() == WEIGHTS

    async def test_more_of_a_commit_is_added_and_another_commit_begins_anew(self, tmp_path, hub):
        new_publisher(tmp_path)
        async with node(tmp_path, **there(hub)) as running:
            await read(running, "README.md")
            await recorded(running, 1)
            await read(running, "empty.txt")
            await recorded(running, 2)
            newer = hub.put("org/Model", {**FILES, "README.md": b"# newer"})
            await read(running, "README.md", revision=newer)
            release = await recorded(running, 1)
            assert release.upstream.commit == newer
            assert len(release.parents) == 1

    async def test_a_file_of_two_repos_that_came_once_is_in_the_records_of_both(
        self, tmp_path, hub
    ):
        new_publisher(tmp_path)
        hub.put("org/Twin", FILES)
        async with node(tmp_path, **there(hub)) as running:
            async with trio.open_nursery() as nursery:
                for repo in ("org/Model", "org/Twin"):
                    nursery.start_soon(partial(read, running, repo=repo))
            files = running._services.store.upstream.files
            for repo in ("org/Model", "org/Twin"):
                (seen,) = files((await file_of(running, repo=repo)).origin)
                assert seen.path == "model.safetensors"

    async def test_where_releases_take_several_signatures_none_is_made_behind_their_backs(
        self, tmp_path, hub, monkeypatch
    ):
        new_publisher(tmp_path)
        two = SimpleNamespace(threshold=2)
        monkeypatch.setattr(upstream_records, "own_delegation", lambda services: two)
        async with node(tmp_path, **there(hub)) as running:
            await read(running, "README.md")
            await trio.sleep(1)
            assert await running.ls(None) == ()
            with pytest.raises(RefusedError, match="several signatures"):
                await pull(running, "org/Model")

    async def test_without_a_publisher_nothing_is_signed(self, tmp_path, hub):
        async with node(tmp_path, **there(hub)) as running:
            await read(running, "README.md")
            await trio.sleep(1)
            assert await running.ls(None) == ()

    async def test_one_that_was_taken_back_is_refused(self, tmp_path, hub, monkeypatch):
        publisher = new_publisher(tmp_path / "a")
        async with node(tmp_path / "a", **there(hub)) as first:
            await read(first, "README.md")
            await recorded(first, 1)
            hub.stop()
            async with consumer(tmp_path / "b", first, publisher, **there(hub)) as second:
                await second.hub.find("org/Model", None, "model")
                refusal = UntrustedError("withdrawn")

                async def refused(*_):
                    raise refusal

                monkeypatch.setattr("p2phub.node.hub.obey_policy", refused)
                with pytest.raises(UntrustedError, match="withdrawn"):
                    await second.hub.find("org/Model", None, "model")

    async def test_of_a_stranger_is_not_looked_at(self, tmp_path, hub):
        new_publisher(tmp_path / "a")
        async with node(tmp_path / "a", **there(hub)) as first:
            await read(first, "README.md")
            await recorded(first, 1)
            hub.stop()
            async with node(tmp_path / "b", first, **there(hub)) as second:
                await until(lambda: len(second._network.peers()) > 0)
                with pytest.raises(NoSourceError, match="nobody whom you trust"):
                    await second.hub.find("org/Model", None, "model")


class TestPulls:
    async def test_by_the_upstreams_name(self, tmp_path, hub):
        hub.page = 2
        new_publisher(tmp_path)
        events = []
        async with node(tmp_path, **there(hub)) as running:
            request = PullRequest("org/Model", exclude=("empty.txt",))
            pulled = await running.pull(request, events.append)
            assert contents(pulled.path) == {k: v for k, v in FILES.items() if k != "empty.txt"}
            assert pulled.ref.startswith("lab/upstream.org.Model@")
            assert pulled.verdict == "verified"
            told = await running.info("upstream.org.Model")
            assert told.copy_of == f"{hub.url}/org/Model at {hub.commit}"
            again = await pull(running, "org/Model")
            assert contents(again.path) == FILES
            assert again.commit != pulled.commit
            seen = list(events)
            same = await pull(running, f"org/Model@{hub.commit}")
            assert same.commit == again.commit
            events.clear()
            await running.pull(PullRequest("org/Model"), events.append)
            plans = [event for event in events if isinstance(event, Planned)]
            assert [plan.bytes_to_fetch for plan in plans] == [0, 0]
        events = seen
        assert [e.bytes_done for e in events if isinstance(e, Progress)][-1] > 0
        assert sum(isinstance(e, FileDone) for e in events) >= 3

    async def test_of_a_dataset(self, tmp_path, hub):
        hub.put("datasets/org/rows", {"train.csv": b"a,b\n1,2\n"})
        new_publisher(tmp_path)
        async with node(tmp_path, **there(hub)) as running:
            pulled = await pull(running, "org/rows")
            assert pulled.ref.startswith("lab/upstream.datasets.org.rows@")
            (row,) = await running.ls(None)
            assert row.kind == "dataset"

    async def test_a_copy_is_pulled_while_it_is_away(self, tmp_path, hub):
        publisher = new_publisher(tmp_path / "a")
        new_publisher(tmp_path / "b")
        async with node(tmp_path / "a", **there(hub)) as first:
            mine = await pull(first, "org/Model")
            hub.stop()
            async with node(tmp_path / "b", first, **there(hub)) as second:
                await second.trust.add("friend", publisher)
                pulled = await pull(second, "org/Model")
                assert (pulled.commit, contents(pulled.path)) == (mine.commit, FILES)
                assert pulled.sources == 1

    @pytest.mark.parametrize(
        ("reference", "error"),
        [
            ("org/None", NotFoundError),
            ("org/Model@v9", NoRevisionError),
            ("org/Gated", RefusedError),
            ("nobody/../x", UsageError),
        ],
    )
    async def test_what_cannot_be_pulled_is_said(self, tmp_path, hub, reference, error):
        hub.put("org/Gated", FILES, token="hf_x", hidden=False)
        hub.fault = lambda exchange: (
            "Gated" in exchange.path and status(403, X_Error_Code="GatedRepo")(exchange)
        )
        new_publisher(tmp_path)
        async with node(tmp_path, **there(hub)) as running:
            with pytest.raises(error):
                await pull(running, reference)

    async def test_without_a_publisher_it_is_said_what_to_do(self, tmp_path, hub):
        async with node(tmp_path, **there(hub)) as running:
            with pytest.raises(UsageError, match="release that this machine signs"):
                await pull(running, "org/Model")

    async def test_a_path_that_no_release_may_have_is_left_out(self, tmp_path, hub):
        hub.put("org/Odd", {"a.txt": b"a", "../b.txt": b"b"})
        new_publisher(tmp_path)
        events = []
        async with node(tmp_path, **there(hub)) as running:
            pulled = await running.pull(PullRequest("org/Odd"), events.append)
            assert contents(pulled.path) == {"a.txt": b"a"}
        assert any("../b.txt" in e.message for e in events if isinstance(e, Warned))


async def recorded(running, files):
    """The record, once it has so many files."""
    for _ in range(100):
        with trio.move_on_after(5):
            try:
                found = await running.hub._find("upstream.org.Model", None, "model")
            except (NotFoundError, NoSourceError):
                found = None
        if found is not None and len(found.release.files) == files:
            return found.release
        await trio.sleep(0.1)
    raise AssertionError(found)


def span(asked):
    """Bytes that a request asked for."""
    if not asked.range:
        return len(WEIGHTS)
    first, _, last = asked.range.removeprefix("bytes=").partition("-")
    return int(last) - int(first) + 1
