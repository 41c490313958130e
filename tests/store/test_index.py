"""The SQLite index: transactions, versions, damage, and who may read while others write."""

import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from p2phub.errors import NoSpaceError, P2PHubError, RefusedError, UsageError
from p2phub.store import index as index_module
from p2phub.store import statements
from p2phub.store.index import Index, sql_errors

NEXT = statements.version() + 1
"""The version of the schema that comes after today's."""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "index.db"


@pytest.fixture
def index(path):
    index = Index.open(path)
    yield index
    index.close()


def put(index, number):
    with index.write() as statements:
        statements.run("documents.put", bytes([number]) * 32, "test", b"data")


def count(index):
    with index.read() as statements:
        return len(statements.all("documents.of_type", "test"))


def test_what_was_committed_is_there_after_closing(path):
    index = Index.open(path)
    put(index, 1)
    index.close()
    again = Index.open(path)
    assert count(again) == 1
    again.close()


def test_an_error_in_the_middle_of_a_transaction_undoes_all_of_it(index):
    with pytest.raises(ZeroDivisionError), index.write() as statements:  # noqa: PT012
        statements.run("documents.put", bytes(32), "test", b"data")
        statements.run("documents.put", bytes([1]) * 32, "test", b"data")
        _ = 1 / 0
    assert count(index) == 0
    put(index, 2)
    assert count(index) == 1


def test_a_reader_sees_one_state_while_somebody_writes(index):
    put(index, 1)
    with index.read() as reader:
        assert len(reader.all("documents.of_type", "test")) == 1
        put(index, 2)
        assert len(reader.all("documents.of_type", "test")) == 1
    assert count(index) == 2


def test_a_reader_cannot_write(index):
    with index.read() as reader, pytest.raises(RefusedError):
        reader.run("documents.put", bytes(32), "test", b"data")


