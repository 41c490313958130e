"""Where things lie, and who may look."""

import os
import stat
from pathlib import Path

from p2phub.formats.ids import ContentId
from p2phub.store.disk import Disk
from p2phub.store.layout import Layout


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_home_folder_and_its_keys_are_closed_to_others_even_if_they_were_open(tmp_path):
    layout = Layout.of(tmp_path / "home")
    layout.keys.mkdir(parents=True)
    layout.home.chmod(0o755)
    layout.keys.chmod(0o755)
    layout.make(Disk())
    assert [mode(folder) for folder in (layout.home, layout.keys, layout.run)] == [0o700] * 3


def test_the_umask_opens_nothing(tmp_path):
    before = os.umask(0)
    try:
        layout = Layout.of(tmp_path / "home")
        layout.make(Disk())
    finally:
        os.umask(before)
    assert mode(layout.home) == mode(layout.keys) == 0o700


def test_a_relative_home_stays_where_it_was_meant_after_a_change_of_directory(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    layout = Layout.of(Path("home"), "elsewhere")
    monkeypatch.chdir("/")
    assert layout.store == tmp_path / "home" / "elsewhere"


def test_an_absolute_store_is_not_put_under_the_home(tmp_path):
    assert Layout.of(tmp_path / "home", "/big/disk").index == Path("/big/disk/index.db")


def test_blobs_are_spread_over_folders_by_digest_not_by_size():
    layout = Layout.of(Path("/h"))
    one, other = ContentId(1, b"\xab" * 32), ContentId(1, b"\xcd" * 32)
    assert layout.blob(one).parent.name == "ab"
    assert layout.blob(other).parent.name == "cd"
    assert layout.blob(one).name == "1-" + "ab" * 32
