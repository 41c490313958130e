"""What came first is read first, and nobody waits for what could be read, or for what failed."""

import threading

import pytest

from p2phub.errors import EngineError, MalformedError, WrongBytesError
from p2phub.formats.digest import sha256
from p2phub.formats.ids import ContentId
from p2phub.inference.spec import ModelFile
from p2phub.inference.worker.as_it_comes import Job, as_it_comes
from p2phub.inference.worker.verified import Arrivals, Chunk

THREADS = 2


def jobs(name, count, *, complete=False):
    file = ModelFile((name,), ContentId(count, sha256(b"")), "", complete=complete)
    return [Job(file, Chunk(at, 1, at, at + 1), (name, at)) for at in range(count)]


class Reading:
    """It goes on in a thread; what was read is counted as it is."""

    def __init__(self, arrivals, planned, work=lambda item: None):
        self.read, self.error = [], None
        self._more = threading.Condition()

        def note(item):
            work(item)
            with self._more:
                self.read.append(item)
                self._more.notify_all()

        def run():
            try:
                as_it_comes(arrivals, planned, note, THREADS)
            except EngineError as error:
                self.error = error
            except (MalformedError, WrongBytesError) as error:
                self.error = error

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def until(self, *items):
        with self._more:
            assert self._more.wait_for(lambda: set(self.read) == set(items), timeout=10)

    def end(self):
        self._thread.join(10)
        assert not self._thread.is_alive()


def test_a_later_part_that_came_first_is_read_first():
    arrivals = Arrivals()
    reading = Reading(arrivals, jobs("a", 3) + jobs("b", 2))
    for name, at in (("b", 1), ("a", 2), ("a", 0), ("b", 0), ("a", 1)):
        before = set(reading.read)
        arrivals.ready(name, at, at + 1)
        reading.until(*before, (name, at))
    reading.end()
    assert reading.error is None


def test_what_is_complete_is_waited_for_by_nobody():
    reading = Reading(Arrivals(), jobs("a", 2, complete=True))
    reading.end()
    assert set(reading.read) == {("a", 0), ("a", 1)}


def test_a_file_is_read_while_the_next_one_is_still_waited_for():
    arrivals, table = Arrivals(), threading.Event()

    def planned():
        yield from jobs("a", 1)
        table.wait(10)
        yield from jobs("b", 1)

    reading = Reading(arrivals, planned())
    arrivals.ready("a", 0, 1)
    reading.until(("a", 0))
    arrivals.ready("b", 0, 1)
    table.set()
    reading.end()
    assert set(reading.read) == {("a", 0), ("b", 0)}


def test_a_fetch_that_fails_ends_the_reading():
    arrivals = Arrivals()
    reading = Reading(arrivals, jobs("a", 2))
    arrivals.fail(EngineError("the fetch was cancelled"))
    reading.end()
    assert str(reading.error) == "the fetch was cancelled"


def test_a_header_that_makes_no_sense_ends_the_reading_of_the_others():
    def planned():
        yield from jobs("a", 2)
        raise MalformedError("no header")

    reading = Reading(Arrivals(), planned())
    reading.end()
    assert str(reading.error) == "no header"


def test_a_wrong_byte_ends_the_waiting_for_the_rest():
    arrivals = Arrivals()

    def work(item):
        error = WrongBytesError("a is not what was published")
        arrivals.fail(error)
        raise error

    reading = Reading(arrivals, jobs("a", 5), work)
    arrivals.ready("a", 3, 4)
    reading.end()
    assert type(reading.error) is WrongBytesError
    assert reading.read == []


def test_an_error_that_is_none_of_ours_leaves_no_thread_waiting():
    def planned():
        yield from jobs("a", 1)
        raise ZeroDivisionError

    arrivals = Arrivals()
    with pytest.raises(ZeroDivisionError):
        as_it_comes(arrivals, planned(), print, THREADS)
    assert not [each for each in threading.enumerate() if each.name.startswith("reader")]
