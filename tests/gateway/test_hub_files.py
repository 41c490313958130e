"""Files of the Hugging Face Hub API: headers, ranges, conditions, and what breaks midway."""

import os

import h11
import httpx
import pytest
import trio

from p2phub.errors import NoSourceError, WrongBytesError
from p2phub.formats.digest import git_blob_sha1, sha256
from p2phub.gateway import byte_ranges, connection, hub_files
from p2phub.testing.hubs import FakeHub
from p2phub.testing.nodes import FakeNode
from p2phub.testing.publishers import FakePublisher
from tests.gateway.bare import until
from tests.gateway.conftest import connected, serving

BIG = bytes(range(256)) * 8000
FILES = {
    "config.json": b'{"a": 1}',
    "model.safetensors": BIG,
    "empty": b"",
    '\u00e4 "b".html': b"<p>",
}
BIG_PATH = "/lab/minilm/resolve/main/model.safetensors"


@pytest.fixture
async def hub(tmp_path):
    node = FakeNode()
    node.hub = FakeHub(FakePublisher(1), FILES)
    async with serving(tmp_path, node) as served:
        served.hub = node.hub
        yield served


class TestHead:
    async def test_says_all_that_a_client_needs(self, hub):
        answer = await hub.stranger.head(BIG_PATH)
        assert answer.status_code == 200
        assert answer.headers["etag"] == f'"{sha256(BIG).hex()}"'
        assert answer.headers["x-repo-commit"] == hub.hub.past[0].commit
        assert answer.headers["content-length"] == str(len(BIG))
        assert answer.headers["accept-ranges"] == "bytes"
        assert not any("xet" in name for name in answer.headers)
        assert hub.hub.read == []

    async def test_of_a_small_file_has_the_etag_of_git(self, hub):
        answer = await hub.stranger.head("/lab/minilm/resolve/main/config.json")
        assert answer.headers["etag"] == f'"{git_blob_sha1(FILES["config.json"]).hex()}"'

    async def test_of_a_file_over_fifty_gigabytes_tells_no_size(self, hub, monkeypatch):
        monkeypatch.setattr(hub_files, "TOLD_SIZE", 1000)
        answer = await hub.stranger.head(BIG_PATH)
        assert answer.status_code == 200
        assert "content-length" not in answer.headers
        assert (await hub.stranger.get(BIG_PATH)).content == BIG


class TestGet:
    @pytest.mark.parametrize("name", FILES)
    @pytest.mark.parametrize("verb", ["resolve", "raw"])
    async def test_gives_the_very_bytes(self, hub, name, verb):
        answer = await hub.stranger.get(f"/lab/minilm/{verb}/main/{name}")
        assert (answer.status_code, answer.content) == (200, FILES[name])
        assert answer.headers["content-length"] == str(len(FILES[name]))

    @pytest.mark.parametrize(
        ("header", "start", "stop"),
        [("bytes=0-0", 0, 1), ("bytes=100-", 100, None), ("bytes=-7", -7, None)],
    )
    async def test_a_range(self, hub, header, start, stop):
        answer = await hub.stranger.get(BIG_PATH, headers={"range": header})
        assert (answer.status_code, answer.content) == (206, BIG[start:stop])
        first = start % len(BIG)
        told = f"bytes {first}-{first + len(answer.content) - 1}/{len(BIG)}"
        assert answer.headers["content-range"] == told

    async def test_several_ranges_come_as_parts(self, hub):
        answer = await hub.stranger.get(BIG_PATH, headers={"range": "bytes=0-9,50-59,5-12"})
        assert answer.status_code == 206
        boundary = answer.headers["content-type"].partition("boundary=")[2]
        parts = answer.content.split(f"--{boundary}".encode())
        assert [part.partition(b"\r\n\r\n")[2][:-2] for part in parts[1:-1]] == [
            BIG[:13],
            BIG[50:60],
        ]
        assert answer.headers["content-length"] == str(len(answer.content))
        assert parts[-1] == b"--\r\n"

    async def test_a_range_behind_the_end(self, hub):
        answer = await hub.stranger.get(BIG_PATH, headers={"range": f"bytes={len(BIG)}-"})
        assert answer.status_code == 416
        assert answer.headers["content-range"] == f"bytes */{len(BIG)}"

    async def test_ten_thousand_ranges_read_nothing(self, hub):
        ranges = "bytes=" + ",".join(f"{n}-{n}" for n in range(0, 2000, 2))
        answer = await hub.stranger.get(BIG_PATH, headers={"range": ranges})
        assert answer.status_code == 400
        assert answer.headers["x-error-message"]
        assert hub.hub.read == []

    async def test_what_a_client_has_is_not_sent_again(self, hub):
        etag = (await hub.stranger.head(BIG_PATH)).headers["etag"]
        for condition in (etag, f'"x", W/{etag}', "*"):
            answer = await hub.stranger.get(BIG_PATH, headers={"if-none-match": condition})
            assert (answer.status_code, answer.content) == (304, b"")

    async def test_a_range_of_another_version_is_the_whole_of_this_one(self, hub):
        headers = {"range": "bytes=5-", "if-range": '"another"'}
        answer = await hub.stranger.get(BIG_PATH, headers=headers)
        assert (answer.status_code, answer.content) == (200, BIG)
        headers["if-range"] = (await hub.stranger.head(BIG_PATH)).headers["etag"]
        assert (await hub.stranger.get(BIG_PATH, headers=headers)).status_code == 206

    async def test_a_page_of_a_repo_is_no_page_of_ours(self, hub):
        answer = await hub.stranger.get('/lab/minilm/resolve/main/\u00e4 "b".html')
        assert answer.headers["content-type"] == "application/octet-stream"
        assert "sandbox" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "%C3%A4%20%22b%22.html" in answer.headers["content-disposition"]


