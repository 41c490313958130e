"""Unmodified clients send large files in parts where they do not use Xet, and others pull them."""

import os
import signal
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
import trio

from p2phub.gateway import hub_lfs
from p2phub.gateway.server import open_gateway
from p2phub.node.values import PullRequest
from tests.scenarios.hub_clients import Client, Scene, heard, other_version
from tests.scenarios.nodes import MIB, consumer, contents, new_publisher, node, quiet, settings

pytestmark = [pytest.mark.slow, pytest.mark.budget(120)]
pytest.importorskip("huggingface_hub", reason="needs the extra dev")

UPLOAD = """
from huggingface_hub import HfApi
repo, folder = sys.argv[1:]
api = HfApi()
api.create_repo(repo, exist_ok=True)
say(api.upload_folder(repo_id=repo, folder_path=folder, commit_message="sent").oid)
"""


@asynccontextmanager
async def publishing(tmp_path, **settings_of_a):
    """A node that publishes, a client at its gateway, and a node that pulls."""
    publisher = new_publisher(tmp_path / "a")
    async with (
        node(tmp_path / "a", **settings_of_a) as a,
        consumer(tmp_path / "b", a, publisher) as b,
        open_gateway(a, settings(GATEWAY_LISTEN="127.0.0.1:0"), tmp_path / "a") as gateway,
    ):
        there = SimpleNamespace(gateway=gateway.url)
        scene = Scene(tmp_path, None, None, None, there)
        yield a, b, Client(scene, tmp_path / "hf", token=gateway.token)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    (path / "README.md").write_text("# Sent")
    (path / "empty.bin").write_bytes(b"")
    (path / "small.bin").write_bytes(os.urandom(1000))
    (path / "model.safetensors").write_bytes(os.urandom(20 * MIB + 5))
    return path


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(hub_lfs, "ONE_PIECE", 8 * MIB)
    monkeypatch.setattr(hub_lfs, "PART", 3 * MIB)


def left(home):
    return sorted(each.name for each in (home / "store" / "temp").iterdir())


@pytest.mark.parametrize("version", ["installed", "oldest"])
async def test_a_large_file_comes_in_parts(tmp_path, folder, version, monkeypatch):
    seen = []
    put_part = hub_lfs.HubLfs._put_part

    async def counted(self, request, what, count):
        seen.append((what.size, count))
        return await put_part(self, request, what, count)

    monkeypatch.setattr(hub_lfs.HubLfs, "_put_part", counted)
    async with publishing(tmp_path) as (_, b, client):
        packages = other_version() if version == "oldest" else None
        client = Client(client.scene, client.home, packages, client.token)

        def send():
            return client.told(UPLOAD, "lab/x", folder, HF_HUB_DISABLE_XET="1")

        commit = await trio.to_thread.run_sync(send)
        assert len([size for size, _ in seen if size > MIB]) == 7
        pulled = await b.pull(PullRequest("lab/x", None, ("*",)), quiet)
        assert pulled.commit == commit
        got = contents(pulled.path)
        assert got.pop(".gitattributes")
        assert got == contents(folder)
        assert left(tmp_path / "a") == []


async def test_one_that_is_killed_midway_goes_on_in_its_place(tmp_path, folder, monkeypatch):
    second = trio.Event()
    put_part = hub_lfs.HubLfs._put_part

    async def noticed(self, request, what, count):
        if count == "3":
            second.set()
            await trio.sleep(0.5)
        return await put_part(self, request, what, count)

    monkeypatch.setattr(hub_lfs.HubLfs, "_put_part", noticed)
    async with publishing(tmp_path) as (_, b, client):
        process = client.start(UPLOAD, "lab/x", folder, HF_HUB_DISABLE_XET="1")
        with trio.fail_after(60):
            await second.wait()
        process.send_signal(signal.SIGKILL)
        await trio.to_thread.run_sync(process.communicate)
        assert len(left(tmp_path / "a")) == 1  # its room is kept for it
        again = client.start(UPLOAD, "lab/x", folder, HF_HUB_DISABLE_XET="1")
        await trio.to_thread.run_sync(heard, again)
        pulled = await b.pull(PullRequest("lab/x", None, ("*",)), quiet)
        assert contents(folder).items() <= contents(pulled.path).items()
        assert left(tmp_path / "a") == []


REFUSED = """
from huggingface_hub import HfApi
repo, folder = sys.argv[1:]
api = HfApi()
api.create_repo(repo)
try:
    api.upload_folder(repo_id=repo, folder_path=folder)
except Exception as error:
    say([error.__cause__.response.status_code, str(error.__cause__)])
"""


async def test_one_that_there_is_no_room_for_is_refused_with_a_reason(tmp_path, folder):
    async with publishing(tmp_path, STORE_QUOTA="10MB") as (a, _, client):
        process = client.start(REFUSED, "lab/x", folder, HF_HUB_DISABLE_XET="1")
        status, message = await trio.to_thread.run_sync(heard, process)
        assert status == 507
        assert "quota" in message
        assert left(tmp_path / "a") == []
        assert [file.path for file in await a.ls("lab/x")] == [".gitattributes"]
