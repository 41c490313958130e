"""Disks that are full, small or read-only, under real commands: the exit code, and nothing lost.

The disks are little tmpfs mounts inside the test's own folder. Where mounting is not permitted
these tests are skipped.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from p2phub.testing.files import tiny_model_folder
from tests.scenarios.processes import Daemon, Home, machines, wait_for

pytestmark = pytest.mark.slow

MIB = 1 << 20
STRANGER = "b" * 51 + "a"


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A file system of `size` bytes at `folder`."""
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    done = subprocess.run(mounting, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this user may not mount a tmpfs: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        wait_for("the end of whoever uses the disk", lambda: unmounted(folder), lambda: None)


def unmounted(folder: Path) -> bool:
    return subprocess.run(["umount", str(folder)], capture_output=True).returncode == 0


@contextmanager
def full(disk: Path, leaving: int = 0) -> Iterator[None]:
    """Nothing more than `leaving` bytes can be written to a disk inside the block."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(MIB)) == MIB:
                pass
            while file.write(bytes(4096)):
                pass
        except OSError:
            file.truncate(max(0, file.tell() - leaving))
    try:
        yield
    finally:
        filler.unlink(missing_ok=True)


def contents(folder: Path) -> dict[str, bytes]:
    found = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A daemon that has published `small` (under 1 MiB) and `big` (12 MiB)."""
    folder = tmp_path_factory.mktemp("source")
    with machines(folder) as made:
        home = made.publisher("source")
        with home.running() as daemon:
            small = tiny_model_folder(folder / "small", seed="small", shard_bytes=100_000)
            big = tiny_model_folder(folder / "big", seed="big", shards=3, shard_bytes=4 * MIB)
            home.done("publish", small, "small")
            home.done("publish", big, "big")
            yield daemon, {"small": small, "big": big}


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk", 24 * MIB) as disk:
        yield disk


@pytest.fixture
def made(tmp_path, disk):
    with machines(tmp_path) as made:
        yield made


def consumer(made, source: Daemon, disk: Path, **settings: str) -> Home:
    """A home whose store is on `disk` and that calls the source's publisher lab."""
    home = made.home("consumer", STORE_PATH=str(disk / "store"), **settings)
    home.bootstrap = source.address
    home.done("trust", "add", "lab", source.publisher_id)
    return home


def refused_for_space(home: Home, *words: object, code: str = "no_space") -> None:
    error = home.refused(5, *words)
    assert error["code"] == code
    assert error["remedy"]


def test_a_pull_onto_a_full_disk_and_again_when_there_is_space(made, source, disk):
    """Not a byte is left, then too few for a file, then enough for some of the files."""
    daemon, folders = source
    home = consumer(made, daemon, disk)
    with home.running():
        home.done("pull", "lab/small")
        for leaving in (0, 3 * MIB, 9 * MIB):
            with full(disk, leaving):
                refused_for_space(home, "pull", "lab/big")
                assert home.done("status")["running"] is True
                assert home.done("verify", "lab/small")["verdict"] == "verified"
        assert home.done("info", "lab/big")["path"] is None
        done = home.done("pull", "lab/big")
        assert done["bytes_fetched"] < done["bytes_total"]  # what came before was kept
        assert contents(Path(done["path"])) == contents(folders["big"])
        assert home.done("verify", "lab/big")["verdict"] == "verified"


def test_a_disk_that_we_filled_can_be_emptied_by_us(made, source, disk):
    daemon, _ = source
    home = consumer(made, daemon, disk)
    with home.running(), full(disk, leaving=11 * MIB):
        home.done("pull", "lab/small")
        refused_for_space(home, "pull", "lab/big")
        assert home.done("rm", "lab/small")["bytes_freed"] > 0
        assert home.done("rm", "lab/big")["bytes_freed"] > 0
        assert home.run("ls").objects == []


def test_a_publish_onto_a_full_disk_and_again_when_there_is_space(made, source, disk):
    _, folders = source
    home = made.publisher("publisher", STORE_PATH=str(disk / "store"))
    with home.running():
        first = home.done("publish", folders["small"], "x")
        for leaving in (0, 3 * MIB, 9 * MIB):
            with full(disk, leaving):
                refused_for_space(home, "publish", folders["big"], "x")
                assert home.done("verify", "lab/x")["verdict"] == "verified"
        assert home.done("info", "lab/x")["commit"] == first["commit"]
        second = home.done("publish", folders["big"], "x")
        assert set(home.done("info", "lab/x")["commits"]) == {first["commit"], second["commit"]}
        assert home.done("verify", "lab/x")["verdict"] == "verified"


def test_copies_onto_a_full_disk(made, source, disk, tmp_path):
    daemon, folders = source
    home = consumer(made, daemon, tmp_path)
    with home.running():
        home.done("pull", "lab/big")
        with full(disk, leaving=6 * MIB):
            refused_for_space(home, "pull", "lab/big", "--to", disk / "copies")
        home.done("pull", "lab/big", "--to", disk / "copies")
    assert contents(disk / "copies") == contents(folders["big"])


@pytest.mark.slow
def test_commands_on_a_disk_without_a_single_byte(made, source, disk):
    """Even the index cannot be written: every command says so, and looking still works."""
    daemon, folders = source
    home = consumer(made, daemon, disk)
    home.done("pull", "lab/small")
    with full(disk):
        refused_for_space(home, "pull", "lab/big")
        refused_for_space(home, "trust", "add", "another", STRANGER)
        assert [row["ref"] for row in home.run("ls").objects] == ["lab/small@main"]
        assert home.done("verify", "lab/small")["verdict"] == "verified"
    done = home.done("pull", "lab/big")
    assert contents(Path(done["path"])) == contents(folders["big"])


@pytest.mark.slow
def test_a_home_on_a_full_disk(made, disk):
    home = made.home("disk/home")
    with full(disk):
        refused_for_space(home, "init")
        refused_for_space(home, "pull", f"{STRANGER}/x")
        refused_for_space(home, "node")
    home.done("init", "--name", "lab")


@pytest.mark.slow
def test_a_quota(made, source, disk):
    daemon, folders = source
    home = consumer(made, daemon, disk, STORE_QUOTA="5M")
    home.done("init")
    with home.running():
        home.done("pull", "lab/small")
        refused_for_space(home, "pull", "lab/big", code="quota")
        refused_for_space(home, "publish", folders["big"], "mine", code="quota")
        assert home.done("verify", "lab/small")["verdict"] == "verified"
    home.settings["P2PHUB_STORE_QUOTA"] = "20M"
    done = home.done("pull", "lab/big")
    assert contents(Path(done["path"])) == contents(folders["big"])


@pytest.fixture
def read_only(made, source, disk):
    """A home that has pulled `small` and whose disk then became read-only."""
    daemon, _ = source
    home = made.home("disk/home")
    home.bootstrap = daemon.address
    home.done("trust", "add", "lab", daemon.publisher_id)
    home.done("init")
    home.done("pull", "lab/small")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    yield home
    home.reap()


@pytest.mark.slow
def test_a_home_that_is_read_only(read_only, source, tmp_path):
    _, folders = source
    home = read_only
    for words in (
        ["pull", "lab/big"],
        ["publish", folders["small"], "x"],
        ["node"],
        ["trust", "add", "another", STRANGER],
        ["rm", "lab/small"],
    ):
        error = home.refused(7, *words)
        assert error["code"] == "refused"
        assert str(home.folder) in error["message"]
        assert error["remedy"]
    assert [row["ref"] for row in home.run("ls").objects] == ["lab/small@main"]
    assert home.done("verify", "lab/small")["verdict"] == "verified"
    assert home.done("id")["publisher_id"]


def test_a_home_that_cannot_be_made(made, disk):
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    home = made.home("disk/home")
    for words in (["init"], ["node"], ["node", "--detach"], ["pull", f"{STRANGER}/x"]):
        error = home.refused(7, *words)
        assert str(home.folder) in error["message"]
    assert home.run("ls").objects == []
