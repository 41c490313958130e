"""Pulls in which web servers take part: alone, beside peers, and against them."""

from dataclasses import replace
from urllib.parse import quote

import pytest

from p2phub.errors import NoSourceError, WrongBytesError
from p2phub.formats.manifest import Release
from p2phub.node.events import Warned
from p2phub.node.offline import layout_of
from p2phub.node.values import PublishRequest, PullRequest
from p2phub.store.store import Store
from p2phub.testing import web
from p2phub.testing.files import random_bytes
from p2phub.testing.publishers import FakePublisher, fake_file
from p2phub.testing.web import WebServer
from tests.network.nginx import PROGRAM, nginx
from tests.scenarios.nodes import (
    MIB,
    consumer,
    contents,
    model,
    new_publisher,
    node,
    pull,
    quiet,
    refused,
    settings,
    stock,
)

pytestmark = pytest.mark.slow

WEIGHTS, CONFIG = random_bytes("web seeds", 3 * MIB), b"{}"
FAKES = [fake_file("weights.safetensors", WEIGHTS), fake_file("config.json", CONFIG)]
BY_PATH = {f"/x/{fake.entry.path[0]}": fake.data for fake in FAKES}
BY_CONTENT = {f"/v1/files/{fake.entry.content}": fake.data for fake in FAKES}
TABLES = {fake.entry.content: fake.table.pack() for fake in FAKES if fake.table}
ALL = {fake.entry.path[0]: fake.data for fake in FAKES}
DOCUMENTS = {f"/v1/documents/{each.digest.hex()}": table for each, table in TABLES.items()}


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def bytes_nowhere(home, *urls, tables=TABLES):
    """A publisher whose node has every document of lab/x and the tables, and not one file."""
    lab = FakePublisher(1)
    lab.publish("x", [replace(fake.entry, seeds=urls_of(fake, urls)) for fake in FAKES])
    lab.contents.clear()
    stock(home, lab)
    with Store.open(layout_of(settings(), home)) as store:
        for content, table in tables.items():
            store.blobs.put_table(content, table)
    return lab.publisher


def urls_of(fake, urls):
    return tuple(f"{url}/{fake.entry.path[0]}" for url in urls)


def seeded(*seeds):
    return {"SWARM_WEB_SEEDS": ",".join(seeds)}


