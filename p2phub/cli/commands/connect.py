"""Connect to a peer by its multiaddr, such as /ip4/192.0.2.1/tcp/4042/p2p/12D3KooW…"""

import argparse

from p2phub.cli.session import Session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("multiaddr", metavar="MULTIADDR", help="where the peer is and who it is")


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.client import calls

    with session.node() as node:
        peer = node.answer(calls.connect(arguments.multiaddr))
    session.output.pairs(peer, {"peer_id": "peer id", "agent": "agent", "addresses": "address"})
    return 0
