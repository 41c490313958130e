"""All that a site behind an air gap needs goes on without a network, in a namespace of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import p2phub
from tests.scenarios.test_no_network import LOOPBACK, allowed, passed

pytestmark = pytest.mark.slow
__all__ = ["allowed"]  # a fixture: skips where there are no namespaces

ROOT = Path(__file__).parents[2]


@pytest.mark.budget(300)
def test_search_pulls_verify_and_models_work_behind_the_gap():
    assert passed(LOOPBACK, "far_side.py", "isolated_lan") == 1


def checkout(folder: Path, version: str) -> Path:
    """A copy of what the wheel is built of, as another version."""
    for name in ("p2phub", "scripts"):
        shutil.copytree(ROOT / name, folder / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    for name in ("pyproject.toml", "p2phub/__init__.py"):
        text = (folder / name).read_text()
        changed = text.replace(f'"{p2phub.__version__}"', f'"{version}"', 1)
        assert changed != text
        (folder / name).write_text(changed)
    return folder


def wheelhouse(source: Path, out: Path) -> None:
    """scripts/wheelhouse; skips where no wheels can be had."""
    variables = os.environ | {"P2PHUB_PYTHON": sys.executable}
    variables.pop("PYTHONPATH", None)
    command = [source / "scripts/wheelhouse", out]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if done.returncode and "could not gather" in done.stderr:
        pytest.skip(f"no wheels to be had: {done.stderr.strip()[-300:]}")
    assert done.returncode == 0, done.stderr


@pytest.mark.budget(600)
def test_p2phub_itself_is_updated_behind_the_gap(tmp_path, monkeypatch):
    wheelhouse(ROOT, tmp_path / "older")
    wheelhouse(checkout(tmp_path / "checkout", "9.0"), tmp_path / "newer")
    monkeypatch.setenv("FAR_SIDE_WHEELS", str(tmp_path))
    assert passed(LOOPBACK, "far_side.py", "is_updated") == 1
