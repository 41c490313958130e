"""A node that publishes tells no secret: not in its log, its answers, its store, nor to anybody."""

import json
import os
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from p2phub.gateway.operations import OPERATIONS
from p2phub.store.keyring import Keyring
from p2phub.store.layout import Layout
from p2phub.testing.leaks import Leaks
from p2phub.trust.secrets import Master
from tests.scenarios.processes import machines

pytestmark = pytest.mark.slow
PASSPHRASE = "vierzehn Boxkämpfer jagen"
BODIES = ("", "{}", "[]", "null", '{"reference": 7}', '{"reference": "lab/model"}', "x" * 99)
MAX_ANSWER = 64 << 10
"""Bytes of an answer that are looked at: some never end."""


@pytest.fixture
def home(tmp_path):
    """A publisher whose root is kept here, and its processes."""
    passphrase = tmp_path / "passphrase"
    passphrase.touch(mode=0o600)
    passphrase.write_text(PASSPHRASE)
    with machines(tmp_path) as made:
        home = made.home("home")
        home.done("init", "--name", "lab", "--passphrase-file", passphrase)
        yield home


def secrets_of(home):
    phrase = (home.folder / "p2phub-backup.json.phrase").read_text()
    master, keyring = Master.from_phrase(phrase), Keyring(Layout.of(home.folder))
    found = {"master": master.secret, "backup key": master.backup_key()}
    found |= {f"root {v}": master.root_key(v).seed for v in (1, 2, 3)}
    found |= {name: keyring.load(name) for name in ("node", "oms", "release")}
    return Leaks(found | {"passphrase": PASSPHRASE.encode()}, {"phrase": phrase})


def answers(url, token):
    """What the gateway says to everything, with the token and without."""
    paths = [each.path for each in OPERATIONS] + ["/", "/keys/release.key", "/../keys/release.key"]
    methods = {each.path: each.method for each in OPERATIONS}
    with httpx.Client(timeout=2) as client:
        for path in paths:
            for headers in ({}, {"Authorization": f"Bearer {token}"}):
                for body in BODIES:
                    yield _answer(client, methods.get(path, "GET"), url + path, headers, body)


def _answer(client, method, url, headers, body):
    told = b""
    try:
        with client.stream(method, url, headers=headers, content=body) as answer:
            told += json.dumps(dict(answer.headers)).encode()
            for data in answer.iter_raw():
                told += data
                if len(told) > MAX_ANSWER:
                    break
    except httpx.TransportError:
        pass
    return told


def kept(home):
    """Every file of a home but the keys and what its owner is to move away."""
    own = {home.folder / "keys", *home.folder.glob("p2phub-backup*")}
    for path in home.folder.rglob("*"):
        if path.is_file() and not own & {path, *path.parents}:
            yield path, path.read_bytes()


@contextmanager
def talkative(home):
    """Its daemon, which logs all it can."""
    with home.folder.with_suffix(".log").open("ab") as log:
        process = home.start("node", "--verbose", stderr=log)
    assert b'"ready"' in process.stdout.readline()
    yield
    process.terminate()
    assert process.wait(60) == 0, home.log


def test_a_node_that_publishes_with_good_and_bad_keys(home, tmp_path):
    leaks, told = secrets_of(home), []
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    release = Keyring(Layout.of(home.folder)).path("release")
    with talkative(home):
        publish = ["publish", tmp_path / "model", "model"]
        told.append(home.run(*publish))
        told.append(home.run("--verbose", *publish, "--sign-with", "root"))
        told.append(home.run(*publish, "--sign-with", "nobody"))
        told.append(home.run("key", "backup"))
        told.append(home.run("key", "ls"))
        told.append(home.run("key", "proposals"))
        told.append(home.run("--verbose", "key", "join", "a" * 52))
        told.append(home.run("id"))
        whole = release.read_bytes()
        for data, mode in ((whole[:-3], 0o600), (whole, 0o644)):
            release.write_bytes(data)
            release.chmod(mode)
            (tmp_path / "model" / "config.json").write_text(f'{{"of": {mode + len(data)}}}')
            told.append(home.run("--verbose", *publish))
        release.chmod(0o600)
        url = (home.folder / "run" / "gateway").read_text().strip()
        token = (home.folder / "run" / "token").read_text().strip()
        said = list(answers(url, token))
    assert {each.code for each in told} >= {0, 7}
    assert len(said) > 100
    assert home.log
    for text in (*map(str, told), *said, home.log):
        assert leaks.found(text) == [], text[:2000]
    for path, data in kept(home):
        assert leaks.found(data) == [], path


def test_the_environment_of_a_node_holds_no_secret(home):
    """Others cannot read it, but child processes inherit it and crash reports carry it."""
    leaks = secrets_of(home)
    with home.running() as daemon:
        environ = Path(f"/proc/{daemon.process.pid}/environ").read_bytes()
        words = Path(f"/proc/{daemon.process.pid}/cmdline").read_bytes()
    assert os.fsencode(str(home.folder)) in words
    assert leaks.found(environ + words) == []
