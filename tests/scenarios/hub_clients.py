"""Real clients of Hugging Face's hub, as processes of their own, against real nodes.

`HF_ENDPOINT` is read when `huggingface_hub` is imported, so every check is a small program that a
fresh process runs. It prints one line of JSON. Whoever runs it shows a token of another hub, as
people do.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.processes import Daemon, Home

OTHER = "2.0.0"
"""The oldest huggingface_hub that is tried, beside the one that is installed."""
SECONDS = 120


@dataclass(frozen=True)
class Scene:
    """Somebody who publishes, and somebody else whose gateway the clients are pointed at."""

    folder: Path
    lab: Home
    lab_daemon: Daemon
    reader: Home
    daemon: Daemon
    sources: dict[str, Path] = field(default_factory=dict)
    """What was published, by repo."""


@dataclass(frozen=True)
class Client:
    """A client with a home of its own."""

    scene: Scene
    home: Path
    packages: Path | None = None
    """A folder with another version of huggingface_hub."""
    token: str = "hf_of_another_hub"

    @property
    def environment(self) -> dict[str, str]:
        told = os.environ | {
            "HF_ENDPOINT": self.scene.daemon.gateway,
            "HF_HOME": str(self.home),
            "HF_TOKEN": self.token,
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "OMP_NUM_THREADS": "1",
            "NO_PROXY": "127.0.0.1",
            "PYTHONWARNINGS": "ignore",
        }
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_CACHE"):
            told.pop(name, None)
        return told if self.packages is None else told | {"PYTHONPATH": str(self.packages)}

    def start(self, program: str, *words: object, **more: str) -> subprocess.Popen[str]:
        """Begin a program of Python; `say` in it prints what it is to tell."""
        text = "import json, sys\ndef say(told): print(json.dumps(told))\n" + program
        return subprocess.Popen(
            [sys.executable, "-c", text, *map(str, words)],
            env=self.environment | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def told(self, program: str, *words: object, **more: str) -> Any:
        """What a program told; it must end well."""
        return heard(self.start(program, *words, **more))

    def hf(self, *words: object, code: int = 0, **more: str) -> str:
        """`hf WORDS`: what it printed."""
        program = "import sys\nfrom huggingface_hub.cli.hf import main\nsys.argv[0] = 'hf'\nmain()"
        done = subprocess.run(
            [sys.executable, "-c", program, *map(str, words)],
            env=self.environment | more,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr


def heard(process: subprocess.Popen[str]) -> Any:
    """What a program that was started told in its last line."""
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


def other_version() -> Path:
    """The folder with the other version; skips the test without it."""
    folder = Path(sys.prefix) / "clients" / f"huggingface_hub-{OTHER}"
    if not folder.is_dir():
        pytest.skip(
            f"huggingface_hub {OTHER} is not in {folder}: `scripts/test --slow` puts it there"
        )
    return folder
