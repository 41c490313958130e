"""A thousand requests at the same moment, over a thousand sockets, to a real node and its model.

Each is answered, or told when to come again in the words of the OpenAI API; nothing hangs, others
get through meanwhile, and nothing is left behind.
"""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager, suppress

import httpx
import pytest
import trio

from tests.real_models import smol_gguf
from tests.scenarios.processes import machines

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.budget(400)]

MANY = 1000
PATIENCE = 240.0  # seconds
GROWTH = 64 << 20
"""Bytes that the node or the worker may keep of it: what malloc does not give back, no requests."""
PROMPT = 100 << 20
"""Bytes of a prompt that nobody sends in earnest."""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    pytest.importorskip("xllamacpp")
    folder = tmp_path_factory.mktemp("models") / "smol"
    folder.mkdir()
    shutil.copy(smol_gguf(), folder / "smol.gguf")
    settings = {"INFERENCE_THREADS": "1", "INFERENCE_CONTEXT": "512"}
    with machines(tmp_path_factory.mktemp("machines")) as made:
        home = made.publisher("lab", **settings)
        with home.running() as running:
            home.done("publish", folder, "smol")
            assert home.run("run", "lab/smol", "Hi", "--max-tokens", "1", seconds=120).code == 0
            running.home = home
            yield running


def body(number, **more):
    words = [{"role": "user", "content": f"Say {number}."}]
    return {"model": "lab/smol", "messages": words, "max_tokens": 2, "temperature": 0} | more


async def ask(client, number, told):
    streams = number % 2 == 0
    async with client.stream(
        "POST", "/v1/chat/completions", json=body(number, stream=streams)
    ) as answer:
        said = (await answer.aread()).decode()
    if answer.status_code == 200:
        whole = said.rstrip().endswith("data: [DONE]") if streams else json.loads(said)["choices"]
        told["answered" if whole else "cut short"] += 1
        return
    error = json.loads(said)["error"]
    again = int(answer.headers.get("retry-after", "0"))
    fits = error["code"] == "rate_limit_exceeded" and error["type"] and 1 <= again <= 60
    told[answer.status_code if fits else f"{answer.status_code} {said}"] += 1


LOOK = """
import sys, time, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
while True:
    began = time.monotonic()
    with opener.open(sys.argv[1] + "/healthz", timeout=60) as answer:
        assert answer.status == 200
    print(time.monotonic() - began, flush=True)
    time.sleep(0.25)
"""


@contextmanager
def somebody_else(gateway):
    """A process that asks for the health of the node all the time; how long each answer took."""
    seconds = []
    looking = subprocess.Popen([sys.executable, "-c", LOOK, gateway], stdout=subprocess.PIPE)
    try:
        yield seconds
    finally:
        died = looking.poll()
        looking.terminate()
        seconds += map(float, looking.communicate()[0].split())
        assert died is None, died


def sockets(pid):
    """How many it has open. Not files: SQLite keeps as many of the index as there were readers."""
    found = 0
    for number in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):
            found += os.readlink(f"/proc/{pid}/fd/{number}").startswith("socket:")
    return found


async def test_a_thousand_at_once_are_answered_or_told_when_to_come_again(daemon):
    told = Counter()
    before = sockets(daemon.pid)
    (row,) = daemon.home.run("ps").objects
    memory = {pid: private(pid) for pid in (daemon.pid, row["pid"])}
    limits = httpx.Limits(max_connections=None)
    with somebody_else(daemon.gateway) as seconds, trio.fail_after(PATIENCE):
        async with (
            httpx.AsyncClient(
                base_url=daemon.gateway, trust_env=False, timeout=PATIENCE, limits=limits
            ) as client,
            trio.open_nursery() as crowd,
        ):
            for number in range(MANY):
                crowd.start_soon(ask, client, number, told)
    assert set(told) <= {"answered", 429}, told
    assert told["answered"] + told[429] == MANY
    assert told["answered"] >= 100
    assert max(seconds) < 10
    (row,) = daemon.home.run("ps").objects
    assert (row["busy"], row["waiting"]) == (0, 0)
    with trio.fail_after(20):
        while sockets(daemon.pid) > before + 4:  # noqa: ASYNC110 - it is another process
            await trio.sleep(0.2)
    grown = {pid: private(pid) - was for pid, was in memory.items()}
    assert max(grown.values()) < GROWTH, grown


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings", "/models/lab/smol"])
@pytest.mark.parametrize("counted", [True, False], ids=["with its length", "in chunks"])
def test_a_prompt_of_100_mb_is_refused_and_kept_nowhere(daemon, path, counted):
    """This client reads the answer when it has sent all, as most do, and is told why."""
    start = b'{"model": "lab/smol", "input": "'
    sent = 0

    def pieces():
        nonlocal sent
        yield start
        while sent < PROMPT:
            sent += 1 << 16
            yield b"x" * (1 << 16)
        yield b'"}'

    before = resident(daemon.pid)
    headers = {"Content-Type": "application/json"}
    if counted:
        headers["Content-Length"] = str(len(start) + PROMPT + 2)
    with httpx.Client(base_url=daemon.gateway, trust_env=False, timeout=60) as client:
        answer = client.post(path, content=pieces(), headers=headers)
    assert answer.status_code == 413, answer.text
    error = answer.json()["error"]  # in the words of the API that was asked
    assert "bytes" in (error["message"] if path.startswith("/v1/") else error)
    assert resident(daemon.pid) - before < 64 << 20


def private(pid):
    """Bytes that a process has written to."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return int(file.read().partition("Private_Dirty:")[2].split()[0]) * 1024


def resident(pid):
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