async def take(client, got):
    """Everything that comes, until it breaks."""
    async with client.stream("GET", BIG_PATH) as answer:
        async for data in answer.aiter_bytes():
            got += data


class TestWhatFails:
    async def test_before_the_first_byte_is_told(self, hub):
        hub.hub.pieces = [NoSourceError("nobody has it")]
        answer = await hub.stranger.get(BIG_PATH)
        assert answer.status_code == 503
        assert "nobody has it" in answer.headers["x-error-message"]

    async def test_in_the_middle_breaks_the_connection(self, hub):
        hub.hub.pieces = [BIG[:1_000_000], WrongBytesError("a wrong piece"), BIG[1_000_000:]]
        got = bytearray()
        with pytest.raises(httpx.RemoteProtocolError):
            await take(hub.stranger, got)
        assert BIG.startswith(bytes(got))
        assert len(got) <= 1_000_000
        hub.hub.pieces = None
        assert (await hub.stranger.get(BIG_PATH)).content == BIG

    async def test_a_client_that_leaves_ends_the_reading(self, hub):
        hub.hub.pieces, hub.hub.pause = [BIG[:99]] * 1000, 0.01
        async with hub.stranger.stream("GET", BIG_PATH):
            pass
        with trio.fail_after(5):
            hub.hub.pieces, hub.hub.pause = None, 0.0
            assert (await hub.stranger.get(BIG_PATH)).content == BIG


class TestAFileThatIsHere:
    @pytest.fixture
    def blob(self, hub, tmp_path):
        hub.hub.blob = tmp_path / "blob"
        hub.hub.blob.write_bytes(BIG)
        return hub.hub.blob

    @pytest.mark.parametrize("header", ["", "bytes=5-", "bytes=1000-1999999", "bytes=-1"])
    async def test_is_sent_by_the_kernel(self, hub, blob, header):
        hub.hub.pieces = [WrongBytesError("nobody asks for these")]
        for _ in range(2):  # the connection is used again
            answer = await hub.stranger.get(BIG_PATH, headers={"range": header})
            start, stop = (byte_ranges.parse(header, len(BIG)) or [(0, len(BIG))])[0]
            assert answer.content == BIG[start:stop]

    async def test_parts_of_it_come_as_parts(self, hub, blob):
        answer = await hub.stranger.get(BIG_PATH, headers={"range": "bytes=0-9,50-59"})
        assert answer.headers["content-length"] == str(len(answer.content))

    async def test_that_was_cut_breaks_the_connection(self, hub, blob):
        blob.write_bytes(BIG[:1_000_000])
        got = bytearray()
        with pytest.raises(httpx.RemoteProtocolError):
            await take(hub.stranger, got)
        assert BIG.startswith(bytes(got))

    async def test_is_given_up_for_who_does_not_take_it(self, hub, blob, monkeypatch):
        monkeypatch.setattr(connection, "SEND_PATIENCE", 0.1)
        blob.write_bytes(bytes(64 << 20))
        monkeypatch.setattr(connection, "SOME", 1 << 20)
        before = len(os.listdir("/proc/self/fd"))
        async with connected(hub) as lines:
            host = hub.gateway.url.removeprefix("http://")
            await lines.send(h11.Request(method="GET", target=BIG_PATH, headers=[("Host", host)]))
            await lines.send(h11.EndOfMessage())
            await trio.sleep(0.5)
        await until(lambda: len(os.listdir("/proc/self/fd")) <= before + 2)
