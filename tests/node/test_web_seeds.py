"""Which web servers a pull asks: those of the release, those of node.toml, and no others."""

from contextlib import suppress
from dataclasses import replace

import pytest
import trio

from p2phub.errors import ConfigError, NoSourceError, P2PHubError
from p2phub.formats.manifest import Release
from p2phub.formats.pieces import PieceTable, Run
from p2phub.node.web_seeds import MOST_HOSTS, WebSeeds
from p2phub.protocol.ports import Holding
from p2phub.testing import web
from p2phub.testing.publishers import fake_file
from p2phub.testing.samples import MemorySink
from p2phub.testing.web import WebServer

DATA = b"some weights"
FILE = fake_file("a b/model.bin", DATA).entry
OTHER = fake_file("other.bin", b"other").entry


COMMIT = "0123456789" * 4


def release_of(*files):
    total = sum(file.size for file in files)
    return Release(
        publisher=bytes(32), name="m", kind="model", created=0, files=files, total_size=total
    )


async def urls_of(seeds, release, files=None, is_own=False):
    async with seeds.of(release, COMMIT, files or release.files, is_own=is_own) as sources:
        return {source.name: source._urls for source in sources}


async def test_a_release_that_names_none_has_none():
    assert await urls_of(WebSeeds(), release_of(FILE)) == {}


async def test_one_source_a_host_with_all_its_files():
    one = replace(FILE, seeds=("https://a.example/1", "http://b.example/1"))
    two = replace(OTHER, seeds=("https://a.example/2", "https://a.example/3"))
    assert await urls_of(WebSeeds(), release_of(one, two)) == {
        "a.example": {
            FILE.content: ("https://a.example/1",),
            OTHER.content: ("https://a.example/2", "https://a.example/3"),
        },
        "b.example": {FILE.content: ("http://b.example/1",)},
    }


async def test_only_for_the_files_that_are_wanted():
    one = replace(FILE, seeds=("https://a.example/1",))
    two = replace(OTHER, seeds=("https://b.example/2",))
    assert list(await urls_of(WebSeeds(), release_of(one, two), [two])) == ["b.example"]


async def test_a_copy_under_another_path_counts():
    copy = replace(FILE, path=("copy.bin",), seeds=("https://a.example/copy",))
    found = await urls_of(WebSeeds(), release_of(FILE, copy), [FILE])
    assert found == {"a.example": {FILE.content: ("https://a.example/copy",)}}


async def test_layouts_of_node_toml():
    named = [
        "https://mirror.example/{name}",
        "https://hub.example/lab/{name}/resolve/{commit}/{path}",
        "https://export.example/v1/files/{content}",
    ]
    found = await urls_of(WebSeeds(named[1:]), release_of(FILE))
    assert [url for urls in found.values() for url in urls[FILE.content]] == [
        f"https://hub.example/lab/m/resolve/{COMMIT}/a%20b/model.bin",
        f"https://export.example/v1/files/{FILE.content}",
    ]
    found = await urls_of(WebSeeds(["https://mirror.example"]), release_of(FILE))
    assert found["mirror.example"][FILE.content] == ("https://mirror.example/a%20b/model.bin",)


@pytest.mark.parametrize("seed", ["mirror.example", "https://me:secret@x/", "https://x/{branch}"])
def test_what_is_no_seed_in_node_toml(seed):
    with pytest.raises(ConfigError, match="web_seeds"):
        WebSeeds([seed])


async def test_a_stranger_cannot_make_us_ask_the_whole_internet():
    files = [
        replace(fake_file(f"{n}.bin", bytes([n])).entry, seeds=(f"https://h{n}.example/x",))
        for n in range(30)
    ]
    assert len(await urls_of(WebSeeds(), release_of(*files))) == MOST_HOSTS
    assert len(await urls_of(WebSeeds(), release_of(*files), is_own=True)) == 30


class TestAddressesInside:
    @pytest.mark.parametrize("how", ["stranger", "own", "named"])
    async def test_are_asked_only_where_the_user_named_them(self, how):
        with WebServer({"/x": DATA}) as server:
            file = replace(FILE, seeds=(f"{server.url}/x",))
            seeds = WebSeeds([f"{server.url}/{{name}}/{{path}}"] if how == "named" else [])
            async with seeds.of(release_of(file), COMMIT, [file], is_own=how == "own") as (source,):
                if how == "stranger":
                    with pytest.raises(NoSourceError):
                        await source.holds(FILE.content)
                    assert server.asked == []
                else:
                    assert await source.holds(FILE.content) == Holding(complete=True)


async def test_two_pulls_share_the_connections_of_a_host():
    seeds, release = WebSeeds(), release_of(replace(FILE, seeds=("https://a.example/1",)))
    one, two = (seeds.of(release, COMMIT, [FILE], is_own=False) for _ in range(2))
    async with one as (first,), two as (second,):
        assert first.place() is second.place()


class TestOneThatFails:
    async def told(self, job, answer=web.honest):
        """What people are told in the end."""
        heard = []
        with WebServer({"/x": DATA}, answer) as server:
            seeds = WebSeeds([f"{server.url}/x?{{path}}"])
            release = release_of(FILE)
            async with seeds.of(release, COMMIT, [FILE], is_own=False, report=heard.append) as (
                source,
            ):
                await job(source)
        return [each.message for each in heard]

    async def fetch(self, source):
        table = PieceTable.for_small(FILE.content)
        with suppress(P2PHubError):
            await source.fetch(FILE.content, table, Run(0, 1), MemorySink(table))

    async def test_is_told_of_once(self):
        async def job(source):
            await self.fetch(source)
            await self.fetch(source)

        (message,) = await self.told(job, web.failing(500))
        assert "status 500" in message

    async def test_but_not_where_it_only_lacks_the_file(self):
        assert await self.told(self.fetch, web.failing(404)) == []

    async def test_nor_where_it_brought_something_after_all(self):
        async def job(source):
            await self.fetch(source)
            await self.fetch(source)

        turns = iter([web.reset, web.honest])
        assert await self.told(job, lambda each: next(turns)(each)) == []

    async def test_nor_where_it_asked_us_to_come_back_and_was_obeyed(self):
        assert await self.told(self.fetch, web.busy(1, "0")) == []

    async def test_nor_where_others_were_quicker(self):
        async def job(source):
            with trio.move_on_after(0.2):
                await self.fetch(source)

        assert await self.told(job, web.silent) == []
