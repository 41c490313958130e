"""Let the root certify a key of model signatures (OpenSSF Model Signing).

Without --key it is the key of this machine, which is made if there is none. Needs the root. With
--alone the others count no more: for a key that was stolen or lost. Publish with --oms again after
that; what the old key signed is not trusted any longer.
"""

import argparse
from pathlib import Path

from p2phub.cli.identity import add_change_options, change
from p2phub.cli.model_signature import read_key
from p2phub.cli.session import Session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--key",
        type=Path,
        metavar="PEM",
        help="the public key of another machine, as `p2phub key export-oms --new` writes it there",
    )
    parser.add_argument("--alone", action="store_true", help="in the place of the others")
    add_change_options(parser)


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.node import oms_keys
    from p2phub.trust.model_keys import from_pem

    key = None if arguments.key is None else from_pem(read_key(arguments.key))
    return change(
        arguments,
        session,
        lambda desk, secret: oms_keys.certify(desk, secret, key, alone=arguments.alone),
    )
