"""The audit log: what somebody took from it is found, and what a power cut took is made good."""

import os
import threading
from itertools import count

import pytest

from p2phub.errors import NoSpaceError, RefusedError
from p2phub.formats.audit import Line
from p2phub.store import audit_log
from p2phub.store.audit_log import AuditLog, check, read_lines
from p2phub.testing.disks import FullDisk
from p2phub.trust.keys import SigningKey

KEY = SigningKey(b"n" * 32)


def log_of(store, disk=None, key=KEY):
    clock = count(1_700_000_000)
    return AuditLog(store.layout, disk or store.disk, store.index, key, lambda: next(clock))


def look(store, anchor=None):
    return check(store.layout.audit, store.index, KEY.public, anchor)


def events(store):
    return [line.event for line in read_lines(store.layout.audit)]


@pytest.fixture
def log(store):
    log = log_of(store)
    for number in range(1, 6):
        log.append(f"event.{number}", {"number": number})
    return log


def lines(store):
    return store.layout.audit.read_bytes().splitlines(keepends=True)


def rewrite(store, kept):
    store.layout.audit.write_bytes(b"".join(kept))


def test_a_log_that_nobody_touched_is_whole_also_after_a_restart(store, log, reopen):
    assert look(store).problems == ()
    assert (look(store).lines, look(store).seq) == (5, 5)
    again = reopen()
    log_of(again).append("event.6", {})
    found = look(again)
    assert (found.problems, found.notes, found.seq) == ((), (), 6)
    assert os.stat(again.layout.audit).st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("kept", "line", "what"),
    [
        ([0, 1, 3, 4], 3, "line 3 is missing"),
        ([1, 2, 3, 4], 1, "line 1 is missing"),
        ([0, 1, 2, 3], 5, "line 5 is missing"),
        ([0, 1], 3, "lines 3 to 5 are missing"),
        ([], 1, "lines 1 to 5 are missing"),
        ([0, 2, 1, 3, 4], 2, "line 2 is missing before"),
        ([0, 1, 2, 3, 4, 4], 6, "line 5 stands again"),
    ],
)
def test_lines_that_are_gone_or_moved_are_named(store, log, kept, line, what):
    before = lines(store)
    rewrite(store, [before[at] for at in kept])
    first = look(store).problems[0]
    assert first.line == line
    assert what in first.what


def test_a_log_that_is_gone_is_missed(store, log):
    store.layout.audit.unlink()
    assert "lines 1 to 5 are missing" in look(store).problems[0].what


def test_a_changed_line_is_named(store, log):
    before = lines(store)
    before[2] = before[2].replace(b'"number":3', b'"number":4')
    rewrite(store, before)
    named = {problem.line for problem in look(store).problems}
    assert 3 in named
    assert named <= {3, 4}


def test_a_line_that_another_key_signed_is_named_although_the_chain_holds(store, log):
    log_of(store, key=SigningKey(b"t" * 32)).append("forged", {})
    (problem,) = look(store).problems
    assert (problem.line, "not signed by this node" in problem.what) == (6, True)


def test_an_older_copy_that_was_put_back_is_found(store, log):
    old = store.layout.audit.read_bytes()
    log.append("event.6", {})
    store.layout.audit.write_bytes(old)
    assert look(store).problems[0].what == "line 6 is missing"


def test_half_a_last_line_that_was_written_is_no_power_cut(store, log):
    rewrite(store, [*lines(store)[:4], lines(store)[4][:20]])
    assert "line 5 is missing" in look(store).problems[0].what


def test_what_is_no_line_is_named_and_a_long_one_takes_no_memory(store, log):
    before = lines(store)
    rewrite(store, [*before[:2], b"x" * 200_000 + b"\n", *before[2:]])
    found = look(store)
    assert found.problems[0].line == 3
    assert len(found.problems) <= audit_log.MAX_PROBLEMS


def test_a_log_written_anew_with_the_key_is_found_by_what_was_written_down(store, log):
    found = look(store)
    anchor = (3, list(read_lines(store.layout.audit))[2].digest)
    assert look(store, anchor).problems == ()
    store.layout.audit.unlink()
    with store.index.write() as statements:
        statements._connection.execute("DELETE FROM audit_head")
    forger = log_of(store)
    for number in range(1, 6):
        forger.append("event.forged", {"number": number})
    assert look(store).problems == ()
    assert look(store, anchor).problems[0].line == 3
    assert look(store, (found.seq + 1, found.digest)).problems[0].what.startswith("line 6")


