"""Run a shell, or one command, in which Hugging Face's tools read from this node.

  p2phub shell                          a shell; `exit` leaves it, and all is as before
  p2phub shell -- python train.py       one command; its exit code is ours
  p2phub shell --write -- hf upload …   one that publishes here

Where no node runs, one is started for as long as the shell lasts.
"""

import argparse
import os
import signal
import subprocess

from p2phub.cli.activation import activated
from p2phub.cli.session import Session
from p2phub.errors import NotFoundError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--write", action="store_true", help="let the tools publish here, too")
    parser.add_argument(
        "command", metavar="COMMAND", nargs="*", help="what to run instead of a shell; after --"
    )


def run(arguments: argparse.Namespace, session: Session) -> int:
    with session.node() as node:
        url = node.node.url
        words = arguments.command or [os.environ.get("SHELL") or "/bin/sh"]
        if not arguments.command:
            session.output.say(f"HF_ENDPOINT is {url} in this shell; `exit` leaves it")
        token = node.node.token if arguments.write else ""
        return run_in(words, os.environ | activated(url, os.environ, token))


def run_in(words: list[str], environ: dict[str, str]) -> int:
    """Run a program in an environment: its exit code, as a shell tells it. Raises `NotFoundError`.

    Ctrl-C is for the program, not for us.
    """
    before = signal.signal(signal.SIGINT, lambda number, frame: None)  # which no child inherits
    try:
        code = subprocess.call(words, env=environ)
    except OSError as error:
        raise NotFoundError(
            f"{words[0]} cannot be run: {error.strerror}", remedy="check its name and its path"
        ) from None
    finally:
        signal.signal(signal.SIGINT, before)
    return 128 - code if code < 0 else code
