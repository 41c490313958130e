"""A rival: huggingface_hub, against a small hub on loopback that serves one folder by sendfile.

    python scripts/benchmarks/huggingface.py serve FOLDER
    python scripts/benchmarks/huggingface.py fetch PORT FOLDER

The library does not compare what it got with a digest; `fetch` does, by the SHA-256 that the hub
gives as ETag, as somebody must who wants to know what came. Not encrypted.
"""

import functools
import hashlib
import json
import os
import re
import sys
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from rivals import make_durable, tell

REPO, COMMIT = "lab/model", "c" * 40


class Answer(BaseHTTPRequestHandler):
    """One request. What the client needs of a hub, and nothing else; every file is an LFS file."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a rival must not wait 40 ms for an answer in two writes

    def __init__(self, folder: Path, digests: Mapping[str, str], *rest: object) -> None:
        self._folder, self._digests = folder, digests
        super().__init__(*rest)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def log_message(self, *words: object) -> None:
        """Nothing is logged."""

    def _answer(self, *, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        if path.startswith(f"/{REPO}/resolve/"):
            self._file(path.removeprefix(f"/{REPO}/resolve/").partition("/")[2], with_body)
        elif path.startswith(f"/api/models/{REPO}/tree/"):
            self._json(200, [self._entry(name) for name in self._digests])
        elif path.startswith(f"/api/models/{REPO}"):
            siblings = [{"rfilename": name} for name in self._digests]
            self._json(200, {"id": REPO, "sha": COMMIT, "siblings": siblings})
        else:
            self._json(404, {"error": "there is nothing"})

    def _entry(self, name: str) -> dict[str, object]:
        size, digest = (self._folder / name).stat().st_size, self._digests[name]
        lfs = {"oid": digest, "size": size, "pointerSize": 134}
        return {"type": "file", "path": name, "size": size, "oid": digest[:40], "lfs": lfs}

    def _json(self, status: int, value: object) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _file(self, name: str, with_body: bool) -> None:
        if name not in self._digests:
            self._json(404, {"error": "there is no such file"})
            return
        with (self._folder / name).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            first = int(asked[1]) if asked else 0
            stop = min(int(asked[2]) + 1, size) if asked and asked[2] else size
            self.send_response(206 if asked else 200)
            if asked:
                self.send_header("Content-Range", f"bytes {first}-{stop - 1}/{size}")
            self.send_header("Content-Length", str(stop - first))
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("ETag", f'"{self._digests[name]}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if with_body and stop > first:
                self.wfile.flush()
                self.connection.sendfile(file, first, stop - first)


class Hub(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def serve(folder: Path) -> None:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    digests = {path.relative_to(folder).as_posix(): sha256_of(path) for path in paths}
    hub = Hub(("127.0.0.1", 0), functools.partial(Answer, folder, digests))
    print(hub.server_address[1], flush=True)
    hub.serve_forever()


def fetch(port: str, folder: Path) -> None:
    os.environ |= {
        "HF_HUB_OFFLINE": "0",  # the server is here
        "HF_ENDPOINT": f"http://127.0.0.1:{port}",
        "HF_HOME": str(folder),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "NO_PROXY": "127.0.0.1",
    }
    from huggingface_hub import snapshot_download  # it reads the environment when it is imported

    tell(lambda: bring(snapshot_download, folder))


def bring(snapshot_download, folder: Path) -> None:
    snapshot_download(REPO, cache_dir=folder / "hub")
    for blob in sorted((folder / "hub").rglob("blobs/*")):
        if sha256_of(blob) != blob.name:
            raise AssertionError(f"{blob.name} has other bytes")
    make_durable(folder)


def main() -> None:
    match sys.argv[1:]:
        case "serve", folder:
            serve(Path(folder))
        case "fetch", port, folder:
            fetch(port, Path(folder))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
