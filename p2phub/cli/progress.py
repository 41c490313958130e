"""How a long command tells how far it is.

With `--json` every event of a pull is a line of standard output; other commands print their result
only, and warnings on standard error. On a terminal there is a bar with bytes,
rate and time left. In a pipe there are a few plain lines on standard error. With `--quiet` nothing.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from p2phub.cli.output import Output, shown, size

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

Event = Mapping[str, Any]


def follow(events: Iterable[Event], output: Output, verb: str, *, promised: bool = False) -> Event:
    """Show the events of a stream as they come; return the last one.

    `promised`: programs rely on the events of this command as lines of JSON.
    """
    last: Event = {}
    with follower(output, verb, promised=promised) as show:
        for last in events:
            if last.get("event") != "done":
                show(last)
    return last


@contextmanager
def follower(
    output: Output, verb: str, *, promised: bool = False
) -> Iterator[Callable[[Event], None]]:
    """What shows each event that it is handed, for the length of the block."""
    if output.quiet:
        yield lambda event: None
    elif output.json:
        yield output.record if promised else lambda event: _show(event, output, _unseen)
    elif output.watched:
        with _Bar(verb, output.err) as bar:
            yield lambda event: _show(event, output, bar.show)
    else:
        yield lambda event: _show(event, output, lambda other: _tell(other, output))


def _show(event: Event, output: Output, other: Callable[[Event], None]) -> None:
    if event.get("event") == "warning":
        output.warn(_warning(event))
    else:
        other(event)


def _unseen(event: Event) -> None:
    """Where an event goes that nobody asked for."""


def _warning(event: Event) -> str:
    remedy = event.get("remedy")
    return f"{event.get('message')} ({remedy})" if remedy else str(event.get("message"))


def _tell(event: Event, output: Output) -> None:
    """The plain line for an event; progress has none, a pipe is no place for it."""
    match event.get("event"):
        case "resolved":
            output.say(f"{event['ref']} is {event['commit']}, {event['verdict']}")
        case "plan":
            wanted, here = event["bytes_to_fetch"], event["bytes_linked"]
            rest = f": {size(wanted)} to fetch, {size(here)} already here" if wanted or here else ""
            output.say(f"{event['files']} files, {size(event['bytes_total'])}{rest}")
        case "file":
            output.say(f"{event['path']}: {size(event['size'])}")
        case "verifying":
            output.say(f"verifying {event['ref']} {event.get('path', '')}".rstrip())
        case "loading" if not event["bytes_done"]:
            output.say(f"{event['ref']}: {event['step']}")


class _Bar:
    """A progress bar on standard error."""

    def __init__(self, verb: str, err: TextIO) -> None:
        self._verb = verb
        self._err = err
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> "_Bar":
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(file=self._err),
            transient=True,
        )
        self._bar.start()
        self._task = self._bar.add_task(self._verb, total=None)
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, event: Event) -> None:
        """Move the bar, or tell what is being done."""
        if self._bar is None or self._task is None:
            return
        match event.get("event"):
            case "plan":
                total, done = event["bytes_total"], event["bytes_linked"]
                self._bar.update(self._task, total=total, completed=done)
            case "progress":
                total, done = event["bytes_total"], event["bytes_done"]
                self._bar.update(self._task, total=total, completed=done)
            case "verifying":
                self._bar.update(self._task, description=f"verifying {event['ref']}")
            case "loading":
                self._bar.update(
                    self._task,
                    description=shown(event["step"]),
                    total=event["bytes_total"] or None,
                    completed=event["bytes_done"],
                )
