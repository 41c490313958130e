"""Tickets: one peer, a short life, and nobody can push out those of others."""

from p2phub.network.limits import MAX_TICKETS, MAX_TICKETS_PER_PEER
from p2phub.network.tickets import TICKET_LENGTH, Tickets


def test_a_ticket_stands_for_its_peer_until_it_expires():
    tickets = Tickets(seconds=60)
    alice, bob = tickets.issue("alice", 1000), tickets.issue("bob", 1000)
    assert len(alice) == TICKET_LENGTH
    assert alice != bob
    assert [tickets.peer_of(each, 1059) for each in (alice, bob)] == ["alice", "bob"]
    assert tickets.peer_of(alice, 1060) is None


def test_nothing_else_is_a_ticket():
    tickets = Tickets()
    ticket = tickets.issue("alice", 0)
    for other in (
        b"",
        ticket[:-1],
        ticket + b"\0",
        bytes(32),
        ticket[:-1] + bytes([ticket[-1] ^ 1]),
    ):
        assert tickets.peer_of(other, 0) is None


def test_a_peer_that_asks_again_and_again_replaces_its_own():
    tickets = Tickets()
    bob = tickets.issue("bob", 0)
    issued = [tickets.issue("alice", 0) for _ in range(100)]
    known = [tickets.peer_of(each, 0) is not None for each in issued]
    assert known == [False] * (100 - MAX_TICKETS_PER_PEER) + [True] * MAX_TICKETS_PER_PEER
    assert tickets.peer_of(bob, 0) == "bob"


def test_memory_has_an_end_and_the_oldest_go_first():
    tickets = Tickets()
    first = tickets.issue("first", 0)
    issued = [tickets.issue(f"peer {n}", 0) for n in range(MAX_TICKETS)]
    assert tickets.peer_of(first, 0) is None
    assert tickets.peer_of(issued[0], 0) == "peer 0"
    assert len(tickets._issued) == len(tickets._of_peer) == MAX_TICKETS


def test_expired_tickets_are_forgotten():
    tickets = Tickets(seconds=60)
    for now in range(1000):
        tickets.issue(f"peer {now}", now)
    assert len(tickets._issued) <= 61
