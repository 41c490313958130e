"""A stick, and what can be put on it."""

import pytest

from p2phub.airgap.writer import BundleWriter
from p2phub.formats.bundle import Contents
from p2phub.formats.digest import sha256
from p2phub.store.disk import Disk
from p2phub.testing.samples import make_sample

LARGE = make_sample(3_000_000, seed="large", piece=700_000)
SMALL = make_sample(1000, seed="small")
PAGE = b"a page" * 1000


def fill(path, disk=None, samples=(LARGE, SMALL), made=7, seal=None, **told):
    """Export these files and a page; the writer, closed."""
    with BundleWriter(path, disk or Disk(), seal=seal) as writer:
        for sample in samples:
            if sample.content.has_table:
                writer.put("documents", sample.content.digest, sample.table.pack())
            for index in range(sample.table.count):
                writer.put("pieces", sample.table.digest(index), sample.piece(index))
        writer.put("documents", sha256(PAGE), PAGE)
        writer.finish(Contents(made, **told))
        return writer


@pytest.fixture
def stick(tmp_path):
    fill(tmp_path / "stick")
    return tmp_path / "stick"
