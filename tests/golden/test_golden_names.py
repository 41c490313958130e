"""Trust lists and proofs of domains that were written once mean what they meant, for ever."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from p2phub.trust.domains import listed_in_file, listed_in_texts
from p2phub.trust.lab_list import read_list

make = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "make_names.py")))
FOLDERS = sorted(Path(__file__).parent.glob("v*/names"))
versions = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.parent.name)


@versions
def test_an_old_trust_list_is_read(folder):
    assert read_list((folder / "trust-list.json").read_text()) == make.ENTRIES


@versions
def test_an_old_proof_of_a_domain_is_read(folder):
    assert listed_in_file((folder / "well-known.json").read_bytes()) == {make.LAB}
    assert listed_in_file((folder / "well-known.txt").read_bytes()) == {make.LAB, make.OTHER}
    assert listed_in_texts([(folder / "record.txt").read_text()]) == {make.LAB}


@pytest.mark.parametrize("name", make.texts())
def test_today_the_same_is_written(name):
    assert (make.FOLDER / name).read_text() == make.texts()[name]
