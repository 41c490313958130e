"""What people do to a real node with a small model in a worker, right and wrong.

Whoever asks through the `openai` client for what cannot be answered is told in its own exceptions
what was wrong; whoever asks afterwards is answered. A person talks to the model in a terminal.
"""

import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import httpx
import pytest

pytest.importorskip("torch", reason="needs p2phub[inference]")
openai = pytest.importorskip("openai", reason="needs the openai client")

from tests.inference.worker.tiny_text import make_model, make_tokenizer  # noqa: E402
from tests.scenarios.processes import machines  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.budget(200)]

SETTINGS = {"INFERENCE_THREADS": "1", "INFERENCE_DEVICE": "cpu"}
LOADS = 120
"""Seconds for a worker to start and load, on a machine that does much else."""
WORDS = [{"role": "user", "content": "the cat sat"}]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    make_tokenizer().save_pretrained(folder)
    make_model(320, context=4096).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory, model):
    with machines(tmp_path_factory.mktemp("machines")) as made:
        home = made.publisher("lab", **SETTINGS)
        with home.running() as home.node:
            home.done("publish", model, "tiny")
            assert home.run("run", "lab/tiny", "Hi", "--max-tokens", "1", seconds=LOADS).code == 0
            yield home


@pytest.fixture(scope="module")
def client(home):
    base = f"{home.node.gateway}/v1"
    with httpx.Client(trust_env=False, timeout=LOADS) as plain:
        yield openai.OpenAI(base_url=base, api_key="none", max_retries=0, http_client=plain)


def ask(client, model="lab/tiny", **more):
    chosen = {"max_tokens": 2, "temperature": 0} | more
    return client.chat.completions.create(**({"model": model, "messages": WORDS} | chosen))


def answers(client):
    return ask(client).choices[0].message.role == "assistant"


@pytest.mark.parametrize("wrong", ["lab/tinny", "lba/tiny", "tinyy"])
def test_an_unknown_model_is_not_found_and_the_nearest_is_named(client, wrong):
    with pytest.raises(openai.NotFoundError, match="lab/tiny") as told:
        ask(client, wrong)
    assert told.value.code == "model_not_found"


def test_a_prompt_that_is_too_long_is_told_in_tokens(client):
    long = [{"role": "user", "content": "a cat " * 8000}]
    with pytest.raises(openai.BadRequestError, match="4096") as told:
        ask(client, messages=long)
    assert told.value.code == "context_length_exceeded"
    assert answers(client)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b'{"model": "lab/tiny", "messages": ' + b"[" * 100_000,
        b'{"model": "lab/tiny", "messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"model": "lab/tiny", "messages": [{"role": "user"}], "max_tokens": 1e400}',
        b'{"model": "lab/tiny", "messages": [], "temperature": NaN}',
    ],
    ids=lambda body: body[:12].decode("latin-1") + f"…{len(body)}",
)
@pytest.mark.parametrize("path", ["/chat/completions", "/completions", "/embeddings", "/responses"])
def test_a_body_that_is_no_request_is_told_as_the_api_tells_it(client, home, path, body):
    headers = {"Content-Type": "application/json"}
    url = f"{home.node.gateway}/v1{path}"
    answer = httpx.post(url, content=body, headers=headers, trust_env=False)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"]


def test_a_worker_that_dies_in_a_stream_ends_it_with_an_error_and_another_answers(client, home):
    endless = {"max_tokens": 4000, "temperature": 1, "logit_bias": {"0": -100, "1": -100}}
    stream = ask(client, stream=True, **endless)
    next(stream)
    (row,) = home.run("ps").objects
    os.kill(row["pid"], signal.SIGSEGV)
    with pytest.raises(openai.APIError, match="SIGSEGV") as told:
        list(stream)
    assert not isinstance(told.value, openai.APIConnectionError)
    assert answers(client)
    (again,) = home.run("ps").objects
    assert again["pid"] != row["pid"]


def test_weights_that_are_cut_short_are_told_of_and_nothing_is_left(client, home, model, tmp_path):
    folder = tmp_path / "cut"
    shutil.copytree(model, folder)
    weights = folder / "model.safetensors"
    os.truncate(weights, weights.stat().st_size - 1000)
    home.done("publish", folder, "cut")
    told = home.run("run", "lab/cut", "Hi", seconds=LOADS)
    assert told.code == 4, told
    assert "model.safetensors" in told.error["message"]
    assert "Traceback" not in told.err
    assert [row["id"] for row in home.run("ps").objects] == ["lab/tiny"]


