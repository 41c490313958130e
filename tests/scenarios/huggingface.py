"""Hugging Face's own tools as people run them, and a hub that serves one release to them.

`Hub` answers what `snapshot_download` and `hf cache verify` ask, with the etags and trees of
`p2phub.formats.huggingface`, from the files of a folder. `ask` runs a few lines of Python in a
process of its own and returns what they call `said`; `hf` runs the command line.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from p2phub.formats.huggingface import etag_of, tree_entry
from p2phub.formats.manifest import Release

SECONDS = 120


def environment(cache: Path, endpoint: str | None = None) -> dict[str, str]:
    """What the tools see: this cache, and one hub or none at all."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("HF_", "TRANSFORMERS_"))
    }
    offline = {"HF_HUB_OFFLINE": "1"} if endpoint is None else {"HF_ENDPOINT": endpoint}
    return (
        kept
        | offline
        | {
            "HF_HUB_CACHE": str(cache),
            "HF_HOME": str(cache.parent / "hf-home"),
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "NO_PROXY": "127.0.0.1",
            "OMP_NUM_THREADS": "1",
        }
    )


def ask(code: str, cache: Path, endpoint: str | None = None) -> Any:
    """What `said` is at the end of `code`, which runs in a new process. It must end well."""
    whole = f"{code}\nimport json\nprint(json.dumps(said))\n"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", whole],
        env=environment(cache, endpoint),
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def hf(cache: Path, *words: str, endpoint: str | None = None, code: int = 0) -> str:
    """What `hf WORDS` prints; it must end with `code`."""
    command = [sys.executable, "-c", "from huggingface_hub.cli.hf import main; main()", *words]
    done = subprocess.run(
        command,
        env=environment(cache, endpoint),
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == code, (words, done.stdout, done.stderr)
    return done.stdout + done.stderr


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        release, repo = self.server.release, self.server.repo
        api = f"api/{release.kind}s/{repo}"
        prefix = "" if release.kind == "model" else f"{release.kind}s/"
        if path in (api, f"{api}/revision/main"):
            self._json({"id": repo, "sha": release.commit, "siblings": []})
        elif path.startswith(f"{api}/tree/"):
            self._json([tree_entry(file) for file in release.files])
        else:
            _, _, name = path.removeprefix(f"{prefix}{repo}/resolve/").partition("/")
            self._file(name)

    do_HEAD = do_GET

    def _json(self, answer: object) -> None:
        self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _file(self, name: str) -> None:
        release = self.server.release
        found = [file for file in release.files if "/".join(file.path) == name]
        commit = {"X-Repo-Commit": release.commit}
        if not found:
            self._send(404, b"", commit | {"X-Error-Code": "EntryNotFound"})
            return
        data = self.server.folder.joinpath(*found[0].path).read_bytes()
        self._send(200, data, commit | {"ETag": f'"{etag_of(found[0])}"'})

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, release: Release, repo: str, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.release, self.repo, self.folder = release, repo, folder


@contextmanager
def hub(release: Release, folder: Path, repo: str = "lab/x") -> Iterator[str]:
    """The address of a hub with one repo, whose bytes are those of `folder`."""
    server = _Server(release, repo, folder)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def tree(cache: Path) -> dict[str, str]:
    """Every entry of a cache: what a link says, but for that of a blob; what small texts are."""
    found = {}
    for path in sorted(cache.rglob("*")):
        name = str(path.relative_to(cache))
        if path.parent.name == "blobs":
            found[name] = f"{path.stat().st_size} bytes"
        elif path.is_symlink():
            found[name] = f"-> {os.readlink(path)}"
        elif path.is_dir():
            found[name] = "folder"
        elif path.suffix == ".json":
            found[name] = json.dumps(json.loads(path.read_text()), sort_keys=True)
        else:
            found[name] = path.read_text()
    return found
