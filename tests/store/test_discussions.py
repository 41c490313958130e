"""Discussions are kept as they were written, within limits, and each under a number of its own."""

import pytest

from p2phub.errors import NotFoundError, UsageError
from p2phub.formats.ids import PublisherId, RepoId
from p2phub.store import discussions
from p2phub.store.layout import Layout
from p2phub.store.store import Store

REPO, OTHER = (RepoId(PublisherId(bytes(32)), name) for name in ("x", "y"))


@pytest.fixture
def kept(tmp_path):
    with Store.open(Layout.of(tmp_path)) as store:
        yield store.discussions


def begin(kept, least=1, *, repo=REPO, pull_request=False, title="a title"):
    return kept.begin(repo, least, title, "lab", 7, pull_request=pull_request)


class TestNumbers:
    def test_are_given_once_and_after_those_that_are_taken(self, kept):
        assert [begin(kept), begin(kept), begin(kept, 9), begin(kept)] == [1, 2, 9, 10]
        assert begin(kept, repo=OTHER) == 1
        assert [each.number for each in kept.every(REPO)] == [10, 9, 2, 1]

    def test_of_pull_requests_are_theirs(self, kept):
        begin(kept)
        assert begin(kept, 5, pull_request=True) == 5
        assert kept.get(REPO, 5).pull_request
        assert begin(kept) == 6

    def test_end_somewhere(self, kept, monkeypatch):
        monkeypatch.setattr(discussions, "MAX_DISCUSSIONS", 2)
        for number in (1, 90_000):
            begin(kept, number)
        with pytest.raises(UsageError):
            begin(kept)


class TestNotes:
    def test_are_told_in_their_order(self, kept):
        number = begin(kept)
        kept.add(REPO, number, "comment", "lab", "first", "", 8)
        kept.add(REPO, number, "title", "lab", "better", "a title", 9)
        kept.add(REPO, number, "status", "lab", "closed", "", 10)
        found = kept.get(REPO, number)
        assert (found.title, found.status) == ("better", "closed")
        assert [(each.kind, each.text, each.was) for each in found.notes] == [
            ("comment", "first", ""),
            ("title", "better", "a title"),
            ("status", "closed", ""),
        ]

    def test_on_a_pull_request_need_no_beginning(self, kept):
        kept.add(REPO, 3, "comment", "lab", "fine", "", 8)
        found = kept.get(REPO, 3)
        assert (found.title, found.status, found.pull_request) == ("", "", True)
        kept.add(REPO, 3, "status", "lab", "merged", "", 9)
        assert kept.get(REPO, 3).status == ""  # its releases say so

    @pytest.mark.parametrize("text", ["", " \n", "x" * (discussions.MAX_TEXT + 1)])
    def test_that_say_nothing_or_too_much_are_refused(self, kept, text):
        number = begin(kept)
        with pytest.raises(UsageError):
            kept.add(REPO, number, "comment", "lab", text, "", 8)
        note = kept.add(REPO, number, "comment", "lab", "x", "", 8)
        with pytest.raises(UsageError):
            kept.edit(REPO, number, note.id, text, 9)

    @pytest.mark.parametrize("title", ["", " ", "a\nb", "x" * 201])
    def test_are_no_titles_of_many_lines(self, kept, title):
        number = begin(kept)
        with pytest.raises(UsageError):
            begin(kept, title=title)
        with pytest.raises(UsageError):
            kept.add(REPO, number, "title", "lab", title, "", 8)

    def test_are_so_many_and_no_more(self, kept, monkeypatch):
        monkeypatch.setattr(discussions, "MAX_NOTES", 2)
        for _ in range(2):
            kept.add(REPO, 1, "comment", "lab", "x", "", 8)
        with pytest.raises(UsageError):
            kept.add(REPO, 1, "comment", "lab", "x", "", 8)

    def test_are_changed_and_hidden(self, kept):
        note = kept.add(REPO, 1, "comment", "lab", "wrnog", "", 8)
        other = kept.add(REPO, 1, "title", "lab", "a title", "", 8)
        changed = kept.edit(REPO, 1, note.id, "wrong", 9)
        assert (changed.text, changed.edited, changed.hidden) == ("wrong", 9, False)
        hidden = kept.edit(REPO, 1, note.id, None, 10)
        assert (hidden.text, hidden.hidden) == ("", True)
        for id, number in ((note.id, 1), (other.id, 1), (note.id, 2), ("nope", 1)):
            with pytest.raises(NotFoundError):
                kept.edit(REPO, number, id, "x", 11)
