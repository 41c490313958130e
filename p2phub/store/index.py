"""The SQLite index: one writer at a time, readers beside it, and every SQL error made ours.

Rules it keeps:
 * one transaction per `write()`: all of it, on the disk (`synchronous=FULL`), or none of it;
 * readers never wait for the writer (WAL), and see one state for as long as their `read()` lasts;
 * an older store is brought up to date when it is opened for writing, one transaction a step;
   a newer one is refused, in either mode;
 * no `sqlite3` error leaves this module.

Opened read-only, a store that does not exist reads as an empty one, and one on a disk that cannot
be written is read as it lies there. What is asked stands in `sql/`; what it means, in `documents`,
`blobs`, `repos` and `search`.
"""

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from p2phub.errors import NoSpaceError, P2PHubError, RefusedError, UsageError
from p2phub.store.statements import migrations, query, schema, version

Row = tuple[Any, ...]
Value = None | int | str | bytes

BUSY_SECONDS = 10.0
"""How long a statement waits for another process that holds the database."""
IDLE_READERS = 4
"""Connections that are kept for the next read; a crowd makes more, which close behind it."""
_CANNOT_OPEN = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR)
"""The last one also when the disk is so full that readers cannot make the file they share."""
_NEXT_TO_NOTHING = 64 << 10
"""Bytes: what SQLite needs free to open a database."""

_NOT_TEXT = "Could not decode to UTF-8"
"""What the driver says, without a code, of a text that rotted."""


