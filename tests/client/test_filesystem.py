"""`p2p://` through fsspec, against a gateway on a real socket."""

import errno
import importlib
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import entry_points
from pathlib import Path

import fsspec
import pytest
from fsspec.tests.abstract import AbstractFixtures
from fsspec.tests.abstract.get import AbstractGetTests

from p2phub.client import releases
from p2phub.client.filesystem import P2PFileSystem
from p2phub.errors import (
    BusyError,
    NoSourceError,
    NoSpaceError,
    P2PHubError,
    RefusedError,
    RevokedError,
    TooSlowError,
    UntrustedError,
    UsageError,
)
from p2phub.testing.gateways import gateway_in_a_thread
from p2phub.testing.nodes import PUBLISHER
from tests.client import elsewhere
from tests.client.shelves import CREATED, FIRST, SECOND, ShelfNode, text

ROOT = Path(__file__).parent.parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CSV = "lab/set/data/0.csv"
LARGE = "lab/set/database.bin"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A node behind a gateway for all tests here, and its home."""
    home, made = tmp_path_factory.mktemp("home"), []

    def make():
        made.append(ShelfNode(home))
        return made[0]

    with gateway_in_a_thread(make, home) as gateway:
        made[0].gateway = gateway
        yield made[0], home


@pytest.fixture
def node(served, monkeypatch):
    node, home = served
    node.reset()
    monkeypatch.setenv("P2PHUB_HOME", str(home))
    monkeypatch.setattr(releases, "_made", {})
    fsspec.register_implementation("p2p", P2PFileSystem, clobber=True)
    P2PFileSystem.clear_instance_cache()
    yield node
    for known in releases._made.values():
        known.hub.close()


@pytest.fixture
def fs(node):
    return fsspec.filesystem("p2p")


# ---------------------------------------------------------------- how it is found


def test_it_is_where_fsspec_looks_for_it():
    where = PYPROJECT["project"]["entry-points"]["fsspec.specs"]["p2p"]
    module, _, name = where.partition(":")
    assert getattr(importlib.import_module(module), name) is P2PFileSystem


def test_fsspec_finds_it_without_an_import_of_ours():
    if not list(entry_points(group="fsspec.specs", name="p2p")):
        pytest.skip("p2phub was installed here before it had this entry point: scripts/setup")
    code = "import fsspec; print(type(fsspec.filesystem('p2p')).__name__)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "P2PFileSystem\n"


def test_it_pulls_in_nothing_heavy():
    heavy = "{'trio', 'libp2p', 'torch', 'numpy', 'pandas', 'pyarrow', 'cryptography'}"
    code = f"import sys, p2phub.client.filesystem; print({heavy} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "set()\n"


# ---------------------------------------------------------------- what there is


def test_a_repo_looks_like_a_folder(fs):
    assert fs.ls("p2p://lab/set", detail=False) == [
        "lab/set/README.md",
        "lab/set/data",
        "lab/set/database.bin",
        "lab/set/empty.txt",
    ]
    assert fs.isdir("lab/set")
    assert fs.isdir("lab/set/data/deep/")
    assert fs.isfile(CSV)
    assert not fs.isdir(CSV)
    assert fs.find("lab/set/data") == [
        CSV,
        "lab/set/data/1.csv",
        "lab/set/data/deep/er/a b%20c.txt",
    ]
    assert fs.glob("p2p://lab/set/data/*.csv") == [CSV, "lab/set/data/1.csv"]
    assert fs.glob("lab/set/**/*.txt")[-1] == "lab/set/empty.txt"
    assert fs.ls(CSV) == [fs.info(CSV)]
    assert fs.du("lab/set/data") == 101_007


def test_a_file_tells_its_size_its_digest_and_its_date(fs):
    data = text(FIRST, "data/0.csv", 1000)
    info = fs.info(f"p2p://{CSV}")
    assert (info["name"], info["size"], info["type"]) == (CSV, 1000, "file")
    assert info["commit"] == FIRST
    assert fs.ukey(CSV) == info["content"] == f"1000-{info['sha256']}"
    assert fs.checksum(CSV) != fs.checksum("lab/set/data/1.csv")
    assert fs.created(CSV) == fs.modified(CSV) == datetime.fromtimestamp(CREATED, UTC)
    assert fs.cat_file(CSV) == data


def test_above_the_repos_is_what_is_known_here(fs):
    assert fs.ls("", detail=False) == ["b" * 52, "lab"]
    assert fs.ls("p2p://lab", detail=False) == ["lab/set"]
    assert fs.ls(PUBLISHER, detail=False) == [f"{PUBLISHER}/other"]
    assert fs.isdir("lab")
    assert fs.glob("lab/*/README.md") == ["lab/set/README.md"]
    for nobody in ("nobody", "c" * 52):
        assert not fs.exists(nobody)
    with pytest.raises(IsADirectoryError):
        fs.modified("lab")


def test_a_revision_may_have_slashes(fs):
    path = "p2p://lab/set@refs%2Fpr%2F1/data"
    assert fs.ls(path, detail=False)[0] == "lab/set@refs%2Fpr%2F1/data/0.csv"
    assert fs.cat(f"{path}/0.csv") == text(SECOND, "data/0.csv", 1000)
    assert not fs.exists("lab/set@refs/pr/1/data/0.csv")


def test_percent_signs_and_blanks_in_names_are_meant_as_they_stand(fs):
    assert fs.cat("lab/set/data/deep/er/a b%20c.txt") == b"1111 da"
    assert not fs.exists("lab/set/data/deep/er/a b c.txt")
    assert not fs.exists("lab/set/data%2F0.csv")


@pytest.mark.parametrize(
    "path",
    [
        "lab/set/data/2.csv",
        "lab/set/dat",
        "lab/set/data/0.csv/more",
        "lab/set/data/../README.md",
        "lab/set//README.md",
        "lab/none/a",
        "lab/set@v9/README.md",
        "lab/set@/README.md",
        "lab/set@../README.md",
        "lab/..",
        "lab@main/set/README.md",
        "minilm@main",
        "../../etc/passwd",
        "LAB/set/README.md",
    ],
)
def test_what_is_not_there_is_not_found(fs, path):
    for ask in (fs.info, fs.open, fs.cat_file, fs.ls, fs.ukey):
        with pytest.raises(FileNotFoundError):
            ask(path)
    assert not fs.exists(path)
    assert not fs.isfile(path)
    assert fs.find(path) == []


def test_a_folder_cannot_be_read(fs):
    for path in ("lab", "lab/set", "lab/set/data", ""):
        with pytest.raises(IsADirectoryError):
            fs.open(path)


# ---------------------------------------------------------------- reading


def test_every_way_of_reading_gives_the_same_bytes(fs, tmp_path):
    data = text(FIRST, "database.bin", 3_000_000)
    with fs.open(LARGE) as file:
        assert file.read() == data
        assert file.seek(-10, 2) == 2_999_990
        assert file.read(100) == data[-10:]
        assert file.read(1) == b""
        file.seek(5)
        assert file.read(20) == data[5:25]
        buffer = bytearray(7)
        assert file.readinto(buffer) == 7
        assert buffer == data[25:32]
    assert fs.cat_file(LARGE, 10, 20) == fs.read_block(LARGE, 10, 10) == data[10:20]
    assert fs.cat_file(LARGE, -10) == fs.tail(LARGE, 10) == data[-10:]
    assert fs.cat_file(LARGE, -20, -10) == data[-20:-10]
    assert fs.cat_file(LARGE, 20, 10) == b""
    assert fs.head(LARGE, 3) == data[:3]
    fs.get("lab/set/empty.txt", str(tmp_path / "empty"))
    assert (tmp_path / "empty").read_bytes() == b""
    fs.get(LARGE, str(tmp_path / "new" / "copy"))
    assert (tmp_path / "new" / "copy").read_bytes() == data
    assert fs.cat("lab/set/empty.txt") == fs.open("lab/set/empty.txt").read() == b""


@pytest.mark.parametrize("cache", ["p2p-ahead", "none", "readahead", "bytes", "all", "blockcache"])
def test_every_cache_of_fsspec_may_be_named(fs, cache):
    with fs.open(LARGE, cache_type=cache, block_size=1 << 17) as file:
        file.seek(1_000_000)
        assert file.read(300_000) == text(FIRST, "database.bin", 3_000_000)[1_000_000:1_300_000]


def test_lines_are_read_like_those_of_any_file(node, fs):
    node.releases[FIRST]["lines.txt"] = b"\n".join(b"%d" % n for n in range(20_000))
    with fs.open("lab/set/lines.txt") as file:
        assert [int(line) for line in file] == list(range(20_000))
    with fsspec.open("p2p://lab/set/lines.txt", "rt") as file:
        assert sum(map(int, file)) == sum(range(20_000))


def test_who_jumps_about_asks_for_little_more_than_is_wanted(node, fs):
    with fs.open(LARGE) as file:
        for at in (2_900_000, 100_000, 1_500_000):
            file.seek(at)
            file.read(1000)
    wanted = [stop - start for read in node.reads() for start, stop in read.ranges]
    assert max(wanted) <= 1000 + (1 << 16)


def test_who_reads_on_asks_seldom(node, fs):
    with fs.open(LARGE) as file:
        while file.read(10_000):
            pass
    assert len(node.reads()) <= 12


def test_lines_and_rereading_do_not_count_as_reading_on(node, fs):
    with fs.open(LARGE) as file:
        for _ in range(300):
            file.seek(1000)
            file.read(60_000)
        file.seek(70_000)
        file.read(10)
    asked = [stop for read in node.reads() for _, stop in read.ranges]
    assert max(asked) < 4 << 16


def test_a_large_read_does_not_stay_in_memory(fs):
    with fs.open(LARGE, block_size=1000) as file:
        data = file.read()
        assert len(file.cache._data) <= 2000
        file.seek(-1500, 2)
        assert file.read() == data[-1500:]


def test_ranges_of_one_file_are_one_question(node, fs):
    paths, starts = [LARGE, CSV, LARGE, LARGE], [5, 0, 2_000_000, -4]
    found = fs.cat_ranges(paths, starts, [9, 4, 2_000_003, None])
    data = text(FIRST, "database.bin", 3_000_000)
    assert found == [data[5:9], b"1111", data[2_000_000:2_000_003], data[-4:]]
    assert [len(read.ranges) for read in node.reads()] == [3, 1]
    absent, here = fs.cat_ranges(["lab/set/no", CSV], 0, 4)
    assert isinstance(absent, FileNotFoundError)
    assert here == b"1111"
    with pytest.raises(FileNotFoundError):
        fs.cat_ranges(["lab/set/no"], 0, 4, on_error="raise")


def test_more_than_one_call_may_ask_for_is_read_in_several(node, fs):
    node.releases[FIRST]["huge"] = bytes(range(256)) * (40 << 12)
    assert fs.cat_file("lab/set/huge", 1) == node.releases[FIRST]["huge"][1:]
    assert len(node.reads()) == 3


def test_a_copy_that_breaks_off_leaves_nothing_that_looks_whole(node, fs, tmp_path, monkeypatch):
    target = tmp_path / "copy"
    monkeypatch.setattr(releases.Releases, "read", _broken)
    with pytest.raises(PermissionError):
        fs.get_file(LARGE, str(target))
    assert not target.exists()


def _broken(self, exact, path, start, stop):
    raise UntrustedError("wrong bytes")


# ---------------------------------------------------------------- one release at a time


def test_an_open_file_stays_what_it_was_when_its_ref_moves(node, fs):
    file = fs.open(LARGE, cache_type="none")
    before = file.read(1000)
    node.refs["main"] = SECOND
    fs.invalidate_cache()
    file.seek(0)
    assert file.read(1000) == before
    file.seek(0)
    assert pickle.loads(pickle.dumps(file)).read(1000) == before
    assert fs.open(LARGE).read(4) == b"2222"


def test_the_files_of_a_set_are_of_one_release(node, fs):
    names = fs.glob("lab/set/data/*.csv")
    node.refs["main"] = SECOND
    assert {fs.cat_file(name, 0, 4) for name in names} == {b"1111"}
    assert node.resolved() == 1
    fresh = fsspec.filesystem("p2p", use_listings_cache=False)
    assert fresh.cat_file(CSV, 0, 4) == b"2222"
    assert fsspec.filesystem("p2p", listings_expiry_time=0).cat_file(CSV, 0, 4) == b"2222"


def test_a_listing_is_asked_for_once_by_however_many_threads(node):
    def look(_):
        return fsspec.filesystem("p2p").cat_file(CSV, 0, 4)

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(look, range(64))) == {b"1111"}
    assert node.resolved() == 1
    assert [each for each in node.asked if each == ("ls", f"lab/set@{FIRST}")] == [
        ("ls", f"lab/set@{FIRST}")
    ]


def test_threads_that_share_a_file_get_bytes_of_where_they_asked(fs):
    data = text(FIRST, "database.bin", 3_000_000)
    file = fs.open(LARGE)

    def read(start):
        return file.cache._fetch(start, start + 5000) == data[start : start + 5000]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(0, 2_900_000, 31_000)))


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("error", "kind", "number"),
    [
        (UntrustedError, PermissionError, errno.EACCES),
        (RevokedError, PermissionError, errno.EACCES),
        (RefusedError, PermissionError, errno.EACCES),
        (BusyError, OSError, errno.EBUSY),
        (NoSpaceError, OSError, errno.ENOSPC),
        (NoSourceError, OSError, errno.EIO),
        (TooSlowError, TimeoutError, errno.ETIMEDOUT),
        (UsageError, OSError, errno.EINVAL),
        (P2PHubError, OSError, errno.EIO),
    ],
)
def test_errors_of_a_node_are_errors_of_files(node, fs, error, kind, number):
    node.fails = error("what happened", remedy="what to do")
    for ask in (fs.info, fs.exists, fs.isfile, fs.isdir, fs.open, fs.ls, fs.find, fs.glob):
        with pytest.raises(kind, match="what happened; what to do") as caught:
            ask("lab/set/*" if ask == fs.glob else CSV)
        assert caught.value.errno == number
        assert type(caught.value.__cause__) is error
    node.fails = None
    file = fs.open(CSV)
    node.fails = error("what happened", remedy="what to do")
    for read in (file.read, lambda: fs.cat_file(CSV), lambda: fs.cat([CSV])):
        with pytest.raises(kind, match="what to do"):
            read()


@pytest.mark.parametrize("path", ["../../.ssh/authorized_keys", "/etc/passwd", "a//b", "a\n"])
def test_a_gateway_that_lists_paths_out_of_the_repo_is_refused(node, fs, tmp_path, path):
    node.releases[FIRST][path] = b"mine now"
    target = tmp_path / "deep" / "er" / "target"
    with pytest.raises(OSError, match="path"):
        fs.get("lab/set", str(target), recursive=True)
    assert not list(tmp_path.rglob("*"))


@pytest.mark.parametrize("sent", [b"", b"too", b"much too long for it"])
def test_a_gateway_that_sends_more_or_less_than_was_asked_for_is_not_believed(
    node, fs, monkeypatch, sent
):
    file = fs.open(CSV, cache_type="none")
    monkeypatch.setattr(releases.PartHub, "read_batch", lambda self, *_: sent)
    for read in (lambda: file.read(7), lambda: fs.cat_file(CSV, 0, 7), lambda: fs.head(CSV, 7)):
        with pytest.raises(OSError, match=r"bytes of data/0\.csv instead of"):
            read()


def test_a_node_that_is_away_is_an_error_of_files(tmp_path):
    fs = P2PFileSystem(url="http://127.0.0.1:9", token="x", skip_instance_cache=True)
    with pytest.raises(OSError, match="no node answers"):
        fs.exists(CSV)


def test_nothing_can_be_written(fs, tmp_path):
    here = tmp_path / "here"
    here.write_text("x")
    attempts = [
        lambda: fs.open("lab/set/new", "wb"),
        lambda: fs.open("lab/set/new", "w"),
        lambda: fs.open(CSV, "ab"),
        lambda: fs.open(CSV, "xb"),
        lambda: fs.mkdir("lab/new"),
        lambda: fs.makedirs("lab/new", exist_ok=True),
        lambda: fs.rmdir("lab/set"),
        lambda: fs.rm(CSV),
        lambda: fs.rm("lab/set", recursive=True),
        lambda: fs.rm_file(CSV),
        lambda: fs.delete(CSV),
        lambda: fs.pipe(CSV, b"x"),
        lambda: fs.pipe_file(CSV, b"x"),
        lambda: fs.write_text(CSV, "x"),
        lambda: fs.touch(CSV),
        lambda: fs.mv(CSV, "lab/set/new"),
        lambda: fs.cp(CSV, "lab/set/new"),
        lambda: fs.put(str(here), "lab/set/new"),
        lambda: fs.put_file(str(here), "lab/set/new"),
    ]
    for attempt in attempts:
        with pytest.raises(OSError, match="p2phub publish") as caught:
            attempt()
        assert caught.value.errno == errno.EROFS


# ---------------------------------------------------------------- other processes


@pytest.mark.parametrize("way", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_another_process_makes_connections_of_its_own(node, fs, way):
    assert fs.cat_file(CSV, 0, 4) == b"1111"
    file = fs.open(LARGE)
    file.read(10)
    context = multiprocessing.get_context(way)
    queue = context.Queue()
    known = releases.releases_of(fs._where)
    held = [*known._looking, known._lock, file.cache._lock, known.hub._lock]
    for lock in held:  # as other threads might hold them when the process is forked
        lock.acquire()
    args = fs, CSV, file, queue
    children = [context.Process(target=elsewhere.read, args=args, daemon=True) for _ in range(2)]
    try:
        for child in children:
            child.start()
    finally:
        for lock in held:
            lock.release()
    told = [queue.get(timeout=20) for _ in children]
    for child in children:
        child.join()
    rest = text(FIRST, "database.bin", 14)[10:]
    assert [each[:2] for each in told] == [(b"1111", rest)] * 2
    assert os.getpid() not in {each[2] for each in told}
    assert fs.cat_file(CSV, 4, 8) == text(FIRST, "data/0.csv", 8)[4:]


def test_a_token_that_was_found_is_not_pickled(node, fs):
    token = (Path(os.environ["P2PHUB_HOME"]) / "run" / "token").read_text().strip()
    fs.cat_file(CSV)
    file = fs.open(CSV)
    file.read(1)
    for packed in (pickle.dumps(fs), pickle.dumps(file), fs.to_json().encode()):
        assert token.encode() not in packed
    assert pickle.loads(pickle.dumps(fs)).cat_file(CSV, 0, 4) == b"1111"


def test_a_token_that_was_given_goes_along_but_not_where_passwords_do_not(node):
    token = node.gateway.token
    fs = fsspec.filesystem("p2p", url=node.gateway.url, token=token)
    assert pickle.loads(pickle.dumps(fs)).cat_file(CSV, 0, 4) == b"1111"
    assert json.loads(fs.to_json())["token"] == token
    assert token not in fs.to_json(include_password=False)
    assert token not in repr(fs)


# ---------------------------------------------------------------- fsspec's own tests


class TestTheGetTestsOfFsspec(AbstractFixtures, AbstractGetTests):
    """fsspec writes a scenario, gets it, and removes it: here it is what the release holds."""

    @pytest.fixture
    def fs(self, node, monkeypatch):
        files = node.releases[FIRST]
        files.clear()
        monkeypatch.setattr(P2PFileSystem, "makedirs", _nothing)
        monkeypatch.setattr(P2PFileSystem, "mkdir", _nothing)
        monkeypatch.setattr(P2PFileSystem, "rm", _nothing)

        def hold(self, path, *args, **options):
            files[path.removeprefix("lab/set/")] = b""
            self._releases()._contents.clear()

        def pipe(self, path, value):
            files[path.removeprefix("lab/set/")] = value
            self._releases()._contents.clear()

        monkeypatch.setattr(P2PFileSystem, "touch", hold)
        monkeypatch.setattr(P2PFileSystem, "pipe_file", pipe)
        return fsspec.filesystem("p2p")

    @pytest.fixture
    def fs_path(self):
        return "lab/set"


def _nothing(self, *args, **options):
    pass
