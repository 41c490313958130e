"""Read every byte of a release again, or of all on this disk, and check it against its signatures.

For one release every step is told: what was compared with what, who signed it, how old that is. Of
files only the wrong ones are named, unless --verbose asks for all. Needs no network. Ends with exit
code 4 if anything is wrong, and names the file.

With --oms the files are compared with their model.sig instead, a signature of OpenSSF Model
Signing: those of a release, or of any folder. It counts if the current delegation of the publisher
certifies its key: of whoever --publisher names, or of the publisher that the signature names, if
that one is pinned here.
"""

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from p2phub.cli import model_signature
from p2phub.cli.output import age, moment
from p2phub.cli.progress import follow, follower
from p2phub.cli.session import Session, as_objects
from p2phub.client.running import find_running
from p2phub.errors import UntrustedError, UsageError
from p2phub.trust.verdict import Verdict

OF_FILES: Final = ("pieces", "sha256", "file")
"""Steps that are taken once for each file."""
MAX_TOLD: Final = 10
"""Wrong steps that the error names; the others are counted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("reference", metavar="REF", nargs="?", help="the release to check")
    parser.add_argument("--all", action="store_true", help="everything on this disk (the default)")
    model_signature.add_arguments(parser)


def run(arguments: argparse.Namespace, session: Session) -> int:
    reference: str | None = arguments.reference
    if reference is not None and arguments.all:
        raise UsageError("a release and --all say two things", remedy="Name one of them.")
    if arguments.oms:
        results: Sequence[Mapping[str, Any]] = [model_signature.check(arguments, session)]
    else:
        model_signature.require_unused(arguments)
        results = _results(reference, session)
    for each in results:
        _tell(each, session, explain=reference is not None)
    wrong = [each for each in results if not _is_good(each)]
    for each in wrong:
        if not session.output.json:
            remedy = model_signature.REMEDY if arguments.oms else _remedy(each)
            session.output.error(_complaint(each, remedy))
    return UntrustedError.exit if wrong else 0


def _results(reference: str | None, session: Session) -> Sequence[Mapping[str, Any]]:
    from p2phub.client import calls

    if find_running(session.home) is None:
        return _offline(reference, session)
    with session.node() as node:
        done = follow(node.events(calls.verify(reference)), session.output, "verifying")
    results: Sequence[Mapping[str, Any]] = done["results"]
    return results


def _offline(reference: str | None, session: Session) -> Sequence[Mapping[str, Any]]:
    from p2phub.node.values import as_json

    with (
        session.offline() as offline,
        follower(session.output, "verifying") as show,
    ):
        return as_objects(offline.verify(reference, lambda event: show(as_json(event))))


def _is_good(result: Mapping[str, Any]) -> bool:
    return all(step["ok"] for step in result["steps"]) and result["verdict"].startswith("verified")


def _tell(result: Mapping[str, Any], session: Session, *, explain: bool) -> None:
    if session.output.json:
        session.output.record(result)
        return
    session.output.line_of([result["ref"], result["verdict"]])
    if explain:
        for line in _origin(result, time.time()):
            session.output.line(f"  {line}")
    for step in result["steps"]:
        if session.verbose or not step["ok"] or (explain and step["name"] not in OF_FILES):
            detail = f": {step['detail']}" if step["detail"] else ""
            right = "ok   " if step["ok"] else "WRONG"
            session.output.line(f"  {step['number']:>3} {right} {step['name']}{detail}")


def _origin(result: Mapping[str, Any], now: float) -> Iterator[str]:
    """Who signed a release, and how old its publisher's word is."""
    if result["commit"]:
        yield f"commit {result['commit']} of publisher {result['publisher_id']}"
    if result["signed_by"]:
        yield f"signed by {', '.join(result['signed_by'])}"
    if result["created"] is not None:
        yield f"dated {moment(result['created'])}, {age(now - result['created'])} ago"
    if result["as_of"] is not None:
        yield (
            f"what its publisher lists and took back is known as of {moment(result['as_of'])},"
            f" {age(now - result['as_of'])} ago"
        )
    if result["heard"] is not None:
        fresh = result["fresh_until"]
        until = f", fresh until {moment(fresh)}" if fresh is not None else ""
        yield f"head of its publisher taken {age(now - result['heard'])} ago{until}"


def _remedy(result: Mapping[str, Any]) -> str:
    if result["verdict"] == Verdict.CORRUPT:
        return f"Pull it again: `p2phub pull {result['ref']}` fetches what is damaged."
    return (
        "Use another release, or ask its publisher; `p2phub trust policy` decides what is let"
        " through."
    )


def _complaint(result: Mapping[str, Any], remedy: str) -> UntrustedError:
    wrong = [step for step in result["steps"] if not step["ok"]]
    said = "; ".join(f"{each['name']}: {each['detail']}" for each in wrong[:MAX_TOLD])
    said = said or str(result["verdict"])
    said += f" (and {len(wrong) - MAX_TOLD} more)" if len(wrong) > MAX_TOLD else ""
    return UntrustedError(f"{result['ref']} does not verify: {said}", remedy=remedy)
