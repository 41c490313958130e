"""Downloads by unmodified clients that go wrong half way, or show a token that means nothing here.

Both versions of the client are tried. The newer one keeps nothing of a download that was killed, so
it is the node that goes on where it was.
"""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.scenarios.hub_clients import Client, Scene, other_version
from tests.scenarios.nodes import MIB
from tests.scenarios.processes import machines

pytestmark = [pytest.mark.slow, pytest.mark.budget(300)]
pytest.importorskip("huggingface_hub", reason="needs the extra dev")

SIZE = 48 * MIB
RATE = 4 * MIB
"""Bytes a second that the lab sends."""
NAME = "weights.safetensors.data"
DOWNLOAD = """
from huggingface_hub import hf_hub_download
say(hf_hub_download(*sys.argv[1:]))
"""


@pytest.fixture
def scene(tmp_path):
    """A lab that sends slowly, and a reader that has nothing yet."""
    folder = tmp_path / "big"
    folder.mkdir()
    (folder / NAME).write_bytes(os.urandom(SIZE))
    (folder / "config.json").write_text("{}")
    with machines(tmp_path) as made:
        lab, reader = made.publisher("lab", SWARM_UP=str(RATE)), made.home("reader")
        with lab.running() as daemon, reader.running(daemon.address) as at:
            lab.done("publish", folder, "big")
            reader.done("trust", "add", "lab", daemon.publisher_id)
            yield Scene(tmp_path, lab, daemon, reader, at, {"big": folder})


@pytest.fixture(params=["installed", "oldest"])
def client(scene, tmp_path, request):
    packages = other_version() if request.param == "oldest" else None
    return Client(scene, tmp_path / "hf", packages)


def held(scene):
    """Bytes of files that the reader's node has on its disk."""
    found = [*(scene.reader.store / "blobs").rglob("*")]
    found += (scene.reader.store / "partial").rglob("data")
    return sum(512 * path.stat().st_blocks for path in found if path.is_file())


def given_out(scene):
    """Bytes that the lab has read from its disk, as the system counts them: what it sends."""
    told = dict(line.split(": ") for line in process_file(scene.lab_daemon.pid, "io").splitlines())
    return int(told["rchar"])


def process_file(pid, name):
    return Path(f"/proc/{pid}/{name}").read_text()


def test_a_client_that_is_killed_costs_nothing_that_came(scene, client):
    before = given_out(scene)
    process = client.start(DOWNLOAD, "lab/big", NAME)
    until = time.monotonic() + 60
    while held(scene) < SIZE / 2:
        assert time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert SIZE / 2 <= held(scene) < SIZE
    path = client.told(DOWNLOAD, "lab/big", NAME)
    with open(path, "rb") as file:
        assert file.read() == (scene.sources["big"] / NAME).read_bytes()
    assert SIZE <= given_out(scene) - before < 1.2 * SIZE  # each byte came once


@pytest.mark.parametrize("token", ["hf_of_another_hub", "x" * 2000, "looks like none"])
def test_a_token_that_means_nothing_here_reads_but_does_not_write(scene, client, token):
    client.hf("download", "lab/big", "config.json", "--token", token)
    told = client.told(
        """
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError
api = HfApi(token=sys.argv[1])
statuses = []
for call in (lambda: api.create_repo("lab/new"), lambda: api.delete_file("config.json", "lab/big")):
    try:
        call()
    except HfHubHTTPError as error:
        statuses.append(error.response.status_code)
say([statuses, api.file_exists("lab/big", "config.json"), api.repo_exists("lab/new")])
""",
        token,
    )
    assert told == [[401, 401], True, False]
    assert token not in scene.reader.log
