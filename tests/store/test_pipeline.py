"""Blocks that one thread fills and another one works on."""

import threading

import pytest

from p2phub.store.pipeline import AHEAD, Buffers, Pipeline


def numbers(pipeline, count):
    """Pass on blocks that hold 0, 1, 2 …"""
    for number in range(count):
        buffer = pipeline.take()
        buffer[0] = number
        pipeline.pass_on(buffer, buffer[:1])


@pytest.mark.parametrize("beside", [False, True])
def test_blocks_are_worked_on_in_order_and_all_of_them(beside):
    done, threads = [], set()

    def work(block):
        done.append(block[0])
        threads.add(threading.get_ident())

    with Pipeline(work, Buffers(), beside=beside) as pipeline:
        numbers(pipeline, 200)
    assert done == list(range(200))
    assert (threading.get_ident() not in threads) == beside


def test_memory_is_not_filled_again_before_it_was_worked_on():
    held, begun = threading.Event(), threading.Event()
    seen = []

    def work(block):
        begun.set()
        assert held.wait(20)
        seen.append(block[0])

    with Pipeline(work, Buffers(), beside=True) as pipeline:
        numbers(pipeline, AHEAD)
        assert begun.wait(20)
        late = threading.Thread(target=numbers, args=(pipeline, 1))
        late.start()
        late.join(0.05)
        assert late.is_alive()  # it waits for memory
        held.set()
        late.join(20)
    assert seen == [*range(AHEAD), 0]


def test_memory_is_used_again_by_the_next_file():
    buffers = Buffers()
    for _ in range(3):
        with Pipeline(len, buffers, beside=True) as pipeline:
            numbers(pipeline, 10)
        with Pipeline(len, buffers, beside=False) as pipeline:
            numbers(pipeline, 10)
    assert len({id(buffers.take().obj) for _ in range(AHEAD)}) == AHEAD
    assert not buffers._free


@pytest.mark.parametrize("count", [1, 50])
@pytest.mark.parametrize("beside", [False, True])
def test_an_error_in_the_work_comes_out_and_leaves_no_thread(beside, count):
    def work(block):
        raise ValueError("bad block")

    before = threading.active_count()
    with (
        pytest.raises(ValueError, match="bad block"),
        Pipeline(work, Buffers(), beside=beside) as pipeline,
    ):
        numbers(pipeline, count)
    assert threading.active_count() == before


def test_an_error_of_who_fills_ends_the_thread_and_is_the_one_that_is_seen():
    def fill():
        with Pipeline(len, Buffers(), beside=True) as pipeline:
            numbers(pipeline, 2)
            raise OSError("disk")

    before = threading.active_count()
    with pytest.raises(OSError, match="disk"):
        fill()
    assert threading.active_count() == before
