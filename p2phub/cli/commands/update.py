"""Install another version of p2phub from a release that holds it with all its wheels.

REF is a repo that somebody you trust made with scripts/wheelhouse; nobody is asked by default. The
release is fetched if it is not here, every byte of it is verified, and pip installs from it into
the environment of this program, without a network. An older version wants --allow-downgrade.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from packaging.tags import sys_tags
from packaging.version import Version

from p2phub import __version__
from p2phub.cli import wheels
from p2phub.cli.progress import follow
from p2phub.cli.session import Session
from p2phub.client.running import find_running
from p2phub.errors import (
    MalformedError,
    NotFoundError,
    P2PHubError,
    RefusedError,
    UnsupportedError,
    UntrustedError,
    WrongBytesError,
)

_TOLD: Final = 600
"""Characters of what pip said last that an error tells."""
_PIP: Final = (
    *("-I", "-m", "pip", "--isolated", "--no-input", "--disable-pip-version-check"),
    *("install", "--no-index", "--only-binary", ":all:", "--require-hashes"),
)


@dataclass(frozen=True, slots=True)
class Found:
    """A release that verified: its reference with the commit, its folder, and what is in that."""

    reference: str
    commit: str
    verdict: str
    folder: Path
    files: Mapping[str, str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("reference", metavar="REF", help="[publisher/]name[@revision] or p2p://…")
    parser.add_argument(
        "--dry-run", action="store_true", help="verify and compare; install nothing"
    )
    parser.add_argument(
        "--allow-downgrade", action="store_true", help="install a version that is older than this"
    )


def run(arguments: argparse.Namespace, session: Session) -> int:
    _require_environment()
    found = _verified(arguments.reference, session)
    chosen = wheels.choose(_pins(found), found.files, frozenset(sys_tags()))
    before = Version(__version__)
    after = next(each.version for each in chosen if each.name == wheels.OURS)
    if after < before and not arguments.allow_downgrade:
        raise RefusedError(
            f"{arguments.reference} has p2phub {after}, which is older than this {before}",
            remedy="Add --allow-downgrade if you want the older one.",
        )
    installs = after != before and not arguments.dry_run
    running = find_running(session.home) is not None
    if installs:
        _install(chosen, found.folder)
    told = {
        "ref": arguments.reference,
        "commit": found.commit,
        "verdict": found.verdict,
        "before": str(before),
        "after": str(after),
        "installed": installs,
        "wheels": len(chosen),
        "restart": installs and running,
    }
    if session.output.json:
        session.output.record(told)
    else:
        session.output.line(_summary(told))
    return 0


def _summary(told: Mapping[str, Any]) -> str:
    source = f"{told['ref']} {told['commit'][:12]} {told['verdict']}"
    if told["before"] == told["after"]:
        return f"{source}: p2phub {told['after']} is installed already"
    change = f"p2phub {told['before']} → {told['after']}"
    if not told["installed"]:
        return f"{source}: would install {change}, {told['wheels']} wheels"
    restart = "; restart the daemon, which still runs the old one" if told["restart"] else ""
    return f"{source}: installed {change}, {told['wheels']} wheels{restart}"


def _require_environment() -> None:
    """Raises `UnsupportedError` where pip must not, or cannot, install for this program."""
    if sys.prefix == sys.base_prefix:
        raise UnsupportedError(
            "p2phub does not run in a virtual environment, and the Python of the system is not"
            " changed (PEP 668)",
            remedy="Install it in one: `python3 -m venv DIR`, then `DIR/bin/pip install`.",
        )
    try:
        origin = distribution(wheels.OURS).read_text("direct_url.json") or ""
    except PackageNotFoundError:
        origin = '"editable": true'
    if '"editable": true' in origin:
        raise UnsupportedError(
            "this p2phub runs from a checkout, which an update would not change",
            remedy="Update the checkout, or install p2phub from wheels.",
        )
    if find_spec("pip") is None:
        raise UnsupportedError(
            f"there is no pip in {sys.prefix}",
            remedy=f"Run `{sys.executable} -m ensurepip`; it needs no network.",
        )


def _verified(reference: str, session: Session) -> Found:
    """The release, with all its files here and read again. Raises `UntrustedError` for others."""
    from p2phub.client import calls

    with session.node() as node:
        done = follow(node.events(calls.pull(reference)), session.output, "pulling", promised=True)
        exact = f"{done['ref'].partition('@')[0]}@{done['commit']}"
        events = node.events(calls.verify(exact))
        (checked,) = follow(events, session.output, "verifying")["results"]
        rows = node.answer(calls.files(exact))["files"]
    wrong = [step for step in checked["steps"] if not step["ok"]]
    if wrong or not checked["verdict"].startswith("verified"):
        said = "; ".join(f"{step['name']}: {step['detail']}" for step in wrong[:3])
        raise UntrustedError(
            f"{reference} does not verify: {said or checked['verdict']}",
            remedy=f"See `p2phub verify {reference}`; nothing was installed.",
        )
    files = {row["path"]: row["sha256"] for row in rows if "/" not in row["path"]}
    return Found(exact, done["commit"], checked["verdict"], Path(done["path"]), files)


def _pins(found: Found) -> tuple[wheels.Pin, ...]:
    import hashlib

    if wheels.REQUIREMENTS not in found.files:
        raise NotFoundError(
            f"{found.reference} has no {wheels.REQUIREMENTS}",
            remedy="Name a repo that was made with scripts/wheelhouse.",
        )
    with (found.folder / wheels.REQUIREMENTS).open("rb") as file:
        data = file.read(wheels.MAX_REQUIREMENTS + 1)
    if len(data) > wheels.MAX_REQUIREMENTS:
        raise MalformedError(f"{wheels.REQUIREMENTS} is larger than {wheels.MAX_REQUIREMENTS} B")
    if hashlib.sha256(data).hexdigest() != found.files[wheels.REQUIREMENTS]:
        raise WrongBytesError(f"{wheels.REQUIREMENTS} changed after it was verified")
    try:
        return wheels.read_pins(data.decode())
    except UnicodeDecodeError:
        raise MalformedError(f"{wheels.REQUIREMENTS} is not UTF-8 text") from None


def _install(chosen: tuple[wheels.Wheel, ...], source: Path) -> None:
    """Raises `P2PHubError` with what pip said, if it fails."""
    with tempfile.TemporaryDirectory(prefix="p2phub-update-") as name:
        folder = Path(name)
        wheels.copy(chosen, source, folder)
        wanted = folder / wheels.REQUIREMENTS
        wanted.write_text(wheels.requirements(chosen))
        done = subprocess.run(
            [sys.executable, *_PIP, "--find-links", folder, "-r", wanted],
            env=os.environ | {"PIP_CONFIG_FILE": os.devnull},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    if done.returncode:
        raise P2PHubError(
            f"pip did not install it: {(done.stderr or done.stdout).strip()[-_TOLD:]}",
            remedy="Nothing was fetched from a network; see whether its wheels are complete.",
        )
