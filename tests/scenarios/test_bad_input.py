"""Bad input through the real command line: a clear error, the right exit code, nothing lost.

Each error is read as a program does (`--json`); a few also as a person does, who is told the same.
"""

import itertools
import os
import re
import subprocess
import sys
import threading

import httpx
import pytest

from p2phub.testing.files import random_bytes, tiny_model_folder
from tests.scenarios.processes import COMMAND_SECONDS, Home, Json, machines

pytestmark = pytest.mark.slow
MIB = 1 << 20
STRANGER = "b" * 51 + "a"
ESCAPE = "a\x1b[2Jb"


def refused(home: Home, code: int, *words: object) -> Json:
    """The error object that a command ends with; it tells what to do next."""
    error = home.refused(code, *words)
    assert error["remedy"], error
    return error


def for_people(home: Home, *words: object, **options) -> subprocess.CompletedProcess[str]:
    """What a person sees of a command."""
    return subprocess.run(
        [sys.executable, "-m", "p2phub", "--home", str(home.folder), *map(str, words)],
        **{"env": home.environment, "stdin": subprocess.DEVNULL, **options},
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )


@pytest.fixture
def made(tmp_path):
    with machines(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A home whose daemon has published `x`. Whatever is typed there, `x` stays what it is."""
    folder = tmp_path_factory.mktemp("bad-input")
    with machines(folder) as made:
        home = made.publisher("lab")
        with home.running():
            model = tiny_model_folder(folder / "model", seed="x", shard_bytes=3000)
            home.done("publish", model, "x", "--tag", "v1")
            before = listed(home)
            yield home
            assert listed(home) == before
            assert home.done("verify", "lab/x")["verdict"] == "verified"


def listed(home: Home) -> list[Json]:
    pins = home.run("trust", "ls").objects
    return home.run("ls").objects + [[pin["alias"], pin["publisher_id"]] for pin in pins]


# ---------------------------------------------------------------- what people type wrong


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "words", "says"),
    [
        (2, ["publish", "nowhere", "x"], "nowhere"),
        (2, ["publish", "empty", "x"], "empty"),
        (2, ["publish", "file", "x"], "not a folder"),
        (2, ["publish", "model", "a/../b"], "a/../b"),
        (2, ["publish", "model", "../x"], "../x"),
        (2, ["publish", "model", ".."], ".."),
        (2, ["publish", "model", ""], "name"),
        (2, ["publish", "model", ESCAPE], "name"),
        (2, ["publish", "model", "x" * 500], "name"),
        (2, ["publish", "model", "x", "--message", ESCAPE], "message"),
        (2, ["publish", "model", "x", "--tag", "../v2"], "../v2"),
        (2, ["publish", "model", "x", "--tag", "main"], "main"),
        (2, ["publish", "model", "x", "--kind", "toy"], "toy"),
        (3, ["publish", "model", "x", "--sign-with", "other"], "other"),
        (2, ["publish", "model", "x", "--sign-with", "../root"], "../root"),
        (2, ["publish", "steering", "x"], "control character"),
        (2, ["publish", "climbing", "x"], "..\\"),
        (2, ["publish", "windows", "x"], "aux.txt"),
        (2, ["publish", "cased", "x"], "readme.md"),
        (2, ["publish", "pipe", "x"], "pipe"),
        (2, ["publish", "dangling", "x"], "link"),
    ],
)
def test_what_cannot_be_published(lab, tmp_path, monkeypatch, code, words, says):
    monkeypatch.chdir(tmp_path)
    tiny_model_folder(tmp_path / "model", seed="another", shard_bytes=1000)
    for name, file in [
        ("steering", ESCAPE),
        ("climbing", "..\\evil"),
        ("windows", "aux.txt"),
        ("cased", "readme.md"),
    ]:
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text("x")
    (tmp_path / "cased" / "README.md").write_text("y")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "pipe")
    (tmp_path / "dangling").mkdir()
    (tmp_path / "dangling" / "link").symlink_to("nothing")
    assert says.lower() in refused(lab, code, *words)["message"].lower()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "words", "says"),
    [
        (2, ["pull", "lab/../x"], "lab/.."),
        (2, ["pull", "lab/"], "name"),
        (2, ["pull", "@main"], "name"),
        (2, ["pull", "lab/x@"], "revision"),
        (2, ["pull", "p2p://"], "name"),
        (2, ["pull", ESCAPE], "name"),
        (2, ["pull", "LAB/x"], "LAB"),
        (3, ["pull", "stranger/x"], "stranger"),
        (3, ["pull", "lab/nothing"], "nothing"),
        (3, ["pull", "lab/x@v9"], "v9"),
        (3, ["pull", "lab/x@00000000"], "00000000"),
        (6, ["pull", f"{STRANGER}/x"], STRANGER),
        (3, ["info", "stranger/x"], "stranger"),
        (3, ["info", "lab/nothing"], "nothing"),
        (3, ["ls", "lab/x@v9"], "v9"),
        (3, ["verify", "lab/nothing"], "nothing"),
        (3, ["rm", "lab/nothing"], "nothing"),
        (4, ["trust", "add", "lab", STRANGER], STRANGER),
        (2, ["trust", "add", "Bad Alias", STRANGER], "Bad Alias"),
        (2, ["trust", "add", "new", "short"], "short"),
        (3, ["trust", "rm", "nobody"], "nobody"),
        (2, ["connect", "not-an-address"], "not-an-address"),
        (6, ["connect", f"/ip4/127.0.0.1/tcp/1/p2p/12D3KooW{'A' * 44}"], ""),
        (2, ["search", "--limit", "many"], "limit"),
        (2, ["pull"], "REF"),
        (2, ["fetch", "lab/x"], "fetch"),
        (2, ["pull", "lab/x", "--frobnicate"], "--frobnicate"),
    ],
)
def test_what_cannot_be_asked(lab, code, words, says):
    error = refused(lab, code, *words)
    assert says in error["message"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "words"),
    [
        (2, ["publish", ESCAPE, "x"]),
        (2, ["pull", ESCAPE]),
        (3, ["pull", "lab/nothing"]),
        (4, ["trust", "add", "lab", STRANGER]),
        (7, ["node"]),
    ],
)
def test_a_person_is_told_the_same_and_what_to_do_next(lab, code, words):
    outcome = for_people(lab, *words)
    assert outcome.returncode == code, outcome
    error, hint = outcome.stderr.splitlines()[-2:]
    told = refused(lab, code, *words)
    assert error == "error: " + told["message"].replace("\x1b", "\ufffd")
    assert hint == f"hint: {told['remedy']}"
    assert not outcome.stdout


# ---------------------------------------------------------------- files that do not hold still


@pytest.mark.slow
@pytest.mark.parametrize("how", ["written to", "grown", "replaced"])
def test_a_file_that_changes_while_it_is_published(lab, tmp_path, how):
    name = how.replace(" ", "-")
    folder = tiny_model_folder(tmp_path / "restless", seed=name, shard_bytes=1000)
    target, link = folder / "restless.safetensors", tmp_path / "link"
    others = [tmp_path / "one", tmp_path / "other"]
    for path in (target, *others):
        path.write_bytes(random_bytes(name, 16 * MIB))
    still, turns = threading.Event(), itertools.cycle(others)

    def change() -> None:
        while not still.wait(0.001):
            if how == "replaced":
                link.hardlink_to(next(turns))
                link.replace(target)
                continue
            with target.open("r+b") as file:
                file.seek(0, os.SEEK_END if how == "grown" else os.SEEK_SET)
                file.write(b"changed")

    changing = threading.Thread(target=change)
    changing.start()
    try:
        error = lab.refused(1, "publish", folder, name)
    finally:
        still.set()
        changing.join()
    assert error["code"] == "file_changed"
    assert "restless.safetensors" in error["message"]
    assert error["remedy"]
    lab.refused(3, "info", f"lab/{name}")
    assert lab.done("publish", folder, name)["files"] == 4
    lab.done("rm", f"lab/{name}")


# ---------------------------------------------------------------- settings


MISSPELT = "[network]\nmdsn = true"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[network\nmdns = true", "TOML"),
        (MISSPELT, '"mdns"'),
        ("[netwrok]\nmdns = true", "[network]"),
        ("[network]\nmdns = 3", "mdns must be"),
        ('[network]\nlisten = "/ip4/127.0.0.1/tcp/0"', "listen must be"),
        ('[store]\nquota = "many"', "quota must be"),
        ('[gateway]\nlisten = "127.0.0.1"', "listen must be"),
        (b"[store]\n\xff\xfe = 1", "UTF-8"),
    ],
)
def test_a_broken_node_toml(made, text, says):
    check_broken(made.home("h"), text, says, "ls")


@pytest.mark.parametrize("words", [["node"], ["pull", "lab/x"], ["init"]], ids=" ".join)
def test_a_broken_node_toml_stops_every_command(made, words):
    check_broken(made.home("h"), MISSPELT, '"mdns"', *words)


def check_broken(home: Home, text: str | bytes, says: str, *words: str) -> None:
    home.folder.mkdir()
    (home.folder / "node.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    error = refused(home, 2, *words)
    assert error["code"] == "config"
    assert says in error["message"]
    assert "node.toml" in error["message"]
    assert [path.name for path in home.folder.iterdir()] == ["node.toml"]


def test_a_setting_in_the_environment_that_is_none(made):
    error = refused(made.home("h", NETWORK_MDSN="true"), 2, "ls")
    assert "P2PHUB_NETWORK_MDSN" in error["message"]
    assert "mdns" in error["message"].lower()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("GATEWAY_LISTEN", "127.0.0.1:{}"),
        ("NETWORK_LISTEN", "/ip4/127.0.0.1/tcp/{}"),
        ("NETWORK_DATA_LISTEN", "127.0.0.1:{}"),
    ],
)
def test_a_port_in_use_is_named(lab, made, setting, value):
    gateway = (lab.folder / "run" / "gateway").read_text().strip()
    port = int(gateway.rpartition(":")[2])
    error = refused(made.home("h", **{setting: value.format(port)}), 1, "node")
    assert error["code"] == "port_in_use"
    assert str(port) in error["message"]


def test_a_second_daemon_names_the_first(lab):
    error = refused(lab, 7, "node")
    assert error["code"] == "store_locked"
    assert re.search(rf"\b{lab.holder()}\b", error["message"])


# ---------------------------------------------------------------- no home, no rights


def test_a_user_without_a_home(made):
    """As in a container: a user id that no password file knows, and no HOME."""
    script = (
        "import os, sys; from p2phub.cli.main import main;"
        " os.environ.pop('HOME', None); os.getuid = lambda: 54321;"
        " sys.exit(main(['--json', *sys.argv[1:]]))"
    )
    home = made.home("h")
    for words, code in [(["ls"], 2), (["init"], 2), (["--home", "/nowhere/h", "ls"], 0)]:
        outcome = subprocess.run(
            [sys.executable, "-c", script, *words],
            env=home.environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        assert outcome.returncode == code, outcome
        assert "Traceback" not in outcome.stderr
        assert ("--home" in outcome.stdout) == (code == 2)


@pytest.mark.parametrize("home", ["file", "file/below"])
def test_a_home_that_is_no_folder(made, tmp_path, home):
    (tmp_path / "file").write_text("x")
    where = tmp_path / home
    for words in (["ls"], ["init"], ["pull", f"{STRANGER}/x"], ["node"]):
        error = refused(made.home("h"), 2, *words, "--home", where)
        assert str(where) in error["message"]
        assert "--home" in error["remedy"]
    assert (tmp_path / "file").read_text() == "x"


# ---------------------------------------------------------------- the gateway's door


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (401, {}, "{}"),
        (401, {"Authorization": "Bearer wrong"}, "{}"),
        (401, {"Authorization": "Basic eDp5"}, "{}"),
        (403, {"Host": "evil.example"}, "{}"),
        (403, {"Origin": "http://evil.example"}, "{}"),
        (400, {"Authorization": "Bearer {token}"}, "no json"),
        (400, {"Authorization": "Bearer {token}"}, '{"reference": 7}'),
        (413, {"Authorization": "Bearer {token}"}, '{"reference": "' + "x" * (2 * MIB) + '"}'),
    ],
)
def test_the_gateway_refuses_strangers_and_nonsense(lab, status, headers, body):
    url = (lab.folder / "run" / "gateway").read_text().strip()
    token = (lab.folder / "run" / "token").read_text().strip()
    shown = {name: text.replace("{token}", token) for name, text in headers.items()}
    answer = httpx.post(f"{url}/control/v1/pull", headers=shown, content=body, timeout=10)
    assert answer.status_code == status
    assert set(answer.json()["error"]) >= {"code", "exit", "message", "remedy"}
    assert token not in answer.text


def test_a_command_with_the_wrong_token_is_refused(lab):
    path = lab.folder / "run" / "token"
    token = path.read_text()
    path.write_text("0" * len(token.strip()))
    try:
        error = refused(lab, 7, "pull", "lab/x")
    finally:
        path.write_text(token)
    assert "token" in error["message"]