def test_a_store_that_knows_nothing_of_the_log_says_so_and_goes_on_behind_it(store, log):
    with store.index.write() as statements:
        statements._connection.execute("DELETE FROM audit_head")
    assert "exchanged" in look(store).problems[0].what
    log.append("event.6", {})
    assert events(store)[-2:] == ["audit.adopted", "event.6"]
    found = look(store)
    assert found.problems == ()
    assert "audit.adopted" in found.notes[0]


@pytest.mark.parametrize("had", [0, 1, 30, "all but the newline", "zeros"])
def test_a_line_that_a_power_cut_tore_is_finished_and_that_is_told(store, log, reopen, had):
    before = lines(store)
    with store.index.write() as statements:
        statements._connection.execute("UPDATE audit_head SET written = 0")
    kept = {"all but the newline": before[4][:-1], "zeros": before[4][:9] + bytes(40)}
    rewrite(store, [*before[:4], kept[had] if isinstance(had, str) else before[4][:had]])
    found = look(store)
    assert found.problems == ()
    assert "finishes it" in found.notes[0]
    again = reopen()
    log_of(again).append("event.6", {})
    assert lines(again)[:5] == before
    assert events(again)[5:] == ["audit.mended", "event.6"]
    assert look(again).problems == ()


def test_a_line_that_came_to_the_file_and_not_to_the_database_is_no_fault(store, log):
    with store.index.write() as statements:
        statements._connection.execute("UPDATE audit_head SET written = 0")
    assert (look(store).problems, look(store).notes) == ((), ())
    log.append("event.6", {})
    assert events(store)[-2:] == ["event.5", "event.6"]


def test_a_removed_line_is_no_power_cut_also_while_another_is_torn(store, log):
    before = lines(store)
    with store.index.write() as statements:
        statements._connection.execute("UPDATE audit_head SET written = 0")
    rewrite(store, before[:3])
    assert look(store).problems[0].line == 4
    log.append("event.6", {})
    assert events(store)[3:] == ["event.5", "audit.broken", "event.6"]
    assert look(store).problems[0].what.startswith("line 4 is missing")


def test_writing_goes_on_behind_what_was_taken_and_hides_nothing(store, log):
    rewrite(store, lines(store)[:3])
    log.append("event.6", {})
    assert events(store)[3:] == ["audit.broken", "event.6"]
    found = look(store)
    assert found.problems[0].what.startswith("lines 4 to 5 are missing")
    log.append("event.7", {})
    assert events(store).count("audit.broken") == 1


def test_on_a_full_disk_nothing_is_said_to_be_noted(store, log):
    full = log_of(store, FullDisk(1))
    with pytest.raises(NoSpaceError):
        full.append("event.6", {})
    assert look(store).problems == ()
    with pytest.raises(NoSpaceError):
        full.append("event.7", {})
    log.append("event.8", {})
    assert events(store)[5:] == ["event.6", "audit.mended", "event.8"]
    assert look(store).problems == ()


def test_two_who_write_at_once_make_one_chain(store, log):
    def write(who):
        mine = log_of(store)
        for _ in range(10):
            mine.append(f"event.{who}", {})

    threads = [threading.Thread(target=write, args=(who,)) for who in "ab"]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    found = look(store)
    assert (found.problems, found.seq) == ((), 25)


@pytest.mark.parametrize("kind", ["link", "link to nowhere", "pipe", "folder"])
def test_what_is_no_file_in_the_place_of_the_log_is_refused_and_not_followed(store, tmp_path, kind):
    """A pipe that nobody writes to would be waited for without end."""
    theirs, path = tmp_path / "theirs", store.layout.audit
    theirs.write_text("theirs")
    match kind:
        case "link":
            path.symlink_to(theirs)
        case "link to nowhere":
            path.symlink_to(tmp_path / "nowhere")
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
    for act in (lambda: log_of(store).append("event.1", {}), lambda: look(store), events):
        with pytest.raises(RefusedError, match=r"audit\.log is no plain file"):
            act(store) if act is events else act()
    assert theirs.read_text() == "theirs"
    assert not (tmp_path / "nowhere").exists()


def test_a_line_that_is_gone_from_among_thousands_is_named(store, log):
    last = log.append("event.6", {})
    for number in range(7, 3000):
        last = Line(number, 1, "event", {}, last.digest).signed(KEY.sign)
        with store.layout.audit.open("ab") as file:
            file.write(last.to_bytes() + b"\n")
    with store.index.write() as statements:
        statements.run("audit.put", last.seq, last.to_bytes())
        statements.run("audit.written", last.seq)
    assert look(store).problems == ()
    kept = lines(store)
    rewrite(store, kept[:1500] + kept[1501:])
    (problem,) = look(store).problems
    assert problem.line == 1501
