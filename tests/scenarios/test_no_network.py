"""Sticks where there is no network at all: the same verdicts, in a namespace without an interface.

Nodes in the process of the test have not even loopback there. Commands talk to their node over
loopback, so those get that, and nothing else.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scenarios.test_policy_table import rows

pytestmark = pytest.mark.slow

ALONE = ("unshare", "--user", "--map-root-user", "--net")
LOOPBACK = (*ALONE, "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider")
HERE = Path(__file__).parent
NOBODY_TO_REACH = """
import socket
server = socket.create_server(("127.0.0.1", 0))
try:
    socket.create_connection(server.getsockname(), 1)
except OSError as error:
    print(error.strerror or "timed out")
"""


@pytest.fixture(scope="module", autouse=True)
def allowed():
    for tool in ("unshare", "ip"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    tried = subprocess.run([*LOOPBACK, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no network namespace of our own: {tried.stderr.strip()}")


def passed(where: tuple[str, ...], file: str, which: str) -> int:
    """How many tests of a file pass there; none may fail or be skipped."""
    done = subprocess.run(
        [*where, *PYTEST, HERE / file, "-k", which],
        capture_output=True,
        text=True,
        check=False,
        cwd=HERE.parents[1],
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
    *_, last = done.stdout.splitlines()
    assert "skipped" not in last
    return int(re.search(r"(\d+) passed", last)[1])


def test_nothing_can_be_reached_there_and_not_even_the_machine_itself():
    probe = [*ALONE, sys.executable, "-c", NOBODY_TO_REACH]
    assert subprocess.run(probe, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    ("where", "path"),
    [(ALONE, "import from a bundle"), (LOOPBACK, "the process p2phub bundle import")],
    ids=["nodes", "commands"],
)
def test_every_verdict_on_a_bundle_is_that_of_the_table(where, path):
    wanted = [row for row in rows() if row.values[0].name.startswith(path)]
    assert len(wanted) >= 10
    chosen = " and ".join(["same_verdict", *path.split()])
    assert passed(where, "test_policy_table.py", chosen) == len(wanted)


def test_what_goes_wrong_with_sticks_goes_no_other_way():
    assert passed(ALONE, "test_bundles.py", "") > 20
