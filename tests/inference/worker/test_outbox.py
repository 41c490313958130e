"""What leaves a worker: in order, whole, and not waited for by whoever handed it in."""

import socket
import threading

from p2phub.inference.worker.outbox import Outbox


def test_frames_of_many_threads_arrive_whole_and_in_the_order_of_each():
    here, there = socket.socketpair()
    with here, there:
        outbox = Outbox(here)
        frames = {
            name: [b"%s%06d" % (name, number) for number in range(2000)] for name in (b"a", b"b")
        }
        threads = [
            threading.Thread(target=lambda all=all: [outbox.put(each) for each in all])
            for all in frames.values()
        ]
        for thread in threads:
            thread.start()
        came = b""
        while len(came) < 2 * 2000 * 7:
            came += there.recv(1 << 16)
        for thread in threads:
            thread.join()
        outbox.finish(5)
    each = [came[at : at + 7] for at in range(0, len(came), 7)]
    for name, sent in frames.items():
        assert [frame for frame in each if frame.startswith(name)] == sent


def test_what_was_handed_in_before_the_end_is_sent():
    here, there = socket.socketpair()
    with here, there:
        outbox = Outbox(here)
        for _ in range(1000):
            outbox.put(b"x")
        outbox.finish(5)
        assert there.recv(1 << 16) == b"x" * 1000


def test_a_node_that_does_not_read_holds_up_nobody():
    here, there = socket.socketpair()
    with here, there:
        outbox = Outbox(here)
        for _ in range(100):
            outbox.put(bytes(1 << 16))
        outbox.finish(0.05)


def test_a_node_that_is_gone_ends_the_writing():
    here, there = socket.socketpair()
    there.close()
    with here:
        outbox = Outbox(here)
        outbox.put(b"x")
        outbox.finish(5)
        assert not outbox._thread.is_alive()
