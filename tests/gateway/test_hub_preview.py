"""The first rows of a dataset over a real socket, in front of a hub in memory."""

import json
import subprocess

import pytest

from p2phub.gateway import hub_preview
from p2phub.testing.hubs import FakeHub
from p2phub.testing.nodes import FakeNode
from p2phub.testing.publishers import FakePublisher
from tests.gateway.conftest import serving

SET = "/api/datasets/lab/minilm/preview"
FILES = {
    "README.md": b"# Rows",
    "data/a.csv": b"n,word\n" + b"".join(b"%d,w%d\n" % (n, n) for n in range(50)),
    "data/b.jsonl": b'{"n": NaN, "text": "\\ud800"}\n',
    "c.parquet": b"PAR1",
    "large.csv": b"n\n" + b"1\n" * 1_000_000,
}


@pytest.fixture
async def hub(tmp_path):
    node = FakeNode()
    node.hub = FakeHub(FakePublisher(1), FILES, kind="dataset")
    async with serving(tmp_path, node) as served:
        served.hub = node.hub
        yield served


async def ok(hub, path):
    answer = await hub.stranger.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_rows_of_a_file(hub):
    told = await ok(hub, f"{SET}/main/data/a.csv?rows=3")
    assert told["columns"] == ["n", "word"]
    assert told["rows"] == [{"n": str(n), "word": f"w{n}"} for n in range(3)]
    assert (told["partial"], told["format"], told["path"]) == (True, "csv", "data/a.csv")
    assert told["files"] == ["c.parquet", "data/a.csv", "data/b.jsonl", "large.csv"]


async def test_what_no_client_could_read_is_told_all_the_same(hub):
    told = await ok(hub, f"{SET}/main/data%2Fb.jsonl")
    assert told["rows"] == [{"n": None, "text": "\ud800"}]


async def test_only_the_beginning_of_a_large_file_is_read(hub):
    told = await ok(hub, f"{SET}/main/large.csv")
    assert len(told["rows"]) == hub_preview.ROWS
    assert hub.hub.read == [(0, hub_preview.HEAD)]


@pytest.mark.parametrize("rows", ["0", "-1", "x", "101", "9" * 30, ""])
async def test_so_many_rows_are_none(hub, rows):
    answer = await hub.stranger.get(f"{SET}/main/data/a.csv?rows={rows}")
    assert answer.status_code == 400


async def test_what_is_not_there_or_no_table(hub):
    answer = await hub.stranger.get(f"{SET}/main/nope.csv")
    assert (answer.status_code, answer.headers["x-error-code"]) == (404, "EntryNotFound")
    assert (await hub.stranger.get(f"{SET}/main/README.md")).status_code == 400
    assert (await hub.stranger.get(f"{SET}/nope")).headers["x-error-code"] == "RevisionNotFound"
    assert (await hub.stranger.get("/api/models/lab/minilm/preview")).status_code == 400


def reader(monkeypatch, code, out=b"", err=b""):
    """Let the process that reads Parquet end like this."""
    asked = []

    async def run_process(words, **more):
        asked.append((words, more["stdin"]))
        return subprocess.CompletedProcess(words, code, out, err)

    monkeypatch.setattr(hub_preview.trio, "run_process", run_process)
    return asked


class TestParquet:
    async def test_is_read_by_a_process_of_its_own(self, hub, monkeypatch):
        told = {"columns": ["n"], "rows": [{"n": 1}], "partial": False}
        asked = reader(monkeypatch, 0, json.dumps(told).encode())
        assert (await ok(hub, SET))["rows"] == [{"n": 1}]
        ((words, token),) = asked
        assert words[3] == hub.gateway.url
        assert words[4].endswith(f"@{hub.hub.past[0].commit}/c.parquet")
        assert token == f"{hub.gateway.token}\n".encode()

    @pytest.mark.parametrize(
        ("code", "status"), [(hub_preview.NOT_INSTALLED, 400), (1, 502), (-9, 502)]
    )
    async def test_that_cannot_be_read_is_said_to_be_so(self, hub, monkeypatch, code, status):
        reader(monkeypatch, code, b"", b"Traceback\nno magic bytes")
        answer = await hub.stranger.get(SET)
        assert answer.status_code == status
        assert answer.headers["x-error-message"]
