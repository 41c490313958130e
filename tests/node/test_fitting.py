"""What is told of the variants of a model: all of them, and which one would be run."""

from p2phub.inference_results import FitReport
from p2phub.node.choosing import Candidate
from p2phub.node.fitting import _report


def made(size, room):
    return FitReport("lab/x@main", "ab" * 32, "cpu", size, 0, 0, room, dtype=f"Q{size}")


def told(room, *, here=()):
    sizes = (4, 8, 6)
    candidates = [
        Candidate(f"Q{each}", "llamacpp", each, room, here=each in here) for each in sizes
    ]
    return _report([made(each, room) for each in sizes], candidates, "lab/x@main")


def test_the_largest_that_fits_is_marked_and_all_are_told():
    found = told(7)
    assert (found.chosen, found.weight_bytes, found.fits) == ("Q6", 6, True)
    rows = [(each.name, each.bytes_needed, each.fits, each.chosen) for each in found.variants]
    assert rows == [("Q8", 8, False, False), ("Q6", 6, True, True), ("Q4", 4, True, False)]


def test_one_that_is_on_this_disk_is_what_would_be_run():
    found = told(7, here=(4, 8))
    assert (found.chosen, found.weight_bytes) == ("Q4", 4)
    assert [each.here for each in found.variants] == [True, False, True]


def test_if_none_fits_the_numbers_are_those_of_the_smallest():
    found = told(1)
    assert (found.chosen, found.weight_bytes, found.fits) == ("", 4, False)
    assert not any(each.chosen for each in found.variants)
