"""A store in a temporary folder, which can be closed and opened again, with any disk under it.

The folder is in memory where the system has such a place: a store waits for the disk hundreds of
times in these tests, and what a real one does is the business of those that say so.
"""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from p2phub.store.layout import Layout
from p2phub.store.store import Store

MEMORY = Path("/dev/shm")


@pytest.fixture
def tmp_path(tmp_path):
    if not os.access(MEMORY, os.W_OK):
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(dir=MEMORY, prefix="p2phub-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def layout(tmp_path):
    return Layout.of(tmp_path / "home")


@pytest.fixture
def reopen(layout):
    """Opens the store (again); what was open before is closed first."""
    opened = []

    def again(**options):
        for store in opened:
            store.close()
        opened.clear()
        opened.append(Store.open(layout, **options))
        return opened[0]

    yield again
    for store in opened:
        store.close()


@pytest.fixture
def store(reopen):
    return reopen()


def bring(store, sample):
    """Let a sample arrive piece by piece and commit it."""
    partial = store.partials.open(sample.content, sample.table)
    for index in range(sample.table.count):
        partial.accept(index, memoryview(sample.piece(index)))
    partial.commit()
    store.partials.close(partial)


def held(store, content):
    """The bytes of a blob, as whoever uses it reads them."""
    with store.blobs.opened(content) as fd, open(fd, "rb", closefd=False) as file:
        return file.read()


def leftovers(layout):
    """Every file in the places that are empty when nothing is going on."""
    places = (layout.temp, layout.journal, layout.partial)
    return sorted(str(path.relative_to(layout.store)) for p in places for path in p.rglob("*"))
