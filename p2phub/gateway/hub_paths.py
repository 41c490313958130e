"""Which call of the Hugging Face Hub API a path means.

The path is read as it was sent: a branch such as `refs/pr/1` is one segment, `refs%2Fpr%2F1`,
which a router that sees the decoded path cannot tell from three. Repo ids have one segment (a repo
of this node's own publisher) or two.

    /api/{models|datasets|spaces}[/{repo}[/{verb}[/{rest}…]]]
    /[datasets/|spaces/]{repo}/{resolve|raw}/{revision}/{file}
    /[datasets/|spaces/]{repo}.git/info/lfs/objects/batch
    /xet/{upload}/{until}/{proof}/…

The endpoints are those that huggingface_hub 2.4 calls.

>>> parse(b"/api/models/lab/x/tree/refs%2Fpr%2F1/a%2Fb")
ApiCall(kind='model', repo='lab/x', verb='tree', rest=('refs/pr/1', 'a/b'))
>>> parse(b"/datasets/lab/set/resolve/main/data/train.parquet")
FileCall(kind='dataset', repo='lab/set', verb='resolve', revision='main', path='data/train.parquet')
>>> parse(b"/v1/models") is None
True
"""

from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from p2phub.formats.ids import Kind
from p2phub.formats.limits import MAX_FILE
from p2phub.formats.xet import MAX_XORB

API_KINDS: Final[dict[str, Kind]] = {"models": "model", "datasets": "dataset", "spaces": "space"}
_BATCH: Final = ("info", "lfs", "objects", "batch")
MAX_COMMIT: Final = 512 << 20
"""Bytes of a commit: clients send up to 100 MiB of small files in one, in base64."""
MAX_ASKED: Final = 16 << 20
"""Bytes of a question about many files."""
FILE_VERBS: Final = ("resolve", "raw")
VERBS: Final = frozenset(
    (
        "auth-check",
        "branch",
        "commit",
        "commits",
        "discussions",
        "lfs-files",
        "like",
        "likers",
        "paths-info",
        "preupload",
        "preview",
        "refs",
        "revision",
        "safetensors-metadata",
        "settings",
        "super-squash",
        "tag",
        "tree",
        "user-access-request",
        "xet-read-token",
        "xet-write-token",
    )
)
"""What may follow a repo id below `/api/`."""
OTHERS: Final = frozenset(
    (
        "agent-harnesses",
        "datasets-tags-by-type",
        "lfs",
        "models-tags-by-type",
        "organizations",
        "repos",
        "settings",
        "tasks",
        "telemetry",
        "users",
        "validate-yaml",
        "whoami-v2",
    )
)
"""What else is below `/api/`."""


@dataclass(frozen=True, slots=True)
class ApiCall:
    """A call about the repos of a kind, or about one of them."""

    kind: Kind
    repo: str
    """Empty for a list of repos."""
    verb: str
    """Empty for what is known of the repo."""
    rest: tuple[str, ...]
    """The segments after the verb, each decoded."""


@dataclass(frozen=True, slots=True)
class FileCall:
    """A call for the bytes of a file."""

    kind: Kind
    repo: str
    verb: str
    revision: str
    path: str


@dataclass(frozen=True, slots=True)
class LfsCall:
    """A call of Git LFS: which files to send."""

    kind: Kind
    repo: str


@dataclass(frozen=True, slots=True)
class XetCall:
    """A call to the address of an upload."""

    session: str
    until: str
    proof: str
    rest: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OtherCall:
    """Anything else below `/api/`."""

    name: str
    rest: tuple[str, ...]


Call = ApiCall | FileCall | LfsCall | OtherCall | XetCall


def most_bytes(call: Call) -> int | None:
    """How many bytes the body of such a call may have; None: as many as any other."""
    match call:
        case OtherCall("lfs", rest) if len(rest) > 1:
            return MAX_FILE
        case ApiCall(verb="commit"):
            return MAX_COMMIT
        case LfsCall() | ApiCall(verb="preupload"):
            return MAX_ASKED
        case XetCall():
            return MAX_XORB
    return None


def proves_itself(call: Call) -> bool:
    """Whether the address of a call is one that this gateway has signed, which is checked there."""
    match call:
        case XetCall():
            return True
        case OtherCall("lfs", rest):
            return len(rest) > 1
    return False


def parse(raw_path: bytes) -> Call | None:
    """The call that a path, percent-encoded as it was sent, stands for; None: none of this API."""
    encoded = raw_path.partition(b"?")[0].split(b"/")[1:]
    try:
        parts = tuple(unquote_to_bytes(part).decode() for part in encoded)
    except UnicodeDecodeError:
        return None
    if parts[0] == "api":
        return _api(parts[1:])
    if parts[0] == "xet" and len(parts) > 4:
        return XetCall(parts[1], parts[2], parts[3], parts[4:])
    return _file(parts)


def _api(parts: tuple[str, ...]) -> ApiCall | OtherCall | None:
    if not parts:
        return None
    if parts[-1] == "":
        parts = parts[:-1]  # `/api/models/`
    if not parts or parts[0] not in API_KINDS:
        return OtherCall(parts[0], parts[1:]) if parts and parts[0] in OTHERS else None
    kind, parts = API_KINDS[parts[0]], parts[1:]
    if len(parts) > 2 and parts[2] in VERBS:
        return ApiCall(kind, "/".join(parts[:2]), parts[2], parts[3:])
    if len(parts) > 1 and parts[1] in VERBS:
        return ApiCall(kind, parts[0], parts[1], parts[2:])
    if len(parts) > 2:
        return None
    return ApiCall(kind, "/".join(parts), "", ())


def _file(parts: tuple[str, ...]) -> FileCall | LfsCall | None:
    kind: Kind = "model"
    if parts[0] in ("datasets", "spaces"):
        kind, parts = API_KINDS[parts[0]], parts[1:]
    if parts[-4:] == _BATCH and parts[-5:-4] and parts[-5].endswith(".git"):
        repo = "/".join(parts[:-4]).removesuffix(".git")
        return LfsCall(kind, repo) if len(parts) < 7 else None
    for length in (2, 1):
        if len(parts) > length + 2 and parts[length] in FILE_VERBS:
            repo = "/".join(parts[:length])
            path = "/".join(parts[length + 2 :])
            return FileCall(kind, repo, parts[length], parts[length + 1], path)
    return None
