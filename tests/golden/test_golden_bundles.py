"""A bundle that was written once is law: it is read for ever, and means what it meant."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from p2phub.formats.bundle import Contents, PackIndex, write_index
from p2phub.formats.digest import blake3, sha256

make = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "make_bundles.py")))
DIGESTS = {
    "contents-0001.list": "e51fb4b27bce1f92866fdb7f22d52353cd85912cdedd5481565ec8317cb62cb4",
    "contents-0002.list": "44f92b08234fcedfe6483c7100299ca9003cfdc103bd1c731e452dd75bec641f",
    "pieces-0001.index": "26744c1ae48d7dff0fdf42abc8b5b85fd8b84ce65b108edacf09329ea463af0e",
    "pieces-0001.pack": "41a07ad730dca6f4b6105faa8b493c90d84f2aec04d064ff1dbde681da7cd725",
}


def golden(name):
    return (make.FOLDER / name).read_bytes()


@pytest.mark.parametrize("name", sorted(DIGESTS))
def test_an_old_bundle_is_written_the_same(name):
    assert sha256(golden(name)).hex() == DIGESTS[name]
    assert make.files()[name] == golden(name)


def test_no_golden_file_is_missing():
    assert {file.name for file in make.FOLDER.iterdir()} == set(DIGESTS)


def test_an_old_bundle_means_what_it_meant():
    pack, packed = golden("pieces-0001.pack"), golden("pieces-0001.index")
    index = PackIndex.read(packed, pack=len(pack), longest=11)
    for piece in make.PIECES:
        row = index.find(blake3(piece))
        assert pack[row.offset : row.offset + row.length] == piece
    assert write_index(index) == packed
    contents = Contents.from_bytes(golden("contents-0001.list"))
    assert contents.to_bytes() == golden("contents-0001.list")
    (meant,) = contents.releases
    assert (contents.made, meant.name, meant.size) == (1_700_000_000, "minilm", len(pack))
