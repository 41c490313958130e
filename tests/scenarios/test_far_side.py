"""All that a site behind an air gap needs goes on without a network, in a namespace of its own."""

import pytest

from tests.scenarios.test_no_network import LOOPBACK, allowed, passed

pytestmark = pytest.mark.slow
__all__ = ["allowed"]  # a fixture: skips where there are no namespaces


@pytest.mark.budget(300)
def test_search_pulls_verify_and_models_work_behind_the_gap():
    assert passed(LOOPBACK, "far_side.py", "isolated_lan") == 1
