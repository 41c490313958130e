"""Parcels that were written once are law: they are read for ever, and mean what they meant."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from p2phub.formats.digest import sha256
from p2phub.formats.parcel import SUFFIX, Parcel
from p2phub.trust.papers import find_chain, find_papers
from p2phub.trust.parcels import envelopes, merged

make = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "make_parcels.py")))
DIGESTS = {
    "papers": "6492cf7ad3b1b501d5bed3d13fc7971952da3f6468977e57fc055a9192469ed9",
    "recovery-signed": "9dc0f972ab348b3a9ab7bbbbab0c7d4346511d286820824d2af5d543a027aa81",
    "recovery-unsigned": "494c92bb6e66c7ed75e0fd6b53b52e4abd07605743d4179610a2eca1465ed7bc",
}


def golden(name):
    return (make.FOLDER / f"{name}{SUFFIX}").read_bytes()


@pytest.mark.parametrize("name", sorted(DIGESTS))
def test_old_parcels_are_read_and_written_the_same(name):
    data = golden(name)
    assert sha256(data).hex() == DIGESTS[name]
    parcel = Parcel.from_bytes(data)
    assert parcel == make.parcels()[name]
    assert parcel.to_bytes() == data


def test_no_golden_file_is_missing():
    assert {file.stem for file in make.FOLDER.iterdir()} == set(DIGESTS)


def test_they_mean_what_they_meant():
    papers = find_papers(envelopes(Parcel.from_bytes(golden("papers"))))
    assert papers.publisher == make.LAB.publisher
    unsigned, signed = (
        Parcel.from_bytes(golden(f"recovery-{each}")) for each in ("unsigned", "signed")
    )
    assert len(find_chain(envelopes(unsigned))) == 1
    assert len(find_chain(envelopes(signed))) == 2
    assert merged([unsigned, signed]) == signed
