"""What an upstream said outlives a restart, and stays bounded."""

import pytest

from p2phub.formats.ids import ContentId
from p2phub.store import upstream
from p2phub.store.upstream import KeptAnswer, Origin, SeenFile, UpstreamNotes

ORIGIN = Origin("https://hub.example", "model", "org/x", "c" * 40)
FILE = SeenFile("a/b.txt", ContentId(5, b"c" * 32), b"s" * 32, b"g" * 20)
SAID = KeptAnswer(200, {"etag": '"x"', "link": "<…>"}, b"{}", 7)


def test_an_answer_is_told_again_after_a_restart(store, reopen):
    store.upstream.put_answer(SAID, "https://hub.example", "GET", "/api/models/x")
    assert reopen().upstream.answer("https://hub.example", "GET", "/api/models/x") == SAID


@pytest.mark.parametrize(
    "other",
    [
        ("https://hub.example", "GET", "/api/models/y"),
        ("https://hub.example", "HEAD", "/api/models/x"),
        ("https://other.example", "GET", "/api/models/x"),
        ("https://hub.example", "GE", "T/api/models/x"),
        ("https://hub.example", "GET", "/api/models/x", b""),
    ],
)
def test_no_question_is_taken_for_another(store, other):
    store.upstream.put_answer(SAID, "https://hub.example", "GET", "/api/models/x")
    assert store.upstream.answer(*other) is None


def test_the_newest_answer_is_told(store):
    store.upstream.put_answer(SAID, "q")
    newer = KeptAnswer(404, {}, b"gone", 9)
    store.upstream.put_answer(newer, "q")
    assert store.upstream.answer("q") == newer


def test_the_oldest_answers_go_first(store):
    notes = UpstreamNotes(store.index, answers=10)
    for each in range(25):
        notes.put_answer(KeptAnswer(200, {}, b"x", each), str(each))
    kept = [each for each in range(25) if notes.answer(str(each))]
    assert kept == list(range(25))[-len(kept) :]
    assert 0 < len(kept) <= 10


def test_long_answers_push_out_others_and_one_that_is_too_long_is_not_kept(store, monkeypatch):
    notes = UpstreamNotes(store.index, size=100)
    for each in range(5):
        notes.put_answer(KeptAnswer(200, {}, b"x" * 40, each), str(each))
    assert [each for each in range(5) if notes.answer(str(each))] == [3, 4]
    monkeypatch.setattr(upstream, "TOO_LONG", 10)
    notes.put_answer(KeptAnswer(200, {}, b"x" * 11, 9), "long")
    assert notes.answer("long") is None


def test_files_of_a_commit_are_known_once(store, reopen):
    assert store.upstream.put_file(ORIGIN, FILE)
    assert not store.upstream.put_file(ORIGIN, FILE)
    other = Origin("https://hub.example", "dataset", "org/x", "c" * 40)
    again = reopen()
    assert again.upstream.files(ORIGIN) == [FILE]
    assert again.upstream.files(other) == []
    assert again.upstream.by_git_sha1(b"g" * 20, 5) == [FILE.content]
    assert again.upstream.by_git_sha1(b"g" * 20, 6) == []
