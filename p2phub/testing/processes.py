"""Processes that tests started, seen from outside.

>>> import os
>>> alive(os.getpid()), gone([os.getpid()], seconds=0)
(True, False)
"""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_STEP: Final = 0.01


def alive(pid: int) -> bool:
    """Whether a process runs; one that nobody reaps does not."""
    try:
        said = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return said.rpartition(")")[2].split()[0] != "Z"


def gone(pids: Iterable[int], seconds: float = 10.0) -> bool:
    """Whether all of them have ended, or do so within some seconds."""
    left, until = set(pids), time.monotonic() + seconds
    while left := {each for each in left if alive(each)}:
        if time.monotonic() >= until:
            return False
        time.sleep(_STEP)
    return True
