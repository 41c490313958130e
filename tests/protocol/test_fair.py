"""The fair queue: what a greedy, an idle and a leaving party can do to others."""

from collections import Counter

from p2phub.protocol.fair import FairQueue


def served(queue, turns):
    """Pop and push again, as parties do that always want more; how often each was served."""
    counts = Counter()
    for _ in range(turns):
        item = queue.pop()
        counts[item[0]] += 1
        queue.push(item[0], item)
    return counts


def test_fifty_requests_of_one_party_get_no_more_than_two_of_another():
    queue = FairQueue()
    for number in range(50):
        queue.push("greedy", ("greedy", number))
    for number in range(2):
        queue.push("modest", ("modest", number))
    counts = served(queue, 1000)
    assert abs(counts["greedy"] - counts["modest"]) <= 2


def test_a_party_that_was_away_has_saved_nothing_up():
    queue = FairQueue()
    queue.push("here", ("here", 0))
    served(queue, 100)
    queue.push("back", ("back", 0))
    assert abs(served(queue, 10)["back"] - 5) <= 1


def test_dear_requests_come_less_often():
    queue = FairQueue()
    order = []
    for number in range(20):
        queue.push("dear", "dear", 4) if not number else None
        queue.push("cheap", f"cheap{number}", 1)
    for _ in range(10):
        item = queue.pop()
        order.append(item)
        if item == "dear":
            queue.push("dear", "dear", 4)
    assert order.count("dear") in (2, 3)


def test_within_a_party_the_first_comes_first():
    queue = FairQueue()
    for number in range(5):
        queue.push("one", number)
    assert [queue.pop() for _ in range(6)] == [0, 1, 2, 3, 4, None]


def test_who_left_is_not_called_and_may_come_again():
    queue = FairQueue()
    queue.push("one", "first")
    queue.push("one", "second")
    queue.discard("first")
    queue.push("one", "first")
    assert (len(queue), queue.pop(), queue.pop(), queue.pop()) == (2, "second", "first", None)


def test_parties_that_came_once_are_forgotten():
    queue = FairQueue()
    for number in range(10_000):
        queue.push(f"party {number}", number)
        queue.pop()
    assert len(queue._ends) < 200
