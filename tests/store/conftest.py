"""A store in a temporary folder, which can be closed and opened again, with any disk under it.

These tests wait for no disk: nothing they do would look different if it had been slow. What is
written in which order they see for themselves, and what a power cut leaves is played by
`p2phub.testing.disks`.
"""

import os

import pytest

from p2phub.store import disk, statements
from p2phub.store.layout import Layout
from p2phub.store.store import Store


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    pragmas = statements.query("index.pragmas")
    assert "synchronous = FULL" in pragmas
    hasty = pragmas.replace("synchronous = FULL", "synchronous = OFF")
    monkeypatch.setitem(statements._queries(), "index.pragmas", hasty)
    monkeypatch.setattr(os, "fsync", os.fstat)
    monkeypatch.setattr(disk, "_syncfs", os.fstat)


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
