"""The command line and `Hub` around real nodes: two homes on loopback, DHT and data plane too."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from p2phub import Hub

pytestmark = pytest.mark.slow

LOOPBACK = {
    "P2PHUB_NETWORK_LISTEN": "/ip4/127.0.0.1/tcp/0",
    "P2PHUB_NETWORK_DATA_LISTEN": "127.0.0.1:0",
    "P2PHUB_NETWORK_MDNS": "false",
    "P2PHUB_GATEWAY_LISTEN": "127.0.0.1:0",
}
WEIGHTS = bytes(range(256)) * 8192


def p2phub(home, *words, code=0, **environ):
    """Runs a command; the JSON objects it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "p2phub", "--home", str(home), "--json", *map(str, words)],
        env=os.environ | LOOPBACK | environ,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A daemon that has published `minilm`: its home, its address and its publisher id."""
    home = tmp_path_factory.mktemp("lab")
    model = tmp_path_factory.mktemp("model")
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(WEIGHTS)
    (identity,) = p2phub(home, "init", "--name", "lab")
    (ready,) = p2phub(home, "node", "--detach")
    try:
        (published,) = p2phub(home, "publish", model, "minilm", "--message", "first")
        assert published["publisher_id"] == identity["publisher_id"]
        yield home, ready["addresses"][0], identity["publisher_id"]
    finally:
        os.kill(int((home / "store" / "lock").read_text()), signal.SIGTERM)


@pytest.fixture
def laptop(lab, tmp_path, monkeypatch):
    """A home that knows the lab; no node runs there."""
    _, address, publisher = lab
    for name, value in LOOPBACK.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("P2PHUB_NETWORK_BOOTSTRAP", address)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    p2phub(tmp_path / "laptop", "trust", "add", "lab", publisher)
    return tmp_path / "laptop"


def test_a_pull_without_a_daemon_brings_the_model_and_leaves_no_node(laptop):
    *_, done = p2phub(laptop, "pull", "lab/minilm")
    assert (Path(done["path"]) / "model.safetensors").read_bytes() == WEIGHTS
    assert (done["verdict"], done["sources"]) == ("verified", 1)
    assert not (laptop / "run" / "gateway").exists()
    (checked,) = p2phub(laptop, "verify", "lab/minilm")
    assert checked["verdict"] == "verified"
    (row,) = p2phub(laptop, "ls")
    assert (row["here"], row["bytes_here"]) == ("complete", len(WEIGHTS) + 2)


def test_a_flipped_byte_on_this_disk_ends_verify_with_4_and_names_the_file(laptop):
    *_, done = p2phub(laptop, "pull", "lab/minilm")
    blob = (Path(done["path"]) / "model.safetensors").resolve()
    blob.chmod(0o644)
    with blob.open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"\xff\xfe")
    (checked,) = p2phub(laptop, "verify", "lab/minilm", code=4)
    assert checked["verdict"] == "corrupt"
    wrong = [step for step in checked["steps"] if not step["ok"]]
    assert any("model.safetensors" in step["name"] + step["detail"] for step in wrong)


def test_a_hub_pulls_with_a_node_of_its_own(laptop):
    seen = []
    with Hub(laptop) as hub:
        path = hub.pull("lab/minilm", include=["*.json"], progress=seen.append)
        assert sorted(each.name for each in path.iterdir()) == ["config.json"]
        assert [peer.direct for peer in hub.peers()] == [True]
        assert hub.search("minilm")[0].ref.startswith("lab/minilm")
    assert seen[-1].bytes_done == seen[-1].bytes_total == 2


def test_a_repo_that_is_not_there_ends_with_3(laptop):
    (*_, told) = p2phub(laptop, "pull", "lab/nothing", code=3)
    assert "nothing" in told["error"]["message"]


def test_a_second_daemon_on_the_labs_store_ends_with_7(lab):
    home, _, _ = lab
    (told,) = p2phub(home, "node", code=7)
    assert told["error"]["code"] == "store_locked"
    assert (home / "run" / "gateway").read_text().strip() in told["error"]["message"]
