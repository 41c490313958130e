"""A person at a terminal: a program on a pseudo-terminal that waits for questions and types.

The program has the terminal as its standard streams and as the one it is controlled by, so that
it also asks there when it opens /dev/tty. Typing waits until the question stands on the screen:
a program that asks for a passphrase throws away what was typed before.
"""

import os
import select
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

SECONDS: Final = 60.0
"""The longest a program may take to ask, or to end."""


_TAKE_THE_TERMINAL: Final = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    " os.execvp(sys.argv[1], sys.argv[1:])"
)


class Terminal:
    """One program and what stands on its screen."""

    def __init__(self, words: Sequence[str | Path], environ: Mapping[str, str]) -> None:
        self.screen = ""
        self._seen = 0
        self._fd, theirs = os.openpty()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _TAKE_THE_TERMINAL, *words],
                env=environ,
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                start_new_session=True,
            )
        finally:
            os.close(theirs)

    def type(self, question: str, answer: str) -> None:
        """Wait for `question` after what was typed last, then type `answer` and Return."""
        while question not in self.screen[self._seen :]:
            if not self._read():
                raise AssertionError(f"it ended and never asked {question!r}: {self.screen}")
        self._seen = len(self.screen)
        os.write(self._fd, answer.encode() + b"\n")

    def end(self) -> int:
        """Read until the program ends; its exit code."""
        while self._read():
            pass
        os.close(self._fd)
        return self._process.wait(SECONDS)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._fd], [], [], SECONDS)
        if not ready:
            self._process.kill()
            self._process.wait()
            raise AssertionError(f"nothing happens any more: {self.screen}")
        try:
            data = os.read(self._fd, 4096)
        except OSError:  # Linux says so when the last program closes the terminal
            return False
        self.screen += data.decode("utf-8", "replace").replace("\r\n", "\n")
        return bool(data)
