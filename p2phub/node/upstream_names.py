"""Which names are an upstream's, which of them may be asked for, and what its copies are called.

A pinned alias, a full publisher id and a repo of this node's own publisher are never an upstream's,
whatever it has under the same name. Everything else is, once an upstream is configured.

A copy of an upstream's repo is a repo of the publisher that saw it, under a name that follows from
the upstream's: who knows one knows the other.

>>> copy_name("model", "org/minilm"), copy_name("dataset", "squad")
('upstream.org.minilm', 'upstream.datasets.squad')
"""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Final

from p2phub.errors import NotFoundError, RefusedError, UntrustedError, UsageError
from p2phub.formats.digest import sha256
from p2phub.formats.ids import Kind
from p2phub.formats.limits import MAX_NAME
from p2phub.formats.publisher import RepoEntry
from p2phub.node.services import Services

_PART: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")
PREFIX: Final = "upstream."


def is_upstreams(services: Services, repo: str) -> bool:
    """Whether a name means a repo of the upstream; reads this disk.

    Raises `NotFoundError` for what no hub can have.
    """
    if not services.config.gateway.upstream:
        return False
    namespace, slash, name = repo.rpartition("/")
    if slash and _is_known(services, namespace):
        return False
    if not slash and _is_own(services, name):
        return False
    check_foreign(repo)
    return True


def check_foreign(repo: str) -> None:
    """Raise `NotFoundError` unless a repo of Hugging Face may be called so: `name` or `org/name`,
    each of 1 to 96 of `A-Z a-z 0-9 . _ -`.
    """
    parts = repo.split("/")
    good = len(parts) < 3 and all(_PART.fullmatch(part) for part in parts)
    if not good or "--" in repo or ".." in repo or repo.endswith(".git"):
        raise NotFoundError(f"no repo can be called {repo[:200]!r}")


def check_allowed(kind: Kind, repo: str, allow: Sequence[str], deny: Sequence[str]) -> None:
    """Raise `RefusedError` for a repo that the rules of node.toml keep out.

    >>> check_allowed("model", "org/x", ["org/*"], ["*/y"])
    """
    names = (repo, f"{kind}s/{repo}")
    denied = any(fnmatchcase(name, rule) for rule in deny for name in names)
    allowed = not allow or any(fnmatchcase(name, rule) for rule in allow for name in names)
    if denied or not allowed:
        raise RefusedError(
            f"this node does not get {repo} from its upstream",
            remedy="[gateway] upstream_allow and upstream_deny in node.toml say what it gets",
        )


def copy_name(kind: Kind, repo: str) -> str:
    """What a copy of a repo of an upstream is called. One that could be another repo's, or is too
    long, ends in a digest.
    """
    middle = "" if kind == "model" else f"{kind}s."
    name = PREFIX + middle + repo.replace("/", ".")
    first, slash, _ = repo.partition("/")
    unclear = "." in first or (slash and first in ("datasets", "spaces"))
    if len(name) <= MAX_NAME and not unclear:
        return name
    digest = sha256(f"{kind}s/{repo}".encode()).hex()[:16]
    return f"{name[: MAX_NAME - 17].rstrip('.-')}.{digest}"


def _is_known(services: Services, namespace: str) -> bool:
    try:
        services.store.documents.aliases().resolve(namespace)
    except (NotFoundError, UsageError):
        return False
    return True


def _is_own(services: Services, name: str) -> bool:
    """Whether our own publisher lists a repo of this name."""
    own = services.store.documents.own_publisher()
    if own is None:
        return False
    try:
        return isinstance(services.knowledge.find(own, name), RepoEntry)
    except (NotFoundError, UntrustedError):
        return False
