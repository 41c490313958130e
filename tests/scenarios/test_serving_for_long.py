"""A thousand requests to one model: the node and its worker hold no more after them than before."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest

from tests.scenarios.processes import machines

pytestmark = [pytest.mark.slow, pytest.mark.budget(240)]

ROOT = Path(__file__).parent.parent.parent
MAKE = """
import sys
from tests.inference.worker.tiny_text import make_model, make_tokenizer
tokenizer = make_tokenizer()
tokenizer.save_pretrained(sys.argv[1])
make_model(len(tokenizer)).save_pretrained(sys.argv[1])
"""
SETTINGS = {"INFERENCE_THREADS": "1", "INFERENCE_DEVICE": "cpu"}
SETTLED, ALL = 300, 1000
CLIENTS = 4
NODE_GROWTH = 4 << 20
"""Bytes that the node may take more for 700 requests: under 6 KiB for each of them."""
WORKER_GROWTH = 16 << 20
"""And its worker, which was seen to take 1.5 MiB: no objects of Python. After 20,000 requests of
one kind it took no more, which is how a bounded store of words in tokenizers would look; the rest
is what malloc does not reuse. The limit leaves it ten times that."""
OBJECT = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
KINDS = (
    {},
    {"stream": True},
    {"temperature": 1.0, "seed": 7, "logprobs": True, "top_logprobs": 3},
    {"stop": ["cat", "e"], "n": 2},
    {"stream": True, "temperature": 0.7, "top_p": 0.9, "frequency_penalty": 0.5},
    {"response_format": OBJECT},
    {"max_tokens": 0},
    {"model": "lab/none"},
    {"stream": True, "max_tokens": 200, "leave": True},
    {"messages": [{"role": "user", "content": "a cat " * 2000}]},
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    if find_spec("torch") is None or find_spec("transformers") is None:
        pytest.skip("torch and transformers, which run the model, are not installed")
    folder = tmp_path_factory.mktemp("models") / "tiny"
    command = [sys.executable, "-c", MAKE, str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=120, cwd=ROOT)
    return folder


def resident(pid: int) -> int:
    """Bytes that a process has written to; not the pages of libraries, which come and go."""
    summary = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(summary.partition("Private_Dirty:")[2].split()[0]) * 1024


def ask(client: httpx.Client, number: int) -> int:
    """One request of many kinds: its status."""
    words = [{"role": "user", "content": f"the cat sat on the mat {number}"}]
    body = {"model": "lab/tiny", "messages": words, "max_tokens": 12, "temperature": 0}
    asked = body | KINDS[number % len(KINDS)]
    leave = asked.pop("leave", False)
    with client.stream("POST", "/v1/chat/completions", json=asked) as answer:
        for _ in answer.iter_bytes():
            if leave:
                break
    return answer.status_code


def test_memory_stays_flat_over_a_thousand_requests(tmp_path, model):
    with machines(tmp_path) as made:
        home = made.publisher("lab", **SETTINGS)
        with home.running() as daemon:
            home.done("publish", model, "tiny")
            client = httpx.Client(base_url=daemon.gateway, trust_env=False, timeout=120)
            statuses: set[int] = set()
            held: dict[int, tuple[int, int]] = {}
            with client, ThreadPoolExecutor(CLIENTS) as pool:
                assert ask(client, 0) == 200
                (row,) = home.run("ps").objects
                for first, last in ((0, SETTLED), (SETTLED, ALL)):
                    statuses |= set(pool.map(lambda at: ask(client, at), range(first, last)))
                    held[last] = resident(daemon.pid), resident(row["pid"])
                assert home.run("ps").objects[0]["pid"] == row["pid"]
    assert statuses == {200, 400, 404}
    node, worker = (after - before for before, after in zip(held[SETTLED], held[ALL], strict=True))
    assert node < NODE_GROWTH
    assert worker < WORKER_GROWTH
