"""`verify --oms`: the options of it, and what is asked of the store with them.

Nothing of this needs a node: the store is only read, also while one runs, and the folder that is
checked is one that whoever types the command may read.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from p2phub.cli.progress import follower
from p2phub.cli.session import Session, as_objects
from p2phub.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from p2phub.node.verify_oms import ModelCheck

REMEDY: Final = "Get these files again from whoever signed them, or do not use them."
MAX_KEY: Final = 64 << 10
"""Bytes of a file with a public key that are read."""
_ONLY_WITH_OMS: Final = (
    "signature",
    "oms_key",
    "publisher",
    "ignore",
    "allow_symlinks",
    "partial",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that say what `--oms` checks."""
    group = parser.add_argument_group(
        "model signatures (OpenSSF Model Signing)",
        "With --oms, REF may also be a folder, whoever wrote it.",
    )
    group.add_argument("--oms", action="store_true", help="check the files against their model.sig")
    group.add_argument(
        "--signature", type=Path, metavar="FILE", help="the signature, if it is not model.sig there"
    )
    group.add_argument(
        "--oms-key", type=Path, metavar="PEM", help="only the signature of this public key counts"
    )
    group.add_argument(
        "--publisher", metavar="WHO", help="whose signature it must be: an alias or a publisher id"
    )
    group.add_argument(
        "--ignore",
        metavar="PATH",
        action="append",
        default=[],
        help="a file or folder in it that may be there unsigned; may be given several times",
    )
    group.add_argument(
        "--allow-symlinks", action="store_true", help="follow links, as in a Hugging Face cache"
    )
    group.add_argument(
        "--partial", action="store_true", help="be content with the files that are here"
    )


def require_unused(arguments: argparse.Namespace) -> None:
    """Raise `UsageError` for an option that means nothing without `--oms`."""
    for name in _ONLY_WITH_OMS:
        if getattr(arguments, name):
            option = "--" + name.replace("_", "-")
            raise UsageError(f"{option} is about model signatures", remedy="Add --oms.")


def check(arguments: argparse.Namespace, session: Session) -> Mapping[str, Any]:
    """What `verify --oms` found, as the JSON object that programs get."""
    from p2phub.node.values import as_json

    asked = _asked(arguments)
    with (
        session.offline() as offline,
        follower(session.output, "verifying") as show,
    ):
        found = offline.verify_model(asked, lambda event: show(as_json(event)))
    return as_objects([found])[0]


def _asked(arguments: argparse.Namespace) -> "ModelCheck":
    from p2phub.node.verify_oms import ModelCheck

    if arguments.reference is None or arguments.all:
        raise UsageError(
            "--oms checks one folder or one release", remedy="Name it: `p2phub verify --oms DIR`."
        )
    if arguments.oms_key is not None and arguments.publisher is not None:
        raise UsageError(
            "--oms-key and --publisher say two things", remedy="Name the key or the publisher."
        )
    return ModelCheck(
        arguments.reference,
        arguments.signature,
        None if arguments.oms_key is None else read_key(arguments.oms_key),
        arguments.publisher,
        tuple(arguments.ignore),
        arguments.allow_symlinks,
        arguments.partial,
    )


def read_key(path: Path) -> bytes:
    """The beginning of a file with a public key. Raises `NotFoundError`."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_KEY + 1)
    except OSError as error:
        raise NotFoundError(
            f"the key {path} cannot be read: {error.strerror or error}", remedy="Check the path."
        ) from error
