"""What the index knows of blobs: of one, or of thousands with a few queries.

A row says that a whole, verified file was made durable, what stamp it had then, and where it lies
if it is a file of a person. Whether the file is still there, and as it was, is for `blobs` to see.
"""

import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from p2phub.formats.ids import ContentId
from p2phub.store.index import Index, Row, Statements
from p2phub.store.stamp import Stamp

AT_ONCE = 1024
"""Blobs that are looked for with one query."""


def row_of(index: Index, content: ContentId) -> Row | None:
    """The row of a blob: id, stamp (four columns), SHA-256 if it was hashed whole, path if it is a
    file of a person.
    """
    with index.read() as statements:
        return statements.one("blobs.find", content.digest, content.size)


def rows_of(index: Index, contents: Iterable[ContentId]) -> dict[ContentId, Row]:
    """The rows of those of `contents` that have one, as of one moment."""
    with index.read() as statements:
        return find_rows(statements, contents)


def find_rows(statements: Statements, contents: Iterable[ContentId]) -> dict[ContentId, Row]:
    """The same, inside a transaction."""
    wanted = dict.fromkeys(contents)
    digests, found = iter(wanted), {}
    while part := list(islice(digests, AT_ONCE)):
        joined = b"".join(content.digest for content in part)
        for size, digest, *row in statements.all("blobs.find_many", joined):
            content = ContentId(size, digest)
            if content in wanted:  # another size with this digest is another file
                found[content] = tuple(row)
    return found


def stamp_in(row: Row, content: ContentId) -> Stamp:
    """What the file had when its bytes were right."""
    device, inode, mtime_ns, ctime_ns = row[1:5]
    return Stamp.from_row(device, inode, mtime_ns, ctime_ns, content.size)


def place_in(row: Row) -> Path | None:
    """Where the file of a person lies; None for a file of ours."""
    return Path(os.fsdecode(row[6])) if row[6] is not None else None