class Statements:
    """What can be asked inside one transaction, by name."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection, self._path = connection, path

    def run(self, name: str, *values: Value) -> int:
        """Execute; the number of rows changed."""
        with sql_errors(self._path):
            return self._connection.execute(query(name), values).rowcount

    def many(self, name: str, rows: Iterable[Sequence[Value]]) -> None:
        """Execute once for each row."""
        with sql_errors(self._path):
            self._connection.executemany(query(name), rows)

    def one(self, name: str, *values: Value) -> Row | None:
        """The first row; None if there is none."""
        rows = self.all(name, *values)
        return rows[0] if rows else None

    def all(self, name: str, *values: Value) -> list[Row]:
        """Every row."""
        with sql_errors(self._path):
            return self._connection.execute(query(name), values).fetchall()

    @contextmanager
    def decoding(self) -> Iterator[None]:
        """Around making values of rows: what cannot be one has rotted on the disk."""
        try:
            yield
        except (AttributeError, TypeError, ValueError, UsageError) as error:
            raise _damaged(self._path, error) from error

    def compose(self, names: Sequence[str], values: Mapping[str, Value]) -> list[Row]:
        """Every row of a query that is put together from named parts, with named values."""
        text = "\n".join(query(name) for name in names)
        with sql_errors(self._path):
            return self._connection.execute(text, values).fetchall()


class Index:
    """An open database. Thread-safe."""

    def __init__(self, path: Path, *, read_only: bool, in_memory: bool) -> None:
        self._path, self._read_only, self._in_memory = path, read_only, in_memory
        self._writing = threading.Lock()
        self._guard = threading.Lock()
        self._closed = False
        self._idle: list[sqlite3.Connection] = []
        self._writer = None if read_only else self._connect()

    @classmethod
    def open(cls, path: Path, *, read_only: bool = False) -> Self:
        """Open or make the database at `path`.

        Raises `RefusedError` for a store of another version that cannot be read as it is,
        `P2PHubError` for one that is damaged.
        """
        index = cls(path, read_only=read_only, in_memory=read_only and not path.exists())
        with ExitStack() as undo:
            undo.callback(index.close)
            index._prepare()
            undo.pop_all()
        return index

    @property
    def read_only(self) -> bool:
        return self._read_only

    @contextmanager
    def write(self) -> Iterator[Statements]:
        """One transaction, committed at the end, rolled back if anything is raised."""
        if self._writer is None:
            raise RefusedError(f"{self._path} is open for reading only")
        with self._writing, self._transaction(self._writer, "index.begin") as statements:
            yield statements

    @contextmanager
    def read(self) -> Iterator[Statements]:
        """One state of the index, whatever is written meanwhile."""
        connection = self._borrow()
        try:
            with self._transaction(connection, "index.begin_read") as statements:
                yield statements
        finally:
            self._give_back(connection)

    def close(self) -> None:
        """Close every connection that is not in use, and the others as they come back."""
        with self._guard:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        if self._writer is not None:
            with self._writing:
                self._writer.close()

    @contextmanager
    def _transaction(self, connection: sqlite3.Connection, begin: str) -> Iterator[Statements]:
        statements = Statements(connection, self._path)
        statements.run(begin)
        try:
            yield statements
            statements.run("index.commit")
        finally:
            if connection.in_transaction:
                statements.run("index.rollback")

    def _borrow(self) -> sqlite3.Connection:
        with self._guard:
            if self._closed:
                raise P2PHubError(f"the index {self._path} has been closed")
            if self._idle:
                return self._idle.pop()
        return self._connect(reader=True)

    def _give_back(self, connection: sqlite3.Connection) -> None:
        with self._guard:
            if not self._closed and len(self._idle) < IDLE_READERS:
                self._idle.append(connection)
                return
        connection.close()

    def _connect(self, reader: bool = False) -> sqlite3.Connection:
        with sql_errors(self._path), ExitStack() as undo:
            connection = self._open_read_only() if self._read_only else self._open_uri("rwc")
            undo.callback(connection.close)
            if self._in_memory:
                connection.executescript(schema())
            elif not self._read_only and not reader:
                connection.execute(query("index.journal")).fetchall()
            connection.executescript(query("index.pragmas"))
            if reader:
                connection.executescript(query("index.read_only"))
            undo.pop_all()
        return connection

    def _open_read_only(self) -> sqlite3.Connection:
        connection = self._open_uri("ro")
        try:
            connection.execute(query("index.version")).fetchall()
        except sqlite3.Error as error:
            connection.close()
            if error.sqlite_errorcode & 0xFF not in _CANNOT_OPEN or self._has_log():
                raise
            # The folder cannot be written, so readers cannot coordinate; but nobody writes either.
            connection = self._open_uri("ro&immutable=1")
        return connection

    def _has_log(self) -> bool:
        """Whether there are writes that are not in the database file yet."""
        with suppress(OSError):
            return self._path.with_name(self._path.name + "-wal").stat().st_size > 0
        return False

    def _open_uri(self, mode: str) -> sqlite3.Connection:
        return sqlite3.connect(
            ":memory:" if self._in_memory else f"{self._path.absolute().as_uri()}?mode={mode}",
            uri=not self._in_memory,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )

    def _prepare(self) -> None:
        """Check the version; when writing, make the tables or bring them up to date."""
        if self._in_memory:
            return
        with self.read() as statements:
            row = statements.one("index.version")
        found = row[0] if row else 0
        if found > version():
            raise RefusedError(
                f"a newer p2phub wrote {self._path} (version {found}; this one knows {version()})",
                remedy="install a newer p2phub",
            )
        if found == version():
            return
        if self._writer is None:
            raise RefusedError(
                f"an older p2phub wrote {self._path} (version {found})",
                remedy="start `p2phub node` once: it brings the store up to date",
            )
        steps = [text for number, text in migrations() if number > found]
        for step in steps if found else [schema()]:
            self._script(self._writer, step)

    def _script(self, connection: sqlite3.Connection, text: str) -> None:
        """Run many statements in one transaction."""
        with self._writing, sql_errors(self._path):
            try:
                connection.executescript(
                    "\n".join([query("index.begin"), text, query("index.commit")])
                )
            finally:
                if connection.in_transaction:
                    connection.execute(query("index.rollback"))


@contextmanager
def sql_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite says about `path` into an error of ours.

    A damaged file may be told of in words that are no UTF-8, which the driver does not expect.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise _ours(error, path) from error
    except UnicodeDecodeError as error:
        raise _damaged(path, error) from error


def _ours(error: sqlite3.Error, path: Path) -> P2PHubError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _is_full(path)):
        return NoSpaceError(
            f"the disk is full: {path}", remedy="free some space, then run the command again"
        )
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN):
        return RefusedError(
            f"the index {path} cannot be opened or written by you ({error})",
            remedy="check who owns it and whether the disk is mounted read-only",
        )
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return RefusedError(
            f"the index {path} is in use by another process", remedy="try again in a moment"
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or _NOT_TEXT in str(error):
        return _damaged(path, error)
    if code == sqlite3.SQLITE_IOERR:
        return P2PHubError(
            f"the disk fails: {path} ({error})",
            remedy="look at the system log; copy what you need to another disk",
        )
    return P2PHubError(f"the index {path} refused: {error}")


def _damaged(path: Path, error: Exception) -> P2PHubError:
    return P2PHubError(
        f"the index {path} is damaged ({error})",
        remedy="restore it from a backup, or move index.db and its -wal and -shm away: pulling a "
        "repo again uses the files that are here, aliases must be pinned again",
    )


def _is_full(path: Path) -> bool:
    """Whether nothing can be written: SQLite calls that an I/O error in some places."""
    with suppress(OSError):
        found = os.statvfs(path.parent)
        return found.f_bavail * found.f_frsize < _NEXT_TO_NOTHING
    return False
