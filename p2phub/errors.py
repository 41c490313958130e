"""Every error p2phub raises, in one tree.

    P2PHubError                   exit  http  wire  code
    ├── UsageError                   2   400     -  usage          asked for something meaningless
    │   ├── UnsafePathError          2   400     -  unsafe_path    a name that must not reach a disk
    │   ├── ConfigError              2   400     -  config         node.toml cannot be read
    │   ├── ContextError             2   400     -  context        more tokens than the model takes
    │   └── UnsupportedError         2   400     -  unsupported    this model cannot do that
    ├── NotFoundError                3   404     1  not_found      there is no such thing
    │   ├── NoRevisionError          3   404     1  no_revision    the repo has no such revision
    │   └── NoFileError              3   404     1  no_file        the release has no such file
    ├── UntrustedError               4   403     2  untrusted      we refuse to believe these bytes
    │   ├── MalformedError           4   502     2  malformed      does not parse, or breaks a limit
    │   │   └── NewerVersionError    4   502     2  newer_version  needs a newer p2phub
    │   ├── WrongBytesError          4   502     2  wrong_bytes    bytes do not match their digest
    │   │   └── DamagedBlobError     4   500     2  damaged_blob   our own copy is not what it was
    │   ├── RolledBackError          4   409     2  rolled_back    older than what we have seen
    │   ├── RevokedError             4   410     2  revoked        taken back by who may
    │   ├── ForkedError              4   409     2  forked         its publisher said two things
    │   └── AliasTakenError          4   409     -  alias_taken    the name is somebody else's
    ├── NoSpaceError                 5   507     4  no_space       our disk is full
    │   └── QuotaError               5   507     4  quota          our quota is used up
    ├── RemoteError                  6   502     3  remote         the other side failed, or left
    │   ├── GarbageError             6   502     3  garbage        what came is not our protocol
    │   ├── TooSlowError             6   504     3  too_slow       no progress in the time allowed
    │   └── NoSourceError            6   503     3  no_source      nobody we can reach has it
    ├── RefusedError                 7   403     5  refused        no permission, or a full queue
    │   ├── StoreLockedError         7   423     -  store_locked   another process holds this store
    │   ├── BusyError                7   429     -  busy           the queue is full; come again
    │   └── QuarantinedError         7   403     -  quarantined    it came, and nobody let it in yet
    ├── EngineError                  1   503     -  engine         what ran the model broke
    │   └── NoMemoryError            1   507     -  no_memory      it does not fit into memory
    ├── FileChangedError             1   409     -  file_changed   a file changed while it was read
    ├── ParentMovedError             1   412     -  parent_moved   somebody else was faster
    └── PortInUseError               1   500     -  port_in_use    somebody else listens there

`exit`, `http`, `wire` and `code` are where an error meets the command line, the gateway, the
network and the JSON a program reads; nothing else translates errors. `message` is for the person
who reads it: what happened to which thing. `remedy` is what to do next, one sentence.

>>> str(NotFoundError("there is no repo lab/minilm"))
'there is no repo lab/minilm'
>>> as_wire(WrongBytesError("piece 3 is wrong"))
(2, 'piece 3 is wrong')
"""

from collections.abc import Iterator
from contextlib import contextmanager


class P2PHubError(Exception):
    """The root of the tree: something a person can be told in one sentence."""

    exit, http, wire, code = 1, 500, 0, "failed"

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class UsageError(P2PHubError):
    exit, http, code = 2, 400, "usage"


class UnsafePathError(UsageError):
    code = "unsafe_path"


class ConfigError(UsageError):
    code = "config"


class ContextError(UsageError):
    code = "context"


class UnsupportedError(UsageError):
    code = "unsupported"


class NotFoundError(P2PHubError):
    exit, http, wire, code = 3, 404, 1, "not_found"


class NoRevisionError(NotFoundError):
    code = "no_revision"


class NoFileError(NotFoundError):
    code = "no_file"


class UntrustedError(P2PHubError):
    exit, http, wire, code = 4, 403, 2, "untrusted"


class MalformedError(UntrustedError):
    http, code = 502, "malformed"


class NewerVersionError(MalformedError):
    code = "newer_version"


class WrongBytesError(UntrustedError):
    http, code = 502, "wrong_bytes"


class DamagedBlobError(WrongBytesError):
    http, code = 500, "damaged_blob"


class RolledBackError(UntrustedError):
    http, code = 409, "rolled_back"


class RevokedError(UntrustedError):
    http, code = 410, "revoked"


class ForkedError(UntrustedError):
    http, code = 409, "forked"


class AliasTakenError(UntrustedError):
    http, wire, code = 409, 0, "alias_taken"


class NoSpaceError(P2PHubError):
    exit, http, wire, code = 5, 507, 4, "no_space"


class QuotaError(NoSpaceError):
    code = "quota"


class RemoteError(P2PHubError):
    exit, http, wire, code = 6, 502, 3, "remote"


class GarbageError(RemoteError):
    code = "garbage"


class TooSlowError(RemoteError):
    http, code = 504, "too_slow"


class NoSourceError(RemoteError):
    http, code = 503, "no_source"


class RefusedError(P2PHubError):
    exit, http, wire, code = 7, 403, 5, "refused"


class StoreLockedError(RefusedError):
    http, wire, code = 423, 0, "store_locked"


class BusyError(RefusedError):
    """`retry_after`: seconds after which to come again."""

    http, wire, code = 429, 0, "busy"

    def __init__(self, message: str, *, remedy: str = "", retry_after: float = 1.0) -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after = retry_after


class QuarantinedError(RefusedError):
    wire, code = 0, "quarantined"


class EngineError(P2PHubError):
    http, code = 503, "engine"


class NoMemoryError(EngineError):
    http, code = 507, "no_memory"


class FileChangedError(P2PHubError):
    http, code = 409, "file_changed"


class ParentMovedError(P2PHubError):
    http, code = 412, "parent_moved"


class PortInUseError(P2PHubError):
    code = "port_in_use"


_ON_THE_WIRE: dict[int, type[P2PHubError]] = {
    1: NotFoundError,
    2: UntrustedError,
    3: RemoteError,
    4: NoSpaceError,
    5: RefusedError,
}


def as_wire(error: P2PHubError) -> tuple[int, str]:
    """What a peer is told of `error`: its wire number and its sentence."""
    return error.wire, error.message


def from_wire(number: int, message: str) -> P2PHubError:
    """The error a peer told us of; an unknown number becomes a `RemoteError`.

    >>> from_wire(1, "no such document")
    NotFoundError('no such document')
    """
    return _ON_THE_WIRE.get(number, RemoteError)(message)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Let our own error out of a nursery as itself; a group with anything else stays a group.

    >>> with plain_errors():
    ...     raise ExceptionGroup("from a nursery", [NotFoundError("gone")])
    Traceback (most recent call last):
    ...
    p2phub.errors.NotFoundError: gone
    """
    try:
        yield
    except BaseExceptionGroup as group:
        ours, others = group.split(P2PHubError)
        if ours is None or others is not None:
            raise
        error: BaseException = ours
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None
