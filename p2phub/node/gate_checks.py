"""What is looked at before anybody may let in what a bundle brought: each check by its name,
whether it passed, and why.

    signatures   the gate believes it today, by the same rules as over the network
    bytes        every piece, and every SHA-256 that its publisher claims, read from the disk again
    formats      nothing that runs code when it is loaded, and no file that is not what it says
    headers      safetensors and GGUF files parse, and no tensor lies outside of its file
    licence      the licence on its card is one that node.toml lists; skipped where it lists none
    scanner      the program of node.toml found nothing; skipped where there is none

Rules it keeps: a check never raises for what it finds wrong, and one that could not be made has not
passed; what strangers wrote is quoted short. Nothing is rendered, loaded or run but the scanner.
"""

import json
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from p2phub.errors import MalformedError, P2PHubError
from p2phub.formats import gguf, safetensors
from p2phub.formats.approval import MAX_DETAIL, Check
from p2phub.formats.limits import MAX_HEADER, MIB
from p2phub.formats.manifest import FileEntry
from p2phub.formats.paths import is_pickle
from p2phub.formats.tensors import Header, More
from p2phub.node.events import Report, Verifying
from p2phub.node.locate import ResolvedRelease
from p2phub.node.scanning import scan
from p2phub.node.services import Services
from p2phub.node.withdrawals import judge

NAMES: Final = ("signatures", "bytes", "formats", "headers", "licence", "scanner")
NAMED: Final = 5
"""Files that are named of those with a fault."""
MAX_JSON: Final = 64 * MIB
"""Bytes of a JSON file that is parsed; a larger one is looked at by its beginning only."""
_BEGINNING: Final = 64
_PROGRAMS: Final = (b"\x7fELF", b"MZ", b"\xfe\xed\xfa", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe")
_PICKLES: Final = tuple(b"\x80" + bytes([version]) for version in range(2, 6))
_TEXTS: Final = (".json", ".md", ".txt", ".yaml", ".yml", ".jinja", ".py", ".toml", ".csv")
_HEADERS: Final = {".safetensors": safetensors.parse, ".gguf": gguf.parse}


async def run_checks(
    services: Services, resolved: ResolvedRelease, files: Sequence[FileEntry], report: Report
) -> tuple[Check, ...]:
    """Every check of a release of which `files` are here; in the order above."""
    report(Verifying(resolved.called))
    on_disk, airgap = services.on_disk, services.config.airgap
    checks = [await on_disk(_signatures, services, resolved)]
    for name, look in (("bytes", _bytes), ("formats", _format), ("headers", _header)):
        checks.append(await on_disk(_each, services, name, look, files))
    if airgap.licenses:
        checks.append(_licence(resolved.release.card.license, airgap.licenses))
    if airgap.scanner:
        checks.append(await _scanned(files, scan_of(services, resolved)))
    return tuple(checks)


Scan = Callable[[Sequence[FileEntry]], Awaitable[tuple[bool, str]]]


def scan_of(services: Services, resolved: ResolvedRelease) -> Scan:
    """The scanner of this node; what it printed is noted by its digest."""

    async def run(files: Sequence[FileEntry]) -> tuple[bool, str]:
        found = await scan(services, [(file.path, file.content) for file in files])
        await services.audit.record(
            "quarantine.scanned",
            ref=resolved.called,
            commit=resolved.commit,
            ok=found.ok,
            output_sha256=found.output,
            said=found.said,
        )
        return found.ok, found.said

    return run


def _signatures(services: Services, resolved: ResolvedRelease) -> Check:
    repo = resolved.repo
    try:
        said = judge(services.knowledge, repo.publisher, repo.name, resolved.digest)
    except P2PHubError as error:
        return _check("signatures", False, error.message)
    good = resolved.judgement.verdict.good
    return _check("signatures", good and bool(said), said or "its manifest is not here")


Look = Callable[[Services, FileEntry], str]
"""What is wrong with a file; empty if nothing is."""


def _each(services: Services, name: str, look: Look, files: Sequence[FileEntry]) -> Check:
    """One look at every file."""
    faults = []
    for file in files:
        try:
            fault = look(services, file)
        except P2PHubError as error:
            fault = error.message
        if fault:
            faults.append(f"{'/'.join(file.path)}: {fault[:200]}")
    if not faults:
        return _check(name, True, f"{len(files)} files")
    more = [f"and {len(faults) - NAMED} more"] if len(faults) > NAMED else []
    return _check(name, False, "; ".join([*faults[:NAMED], *more]))


def _bytes(services: Services, file: FileEntry) -> str:
    found = services.store.blobs.examine(file.content, services.pressure.wait_a_moment)
    if found.bad_pieces:
        return "it is damaged on this disk"
    return "" if found.sha256 == file.sha256 else "its SHA-256 is not what its publisher says"


def _format(services: Services, file: FileEntry) -> str:
    name = file.path[-1].lower()
    if is_pickle(file.path):
        return "loading it runs code that is in it"
    with services.store.blobs.opened(file.content) as fd:
        start = os.pread(fd, _BEGINNING, 0)
        if start.startswith(_PROGRAMS) and b"\0" in start:
            return "it is a program"
        if start.startswith(_PICKLES):
            return "it is a pickle under another name, and loading it runs code that is in it"
        if name.endswith(".json") and file.size <= MAX_JSON:
            return _json(os.pread(fd, file.size, 0))
        if name.endswith(_TEXTS) and b"\0" in start:
            return "it is no text"
    return ""


def _json(data: bytes) -> str:
    try:
        json.loads(data)
    except (ValueError, RecursionError) as error:
        return f"it is no JSON: {error}"
    return ""


def _header(services: Services, file: FileEntry) -> str:
    name = file.path[-1].lower()
    parse = next((_HEADERS[end] for end in _HEADERS if name.endswith(end)), None)
    if parse is None:
        return ""
    with services.store.blobs.opened(file.content) as fd:
        found: Header | More = More(min(MIB, file.size))
        while isinstance(found, More):
            wanted = min(found.total, file.size, MAX_HEADER)
            data = os.pread(fd, wanted, 0)
            found = parse(data, file.size)
            if isinstance(found, More) and min(found.total, file.size, MAX_HEADER) <= wanted:
                raise MalformedError("its header goes beyond the end of the file, or a limit")
    return ""


def _licence(license: str, allowed: Sequence[str]) -> Check:
    is_listed = license.lower() in {each.lower() for each in allowed}
    said = f"its card says {license}" if license else "its card names no licence"
    return _check("licence", is_listed, said if is_listed else f"{said}, which is not on the list")


async def _scanned(files: Sequence[FileEntry], scan: Scan) -> Check:
    try:
        ok, said = await scan(files)
    except P2PHubError as error:
        ok, said = False, f"it could not run: {error.message}"
    return _check("scanner", ok, said)


def _check(name: str, ok: bool, detail: str) -> Check:
    """A result that a document can hold, whatever a stranger put into it."""
    plain = "".join(each if each.isprintable() or each == "\n" else "\ufffd" for each in detail)
    kept = plain.encode("utf-8", "replace")[: MAX_DETAIL - 4].decode("utf-8", "ignore")
    return Check(name, ok, kept or "nothing was said")
