"""Print what points Hugging Face's tools at this node, for a shell to evaluate.

  eval "$(p2phub env)"            transformers, datasets, hf … read from here, in this shell
  eval "$(p2phub env --write)"    they may publish here, too: HF_TOKEN is that of the node
  eval "$(p2phub env --undo)"     as it was before

With fish: `p2phub env | source`. With --json the variables as an object; null takes one away.
"""

import argparse
import os

from p2phub.cli.activation import activated, deactivated, script, shell_of
from p2phub.cli.session import Session
from p2phub.client.running import find_running
from p2phub.errors import NotFoundError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--undo", action="store_true", help="print the way back instead")
    parser.add_argument("--write", action="store_true", help="let the tools publish here, too")
    parser.add_argument("--shell", choices=("sh", "fish"), help="the language (that of $SHELL)")


def run(arguments: argparse.Namespace, session: Session) -> int:
    if arguments.undo:
        changes = deactivated(os.environ)
        if not changes:
            session.output.warn("nothing of this was set in this shell")
    else:
        url, token = gateway(session)
        if arguments.write and not token:
            raise NotFoundError(
                "no node runs here, and only one that runs has a token to write with",
                remedy="start one: `p2phub node --detach`",
            )
        changes = dict(activated(url, os.environ, token if arguments.write else ""))
    if session.output.json:
        session.output.record(changes)
        return 0
    for line in script(changes, arguments.shell or shell_of(os.environ)):
        session.output.line(line)
    return 0


def gateway(session: Session) -> tuple[str, str]:
    """The URL of the gateway that runs, or of the one that will, and the token of one that runs."""
    running = find_running(session.home)
    if running is not None:
        return running.url, running.token
    from p2phub.gateway.listener import url_of

    listen = session.config().gateway.listen
    session.output.warn("no node runs here yet: `p2phub node --detach` starts one")
    return url_of(listen), ""
