"""The cache of Hugging Face's tools is looked for where they look for it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from p2phub.client import calls
from p2phub.client.huggingface import cache_folder

PLACES: list[tuple[dict[str, str], str]] = [
    ({}, "/home/me/.cache/huggingface/hub"),
    ({"XDG_CACHE_HOME": "/x"}, "/x/huggingface/hub"),
    ({"XDG_CACHE_HOME": "/x", "HF_HOME": "~/hf"}, "/home/me/hf/hub"),
    ({"HF_HOME": "/h", "HUGGINGFACE_HUB_CACHE": "/old"}, "/old"),
    ({"HF_HOME": "/h", "HF_HUB_CACHE": "${PLACE}/hub", "PLACE": "/p"}, "/p/hub"),
    ({"HF_HUB_CACHE": "$UNSET/hub"}, "$UNSET/hub"),
    ({"HF_HUB_CACHE": "~other/hub"}, "~other/hub"),
    ({"HF_HUB_CACHE": "relative"}, "relative"),
    ({"HF_HUB_CACHE": "~"}, "/home/me"),
]


@pytest.mark.parametrize(("environment", "folder"), PLACES)
def test_the_cache_is_where_the_variables_say(environment, folder):
    assert cache_folder(environment, "/home/me") == folder


@pytest.mark.slow
@pytest.mark.parametrize(("environment", "folder"), PLACES)
def test_the_real_client_looks_there(environment, folder):
    pytest.importorskip("huggingface_hub")
    said = subprocess.run(
        [sys.executable, "-c", "import huggingface_hub.constants as c; print(c.HF_HUB_CACHE)"],
        env={"HOME": "/home/me", "PATH": os.environ["PATH"], **environment},
        check=True,
        capture_output=True,
        text=True,
    )
    assert said.stdout.strip() == folder


def test_a_node_is_told_which_cache_is_meant(monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", "/caches/hub")
    assert calls.pull("lab/x", layout="hf").body == {
        "reference": "lab/x",
        "to": "/caches/hub",
        "layout": "hf",
    }
    other = calls.pull("lab/x", layout="hf", to=Path("/other")).body
    assert other["to"] == "/other"
    assert calls.pull("lab/x").body == {"reference": "lab/x"}
