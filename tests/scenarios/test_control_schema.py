"""Whatever fits the OpenAPI document of the control API, and whatever just does not, is no 5xx.

schemathesis reads the document of a running daemon, makes calls up from it, right and wrong ones,
and sends them: examples, limits of every field, what its fuzzer finds. `schema_hooks` keeps
them on this machine and below one folder. Seeds are fixed, so that a run can be repeated.
"""

import importlib.util
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from p2phub.gateway.control import MAX_STREAMS
from p2phub.gateway.openapi import OTHERS
from p2phub.gateway.operations import OPERATIONS
from p2phub.testing.files import tiny_model_folder
from tests.scenarios.nodes import contents
from tests.scenarios.processes import machines

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("schemathesis") is None, reason="schemathesis is not here"
    ),
]
HOOKS = Path(__file__).with_name("schema_hooks.py")
CHECKS = (
    "no_fault_of_the_node",
    "lines_fit",
    "content_type_conformance",
    "response_schema_conformance",
    "status_code_conformance",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
)
ENDLESS = "watch"  # answers as long as its client listens
SECONDS = 280


@contextmanager
def daemon(folder):
    """A daemon with one published model and one that waits for its signature, and what to ask."""
    scratch = folder / "scratch"
    source = tiny_model_folder(scratch / "model", shards=1, shard_bytes=70_000)
    (source / "config.json").write_text("{}")  # no model that anything can load
    with machines(folder) as made:
        home = made.publisher()
        done = home.done("publish", source, "tiny", "--tag", "v1")
        home.done("publish", source, "spare")
        with home.running() as running:
            own = running.publisher_id
            known = {
                "reference": ["tiny", "tiny@v1", f"{own}/tiny@{done['commit']}", "lab/none"],
                "commit": [done["commit"], done["commit"][:8]],
                "path": ["config.json", "model.safetensors", "README.md", "../config.json"],
                "ranges": [[[0, 8]], [[0, 0]], [[5, 2]], [[0, 10**12]], [[0, 8], [4, 16]], [[1]]],
                "max_size": [0, 2**53, 2**63, 10**18, 10**19 - 1],
                "keep_alive": [-1, 2**53, 10**400],
                "address": [running.address, "/ip4/127.0.0.1/tcp/1/p2p/" + running.peer_id],
                "alias": ["lab", "other"],
                "publisher": ["lab", own],
                "publisher_id": [own],
                "folder": [str(source), str(scratch / "none"), str(source / "config.json")],
                "cache": [str(scratch), str(source / "config.json")],
                "file": [str(source / "config.json"), str(scratch)],
                "to": [str(scratch / "out"), str(source / "config.json"), str(source)],
            }
            token = (home.folder / "run" / "token").read_text().strip()
            yield Asked(running, scratch, known, token)


class Asked:
    """A daemon that schemathesis is let loose on."""

    def __init__(self, running, scratch, known, token):
        self.running, self.scratch, self.known, self.token = running, scratch, known, token

    def by_schemathesis(self, checks, *options):
        """Its report; `options` are those of its command."""
        report = self.scratch.parent / "report.json"
        program = [sys.executable, "-W", "ignore", "-m", "schemathesis.cli", "run"]
        program += [f"{self.running.gateway}/control/openapi.json", "--no-color"]
        program += ["--seed", "11", "--generation-deterministic"]
        program += ["--exclude-operation-id", ENDLESS, "--request-timeout", "20"]
        program += ["--continue-on-failure", "--report", "json", "--report-json-path", str(report)]
        ended = subprocess.run(
            [*program, "--checks", ",".join(checks), *options],
            cwd=self.scratch.parent,
            env=os.environ
            | {
                "SCHEMATHESIS_HOOKS": HOOKS.stem,
                "PYTHONPATH": os.pathsep.join([str(HOOKS.parent), *sys.path]),
                "SCHEMA_SCRATCH": str(self.scratch),
                "SCHEMA_KNOWN": json.dumps(self.known),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=SECONDS,
            check=False,
        )
        text = ended.stdout.decode()
        assert ended.returncode == 0, f"{text[-8000:]}\n{self.running.home.log[-4000:]}"
        return json.loads(report.read_text())

    def state(self):
        """What a stranger must not change."""
        home = self.running.home
        return home.run("ls").objects, home.run("trust", "ls").objects, contents(self.scratch)

    def watch(self, body, token="none"):
        """What it answers to a call that may never end."""
        url = f"{self.running.gateway}/control/v1/{ENDLESS}"
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.stream("POST", url, content=body, headers=headers, trust_env=False) as answer:
            return answer.status_code


def test_whatever_is_asked_of_the_control_api_with_the_token_is_no_5xx(tmp_path):
    with daemon(tmp_path) as asked:
        token = f"Authorization: Bearer {asked.token}"
        report = asked.by_schemathesis(CHECKS, "--header", token, "--max-examples", "25")
        assert report["operations"]["tested"] == len(OPERATIONS) + len(OTHERS) - 2, report
        for each in ("GET /control/v1/info", "POST /control/v1/read", "POST /control/v1/publish"):
            rates = report["valid_rates"][each].values()  # some calls got to the thing itself
            assert sum(rate["accepted"] for rate in rates), each
        assert report["test_cases"]["generated"] > 1000


def test_whatever_is_asked_of_the_control_api_without_the_token_changes_nothing(tmp_path):
    with daemon(tmp_path) as asked:
        before = asked.state()
        report = asked.by_schemathesis(["locked"], "--mode", "positive", "--max-examples", "5")
        assert report["test_cases"]["generated"] > 100
        assert asked.state() == before


def test_who_watches_with_nonsense_is_refused_and_who_goes_leaves_nothing_behind(tmp_path):
    with daemon(tmp_path) as asked:
        assert asked.watch(b"{}") == 401
        for body in (b"[]", b"{", b'{"a": 1}', b"\xff"):
            assert asked.watch(body, asked.token) == 400, body
        for _ in range(MAX_STREAMS + 1):
            assert asked.watch(b"{}", asked.token) == 200
