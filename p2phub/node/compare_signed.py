"""Compare files with a statement that somebody has signed: every digest, and nothing beside them.

What is ignored may lie there unsigned; what is listed is always compared, also where it is ignored.
The method `shards` says nothing of empty files, so there an empty file is neither missing nor one
too many.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from p2phub.errors import NotFoundError, UntrustedError, UsageError
from p2phub.formats.oms import SignedFile, Statement
from p2phub.formats.paths import FilePath
from p2phub.node.events import Report, Verifying
from p2phub.node.signed_files import Found, SignedFiles
from p2phub.node.step_list import StepList
from p2phub.store.digests import digests_of
from p2phub.store.side_by_side import lanes_for, side_by_side
from p2phub.trust.verdict import Verdict

MOST_NAMED = 20
"""Unsigned files that a step names; the others are counted."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """What whoever asks puts up with."""

    ignored: tuple[FilePath, ...] = ()
    """Files and folders that may be there unsigned."""
    partial: bool = False
    """Whether files may be missing."""


def compare(
    statement: Statement, source: SignedFiles, allowed: Allowed, steps: StepList, report: Report
) -> int:
    """Take the steps of all files; how many of those that are listed are here."""
    leads = {
        file.path[: length + 1] for file in statement.files for length in range(len(file.path))
    }

    def ignores(path: FilePath) -> bool:
        if path in leads:
            return False
        return statement.ignores(path) or any(path[: len(each)] == each for each in allowed.ignored)

    found = source.found(ignores)

    def announced() -> Iterator[SignedFile]:
        for file in statement.files:
            report(Verifying(source.called, "/".join(file.path)))
            yield file

    total = sum(found.files.get(file.path, 0) for file in statement.files)
    look = partial(_look, statement, source, found)
    looked = side_by_side(look, announced(), lanes=lanes_for(total))
    here = 0
    for file, (is_here, wrong) in zip(statement.files, looked, strict=True):
        here += is_here
        if is_here or not allowed.partial:
            _tell(statement, file, wrong, steps)
    _no_others(statement, found, steps)
    _count(here, len(statement.files), allowed, steps)
    return here


def _look(
    statement: Statement, source: SignedFiles, found: Found, file: SignedFile
) -> tuple[bool, str]:
    """Whether a file is here, and what is wrong with it. Runs in several threads."""
    if file.path in found.strange:
        return True, found.strange[file.path]
    try:
        return True, _wrong(statement, file, source)
    except NotFoundError as error:
        return False, f"not here: {error.message}"
    except (UntrustedError, UsageError) as error:
        return True, error.message


def _tell(statement: Statement, file: SignedFile, wrong: str, steps: StepList) -> None:
    name = "/".join(file.path)
    if wrong:
        steps.failed("file", f"{name}: {wrong}", Verdict.CORRUPT)
    else:
        signed = file.stretches[0].digest.hex()
        shards = f" and {len(file.stretches) - 1} more" if len(file.stretches) > 1 else ""
        steps.passed("file", f"{name}: {statement.algorithm} {signed}{shards}")


def _wrong(statement: Statement, file: SignedFile, source: SignedFiles) -> str:
    """What is wrong with the bytes of a file; empty if nothing is."""
    with source.opened(file.path) as (fd, place):
        read = digests_of(fd, [each.end for each in file.stretches], statement.algorithm, place)
    if file.size is not None and file.size != read.size:
        return f"{file.size} bytes were signed, it has {read.size}"
    for each, digest in zip(file.stretches, read.digests, strict=True):
        if each.digest != digest:
            where = f" of the bytes from {each.start} on" if len(file.stretches) > 1 else ""
            kind = statement.algorithm
            return f"{kind} {each.digest.hex()}{where} was signed, it is {digest.hex()}"
    return ""


def _no_others(statement: Statement, found: Found, steps: StepList) -> None:
    listed = {file.path for file in statement.files}
    empty_is_unsaid = bool(statement.shard_size)
    others = [
        _called(path)
        for path, size in sorted(found.files.items())
        if path not in listed and not (empty_is_unsaid and size == 0)
    ]
    others += [
        f"{_called(path)} ({reason})"
        for path, reason in sorted(found.strange.items())
        if path not in listed
    ]
    if others:
        steps.failed("no others", f"nobody signed {_named(others)}", Verdict.CORRUPT)
    else:
        ignored = ", ".join("/".join(path) for path in statement.ignored)
        steps.passed("no others", f"unsigned there may be only {ignored}" if ignored else "")


def _called(path: FilePath) -> str:
    """A path on a disk as text that can be written anywhere: a name there need not be UTF-8."""
    return "/".join(path).encode("utf-8", "backslashreplace").decode()


def _named(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - MOST_NAMED} more" if len(every) > MOST_NAMED else ""
    return ", ".join(every[:MOST_NAMED]) + more


def _count(here: int, count: int, allowed: Allowed, steps: StepList) -> None:
    if here == count:
        steps.passed("files", f"all {count} files are here")
    elif allowed.partial and here:
        steps.passed("files", f"{here} of {count} files are here, as was allowed")
    else:
        said = f"{here} of {count} files are here; --partial is content with those"
        steps.failed("files", said, Verdict.CORRUPT)
