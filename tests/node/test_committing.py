"""What a commit makes of the files that were there."""

import pytest

from p2phub.errors import NoFileError, UnsafePathError, UsageError
from p2phub.node.committing import Drop, Put, changed
from p2phub.store.uploads import Kept
from p2phub.testing.publishers import fake_file


def kept(data):
    entry = fake_file("x", data).entry
    return Kept(entry.content, entry.sha256, entry.git_sha1)


def names(files):
    return ["/".join(file.path) for file in files]


BEFORE = tuple(fake_file(name, name.encode()).entry for name in ("a.txt", "b/c.txt", "b/d.txt"))


def test_files_are_added_and_replaced_and_stay_in_order():
    after = changed(BEFORE, [Put(("z",), kept(b"z")), Put(("a.txt",), kept(b"new"))])
    assert names(after) == ["a.txt", "b/c.txt", "b/d.txt", "z"]
    assert after[0].sha256 == kept(b"new").sha256
    assert after[1:3] == BEFORE[1:3]


def test_a_file_that_is_sent_again_is_the_same_entry():
    assert changed(BEFORE, [Put(("a.txt",), kept(b"a.txt"))]) == BEFORE


def test_files_and_folders_go():
    assert names(changed(BEFORE, [Drop(("b",), folder=True)])) == ["a.txt"]
    assert names(changed(BEFORE, [Drop(("b", "c.txt"))])) == ["a.txt", "b/d.txt"]


def test_later_changes_see_earlier_ones():
    changes = [Put(("n",), kept(b"1")), Drop(("n",)), Put(("n",), kept(b"2"))]
    assert changed(BEFORE, changes)[-1].sha256 == kept(b"2").sha256


@pytest.mark.parametrize("change", [Drop(("b",)), Drop(("nope",)), Drop(("a.txt",), folder=False)])
def test_what_is_not_there_cannot_go(change):
    before = BEFORE if change.path != ("a.txt",) else BEFORE[1:]
    with pytest.raises(NoFileError):
        changed(before, [change])


def test_a_release_needs_a_file():
    with pytest.raises(UsageError):
        changed(BEFORE[:1], [Drop(("a.txt",))])


@pytest.mark.parametrize("path", [("..", "x"), ("a/b",), ("nul",), ()])
def test_a_path_that_is_none_is_refused(path):
    with pytest.raises(UnsafePathError):
        changed(BEFORE, [Put(path, kept(b"x"))])
