"""What one thread computes for somebody who left is not what another computes."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from p2phub.errors import EngineError
from p2phub.inference.worker.wanted import by, is_wanted, require_wanted


def test_who_left_is_told_of_in_one_thread_alone():
    gone = threading.Event()
    gone.set()
    with by(gone), ThreadPoolExecutor(1) as pool:
        assert not is_wanted()
        assert pool.submit(is_wanted).result()
        with pytest.raises(EngineError, match="taken back"):
            require_wanted()
    require_wanted()


def test_it_is_over_with_the_request_also_after_an_error():
    gone = threading.Event()
    gone.set()
    with pytest.raises(ZeroDivisionError), by(gone):
        1 / 0  # noqa: B018
    assert is_wanted()