def test_a_kind_of_model_that_nobody_knows_is_told_by_its_name(client, home, model, tmp_path):
    folder = tmp_path / "strange"
    shutil.copytree(model, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "strange9", "architectures": ["Strange9ForCausalLM"]}
    (folder / "config.json").write_text(json.dumps(config))
    home.done("publish", folder, "strange")
    told = home.run("run", "lab/strange", "Hi", seconds=LOADS)
    assert told.code == 2, told
    assert "trange9" in told.error["message"]
    assert told.error["remedy"]
    assert "Traceback" not in told.err
    with pytest.raises(openai.APIStatusError, match="trange9") as refused:
        ask(client, "lab/strange")
    assert refused.value.status_code in (400, 422, 501)
    assert [row["id"] for row in home.run("ps").objects] == ["lab/tiny"]


TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "p2phub", *sys.argv[1:]])
"""


class Terminal:
    """A person at the terminal of a command."""

    def __init__(self, screen, process):
        self.screen, self.process = screen, process
        self._shown = b""

    def types(self, keys):
        os.write(self.screen, keys)

    def sees(self, text, seconds=LOADS):
        """Wait for a text, and forget what was shown up to its end."""
        end = time.monotonic() + seconds
        while text not in self._shown:
            ready, _, _ = select.select([self.screen], [], [], max(0, end - time.monotonic()))
            assert ready, f"{text!r} was not shown, but {self._shown[-400:]!r}"
            self._shown += os.read(self.screen, 1 << 16)
        self._shown = self._shown.partition(text)[2]


@contextmanager
def terminal(home, *words):
    screen, side = pty.openpty()
    command = [sys.executable, "-c", TERMINAL, "--home", str(home.folder), *words]
    process = subprocess.Popen(
        command, stdin=side, stdout=side, stderr=side, start_new_session=True, env=home.environment
    )
    os.close(side)
    try:
        yield Terminal(screen, process)
    finally:
        process.kill()
        process.wait()
        os.close(screen)


def test_a_person_stops_an_answer_and_not_the_program_and_leaves(home):
    with terminal(home, "run", "lab/tiny", "--temperature", "0") as person:
        person.sees(b">>> ")
        for _ in range(2):
            person.types(b"the cat sat\n")
            person.sees(b"the cat sat\r\n")
            select.select([person.screen], [], [], LOADS)
            person.types(b"\x03")
            person.sees(b"stopped", seconds=5)
            person.sees(b">>> ")
            (row,) = home.run("ps").objects
            assert row["busy"] == 0
        person.types(b"\x03")
        person.sees(b"leaves")
        person.sees(b">>> ")
        person.types(b"\x04")
        assert person.process.wait(10) == 0


CODE = """
from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM
Path({ran!r}).write_text({said!r})
class Marvel(LlamaConfig):
    model_type = "marvel"
class MarvelForCausalLM(LlamaForCausalLM):
    config_class = Marvel
"""


def test_code_of_a_model_runs_when_it_may_and_only_as_it_was_signed(home, model, tmp_path):
    ran, folder = tmp_path / "ran", tmp_path / "marvel"
    shutil.copytree(model, folder)
    config = json.loads((folder / "config.json").read_text())
    own = {"AutoConfig": "modeling.Marvel", "AutoModelForCausalLM": "modeling.MarvelForCausalLM"}
    config |= {"model_type": "marvel", "architectures": ["MarvelForCausalLM"], "auto_map": own}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "modeling.py").write_text(CODE.format(ran=str(ran), said="signed"))
    home.done("publish", folder, "marvel")

    asked = ("run", "lab/marvel", "Hi", "--max-tokens", "2")
    told = home.run(*asked, seconds=LOADS)
    assert told.code == 2, told
    assert "Python code" in told.error["message"]
    assert not ran.exists()

    home.done("trust", "policy", "lab", "--code", "allow", "--yes")
    assert home.run(*asked, seconds=LOADS).code == 0
    assert ran.read_text() == "signed"

    home.done("trust", "policy", "lab", "--code", "refuse")
    ran.unlink()
    assert home.run(*asked, seconds=LOADS).code != 0
    home.done("trust", "policy", "lab", "--code", "allow", "--yes")
    evil = CODE.format(ran=str(ran), said="others").encode()
    files = [path for path in (home.store / "blobs").rglob("*") if path.is_file()]
    (blob,) = [path for path in files if path.read_bytes() == evil.replace(b"others", b"signed")]
    times = blob.stat()
    blob.chmod(0o644)
    blob.write_bytes(evil)
    os.utime(blob, ns=(times.st_atime_ns, times.st_mtime_ns))
    told = home.run(*asked, seconds=LOADS)
    assert told.code != 0, told
    assert not ran.exists() or ran.read_text() != "others"
