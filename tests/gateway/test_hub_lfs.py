"""Large files in parts, over a real socket, in front of a hub in memory."""

import hashlib
import time

import pytest

from p2phub.gateway import hub_lfs
from p2phub.testing.hubs import FakeHub
from p2phub.testing.nodes import FakeNode
from p2phub.testing.publishers import FakePublisher
from tests.gateway.conftest import serving

BATCH = "/lab/minilm.git/info/lfs/objects/batch"
DATA = bytes(range(250))
OID = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
async def hub(tmp_path, monkeypatch):
    """A gateway for which 200 bytes are a large file."""
    for name, value in {"ONE_PIECE": 200, "PART": 100, "PART_STEP": 10}.items():
        monkeypatch.setattr(hub_lfs, name, value)
    node = FakeNode()
    node.hub = FakeHub(FakePublisher(1), {"README.md": b"# A"})
    async with serving(tmp_path, node) as served:
        served.hub = node.hub
        yield served


async def asked(hub, *sizes, transfers=("basic", "multipart"), oid=OID):
    objects = [{"oid": oid, "size": size} for size in sizes]
    batch = {"operation": "upload", "transfers": transfers, "objects": objects}
    answer = await hub.client.post(BATCH, json=batch)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def place(hub, oid=OID):
    """Where the parts go, and where it is told that they are all."""
    (told,) = (await asked(hub, len(DATA), oid=oid))["objects"]
    upload = told["actions"]["upload"]
    assert upload["header"].pop("chunk_size") == "100"
    return upload["header"], upload["href"]


async def tags(hub, parts, numbers=("1", "2", "3")):
    found = []
    for each in numbers:
        at = (int(each) - 1) * 100
        answer = await hub.stranger.put(parts[each], content=DATA[at : at + 100])
        assert answer.status_code == 200, answer.text
        found.append({"partNumber": int(each), "etag": answer.headers["etag"]})
    return found


def finish(hub, href, found, oid=OID):
    return hub.stranger.post(href, json={"oid": oid, "parts": found})


class TestABatch:
    async def test_offers_parts_for_large_files_to_who_can_send_them(self, hub):
        assert (await asked(hub, 250))["transfer"] == "multipart"
        for transfers in ((), ("basic",), ("basic", "xet")):
            told = await asked(hub, 250, transfers=transfers)
            assert told["transfer"] == "basic"
            assert told["objects"][0]["actions"]["upload"]["header"] == {}

    async def test_of_small_files_offers_one_piece(self, hub):
        assert (await asked(hub, 200, 0))["transfer"] == "basic"

    async def test_offers_the_same_to_each_file_in_it(self, hub):
        told = (await asked(hub, 250, 5, 0))["objects"]
        headers = [each["actions"]["upload"]["header"] for each in told]
        assert [sorted(each) for each in headers] == [
            ["1", "2", "3", "chunk_size"],
            ["1", "chunk_size"],
            [],
        ]

    async def test_of_many_files_does_not_become_huge(self, hub, monkeypatch):
        monkeypatch.setattr(hub_lfs, "MAX_ADDRESSES", 50)
        told = (await asked(hub, *([100_000] * 10)))["objects"]
        assert {len(each["actions"]["upload"]["header"]) for each in told} == {6}

    @pytest.mark.parametrize("transfers", [5, "multipart", {"multipart": 1}])
    async def test_with_transfers_that_are_no_list(self, hub, transfers):
        batch = {"operation": "upload", "transfers": transfers, "objects": []}
        assert (await hub.client.post(BATCH, json=batch)).status_code == 400


class TestParts:
    @pytest.mark.parametrize("numbers", ["123", "321", "12123"])
    async def test_become_the_file_in_whatever_order_they_come(self, hub, numbers):
        parts, href = await place(hub)
        found = {each["partNumber"]: each for each in await tags(hub, parts, numbers)}
        assert (await finish(hub, href, list(found.values()))).status_code == 200
        assert bytes.fromhex(OID) in hub.hub.kept
        verify = {"oid": OID, "size": len(DATA)}
        assert (await hub.client.post("/api/lfs/verify", json=verify)).status_code == 200

    async def test_that_are_missing_or_named_twice_or_otherwise_make_no_file(self, hub):
        parts, href = await place(hub)
        found = await tags(hub, parts)
        other = {"partNumber": 2, "etag": found[0]["etag"]}
        for wrong in (
            [],
            found[:2],
            [*found, found[0]],
            [found[0], other, found[2]],
            [*found, {"partNumber": 4, "etag": '"x"'}],
            [{"partNumber": -1, "etag": "x"}] * 3,
            [{"partNumber": 1}] * 3,
            [5],
        ):
            assert (await finish(hub, href, wrong)).status_code == 400, wrong
        assert hub.hub.kept == {}

    async def test_of_another_size_are_refused(self, hub):
        parts, _ = await place(hub)
        for number, data in (("1", DATA[:99]), ("1", DATA[:101]), ("3", DATA[:51]), ("3", b"")):
            answer = await hub.stranger.put(parts[number], content=data)
            assert answer.status_code == 422
            assert answer.headers["x-error-message"]

    async def test_of_another_file_than_was_promised_are_gone(self, hub):
        other = hashlib.sha256(b"other").hexdigest()
        parts, href = await place(hub, other)
        answer = await finish(hub, href, await tags(hub, parts), other)
        assert answer.status_code == 422
        assert hub.hub.kept == {}

    async def test_are_refused_where_the_address_was_not_told(self, hub, monkeypatch):
        parts, href = await place(hub)
        found = await tags(hub, parts)
        for wrong in (
            href.replace(OID, "0" * 64),
            href.replace("/250/100?", "/250/50?"),
            href.replace("/250/100?", "/251/100?"),
            href.replace("until=", "until=9"),
            href[:-1] + ("0" if href[-1] != "0" else "1"),
        ):
            oid = "0" * 64 if "0" * 64 in wrong else OID
            assert (await finish(hub, wrong, found, oid)).status_code in (400, 403), wrong
            part = wrong.replace("?", "/1?")
            assert (await hub.stranger.put(part, content=DATA[:100])).status_code in (400, 403)
        assert (await finish(hub, href, found, "0" * 64)).status_code == 400
        one = parts["1"].split("?")[0].rpartition("/")[0]
        for number in ("0", "4", "-1", "x", "9" * 40, "1.0"):
            url = f"{one}/{number}?{href.partition('?')[2]}"
            assert (await hub.stranger.put(url, content=b"")).status_code == 400, number
        now = time.time()
        monkeypatch.setattr(hub_lfs.time, "time", lambda: now + hub_lfs.LASTS_IN_PARTS + 1)
        assert (await finish(hub, href, found)).status_code == 403
        assert hub.hub.kept == {}

    async def test_have_no_address_that_takes_a_whole_file(self, hub):
        _, href = await place(hub)
        whole = href.replace("/250/100?", "/250?")
        assert (await hub.stranger.put(whole, content=DATA)).status_code == 403
