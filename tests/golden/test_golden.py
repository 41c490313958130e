"""Bytes that were released are law: they mean what they meant, under the digest they had."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from p2phub.formats.codec import decode
from p2phub.formats.digest import sha256
from p2phub.formats.documents import Document
from p2phub.formats.manifest import Release
from p2phub.formats.publisher import Delegation, Head, Index, Page, Root

make = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "make.py")))
CLASSES: dict[str, type[Document]] = {
    made.TYPE: made for made in (Root, Delegation, Index, Page, Head, Release)
}
FOLDERS = sorted(Path(__file__).parent.glob("v*"))
FILES = [f for folder in FOLDERS for name in CLASSES for f in sorted(folder.glob(f"{name}-*.bin"))]


def recorded(folder: Path) -> dict:
    return json.loads((folder / "recorded.json").read_text())


def by_name(file: Path) -> str:
    return f"{file.parent.name}/{file.stem}"


@pytest.mark.parametrize("file", FILES, ids=by_name)
def test_old_bytes_parse_and_are_written_back(file):
    data = file.read_bytes()
    made = CLASSES[file.stem.split("-")[0]].from_payload(data)
    assert made.to_payload() == data


@pytest.mark.parametrize("file", FILES, ids=by_name)
def test_old_bytes_have_the_digest_they_had(file):
    digest = recorded(file.parent)["digests"][file.stem]
    made = CLASSES[file.stem.split("-")[0]].from_payload(file.read_bytes())
    assert sha256(file.read_bytes()).hex() == made.digest.hex() == digest


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_no_golden_file_is_missing(folder):
    found = {file.stem for file in FILES if file.parent == folder}
    assert found == set(recorded(folder)["digests"])
    assert {name.split("-")[0] for name in found} == set(CLASSES)


@pytest.mark.parametrize("name", make.documents())
def test_todays_values_make_the_bytes_of_v01(name):
    assert make.documents()[name].to_payload() == (make.FOLDER / f"{name}.bin").read_bytes()


def test_old_bytes_mean_what_they_meant():
    for name, document in make.documents().items():
        data = (make.FOLDER / f"{name}.bin").read_bytes()
        assert CLASSES[document.TYPE].from_payload(data) == document


def test_ids_are_written_as_they_were():
    assert make.texts() == recorded(make.FOLDER)["texts"]


def test_the_golden_documents_leave_no_known_key_out():
    spelled: dict[str, set[str]] = {name: set() for name in CLASSES}
    for file in FILES:
        value = decode(file.read_bytes(), limit=2**25)
        spelled[file.stem.split("-")[0]] |= set(value)
    for name, keys in spelled.items():
        assert keys >= {"type", "requires"}, name
    assert {"previous", "recovery", "next", "keys", "threshold", "v"} <= spelled["root"]
    assert {"parents", "profile", "pages", "writer", "writer_seq"} <= spelled["index"]
    assert {"roots", "delegation", "not_after", "root_v"} <= spelled["head"]
    assert {"lineage", "upstream", "card", "message", "parents"} <= spelled["release"]
