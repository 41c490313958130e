"""Sign the files of a folder as a new release and announce it.

The files are read once and copied into the store; the folder is not changed. With --in-place there
is no copy: the files are given out from where they lie, and never written to; a file that changes
later is given out no more. Files that look unchanged since the last time are not read again.

DIR may also be a snapshot in a Hugging Face cache (…/models--org--name/snapshots/COMMIT, or the
models--org--name folder itself), and a model of Ollama's: ollama:llama3.2:1b, or its manifest file.
Links that lead out of DIR are refused, but for those of such a cache. Prints the reference, the
commit and the digest of the release.
"""

import argparse
from pathlib import Path

from p2phub.cli.progress import follow
from p2phub.cli.session import Session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder", metavar="DIR", type=Path, help="the folder to publish, or ollama:MODEL"
    )
    parser.add_argument("name", metavar="NAME", help="the repo, without a publisher")
    parser.add_argument("--message", "-m", default="", metavar="TEXT", help="what changed")
    parser.add_argument("--tag", metavar="TAG", help="a tag that names this release too")
    parser.add_argument(
        "--kind", choices=("model", "dataset", "space"), default="model", help="what the repo is"
    )
    parser.add_argument(
        "--in-place",
        action="store_true",
        help="make no copy; give the files out from where they lie",
    )
    parser.add_argument(
        "--rehash", action="store_true", help="read every byte, also of files that look unchanged"
    )
    parser.add_argument(
        "--seed",
        metavar="URL",
        action="append",
        default=[],
        help="a web server that has these files too: the address of the folder, or one with"
        " {path}, {name}, {publisher} or {content} in it; may be given several times. Without it"
        " the seeds of the last release stay; `none` takes them away",
    )
    parser.add_argument(
        "--oms",
        action="store_true",
        help="add model.sig, a signature of OpenSSF Model Signing about all the files",
    )
    parser.add_argument("--sign-with", metavar="KEY", help="the name of the release key to use")


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.client import calls

    call = calls.publish(
        arguments.folder,
        arguments.name,
        message=arguments.message,
        tag=arguments.tag,
        kind=arguments.kind,
        sign_with=arguments.sign_with,
        in_place=arguments.in_place,
        rehash=arguments.rehash,
        seeds=arguments.seed,
        oms=arguments.oms,
    )
    with session.node() as node:
        done = follow(node.events(call), session.output, "publishing")
    names = {"ref": "ref", "commit": "commit", "digest": "digest", "publisher_id": "publisher id"}
    session.output.pairs(done, names)
    return 0