def test_many_threads_write_and_read_without_losing_a_row(index):
    def work(first):
        for number in range(first, first + 10):
            put(index, number)
            assert count(index) >= 1

    threads = [threading.Thread(target=work, args=(first,)) for first in range(0, 80, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count(index) == 80


def test_another_process_reads_while_this_one_writes(path, index):
    put(index, 1)
    other = Index.open(path, read_only=True)
    with index.write() as statements:
        statements.run("documents.put", bytes(32), "test", b"data")
        assert count(other) == 1
    assert count(other) == 2
    with pytest.raises(RefusedError, match="reading only"):
        put(other, 3)
    other.close()


def test_reading_a_store_that_does_not_exist_gives_an_empty_one_and_makes_no_file(path):
    index = Index.open(path, read_only=True)
    assert count(index) == 0
    assert count(index) == 0
    index.close()
    assert not path.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_a_user_who_may_only_read_the_folder_reads_the_index():
    with tempfile.TemporaryDirectory(prefix="p2phub-") as folder:
        os.chmod(folder, 0o755)
        assert read_as_somebody_else(Path(folder) / "index.db") == "1"


def read_as_somebody_else(path):
    index = Index.open(path)
    put(index, 1)
    index.close()
    path.chmod(0o444)
    code = (
        "import os, sys; from pathlib import Path\n"
        "from p2phub.store.index import Index; from p2phub.store.statements import query, version\n"
        # Read while we may: the checkout may be root's alone.
        "query('index.begin'); query('documents.of_type'); version()\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "index = Index.open(Path(sys.argv[1]), read_only=True)\n"
        "with index.read() as s: print(len(s.all('documents.of_type', 'test')))\n"
    )
    return run_python(code, str(path))


def run_python(code, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or done.stderr[-300:]


def test_a_newer_store_is_refused_and_left_as_it_is(path):
    Index.open(path).close()
    set_version(path, statements.version() + 1)
    before = path.read_bytes()
    for read_only in (False, True):
        with pytest.raises(RefusedError, match="a newer p2phub wrote") as caught:
            Index.open(path, read_only=read_only)
        assert caught.value.exit == 7
        assert "newer p2phub" in caught.value.remedy
    assert path.read_bytes() == before


def set_version(path, number):
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {number}")
    connection.close()


@pytest.fixture
def two_versions(monkeypatch):
    """Pretend that the next version adds a table."""
    today = statements.migrations()

    def pretend(text):
        steps = (*today, (NEXT, text))
        monkeypatch.setattr(index_module, "migrations", lambda: steps)
        monkeypatch.setattr(index_module, "version", lambda: NEXT)

    pretend(f"CREATE TABLE extra (a INTEGER) STRICT;\nPRAGMA user_version = {NEXT};")
    return pretend


def test_an_older_store_is_brought_up_to_date_and_keeps_what_it_held(path, request):
    index = Index.open(path)
    put(index, 1)
    index.close()
    request.getfixturevalue("two_versions")
    index = Index.open(path)
    assert count(index) == 1
    index.close()
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (NEXT,)
    assert connection.execute("SELECT count(*) FROM extra").fetchone() == (0,)
    connection.close()


def test_an_older_store_opened_for_reading_says_how_to_bring_it_up_to_date(path, request):
    Index.open(path).close()
    request.getfixturevalue("two_versions")
    with pytest.raises(RefusedError, match="an older p2phub wrote"):
        Index.open(path, read_only=True)


def test_a_migration_that_breaks_half_way_changes_nothing(path, request):
    Index.open(path).close()
    request.getfixturevalue("two_versions")("CREATE TABLE half (a INTEGER) STRICT; NONSENSE;")
    with pytest.raises(P2PHubError):
        Index.open(path)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (NEXT - 1,)
    with pytest.raises(sqlite3.OperationalError):
        connection.execute("SELECT * FROM half")
    connection.close()


@pytest.mark.parametrize("read_only", [False, True])
def test_a_file_that_is_no_database_is_named_with_a_remedy(path, read_only):
    path.write_bytes(b"The quick brown fox" * 1000)
    with pytest.raises(P2PHubError, match=r"index\.db is damaged") as caught:
        Index.open(path, read_only=read_only)
    assert caught.value.exit == 1
    assert "index.db" in caught.value.remedy


def test_pages_that_rotted_are_found_when_they_are_read(path):
    index = Index.open(path)
    for number in range(200):
        put(index, number)
    index.close()
    data = bytearray(path.read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(P2PHubError, match="damaged"):
        count(Index.open(path, read_only=True))


def test_a_folder_that_is_not_there_is_refused_by_name(tmp_path):
    with pytest.raises(RefusedError, match="nowhere"):
        Index.open(tmp_path / "nowhere" / "index.db")


def test_asking_a_closed_index_says_so(path):
    index = Index.open(path)
    index.close()
    with pytest.raises(P2PHubError, match="closed"):
        count(index)


def test_a_read_that_outlives_close_leaves_no_connection(index):
    with index.read():
        index.close()
    assert index._idle == []


def test_a_crowd_of_readers_leaves_few_connections(index):
    with ExitStack() as crowd:
        for _ in range(40):
            crowd.enter_context(index.read())
    assert len(index._idle) == index_module.IDLE_READERS
    assert count(index) == 0


def sqlite_errors(cls=sqlite3.Error):
    yield cls
    for child in cls.__subclasses__():
        yield from sqlite_errors(child)


@pytest.mark.parametrize("error", list(sqlite_errors()))
def test_every_error_that_sqlite_has_becomes_ours(error, path):
    with pytest.raises(P2PHubError, match=re.escape(str(path))), sql_errors(path):
        raise error("something")


@pytest.mark.parametrize(
    ("code", "ours"),
    [
        (sqlite3.SQLITE_FULL, NoSpaceError),
        (sqlite3.SQLITE_READONLY, RefusedError),
        (sqlite3.SQLITE_READONLY_DBMOVED, RefusedError),
        (sqlite3.SQLITE_BUSY, RefusedError),
        (sqlite3.SQLITE_CANTOPEN, RefusedError),
        (sqlite3.SQLITE_IOERR_FSYNC, P2PHubError),
    ],
)
def test_a_code_becomes_the_error_a_person_can_act_on(code, ours, path):
    error = sqlite3.OperationalError("something")
    error.sqlite_errorcode = code
    with pytest.raises(P2PHubError) as caught, sql_errors(path):
        raise error
    assert type(caught.value) is ours
    assert caught.value.remedy


def test_a_database_that_may_not_grow_is_a_full_disk(path):
    index = Index.open(path)
    index._writer.execute("PRAGMA max_page_count = 60")
    with pytest.raises(NoSpaceError), index.write() as statements:
        statements.run("documents.put", bytes(32), "test", bytes(1 << 20))
    put(index, 1)
    assert count(index) == 1
    index.close()


def test_sqlite_telling_of_damage_in_no_known_letters_is_damage(path):
    with pytest.raises(P2PHubError, match="damaged"), sql_errors(path):
        b"\x89".decode()
    with pytest.raises(P2PHubError, match="damaged"), sql_errors(path):
        raise sqlite3.OperationalError("Could not decode to UTF-8 column 'alias'")


def test_a_text_that_rotted_is_damage_and_nothing_else(index):
    with index.write() as statements:
        statements.run("documents.save_alias", "ann", "x" * 52, 1)
        statements._connection.execute("UPDATE aliases SET alias = CAST(x'ff' AS TEXT)")
    with index.read() as statements, pytest.raises(P2PHubError, match="damaged"):
        statements.all("documents.aliases")


@pytest.mark.parametrize(
    "error", [AttributeError("x"), TypeError("x"), ValueError("x"), UsageError("x")]
)
def test_a_row_that_cannot_be_what_was_written_is_damage(index, error):
    with (
        index.read() as statements,
        pytest.raises(P2PHubError, match="damaged") as caught,
        statements.decoding(),
    ):
        raise error
    assert caught.value.exit == 1


def test_a_store_of_the_first_version_opens_and_keeps_its_blobs(path):
    connection = sqlite3.connect(path)
    connection.executescript(statements.migrations()[0][1])
    connection.execute(
        "INSERT INTO blobs (size, digest, device, inode, mtime_ns, ctime_ns) VALUES (5,?,1,1,1,1)",
        (bytes(32),),
    )
    connection.commit()
    connection.close()
    index = Index.open(path)
    with index.read() as statements_:
        assert statements_.one("blobs.totals") == (1, 5)
        assert statements_.one("blobs.find", bytes(32), 5) == (1, 1, 1, 1, 1, None, None)
    index.close()
