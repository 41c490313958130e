"""A model never gets more threads than there are idle cores, and never none."""

import pytest

from p2phub.inference.spec import RunOptions
from p2phub.inference.threads import MOST, Processor, count, environment, here, physical, quota


@pytest.mark.parametrize(
    ("cores", "load", "threads"),
    [
        (1, 0.0, 1),
        (1, 50.0, 1),
        (2, 0.4, 2),
        (2, 0.6, 1),
        (2, 4.0, 1),
        (16, 3.9, 12),
        (64, 0.0, 64),
        (512, 0.0, MOST),
    ],
)
def test_threads_are_the_idle_cores(cores, load, threads):
    assert count(Processor(cores, load)) == threads


def test_who_asks_for_threads_gets_them_on_a_busy_machine_too():
    assert environment(RunOptions(threads=6), Processor(2, 9.0))["OMP_NUM_THREADS"] == "6"


def test_threads_wait_without_spinning():
    made = environment(RunOptions(), Processor(4, 1.0))
    assert made == {"OMP_NUM_THREADS": "3", "OMP_WAIT_POLICY": "PASSIVE"}
    assert environment(RunOptions()).keys() == made.keys()


def test_two_threads_of_a_core_are_one_core():
    pairs = {0: "0-1", 1: "0-1", 2: "2-3", 3: "2-3"}
    assert physical([0, 1, 2, 3], pairs) == 2
    assert physical([0, 2], pairs) == 2
    assert physical([0, 1], pairs) == 1


@pytest.mark.parametrize("text", ["", "max 100000", "100000", "-1 5", "0 100000", "5 0", "a b"])
def test_a_container_without_a_limit_has_none(text):
    assert quota(text) == 0


@pytest.mark.parametrize(("text", "cores"), [("50000 100000", 1), ("250000 100000", 3)])
def test_a_part_of_a_core_is_a_core(text, cores):
    assert quota(text) == cores


def test_this_machine_has_cores_and_a_load():
    found = here()
    assert found.cores >= 1
    assert found.load >= 0
