"""Phrases on paper, locked roots and backups that were released bring their keys back for ever."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from p2phub import config
from p2phub.node.restore import restore
from p2phub.store.backup import read_backup
from p2phub.trust.sealing import unlock
from p2phub.trust.secrets import Master, RootSecret

make = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "make_secrets.py")))
FOLDERS = sorted(Path(__file__).parent.glob("v*/secrets"))
versions = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.parent.name)


def recorded(folder):
    return json.loads((folder / "recorded.json").read_text(encoding="utf-8"))


@versions
def test_an_old_phrase_makes_the_keys_it_made(folder):
    told = recorded(folder)
    master = Master.from_phrase(told["phrase"])
    assert master.secret.hex() == told["master"]
    assert [master.root_key(v).public.hex() for v in (1, 2, 3, 1000)] == told["root keys"]
    assert [master.root_key(v).seed.hex() for v in (1, 2)] == told["root seeds"]
    assert master.backup_key().hex() == told["backup key"]


@versions
def test_an_old_locked_root_opens(folder):
    told = recorded(folder)
    packed = unlock((folder / "root.key").read_bytes(), told["passphrase"])
    assert packed.hex() == told["packed"]
    assert RootSecret.unpack(packed).root_key(2).public.hex() == told["root keys"][1]


@versions
@pytest.mark.parametrize("name", ["backup-1.json", "backup-2.json"])
def test_an_old_backup_restores_its_publisher(folder, name, tmp_path):
    told = recorded(folder)
    found = read_backup(folder / name, lambda: told["phrase"])
    made = restore(
        config.load("", {}),
        tmp_path,
        folder / name,
        lambda: told["phrase"],
        lambda: None,
        None,
        1_800_000_000,
    )
    assert made.publisher_id == str(found.publisher)
    assert made.publisher_id in (folder / name).read_text()


def test_todays_code_makes_the_bytes_of_v01():
    for name, data in make.files().items():
        assert (make.FOLDER / name).read_bytes() == data, name


def test_todays_code_says_the_texts_of_v01():
    assert make.texts() == recorded(make.FOLDER)
