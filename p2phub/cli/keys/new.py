"""Make a key and print its public half.

`p2phub key new recovery` makes a key that can help to recover somebody's publisher, or your own;
`p2phub key new release` one that can publish for a publisher, once its owner runs `p2phub key
allow` with the public half. With --lock or a passphrase file the key is locked; a key that a node
signs with by itself cannot be.
"""

import argparse

from p2phub.cli.secrets import add_passphrase_file, ask_new_passphrase
from p2phub.cli.session import Session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="letters, digits and -, such as recovery")
    parser.add_argument("--lock", action="store_true", help="ask for a passphrase that locks it")
    add_passphrase_file(parser, "that locks the key")


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.node.own_keys import new_key
    from p2phub.node.values import as_json

    passphrase = None
    if arguments.lock or arguments.passphrase_file is not None:
        passphrase = ask_new_passphrase(session, arguments.passphrase_file, what="the key")
    made = as_json(new_key(session.config(), session.home, arguments.name, passphrase))
    session.output.pairs(made, {"name": "name", "key": "public key"})
    return 0
