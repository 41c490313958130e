"""Inventories and receipts that were signed once are read for ever, and mean what they meant."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from p2phub.formats.digest import sha256
from p2phub.trust.sites import read_inventory, read_receipt

make = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "make_sites.py")))
DIGESTS = {
    "inventory-full.bin": "adcea8ae5a028509c15f475e00bb8285373adc901d58be625a5ea8ee683e226b",
    "inventory-sated.bin": "b0dca8a23cf0012e9f0df68da796f349b62fce8e05e55bafe47ff37ec9d10765",
    "inventory-small.bin": "410f989d038ef85878c7ca6403c2e036e796a897ecbc50299bd4517db686ad82",
    "receipt-full.bin": "4d52d5064486f90ebd523c25f5f00eedce809ec58af57e151e0730ca57d9424f",
    "receipt-small.bin": "e878e13a263f7db52a175fc1a7204fa5cda7454e4dd4e78d7ad8ec9e48895f5a",
}


@pytest.mark.parametrize("name", sorted(DIGESTS))
def test_an_old_one_is_written_the_same(name):
    data = (make.FOLDER / name).read_bytes()
    assert sha256(data).hex() == DIGESTS[name]
    assert make.files()[name] == data


def test_no_golden_file_is_missing():
    assert {file.name for file in make.FOLDER.iterdir()} == set(DIGESTS)


@pytest.mark.parametrize("name", sorted(DIGESTS))
def test_an_old_one_means_what_it_meant(name):
    read = read_inventory if name.startswith("inventory") else read_receipt
    data = (make.FOLDER / name).read_bytes()
    assert read(data) == make.documents()[name.removesuffix(".bin")]
