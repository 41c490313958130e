"""Commands that need no daemon: `init`, and looking at a store that no node runs on."""

import io
import json
import re
import stat
from argparse import Namespace
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from p2phub.cli.commands import status
from p2phub.cli.output import Output
from p2phub.cli.session import Session
from p2phub.results import RepoRow
from p2phub.trust.age import read_recipient

ID = "b" * 51 + "a"


def test_init_makes_an_identity_and_tells_how_to_keep_it(cli, home, tmp_path):
    backup = tmp_path / "backup.json"
    result = cli("init", "--name", "me", "--backup", backup)
    assert result.code == 0
    assert re.search(r"^publisher id +[a-z2-7]{52}$", result.out, re.M)
    assert re.search(r"^peer id +12D3KooW", result.out, re.M)
    assert str(backup) in result.err
    assert "Move these two files away" in result.err
    assert str(backup) + ".phrase" in result.err
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert (home / "node.toml").exists()


def test_init_twice_changes_nothing_and_says_so(cli):
    first = cli("--json", "init", "--name", "me").objects[0]
    second = cli("--json", "init").objects[0]
    assert second["publisher_id"] == first["publisher_id"]
    assert (first["created"], second["created"]) == (True, False)
    assert "nothing was changed" in cli("init").err


def test_id_tells_the_same_as_init(cli):
    made = cli("--json", "init", "--name", "me").objects[0]
    told = cli("--json", "id").objects[0]
    assert read_recipient(told.pop("recipient"))
    assert told == {
        "peer_id": made["peer_id"],
        "publisher_id": made["publisher_id"],
        "alias": "me",
        "addresses": [],
        "name": None,
        "domain": None,
    }


def test_a_machine_without_identity_points_to_init(cli, home):
    result = cli("id")
    assert result.code == 0
    assert "p2phub init" in result.err
    assert not home.exists()


@pytest.mark.parametrize(
    "words", [["ls"], ["search"], ["verify"], ["status"], ["peers"], ["trust", "ls"]], ids=" ".join
)
def test_an_empty_machine_has_nothing_and_gets_nothing(cli, home, words):
    assert cli(*words).code == 0
    assert cli("--json", *words).code == 0
    assert not home.exists()


def test_status_at_rest_has_every_key(cli):
    (told,) = cli("--json", "status").objects
    promised = {"peers", "repos", "bytes", "transfers", "up_rate", "down_rate", "announce_lag"}
    assert promised <= set(told)
    assert told["running"] is False


def test_two_releases_of_a_repo_are_one_repo_in_status():
    rows = [RepoRow(f"lab/x@{ref}", ref, "model", "verified", "complete", 1, 5, 5) for ref in "ab"]

    class Resting(Session):
        @contextmanager
        def offline(self):
            yield SimpleNamespace(ls=lambda reference: rows)

    out = io.StringIO()
    resting = Resting(Path("/nowhere"), Output(json=True, out=out))
    assert status.run(Namespace(), resting) == 0
    assert (json.loads(out.getvalue())["repos"], json.loads(out.getvalue())["bytes"]) == (1, 10)


def test_trust_is_kept_between_commands(cli):
    assert cli("trust", "add", "lab", ID).code == 0
    (row,) = cli("--json", "trust", "ls").objects
    assert (row["alias"], row["publisher_id"]) == ("lab", ID)
    other = "c" + ID[1:]
    refused = cli("trust", "add", "lab", other)
    assert refused.code == 4
    assert ID in refused.err
    assert other in refused.err
    assert cli("trust", "rm", "lab", "--yes").code == 0
    assert cli("trust", "ls").out == ""


@pytest.mark.parametrize("verb", ["info", "ls", "verify"])
def test_an_unknown_alias_points_to_trust_add(cli, verb):
    result = cli(verb, "lab/minilm")
    assert result.code == 3
    assert "p2phub trust add lab" in result.err


def test_a_home_that_cannot_be_made_is_told(cli, home):
    home.write_text("a file where the home folder should be")
    for words in (["node", "--detach"], ["init"], ["pull", "lab/minilm"]):
        result = cli(*words)
        assert result.code in (1, 2, 7), words
        assert str(home) in result.err
        assert "Traceback" not in result.err


@pytest.mark.parametrize("text", ["[gateway\n", "[gateway]\nlisten = 5\n", b"\xff"])
def test_a_broken_node_toml_ends_with_2(cli, home, text):
    home.mkdir()
    (home / "node.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    for words in (["ls"], ["init"], ["node"]):
        result = cli("--json", *words)
        assert result.code == 2
        assert result.objects[0]["error"]["code"] == "config"
