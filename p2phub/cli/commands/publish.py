"""Sign the files of a folder as a new release and announce it.

The files are read once and copied into the store; the folder is not changed. With --in-place there
is no copy: the files are given out from where they lie, and never written to; a file that changes
later is given out no more. Files that look unchanged since the last time are not read again.

DIR may also be a snapshot in a Hugging Face cache (…/models--org--name/snapshots/COMMIT, or the
models--org--name folder itself), and a model of Ollama's: ollama:llama3.2:1b, or its manifest file.
Where several keys must sign a release, or with --prepare, it is written to a file that the others
sign; with --finish it is announced once they have. Until then nobody is told of it.
Links that lead out of DIR are refused, but for those of such a cache. Prints the reference, the
commit and the digest of the release.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from p2phub.cli.progress import follow
from p2phub.cli.session import Session
from p2phub.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder", metavar="DIR", type=Path, nargs="?", help="the folder to publish, or ollama:MODEL"
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="the repo, without a publisher")
    parser.add_argument(
        "--prepare",
        metavar="FILE",
        type=Path,
        help="sign nothing: write the release to FILE, for `p2phub key sign` on another machine",
    )
    parser.add_argument(
        "--finish",
        metavar="FILE",
        type=Path,
        help="announce a release that was prepared here, or that others had to sign",
    )
    parser.add_argument(
        "--proposal-file",
        metavar="FILE",
        type=Path,
        help="where to write a release that others must sign as well; by default beside you",
    )
    _add_content(parser)
    _add_signing(parser)


def _add_content(parser: argparse.ArgumentParser) -> None:
    """What is in the release, and what is said of it."""
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
        "--base",
        metavar="REF",
        action="append",
        help="the release that this one was made from: its digest is signed, and an adapter is"
        " served on it alone",
    )
    parser.add_argument(
        "--relation",
        choices=("adapter", "finetune", "merge", "quantized"),
        help="how it was made from the base; by default adapter for a folder with"
        " adapter_config.json, else finetune",
    )


def _add_signing(parser: argparse.ArgumentParser) -> None:
    """What is signed, and with what."""
    parser.add_argument(
        "--oms",
        action="store_true",
        help="add model.sig, a signature of OpenSSF Model Signing about all the files",
    )
    parser.add_argument("--sign-with", metavar="KEY", help="the name of the release key to use")


def run(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.client import calls

    if arguments.finish is not None:
        return _finish(arguments, session)
    if arguments.folder is None or arguments.name is None:
        raise UsageError(
            "publish needs a folder and a name", remedy="p2phub publish DIR NAME, or --finish FILE"
        )
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
        base=_one_base(arguments.base),
        relation=arguments.relation,
        prepare=arguments.prepare,
        proposal_file=arguments.proposal_file or Path.cwd(),
    )
    with session.node() as node:
        done = follow(node.events(call), session.output, "publishing")
    _tell(done, session)
    return 0


def _one_base(given: Sequence[str] | None) -> str | None:
    """The base that is signed. Raises `UsageError` for several."""
    if given and len(given) > 1:
        raise UsageError(
            f"--base names {len(given)} releases, and one is signed",
            remedy="name the one that it began from; `base_model` in the card can list all of them",
        )
    return given[0] if given else None


def _finish(arguments: argparse.Namespace, session: Session) -> int:
    from p2phub.client import calls

    if arguments.folder is not None or arguments.prepare is not None:
        raise UsageError("--finish takes the file alone: the release says what is in it")
    call = calls.finish(arguments.finish, tag=arguments.tag, sign_with=arguments.sign_with)
    with session.node() as node:
        done = follow(node.events(call), session.output, "finishing")
    _tell(done, session)
    return 0


def _tell(done: Mapping[str, Any], session: Session) -> None:
    """What became of it; of a release that waits for signatures, what to do next."""
    names = {"ref": "ref", "commit": "commit", "digest": "digest", "publisher_id": "publisher id"}
    session.output.pairs(done, names)
    pending = done.get("pending")
    if pending is None or session.output.json:
        return
    file = pending["file"] or "FILE"
    session.output.say(
        f"not published yet: {pending['signatures']} of {pending['needed']} signatures."
        f" `p2phub key sign {file}` where the other keys are, then"
        f" `p2phub publish --finish {file}` here"
    )
