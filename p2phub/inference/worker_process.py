"""A worker's process: started with what it needs and no more, watched, and always reaped.

Rules it keeps:
 * it is started from the thread of trio: the kernel ends it when the *thread* that started it
   does, and trio's other threads come and go;
 * it sees none of our secrets: of our environment it gets `PASSED_ON` and the variables of the
   libraries that it runs;
 * a Ctrl-C at the terminal is not for it: it has a session of its own;
 * it has a folder of its own for temporary files, which goes with it, however it ended;
 * whatever it writes on stdout and stderr is kept, the last lines of it.
"""

import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import trio

import p2phub
from p2phub.errors import EngineError
from p2phub.inference import threads
from p2phub.inference.private_folder import PrivateFolder
from p2phub.inference.spec import RunOptions

PASSED_ON: Final = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "XDG_CACHE_HOME",
    "VIRTUAL_ENV",
)
"""Variables of ours that it gets."""
OF_LIBRARIES: Final = (
    "CUDA_",
    "NVIDIA_",
    "NCCL_",
    "PYTORCH_",
    "TORCH",
    "TRITON_",
    "OMP_",
    "KMP_",
    "MKL_",
    "ROCM_",
    "HIP_",
    "GGML_",
    "ASAN_",
)
"""How the names of other variables begin that it gets."""
LAST_LINES: Final = 40
MAX_LINE: Final = 2000
"""Bytes of a line of its log that are kept."""
SHOWN_LINES: Final = 6
"""Lines of its log that an error tells."""
CHUNK: Final = 1 << 16
DRAIN: Final = 1.0
"""Seconds to wait for its last lines, which a child that it left behind may keep open."""
_TRACE: Final = "Traceback (most recent call last)"
_VMSTAT: Final = Path("/proc/vmstat")
_OOM_KILLS: Final = "oom_kill "


