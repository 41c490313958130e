"""Our errors as `OSError`, for code that reads files and knows no p2phub.

pandas, pyarrow and their like tell apart a file that is not there (`FileNotFoundError`) from one
that may not be read (`PermissionError`: not trusted, revoked, refused). The error of the node is
the `__cause__`, and its remedy stands in the text.

>>> os_error(NotFoundError("there is no lab/x", remedy="look at `p2phub search`"), "lab/x/a.csv")
FileNotFoundError(2, 'there is no lab/x; look at `p2phub search`')
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from p2phub.errors import (
    BusyError,
    NoSpaceError,
    NotFoundError,
    P2PHubError,
    RefusedError,
    RemoteError,
    TooSlowError,
    UntrustedError,
    UsageError,
)

# The first that fits; Python makes the class of the number: FileNotFoundError, PermissionError …
_NUMBERS: Final[tuple[tuple[type[P2PHubError], int], ...]] = (
    (NotFoundError, errno.ENOENT),
    (UntrustedError, errno.EACCES),
    (NoSpaceError, errno.ENOSPC),
    (TooSlowError, errno.ETIMEDOUT),
    (RemoteError, errno.EIO),
    (BusyError, errno.EBUSY),
    (RefusedError, errno.EACCES),
    (UsageError, errno.EINVAL),
)


def os_error(error: P2PHubError, path: str) -> OSError:
    """`error`, about `path`, as the system would tell it."""
    number = next((number for kind, number in _NUMBERS if isinstance(error, kind)), errno.EIO)
    text = "; ".join(each for each in (error.message, error.remedy) if each)
    return OSError(number, text, path)


@contextmanager
def as_os_errors(path: str) -> Iterator[None]:
    """Turn every error of ours into an `OSError` about `path`."""
    try:
        yield
    except P2PHubError as error:
        raise os_error(error, path) from error
