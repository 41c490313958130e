"""What a worker does to itself before anything else: it must never outlive or harm its node.

Rules it keeps:
 * it ends when the node does, however that ended: the kernel kills it, also while it holds Python's
   lock in some library (the main loop sees the end of its socket too);
 * when memory runs out the kernel takes the worker, and not the node;
 * it leaves no core files: tens of gigabytes of weights.
"""

import ctypes
import faulthandler
import os
import resource
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final

PR_SET_PDEATHSIG: Final = 1
OOM_SCORE: Final = 800
"""Of 1000: what the kernel takes first when memory runs out."""
_OOM_FILE: Final = Path("/proc/self/oom_score_adj")


def settle(parent: int) -> None:
    """Do it, in the main thread. `parent`: the process that started us; if it is gone, end."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):  # a kernel without it, or somebody who already asked for more
        _OOM_FILE.write_text(str(OOM_SCORE))
    faulthandler.enable(all_threads=False)