class TestNoPeerHasTheBytes:
    async def test_but_the_server_that_the_release_names(self, tmp_path):
        with WebServer(BY_PATH) as server:
            lab = bytes_nowhere(tmp_path / "lab", f"{server.url}/x")
            mine = seeded(f"{server.url}/elsewhere/{{path}}")
            async with (
                node(tmp_path / "lab") as peer,
                consumer(tmp_path / "me", peer, lab, **mine) as me,
            ):
                done = await pull(me)
                assert contents(done.path) == ALL
                assert [share.name for share in done.shares] == [server.host]
                (found,) = await me.verify("lab/x", quiet)
                assert found.verdict == "verified"

    async def test_but_a_hub_that_sends_to_its_cdn(self, tmp_path):
        with WebServer(BY_PATH) as cdn, WebServer(BY_PATH) as server:
            moved = web.redirecting(lambda each: f"{cdn.url}/x/{each.path.rpartition('/')[2]}?s=1")
            server.answer = web.busy(1, "0", then=moved)
            lab = bytes_nowhere(tmp_path / "lab")
            mine = seeded(f"{server.url}/lab/{{name}}/resolve/main/{{path}}")
            async with (
                node(tmp_path / "lab") as peer,
                consumer(tmp_path / "me", peer, lab, **mine) as me,
            ):
                done = await pull(me)
                assert contents(done.path) == ALL
            assert {each.path for each in server.asked} == {
                "/lab/x/resolve/main/weights.safetensors",
                "/lab/x/resolve/main/config.json",
            }

    async def test_but_a_bucket_that_wants_its_signature_and_is_elsewhere(self, tmp_path):
        secret = "X-Amz-Signature=c2VjcmV0%2F"
        slow = web.busy(1, "1", status=503)
        with WebServer(BY_PATH, web.signed(secret)) as region, WebServer(BY_PATH) as bucket:
            later = web.signed(secret, web.elsewhere(region.url))
            bucket.answer = lambda each: (slow if not bucket.asked[1:] else later)(each)
            lab = bytes_nowhere(tmp_path / "lab")
            mine = seeded(f"{bucket.url}/{{name}}/{{path}}?X-Amz-Expires=60&{secret}")
            async with (
                node(tmp_path / "lab") as peer,
                consumer(tmp_path / "me", peer, lab, **mine) as me,
            ):
                done = await pull(me)
                assert contents(done.path) == ALL
            assert all(each.path.endswith(secret) for each in region.asked)

    async def test_but_a_server_that_sends_whole_files_in_chunks(self, tmp_path):
        with WebServer(BY_PATH, web.in_chunks) as server:
            lab = bytes_nowhere(tmp_path / "lab")
            mine = seeded(f"{server.url}/{{name}}/{{path}}")
            async with (
                node(tmp_path / "lab") as peer,
                consumer(tmp_path / "me", peer, lab, **mine) as me,
            ):
                done = await pull(me)
                assert contents(done.path)["weights.safetensors"] == WEIGHTS
                assert done.bytes_fetched == len(WEIGHTS) + len(CONFIG)
            assert len([each for each in server.asked if "weights" in each.path]) == 1

    @pytest.mark.skipif(PROGRAM is None, reason="nginx is not installed here")
    async def test_but_nginx_has_the_folder_that_somebody_pulled(self, tmp_path):
        with WebServer(BY_PATH) as server:
            lab = bytes_nowhere(tmp_path / "lab", f"{server.url}/x")
            mine = seeded(f"{server.url}/elsewhere/{{path}}")
            async with node(tmp_path / "lab") as peer:
                async with consumer(tmp_path / "one", peer, lab, **mine) as one:
                    await pull(one, to=tmp_path / "mirror" / "x")
                with nginx(tmp_path / "mirror") as address:
                    server.answer = web.failing(404)
                    theirs = seeded(f"{address}/{{name}}/{{path}}")
                    async with consumer(tmp_path / "two", peer, lab, **theirs) as two:
                        done = await pull(two)
                        host = address.partition("//")[2]
                        assert [share.name for share in done.shares] == [host]
                        assert contents(done.path)["weights.safetensors"] == WEIGHTS

    async def test_and_only_the_export_has_the_piece_table(self, tmp_path):
        with WebServer(BY_CONTENT | DOCUMENTS) as server:
            lab = bytes_nowhere(tmp_path / "lab", tables={})
            mine = seeded(f"{server.url}/v1/files/{{content}}")
            async with (
                node(tmp_path / "lab") as peer,
                consumer(tmp_path / "me", peer, lab, **mine) as me,
            ):
                done = await pull(me)
                assert contents(done.path) == ALL

    @pytest.mark.slow
    async def test_and_the_server_lies(self, tmp_path):
        heard = []
        with WebServer(BY_PATH, web.all_wrong) as server:
            lab = bytes_nowhere(tmp_path / "lab", f"{server.url}/x")
            mine = seeded(f"{server.url}/x/{{path}}")
            async with (
                node(tmp_path / "lab") as peer,
                consumer(tmp_path / "me", peer, lab, **mine) as me,
            ):
                with pytest.raises(WrongBytesError):
                    await me.pull(PullRequest("lab/x"), heard.append)
            named = [each.message for each in heard if isinstance(each, Warned)]
            assert any(server.host in each and "wrong bytes" in each for each in named)

    @pytest.mark.slow
    async def test_and_the_server_is_on_our_own_network_but_nobody_here_named_it(self, tmp_path):
        with WebServer(BY_PATH) as server:
            lab = bytes_nowhere(tmp_path / "lab", f"{server.url}/x")
            async with (
                node(tmp_path / "lab") as peer,
                consumer(tmp_path / "me", peer, lab) as me,
            ):
                assert isinstance(await refused(6, me), NoSourceError)
            assert server.asked == []


