"""A hub of other people on this machine: it answers like Hugging Face's, well or badly.

`ForeignHub` has the repos that are `put` into it. Files of `LFS` endings are named by their SHA-256
and lie on another server, to which it redirects, as the Hub does; others by git's SHA-1. What was
asked for, with which token, stands in `asked`; a `fault` takes the place of the next answers.

>>> with ForeignHub() as hub:
...     hub.put("org/x", {"README.md": b"# x"})[:3]
'6ee'
"""

import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from p2phub.formats.digest import git_blob_sha1
from p2phub.testing.web import WebServer

LFS = (".safetensors", ".bin", ".gguf", ".parquet")
_API = {"models": "", "datasets": "datasets/", "spaces": "spaces/"}


@dataclass(frozen=True, slots=True)
class AskedHub:
    """One request. `token`: what it showed."""

    method: str
    path: str
    token: str


@dataclass(slots=True)
class _Repo:
    """`token`: what its files take. `hidden`: so does everything that is known of it."""

    token: str = ""
    hidden: bool = False
    commits: dict[str, Mapping[str, bytes]] = field(default_factory=dict)
    main: str = ""


class ForeignHub:
    """Runs in threads for as long as its block lasts."""

    def __init__(self) -> None:
        self.asked: list[AskedHub] = []
        self.fault: Callable[[_Exchange], bool] = lambda exchange: False
        """Answers a request itself, if it gives True."""
        self.repos: dict[str, _Repo] = {}
        self.page = 1000
        """Files on a page of a tree."""
        self.cdn = WebServer({})
        """The server that has the large files."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Exchange)
        self._server.daemon_threads = True
        self._server.hub = self  # type: ignore[attr-defined]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def put(
        self, repo: str, files: Mapping[str, bytes], *, token: str = "", hidden: bool = False
    ) -> str:
        """A new commit of a repo (`datasets/org/x` for a dataset), which `main` names from now on:
        its id.
        """
        known = self.repos.setdefault(repo, _Repo(token, hidden))
        text = repr((repo, sorted(files.items()), len(known.commits)))
        known.main = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        known.commits[known.main] = dict(files)
        self.cdn.files = {**self.cdn.files} | {f"/{_sha256(each)}": each for each in files.values()}
        return known.main

    def count(self, method: str, part: str) -> int:
        """How many requests of a method had this in their path."""
        return sum(each.method == method and part in each.path for each in self.asked)

    def __enter__(self) -> Self:
        self.cdn.__enter__()
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        self.cdn.__exit__(None, None, None)

    def stop(self) -> None:
        """Be gone: connections are refused from now on."""
        self._server.shutdown()
        self._server.server_close()


def status(code: int, **headers: str) -> Callable[["_Exchange"], bool]:
    """A fault: every answer has this status."""

    def answer(exchange: "_Exchange") -> bool:
        exchange.say(code, {"error": "no"}, {n.replace("_", "-"): v for n, v in headers.items()})
        return True

    return answer


class _Exchange(BaseHTTPRequestHandler):
    """One request to a `ForeignHub`."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        """Tests read `asked` instead."""

    @property
    def hub(self) -> ForeignHub:
        server: Any = self.server
        hub: ForeignHub = server.hub
        return hub

    def say(self, code: int, body: object = None, headers: Mapping[str, str] | None = None) -> None:
        """Answer with JSON, or with bytes."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if not any(name.lower() == "content-length" for name in headers or {}):
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self._form = parse_qs(self.rfile.read(length).decode()) if length else {}
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.hub.asked.append(AskedHub(self.command, self.path, token))
        if self.hub.fault(self):
            return
        parts = [unquote(part) for part in urlsplit(self.path).path.split("/")[1:]]
        if parts[0] == "api":
            self._api(parts, token)
        else:
            self._file(parts, token)

    def _refuse(self, code: int, error: str) -> None:
        self.say(code, {"error": error}, {"X-Error-Code": error})

    def _seen(self, repo: str, token: str) -> _Repo | None:
        known = self.hub.repos.get(repo)
        if known is None or (known.hidden and token != known.token):
            self._refuse(401, "RepoNotFound")
            return None
        return known

    def _api(self, parts: list[str], token: str) -> None:
        name = _API[parts[1]] + "/".join(parts[2:4])
        known, rest = self._seen(name, token), parts[4:]
        if known is None:
            return
        revision = rest[1] if len(rest) > 1 else "main"
        commit = known.main if revision == "main" else revision
        files = known.commits.get(commit)
        if files is None:
            self._refuse(404, "RevisionNotFound")
        elif rest[:1] == ["tree"]:
            self._tree(files)
        elif rest[:1] == ["paths-info"]:
            wanted = self._form.get("paths", [])
            self.say(200, [_entry(path, files[path]) for path in wanted if path in files])
        elif rest[:1] == ["refs"]:
            branch = {"name": "main", "ref": "refs/heads/main", "targetCommit": known.main}
            self.say(200, {"branches": [branch], "tags": [], "converts": []})
        else:
            siblings = [{"rfilename": path} for path in files]
            self.say(200, {"id": "/".join(parts[2:4]), "sha": commit, "siblings": siblings})

    def _tree(self, files: Mapping[str, bytes]) -> None:
        path, _, query = self.path.partition("?")
        asked = parse_qs(query)
        first = int(asked.get("cursor", ["0"])[0])
        limit = int(asked.get("limit", [str(self.hub.page)])[0])
        page = [_entry(*each) for each in files.items()][first : first + limit]
        after = f"{self.hub.url}{path}?recursive=true&limit={limit}&cursor={first + limit}"
        more = first + limit < len(files)
        self.say(200, page, {"Link": f'<{after}>; rel="next"'} if more else {})

    def _file(self, parts: list[str], token: str) -> None:
        kind = f"{parts.pop(0)}/" if parts[0] in ("datasets", "spaces") else ""
        at = parts.index("resolve")
        known = self._seen(kind + "/".join(parts[:at]), token)
        if known is None:
            return
        commit = known.main if parts[at + 1] == "main" else parts[at + 1]
        files, path = known.commits.get(commit), "/".join(parts[at + 2 :])
        if files is None:
            self._refuse(404, "RevisionNotFound")
        elif path not in files:
            self.say(404, {}, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        elif known.token and token != known.token:
            self._refuse(403, "GatedRepo")
        else:
            self._send(commit, path, files[path])

    def _send(self, commit: str, path: str, data: bytes) -> None:
        headers = {"X-Repo-Commit": commit, "X-Xet-Hash": "f" * 64}
        if path.endswith(LFS):
            linked = {"X-Linked-Etag": f'"{_sha256(data)}"', "X-Linked-Size": str(len(data))}
            self.say(
                302, {}, {**headers, **linked, "Location": f"{self.hub.cdn.url}/{_sha256(data)}"}
            )
            return
        headers["ETag"] = f'"{git_blob_sha1(data).hex()}"'
        self.say(200, data, headers | {"Content-Length": str(len(data))})


def _entry(path: str, data: bytes) -> dict[str, Any]:
    entry = {"type": "file", "path": path, "size": len(data), "oid": git_blob_sha1(data).hex()}
    if path.endswith(LFS):
        lfs = {"oid": _sha256(data), "size": len(data), "pointerSize": 133}
        entry |= {"lfs": lfs, "xetHash": "f" * 64}
    return entry


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
