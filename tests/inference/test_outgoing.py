import socket

import pytest
import trio
import trio.testing

from p2phub.inference.outgoing import Outgoing

FRAME = bytes(range(256)) * 4096


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        yield ours, theirs


def all_of(theirs):
    found = b""
    while True:
        try:
            found += theirs.recv(1 << 20)
        except BlockingIOError:
            return found


async def test_what_the_socket_takes_is_sent_at_once(pair):
    ours, theirs = pair
    Outgoing(ours).send(b"cancel")
    assert theirs.recv(100) == b"cancel"


async def test_what_it_does_not_take_comes_later_whole_and_in_order(pair):
    ours, theirs = pair
    outgoing = Outgoing(ours)
    wanted = FRAME * 3 + b"last"
    for each in (FRAME, FRAME, FRAME, b"last"):
        outgoing.send(each)
    found = all_of(theirs)
    assert len(found) < len(wanted)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outgoing.run)
        with trio.fail_after(10):
            while len(found) < len(wanted):
                await trio.lowlevel.wait_readable(theirs.fileno())
                found += all_of(theirs)
        nursery.cancel_scope.cancel()
    assert found == wanted


async def test_a_closed_socket_ends_the_sending_and_raises_nothing(pair):
    ours, theirs = pair
    outgoing = Outgoing(ours)
    theirs.close()
    outgoing.send(b"to nobody")
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outgoing.run)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