class TestNobodyHasTheTable:
    """Of the publisher there are documents left, and a web server that knows no tables."""

    @pytest.mark.parametrize("answer", [web.honest, web.in_chunks], ids=["ranges", "whole"])
    async def test_the_whole_file_tells_it(self, tmp_path, answer):
        with WebServer(BY_PATH, answer) as server:
            lab = bytes_nowhere(tmp_path / "lab", tables={})
            mine = seeded(f"{server.url}/{{name}}/{{path}}")
            async with (
                node(tmp_path / "lab") as peer,
                consumer(tmp_path / "me", peer, lab, **mine) as me,
            ):
                done = await pull(me)
                assert contents(done.path) == ALL
                assert done.bytes_fetched == len(WEIGHTS) + len(CONFIG)
                (found,) = await me.verify("lab/x", quiet)
                assert found.verdict == "verified"
            assert not list((tmp_path / "me" / "store" / "temp").iterdir())

    async def test_one_server_lies_and_another_has_it(self, tmp_path):
        with WebServer(BY_PATH, web.poisoned) as liar, WebServer(BY_PATH) as server:
            lab = bytes_nowhere(tmp_path / "lab", tables={})
            mine = seeded(f"{liar.url}/{{name}}/{{path}}", f"{server.url}/{{name}}/{{path}}")
            async with (
                node(tmp_path / "lab") as peer,
                consumer(tmp_path / "me", peer, lab, **mine) as me,
            ):
                assert contents((await pull(me)).path) == ALL

    @pytest.mark.parametrize(
        ("answer", "exit"), [(web.poisoned, 4), (web.failing(404), 6)], ids=["lies", "has none"]
    )
    async def test_the_only_server(self, tmp_path, answer, exit):
        with WebServer(BY_PATH, answer) as server:
            lab = bytes_nowhere(tmp_path / "lab", tables={})
            mine = seeded(f"{server.url}/{{name}}/{{path}}")
            async with (
                node(tmp_path / "lab") as peer,
                consumer(tmp_path / "me", peer, lab, **mine) as me,
            ):
                error = await refused(exit, me)
                assert error.remedy
            assert not list((tmp_path / "me" / "store" / "temp").iterdir())


class TestBesidePeers:
    @pytest.mark.parametrize(
        "answer",
        [web.all_wrong, web.truncated, web.other_range, web.failing(404), web.endless_body],
        ids=["poisoned", "truncating", "range", "404", "endless"],
    )
    async def test_a_bad_mirror_does_not_spoil_a_pull(self, tmp_path, answer):
        folder = model(tmp_path / "model")
        files = {f"/m/{quote(path)}": data for path, data in contents(folder).items()}
        new_publisher(tmp_path / "lab")
        heard = []
        with WebServer(files, answer) as server:
            mine = seeded(f"{server.url}/other/{{path}}")
            async with node(tmp_path / "lab") as lab:
                request = PublishRequest(folder, "x", seeds=(f"{server.url}/m",))
                published = await lab.publish(request, quiet)
                assert published.files == 5
                publisher = lab.identity.publisher_id
                async with consumer(tmp_path / "me", lab, publisher, **mine) as me:
                    done = await me.pull(PullRequest("lab/x"), heard.append)
            assert contents(done.path) == contents(folder)
            named = [each.message for each in heard if isinstance(each, Warned)]
            was_caught = any(server.host in each and "wrong bytes" in each for each in named)
            assert not was_caught or answer in (web.all_wrong, web.endless_body)


class TestANewRevision:
    async def test_keeps_the_seeds_of_the_last_one_until_others_are_named(self, tmp_path):
        folder, warnings = model(tmp_path / "model"), []

        def hear(event):
            if isinstance(event, Warned):
                warnings.append(event.message)

        def seeds_now(lab, digest):
            accepted = lab._services.knowledge.document(bytes.fromhex(digest), Release)
            return {"/".join(each.path): each.seeds for each in accepted.document.files}

        new_publisher(tmp_path / "lab")
        async with node(tmp_path / "lab") as lab:

            async def publish(*seeds):
                done = await lab.publish(PublishRequest(folder, "x", seeds=seeds), hear)
                return seeds_now(lab, done.digest), done.commit

            first, commit = await publish("https://mirror.example/m")
            assert first["config.json"] == ("https://mirror.example/m/config.json",)
            assert not any("web seeds" in each for each in warnings)
            assert (await publish())[1] == commit
            (folder / "new file.json").write_text("{}")
            second, _ = await publish()
            assert second == first | {
                "new file.json": ("https://mirror.example/m/new%20file.json",)
            }
            assert any("https://mirror.example/m/{path}" in each for each in warnings)
            third, _ = await publish("https://other.example/v1/files/{content}")
            assert all(len(each) == 1 and "other" in each[0] for each in third.values())
            assert not any((await publish("none"))[0].values())
            assert not any((await publish())[0].values())
