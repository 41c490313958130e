"""What the benchmarks stand on counts and changes what it says. They run in test_scripts."""

import importlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent.parent / "scripts"


@pytest.fixture
def script(monkeypatch):
    """Import a module of scripts/ as the benchmarks do, and forget it afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(SCRIPTS)
    monkeypatch.syspath_prepend(SCRIPTS / "benchmarks")
    yield importlib.import_module
    for name in set(sys.modules) - before:
        place = getattr(sys.modules[name], "__file__", None)
        if place is not None and Path(place).is_relative_to(SCRIPTS):
            del sys.modules[name]


def contents(weights, folder: Path) -> dict[str, bytes]:
    """Every tensor of every file in a folder."""
    found = {}
    for path in folder.glob("*.safetensors"):
        data = path.read_bytes()
        for name, (offset, length) in weights.tensors_of(path).items():
            found[name] = data[offset : offset + length]
    return found


def test_a_changed_tensor_changes_no_other_and_as_many_bytes_as_it_says(script, tmp_path):
    weights = script("weights")
    shard, *_ = weights.make_shards(tmp_path / "model", 64 << 10, tensor=4 << 10)
    before = contents(weights, tmp_path / "model")
    chosen = list(weights.tensors_of(shard))[1:3]
    assert weights.overwrite(shard, chosen) == 8 << 10
    after = contents(weights, tmp_path / "model")
    assert {name for name in before if before[name] != after[name]} == set(chosen)


@pytest.mark.parametrize("parts", [1, 3, 5])
def test_other_files_hold_the_same_tensors(script, tmp_path, parts):
    weights = script("weights")
    shards = weights.make_shards(tmp_path / "model", 64 << 10, tensor=4 << 10)
    (tmp_path / "other").mkdir()
    weights.reshard(shards, tmp_path / "other", parts)
    assert len(list((tmp_path / "other").iterdir())) == parts
    assert contents(weights, tmp_path / "other") == contents(weights, tmp_path / "model")


def test_the_changes_of_a_revision_are_as_large_as_they_say(script, tmp_path):
    weights, revision = script("weights"), script("revision")
    weights.make_shards(tmp_path / "model", 256 << 10, tensor=1 << 10)
    before = contents(weights, tmp_path / "model")
    changed = revision.new_tensors(tmp_path / "model", 7)
    after = contents(weights, tmp_path / "model")
    assert changed == sum(len(before[name]) for name in before if before[name] != after[name])
    assert 0.04 < changed / sum(map(len, before.values())) < 0.06
    assert revision.new_shard(tmp_path / "model", 1) == 64 << 10


def test_a_row_is_put_between_two_rows(script, tmp_path):
    revision = script("revision")
    revision.write_rows(tmp_path / "text", 50_000)
    path = tmp_path / "text" / "rows.jsonl"
    before = path.read_bytes().splitlines()
    assert revision.new_row(tmp_path / "text", 1) == 1 + len(before[0])
    after = path.read_bytes().splitlines()
    assert len(after) == len(before) + 1
    assert [row for row in after if row in before] == before
    assert all(json.loads(row) for row in after)


def test_bytes_of_other_processes_are_not_counted_as_sent(script):
    wire = script("wire")
    other = (
        "import socket, sys; other = socket.create_connection(('127.0.0.1', int(sys.argv[1])));"
        "other.sendall(bytes(500_000)); other.shutdown(1); other.recv(1)"
    )
    with socket.create_server(("127.0.0.1", 0)) as server, wire.Sent(os.getpid()) as sent:
        port = server.getsockname()[1]
        stranger = subprocess.Popen([sys.executable, "-c", other, str(port)])
        received, _ = server.accept()
        while received.recv(1 << 16):
            pass
        mine = socket.create_connection(("127.0.0.1", port))
        also_received, _ = server.accept()
        mine.sendall(bytes(100_000))
        left = 100_000
        while left:
            left -= len(also_received.recv(1 << 16))
        received.close()
        stranger.wait()
    mine.close()
    also_received.close()
    assert 100_000 <= sent.total < 101_000


def test_bytes_sent_before_are_not_counted(script):
    wire = script("wire")
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as mine,
    ):
        received, _ = server.accept()
        with received:
            for size in (70_000, 30_000):
                with wire.Sent(os.getpid()) as sent:
                    mine.sendall(bytes(size))
                    left = size
                    while left:
                        left -= len(received.recv(1 << 16))
    assert sent.total == 30_000


def test_a_tool_that_is_absent_is_named_and_left_out(script, capsys):
    rivals = script("rivals")
    here = rivals.Rival("cp", "copying", tools=("cp",))
    no_tool = rivals.Rival("swimming", "swim", tools=("cp", "no-such-tool"))
    no_module = rivals.Rival("flying", "fly", modules=("no_such_module",))
    assert rivals.present([here, no_tool, no_module]) == [here]
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "bench: not compared with swimming: no no-such-tool here",
        "bench: not compared with flying: no no_such_module here",
    ]


def result(measure, **chosen):
    given = {"value": 2.0, "baseline": 1.0, "budget": 1.5, "relative": True} | chosen
    return measure.Result(benchmark="T1", what="a thing", unit="s", rounds=5, **given)


@pytest.mark.parametrize(
    ("chosen", "within"),
    [
        ({}, False),
        ({"budget": 2.0}, True),
        ({"budget": None}, True),
        ({"baseline": 4.0, "relative": False}, False),
        ({"value": 1.0, "baseline": 0.0, "relative": False}, True),
    ],
)
def test_over_is_what_exceeds_its_budget(script, capsys, chosen, within):
    measure = script("measure")
    each = result(measure, **chosen)
    assert each.within == within
    measure.show([each], as_json=False)
    assert ("OVER" in capsys.readouterr().out) != within


def test_a_run_can_be_drawn(script, tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib", reason="the extra `bench` is not installed")
    measure = script("measure")
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path / "results"))
    shown = [result(measure), result(measure, budget=None), result(measure, value=0.0)]
    measure.show(shown, as_json=True)
    assert len(capsys.readouterr().out.splitlines()) == 3
    drawn = tmp_path / "run.png"
    command = [sys.executable, SCRIPTS / "plot.py", tmp_path / "results", drawn]
    subprocess.run(command, check=True)
    assert drawn.read_bytes().startswith(b"\x89PNG")
