"""Files that come in parts become blobs if they are what was promised, and else leave nothing."""

import hashlib
import threading

import pytest

from p2phub.errors import BusyError, NotFoundError, QuotaError, UsageError, WrongBytesError
from p2phub.store import sent_parts
from p2phub.store.layout import Layout
from p2phub.store.sent_parts import IDLE, InParts, SentParts
from p2phub.store.store import Store
from p2phub.testing.files import random_bytes

DATA = random_bytes("parts", 250_000)
PART = 100_000
WHAT = InParts(hashlib.sha256(DATA).digest(), len(DATA), PART)


@pytest.fixture
def store(tmp_path):
    with Store.open(Layout.of(tmp_path)) as store:
        yield store


def left(store):
    """What lies in the folder for what has no name yet."""
    return sorted(path.name for path in store.layout.temp.rglob("*"))


def send(parts, number, what=WHAT, data=None):
    part = parts.begin(what, number)
    start, end = what.span(number)
    part.write(DATA[start:end] if data is None else data)
    return part.keep()


def send_all(parts, what=WHAT, numbers=(1, 2, 3)):
    return {number: send(parts, number, what) for number in numbers}


class TestAFileInParts:
    @pytest.mark.parametrize("numbers", [(1, 2, 3), (3, 1, 2), (2, 3, 3, 1, 1, 2)], ids=str)
    def test_is_a_blob_in_whatever_order_they_come(self, store, numbers):
        kept = store.sent_parts.finish(WHAT, send_all(store.sent_parts, numbers=numbers))
        assert store.blobs.path(kept.content).read_bytes() == DATA
        assert left(store) == []
        again = store.sent_parts.finish(WHAT, {})  # a client that did not hear the answer
        assert again.content == kept.content

    def test_that_is_another_file_leaves_nothing(self, store):
        wrong = InParts(bytes(32), len(DATA), PART)
        tags = send_all(store.sent_parts, wrong)
        with pytest.raises(WrongBytesError):
            store.sent_parts.finish(wrong, tags)
        assert left(store) == []
        assert store.blobs.every() == []
        with pytest.raises(NotFoundError):
            store.sent_parts.finish(wrong, tags)

    @pytest.mark.parametrize("wrong", [{1: "x"}, {2: None}], ids=["another tag", "no tag"])
    def test_is_not_made_of_parts_that_did_not_come_so(self, store, wrong):
        tags = send_all(store.sent_parts)
        with pytest.raises(UsageError):
            store.sent_parts.finish(WHAT, tags | wrong)
        assert store.blobs.every() == []
        store.sent_parts.finish(WHAT, tags)  # the parts are still there

    def test_is_not_made_while_a_part_is_missing(self, store):
        tags = send_all(store.sent_parts, numbers=(1, 3))
        for told in (tags, tags | {2: tags[1]}):
            with pytest.raises(UsageError, match="part 2"):
                store.sent_parts.finish(WHAT, told)
        tags |= send_all(store.sent_parts, numbers=(2,))
        store.sent_parts.finish(WHAT, tags)

    @pytest.mark.parametrize("data", [bytes(PART + 1), bytes(PART - 1), b""], ids=len)
    def test_takes_no_part_of_another_size(self, store, data):
        with pytest.raises(WrongBytesError):
            send(store.sent_parts, 1, data=data)
        with pytest.raises(WrongBytesError):
            send(store.sent_parts, 3, data=bytes(50_001))

    @pytest.mark.parametrize("number", [0, -1, 4, 1 << 80])
    def test_has_no_other_parts(self, store, number):
        with pytest.raises(UsageError):
            store.sent_parts.begin(WHAT, number)
        assert left(store) == []

    def test_is_not_made_while_a_part_is_sent_again(self, store):
        tags = send_all(store.sent_parts)
        part = store.sent_parts.begin(WHAT, 1)
        part.write(b"half of it")
        with pytest.raises(UsageError):
            store.sent_parts.finish(WHAT, tags)

    def test_is_not_written_to_once_it_is_read_whole(self, store, monkeypatch):
        late = store.sent_parts.begin(WHAT, 1)
        late.write(DATA[: PART - 5])
        tags = send_all(store.sent_parts)
        seen = []

        def reading(*_):
            with pytest.raises(NotFoundError):
                late.write(b"xxxxx")
            with pytest.raises(BusyError):
                store.sent_parts.begin(WHAT, 2)
            with pytest.raises(BusyError):
                store.sent_parts.finish(WHAT, tags)
            seen.append(True)
            raise WrongBytesError("as if it were another file")

        monkeypatch.setattr(sent_parts.Upload, "keep", reading)
        with pytest.raises(WrongBytesError):
            store.sent_parts.finish(WHAT, tags)
        assert seen
        assert left(store) == []

    def test_is_whole_when_its_parts_come_at_once(self, store):
        tags = {}

        def work(number):
            tags[number] = send(store.sent_parts, number)

        threads = [threading.Thread(target=work, args=(number,)) for number in (1, 2, 3) * 3]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        kept = store.sent_parts.finish(WHAT, tags)
        assert kept.sha256 == WHAT.sha256


class TestRoom:
    def test_is_claimed_for_the_whole_file_and_given_back(self, tmp_path):
        with Store.open(Layout.of(tmp_path), quota=400_000) as store:
            with pytest.raises(QuotaError):
                store.sent_parts.begin(InParts(bytes(32), 500_000, PART), 1)
            for _ in range(3):
                tags = send_all(store.sent_parts)
                with pytest.raises(QuotaError):
                    store.uploads.begin(200_000)
                wrong = InParts(WHAT.sha256, WHAT.size, PART)
                assert store.sent_parts.finish(wrong, tags).sha256 == WHAT.sha256
                store.blobs.remove(store.uploads.find(WHAT.sha256, WHAT.size).content)

    def test_is_given_back_of_what_nobody_goes_on_with(self, store):
        now = [0.0]
        parts = SentParts(store.uploads, lambda: now[0])
        part = parts.begin(WHAT, 1)
        part.write(b"x")
        now[0] = IDLE - 1
        part.write(b"x")
        now[0] = IDLE + 1
        parts.sweep()
        assert left(store)  # it went on meanwhile
        now[0] = 2 * IDLE
        parts.sweep()
        assert left(store) == []
        with pytest.raises(NotFoundError):
            part.write(b"x")

    def test_is_for_so_many_files_at_once(self, store, monkeypatch):
        monkeypatch.setattr(sent_parts, "MOST", 2)
        for size in (1, 2):
            store.sent_parts.begin(InParts(bytes(32), size, PART), 1)
        with pytest.raises(BusyError):
            store.sent_parts.begin(WHAT, 1)

    def test_of_a_killed_process_is_free_when_the_store_opens(self, tmp_path):
        layout = Layout.of(tmp_path)
        with Store.open(layout) as store:
            store.sent_parts.begin(WHAT, 1).write(b"x")
            assert left(store)
        with Store.open(layout) as store:
            assert left(store) == []
