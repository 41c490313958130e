"""What another hub, the upstream of node.toml, says: asked once, kept, and told again with its age.

The upstream is a hub that answers like Hugging Face's. What it says of a commit never changes and
is asked for once; what a branch names is asked for again after `FRESH` seconds. While it fails,
asks to come back later, or must not be asked (`upstream_offline`), what was said before is told,
and how old that is.

Rules it keeps:
 * a question goes out without a token first; the token that came with it is shown only if the
   upstream refuses to answer without, and what it says then is told to who showed it and kept
   nowhere;
 * questions that are asked at the same time are one question;
 * an upstream that fails is left alone for a while: nobody waits for it twice;
 * only what the rules of node.toml allow is asked for.

Files come through `upstream_files`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

import trio

from p2phub.errors import BusyError, NoSourceError, RemoteError
from p2phub.formats.ids import Kind, is_commit_id
from p2phub.formats.limits import MAX_FILE
from p2phub.network.hub_client import HubClient, Question, Reply
from p2phub.node.services import Services
from p2phub.node.upstream_names import check_allowed, is_upstreams
from p2phub.protocol.seeds import host_of
from p2phub.protocol.web_answer import retry_after
from p2phub.store.incoming import WholeDigest
from p2phub.store.upstream import KeptAnswer, Origin

FRESH: Final = 20
"""Seconds for which the answer to what a branch names is good."""
LEFT_ALONE: Final = 10.0
"""Seconds for which an upstream that fails is not asked, if it does not say how long."""
MOST_LEFT_ALONE: Final = 300.0
_AT_COMMIT: Final = re.compile(
    r"/(?:resolve|raw|tree|revision|paths-info|commits)/[0-9a-f]{40}(?:[/?]|$)"
)
_KEPT_HEADERS: Final = (
    "content-length",
    "content-type",
    "etag",
    "last-modified",
    "link",
    "x-error-code",
    "x-error-message",
    "x-linked-etag",
    "x-linked-size",
    "x-repo-commit",
)
_PREFIXES: Final[dict[Kind, str]] = {"model": "", "dataset": "datasets/", "space": "spaces/"}
_LENGTHS: Final = (40, 64)
_AWAY: Final = (429, 502, 503, 504)
"""What an upstream answers that has no time for anybody; other failures may be of one question."""


@dataclass(frozen=True, slots=True)
class Said:
    """What the upstream says, now or `age` seconds ago. `why` it was not asked just now."""

    reply: Reply
    age: int = 0
    why: str = ""
    private: bool = False
    """Whether it took a token."""


@dataclass(frozen=True, slots=True)
class ForeignFile:
    """A file of the upstream at `endpoint`. `url`: where its bytes are."""

    endpoint: str
    kind: Kind
    repo: str
    commit: str
    path: str
    wanted: WholeDigest
    url: str
    said: Said
    token: str | None = field(default=None, repr=False)
    """What the upstream wants to see; None: nothing."""

    @property
    def origin(self) -> Origin:
        return Origin(self.endpoint, self.kind, self.repo, self.commit)

    @property
    def private(self) -> bool:
        return self.token is not None


class Upstream:
    """The hub that node.toml names, for one node."""

    def __init__(self, services: Services) -> None:
        self._services, self._gateway = services, services.config.gateway
        self.client = HubClient(self._gateway.upstream)
        self._away_until = 0.0
        self._failed: RemoteError | BusyError | None = None
        """How it failed when it was asked last."""

    @property
    def endpoint(self) -> str:
        return self.client.endpoint

    async def means(self, repo: str) -> bool:
        """Whether a name is one of the upstream's. Raises `NotFoundError` for what is no name."""
        return await self._services.on_disk(is_upstreams, self._services, repo)

    async def ask(
        self, kind: Kind, repo: str, question: Question, token: str | None, via: str = ""
    ) -> Said:
        """What the upstream says to a question about a repo, whatever its status. `via`: see
        `HubClient.ask`.

        Raises `RefusedError` for a repo that must not be asked for, `NoSourceError` or `BusyError`
        if it cannot be asked, and never was.
        """
        gateway = self._gateway
        check_allowed(kind, repo, gateway.upstream_allow, gateway.upstream_deny)
        key = (self.endpoint, question.method, question.target, question.body)
        async with self._services.bringing.of(("upstream", *key)):
            kept = await self._services.on_disk(self._services.store.upstream.answer, *key)
            if kept is not None and self._is_fresh(kept, question.target):
                return Said(_reply(kept), self._age(kept))
            if (error := self._not_now()) is not None:
                return self._old(kept, error)
            try:
                reply = await self._asked(question, None, via)
            except (RemoteError, BusyError) as failure:
                return self._old(kept, failure)
            if not _wants_token(reply):
                answer = KeptAnswer(
                    reply.status, _some(reply.headers), reply.body, self._services.now()
                )
                await self._services.on_disk(self._services.store.upstream.put_answer, answer, *key)
                return Said(_reply(answer))
        if not token:
            return Said(reply)
        shown = await self._asked(question, token, via)
        better = shown.status < 400 or shown.headers.get("x-error-code") == "GatedRepo"
        return Said(shown, private=True) if better else Said(reply)

    async def file(
        self, kind: Kind, repo: str, revision: str, path: str, token: str | None, via: str = ""
    ) -> ForeignFile | Said:
        """A file as the upstream knows it, or what it says instead.

        Raises as `ask`, and `NoSourceError` if it names no digest that could be checked.
        """
        target = f"/{_PREFIXES[kind]}{repo}/resolve/{quote(revision, safe='')}/{quote(path)}"
        said = await self.ask(kind, repo, Question(target, "HEAD"), token, via)
        headers = said.reply.headers
        if said.reply.status >= 400:
            return said
        commit = headers.get("x-repo-commit", "")
        etag = (headers.get("x-linked-etag") or headers.get("etag") or "").removeprefix("W/")
        size = headers.get("x-linked-size") or headers.get("content-length") or ""
        digest = _digest(etag.strip('"'))
        known = size.isascii() and size.isdigit() and len(size) < 16 and int(size) <= MAX_FILE
        if digest is None or not known or not is_commit_id(commit):
            raise NoSourceError(
                f"{host_of(self.endpoint)} does not say what {path} of {repo} must be",
                remedy="only files that can be checked are fetched: the upstream must name their"
                " commit, size and SHA-256 or git SHA-1, as Hugging Face's does",
            )
        at_commit = f"/{_PREFIXES[kind]}{repo}/resolve/{commit}/{quote(path)}"
        return ForeignFile(
            self.endpoint,
            kind,
            repo,
            commit,
            path,
            WholeDigest(digest, int(size)),
            self.endpoint + at_commit,
            said,
            token if said.private else None,
        )

    async def _asked(self, question: Question, token: str | None, via: str) -> Reply:
        """Its answer, unless it fails or is asked too often: then it is left alone for a while."""
        try:
            reply = await self.client.ask(question, token, via)
        except RemoteError as error:
            raise self._left_alone(LEFT_ALONE, error) from None
        shown = host_of(self.endpoint)
        if reply.status >= 500 and reply.status not in _AWAY:
            raise NoSourceError(f"{shown} fails with status {reply.status}", remedy=_REMEDY)
        if reply.status in _AWAY:
            said = reply.headers.get("retry-after")
            seconds = retry_after(said, self._services.now()) if said else LEFT_ALONE
            told: RemoteError | BusyError = NoSourceError(
                f"{shown} fails with status {reply.status}", remedy=_REMEDY
            )
            if reply.status == 429:
                told = BusyError(f"{shown} is asked too often", retry_after=seconds)
            raise self._left_alone(seconds, told)
        return reply

    def _left_alone(
        self, seconds: float, error: RemoteError | BusyError
    ) -> RemoteError | BusyError:
        self._away_until = trio.current_time() + min(max(seconds, 1.0), MOST_LEFT_ALONE)
        self._failed = error
        return error

    def _not_now(self) -> RemoteError | BusyError | None:
        """Why the upstream is not asked now; None if it is."""
        gateway = self._gateway
        if gateway.upstream_offline:
            return NoSourceError(
                "the upstream is not asked: [gateway] upstream_offline is set", remedy=_REMEDY
            )
        left = self._away_until - trio.current_time()
        if left <= 0 or self._failed is None:
            return None
        if isinstance(self._failed, BusyError):
            return BusyError(self._failed.message, retry_after=left)
        return type(self._failed)(self._failed.message, remedy=_REMEDY)

    def _old(self, kept: KeptAnswer | None, error: RemoteError | BusyError) -> Said:
        if kept is None:
            raise error
        return Said(_reply(kept), self._age(kept), error.message)

    def _is_fresh(self, kept: KeptAnswer, target: str) -> bool:
        code = kept.headers.get("x-error-code")
        final = kept.status < 400 or code == "EntryNotFound"
        if final and _AT_COMMIT.search(target):
            return True
        return self._age(kept) < FRESH

    def _age(self, kept: KeptAnswer) -> int:
        return max(0, self._services.now() - kept.asked)


_REMEDY: Final = "try again later; what peers have of it can be pulled from them"


def _wants_token(reply: Reply) -> bool:
    """Whether it may say more to who shows a token: some hubs hide what is private with a 404."""
    code = reply.headers.get("x-error-code")
    hidden = reply.status == 404 and code in (None, "RepoNotFound")
    return reply.status in (401, 403) or hidden


def _reply(kept: KeptAnswer) -> Reply:
    return Reply(kept.status, kept.headers, kept.body)


def _some(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name in _KEPT_HEADERS}


def _digest(etag: str) -> bytes | None:
    if len(etag) not in _LENGTHS or not re.fullmatch(r"[0-9a-f]+", etag):
        return None
    return bytes.fromhex(etag)
