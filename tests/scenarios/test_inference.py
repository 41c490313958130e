"""A real model between real processes: from a name to an answer with its pedigree, and its end."""

import json
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.real_models import write_smol
from tests.scenarios.nodes import flip
from tests.scenarios.processes import Home, machines

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
THREADS = {"OMP_NUM_THREADS": "1", "INFERENCE_THREADS": "1", "INFERENCE_DEVICE": "cpu"}
LOADS = 120
"""Seconds for a process with torch to start and load, on a machine that does much else."""

pytestmark = [pytest.mark.slow, pytest.mark.budget(400)]


@pytest.fixture(scope="module")
def smol(tmp_path_factory):
    return write_smol(tmp_path_factory.mktemp("models") / "smol")


class Asker:
    """Asks a daemon over the OpenAI API, without the token, and over the control API with it."""

    def __init__(self, home: Home, gateway: str) -> None:
        token = (home.folder / "run" / "token").read_text().strip()
        self.open = httpx.Client(base_url=gateway, trust_env=False, timeout=LOADS)
        self.own = httpx.Client(
            base_url=gateway,
            trust_env=False,
            timeout=LOADS,
            headers={"Authorization": f"Bearer {token}"},
        )

    def ask(self, **more):
        body = {"model": "lab/smol", "messages": QUESTION, "temperature": 0, "max_tokens": 20}
        return self.open.post("/v1/chat/completions", json=body | more)

    def events(self, **more):
        """The events of a stream, as they come."""
        body = {"model": "lab/smol", "messages": QUESTION, "stream": True} | more
        with self.open.stream("POST", "/v1/chat/completions", json=body) as response:
            assert response.status_code == 200, response.read()
            for line in response.iter_lines():
                if line.startswith("data: ") and line != "data: [DONE]":
                    yield json.loads(line.removeprefix("data: "))

    def unload(self):
        answer = self.own.post("/control/v1/models/unload", json={"reference": "lab/smol"})
        assert answer.status_code == 200, answer.text

    def close(self):
        self.open.close()
        self.own.close()


@contextmanager
def two_machines(tmp_path, smol):
    """A publisher that runs, and somebody else's daemon that has met it."""
    with machines(tmp_path) as made:
        lab = made.publisher("lab")
        publisher = lab.done("id")["publisher_id"]
        with lab.running() as first:
            lab.done("publish", smol, "smol")
            user = made.home("user", **THREADS)
            with user.running(first.address) as second:
                user.done("trust", "add", "lab", publisher)
                asker = Asker(user, second.gateway)
                try:
                    yield lab, user, asker, publisher
                finally:
                    asker.close()


def resident(pid: int) -> int:
    """Bytes of memory that a process has now."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def test_a_name_becomes_an_answer_that_names_who_signed_the_bytes(tmp_path, smol):
    with two_machines(tmp_path, smol) as (lab, user, asker, publisher):
        unknown = asker.ask()
        assert unknown.status_code == 404
        told = user.run(
            "run",
            "lab/smol",
            QUESTION[0]["content"],
            "--temperature",
            "0",
            "--max-tokens",
            "20",
            seconds=LOADS,
        )
        assert told.code == 0, told
        assert "Paris" in told.last["text"]
        assert (told.last["publisher"], told.last["verdict"]) == (publisher, "verified")
        release = lab.done("info", "lab/smol")["digest"]
        answer = asker.ask()
        assert answer.json()["choices"][0]["message"]["content"] == told.last["text"]
        headers = answer.headers
        assert headers["p2phub-release"] == told.last["release"] == release
        assert (headers["p2phub-publisher"], headers["p2phub-verdict"]) == (publisher, "verified")
        (row,) = user.run("ps").objects
        assert (row["id"], row["release"], row["device"]) == ("lab/smol", release, "cpu")
        needed = user.done("fit", "lab/smol")["bytes_needed"]
        taken = resident(row["pid"])
        assert abs(needed - taken) <= 0.1 * taken, (needed, taken)


def test_a_byte_that_changed_on_the_disk_is_never_loaded(tmp_path, smol):
    with two_machines(tmp_path, smol) as (_, user, asker, _):
        assert user.run("run", "lab/smol", "Hi", "--max-tokens", "1", seconds=LOADS).code == 0
        asker.unload()
        biggest = max((user.store / "blobs").rglob("*"), key=lambda path: path.stat().st_size)
        flip(biggest, 50_000_000, keep_times=True)
        answer = asker.ask()
        assert answer.status_code in (403, 404, 500, 502), answer.text
        assert "choices" not in answer.json()
        assert user.run("ps").objects == []
        # Whoever asks for it with the token fetches what is damaged, and nothing else.
        assert user.run("run", "lab/smol", "Hi", "--max-tokens", "1", seconds=LOADS).code == 0


def test_an_answer_ends_when_its_release_is_taken_back(tmp_path, smol):
    with two_machines(tmp_path, smol) as (lab, user, asker, _):
        assert user.run("run", "lab/smol", "Hi", "--max-tokens", "1", seconds=LOADS).code == 0
        endless = {"0": -100, "2": -100}  # the tokens that would end it before it is taken back
        events = asker.events(max_tokens=4000, temperature=1.5, seed=1, logit_bias=endless)
        next(events)
        began = time.monotonic()
        words = ("--release", "lab/smol", "--withdraw", "--reason", "a mistake")
        lab.done("key", "revoke", *words)
        last = list(events)[-1]
        assert "taken back" in last["error"]["message"], last
        assert time.monotonic() - began < LOADS
        answer = asker.ask()
        assert answer.status_code == 410, answer.text
        assert user.run("ps").objects == []
        refused = user.run("run", "lab/smol", "Hi", seconds=LOADS)
        assert refused.code == 4