class WorkerProcess:
    """A child on the other end of `socket`, from its start until it is reaped."""

    def __init__(self, options: RunOptions) -> None:
        ours, theirs = socket.socketpair()
        output, its_output = os.pipe()
        self.kills_before = kills_for_memory()
        folder = None
        try:
            folder = PrivateFolder()
            self._process = subprocess.Popen(
                command(theirs.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=its_output,
                stderr=its_output,
                pass_fds=[theirs.fileno()],
                env=environment(os.environ, options, folder.path),
                start_new_session=True,
            )
            self._pidfd = os.pidfd_open(self._process.pid)
        except OSError as error:
            ours.close()
            os.close(output)
            if folder is not None:
                folder.remove()
            raise EngineError(
                f"no worker can be started: {error.strerror}",
                remedy="the machine may have too many processes or open files, or a full disk",
            ) from error
        finally:
            theirs.close()
            os.close(its_output)
        ours.setblocking(False)
        self.socket = ours
        self._folder = folder
        self.lines: deque[str] = deque(maxlen=LAST_LINES)
        """The last that it said."""
        self._output = trio.lowlevel.FdStream(output)
        self._heard_all = trio.Event()

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        """End it and all that it started, at once. Never too late: it is not reaped before."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    async def ended(self) -> None:
        """Wait for its end."""
        await trio.lowlevel.wait_readable(self._pidfd)

    async def reap(self) -> int:
        """Wait for its end and close what was open for it; its exit status. Not to be cancelled."""
        await self.ended()
        self.kill()  # what it started and left behind
        status = self._process.wait()
        os.close(self._pidfd)
        trio.lowlevel.notify_closing(self.socket.fileno())
        self.socket.close()
        with trio.move_on_after(DRAIN):
            await self._heard_all.wait()
        await self._output.aclose()
        await trio.to_thread.run_sync(self._folder.remove)
        return status

    async def listen(self) -> None:
        """Keep what it says, until it says no more."""
        held = b""
        try:
            while data := await self._output.receive_some(CHUNK):
                *lines, held = (held + data).split(b"\n")
                held = held[:MAX_LINE]
                self.lines.extend(_text(line) for line in lines if line.strip())
        except trio.ClosedResourceError:
            pass  # it was reaped, and somebody else still holds the other end
        finally:
            if held:
                self.lines.append(_text(held))
            self._heard_all.set()


def command(descriptor: int) -> list[str]:
    """How it is started. `-P`: a file beside us that is called torch.py is not torch."""
    ours = str(os.getpid())
    return [sys.executable, "-P", "-m", "p2phub.inference.worker", str(descriptor), ours]


def environment(ours: Mapping[str, str], options: RunOptions, folder: Path) -> dict[str, str]:
    """Its variables, made from ours. `folder`: for its temporary files.

    What torch compiles is kept for the next worker, and so not in that folder. GPUs have the
    numbers that `nvidia-smi` gives them, by which the node chose one (`memory`).

    >>> ours = {"PATH": "/bin", "HOME": "/home/ann", "HF_TOKEN": "hf_x"}
    >>> made = environment(ours, RunOptions(threads=2), Path("/tmp/x"))
    >>> made["PATH"], "HF_TOKEN" in made, made["OMP_NUM_THREADS"], made["TMPDIR"]
    ('/bin', False, '2', '/tmp/x')
    >>> made["TORCHINDUCTOR_CACHE_DIR"], made["CUDA_DEVICE_ORDER"]
    ('/home/ann/.cache/p2phub/torchinductor', 'PCI_BUS_ID')
    """
    made = {
        name: value
        for name, value in ours.items()
        if name in PASSED_ON or name.startswith(OF_LIBRARIES)
    }
    for name, value in threads.environment(options).items():
        made.setdefault(name, value)
    if options.threads:
        made["OMP_NUM_THREADS"] = str(options.threads)
    package = str(Path(p2phub.__file__).parent.parent)
    cache = ours.get("XDG_CACHE_HOME") or str(Path(ours.get("HOME", "~")).expanduser() / ".cache")
    made.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    made.setdefault("TORCHINDUCTOR_CACHE_DIR", f"{cache}/p2phub/torchinductor")
    return made | {
        "TMPDIR": str(folder),
        "PYTHONPATH": os.pathsep.join(filter(None, [package, ours.get("PYTHONPATH", "")])),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": ours.get("PYTHONDONTWRITEBYTECODE", ""),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TRANSFORMERS_VERBOSITY": ours.get("TRANSFORMERS_VERBOSITY", "error"),
    }


def how_it_ended(status: int) -> str:
    """An exit status in words.

    >>> how_it_ended(-11), how_it_ended(3)
    ('was killed by signal 11 (SIGSEGV)', 'ended with exit code 3')
    """
    if status >= 0:
        return f"ended with exit code {status}"
    try:
        return f"was killed by signal {-status} ({signal.Signals(-status).name})"
    except ValueError:
        return f"was killed by signal {-status}"


def last_words(lines: Iterable[str]) -> str:
    """What a process said at its end, in one line: the error of its last traceback, if it has one.

    The log of the node has all of it.

    >>> last_words(["a warning", "Traceback (most recent call last):", "  File", "ValueError: no"])
    'ValueError: no'
    >>> last_words(["one", "two", " three"])
    'one; two'
    """
    said = [line.strip() for line in lines if not line.startswith(" ")]
    traces = [at for at, line in enumerate(said) if line.startswith(_TRACE)]
    return "; ".join(said[traces[-1] + 1 if traces else 0 :][-SHOWN_LINES:])


def kills_for_memory() -> int:
    """Processes that the kernel has killed so far because memory ran out; 0: it does not tell."""
    try:
        text = _VMSTAT.read_text()
    except OSError:
        return 0
    found = [line for line in text.splitlines() if line.startswith(_OOM_KILLS)]
    return int(found[0].removeprefix(_OOM_KILLS)) if found else 0


def _text(line: bytes) -> str:
    return line[:MAX_LINE].decode("utf-8", "replace")
