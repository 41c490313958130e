"""Real sticks: FAT32 and exFAT in an image each, mounted by a process that a test can kill.

The kernel of a test machine seldom knows either; `fusefat` and `exfat-fuse` do, in user space. So a
stick is pulled out by killing that process: what it had not written into the image is lost, and
who still reads or writes is told that the device is gone. It takes root and /dev/fuse, and the
Debian packages of `PACKAGES`; without them `missing` says what is not there.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PACKAGES: Final = "fusefat dosfstools exfat-fuse exfatprogs"
MIB = 1 << 20
WAIT = 10  # seconds
_LOOK = 0.01  # seconds between two looks at something that is about to happen
_TOOLS: Final = {
    "fat32": ("mkfs.vfat", "fsck.vfat", "fusefat"),
    "exfat": ("mkfs.exfat", "fsck.exfat", "mount.exfat-fuse", "losetup"),
}


def missing(kind: str) -> str:
    """Why there can be no stick of this kind here; empty if there can."""
    absent = [tool for tool in _TOOLS[kind] if shutil.which(tool) is None]
    if absent:
        return f"no {', '.join(absent)} here: apt-get install {PACKAGES}"
    if os.geteuid() != 0 or not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "mounting takes root and /dev/fuse"
    return ""


@dataclass
class Stick:
    """One stick, in or out. Made by `stick`."""

    kind: str
    image: Path
    at: Path
    """Where it is when it is in."""
    _server: subprocess.Popen[bytes] | None = None
    _loop: str = ""

    def put_in(self, *options: str) -> None:
        """Mount it."""
        assert self._server is None
        more = [word for option in options for word in ("-o", option)]
        if self.kind == "fat32":
            words = ["fusefat", "-f", "-o", "rw+", *more, str(self.image), str(self.at)]
        else:
            self._loop = _told("losetup", "--find", "--show", str(self.image)).strip()
            words = ["mount.exfat-fuse", "-d", *more, self._loop, str(self.at)]
        null = subprocess.DEVNULL
        self._server = subprocess.Popen(words, stdin=null, stdout=null, stderr=null)
        self._until(lambda: os.path.ismount(self.at), "it was not mounted")

    def take_out(self) -> None:
        """Unmount it, as one should."""
        if self._server is None:
            return
        for _ in range(100):  # who was killed a moment ago may still have a file open there
            if not subprocess.run(["umount", str(self.at)], check=False).returncode:
                break
            time.sleep(0.05)
        else:
            subprocess.run(["umount", "--lazy", str(self.at)], check=True)
            self.pull_out()
            raise AssertionError("something there is still open")
        self._server.wait(WAIT)
        self._let_go()

    def pull_out(self) -> None:
        """As nobody should: whatever is being written, from any thread, at any time."""
        if self._server is not None:
            self._server.kill()

    def clear(self) -> None:
        """After `pull_out`: what is left of the mount goes too."""
        if self._server is None:
            return
        self._server.kill()
        self._server.wait(WAIT)
        with suppress(subprocess.CalledProcessError):  # nothing is mounted if it died early
            subprocess.run(["umount", "--lazy", str(self.at)], check=True, capture_output=True)
        self._let_go()

    def mend(self) -> None:
        """What any system does with a stick that was not taken out properly."""
        words = ["fsck.vfat", "-a", "-w"] if self.kind == "fat32" else ["fsck.exfat", "-y"]
        done = subprocess.run([*words, str(self.image)], check=False, capture_output=True)
        assert done.returncode in (0, 1), done

    def _let_go(self) -> None:
        self._server = None
        if self._loop:
            subprocess.run(["losetup", "--detach", self._loop], check=True)
            self._loop = ""

    def _until(self, happened, problem: str) -> None:
        end = time.monotonic() + WAIT
        while not happened():
            assert self._server is not None
            assert self._server.poll() is None, f"{problem}: {self._server.args}"
            assert time.monotonic() < end, problem
            time.sleep(_LOOK)


@contextmanager
def stick(kind: str, folder: Path, size: int = 64 * MIB) -> Iterator[Stick]:
    """A fresh stick of `size` bytes, not in yet; out at the end, whatever happened."""
    image, at = folder / f"{kind}.image", folder / "stick"
    at.mkdir(parents=True)
    image.touch()
    os.truncate(image, size)
    maker = ["mkfs.vfat", "-F", "32"] if kind == "fat32" else ["mkfs.exfat"]
    _told(*maker, str(image))
    made = Stick(kind, image, at)
    try:
        yield made
    finally:
        made.clear()
        image.unlink()


def _told(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout
