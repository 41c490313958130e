"""Finding the node that runs: nobody is believed to run because of a left-over file."""

import os

import pytest

from p2phub.client.running import find_running
from p2phub.errors import RefusedError
from p2phub.gateway.whereabouts import announced, keep_token

URL = "http://127.0.0.1:1"


def test_a_running_node_is_found_with_its_token(tmp_path):
    token = keep_token(tmp_path / "run" / "token")
    with announced(tmp_path / "run" / "gateway", URL):
        found = find_running(tmp_path)
    assert (found.url, found.token) == (URL, token)


def test_no_node_is_none(tmp_path):
    assert find_running(tmp_path) is None
    assert not (tmp_path / "run").exists()


def test_a_home_that_is_a_file_is_none(tmp_path):
    (tmp_path / "home").write_text("")
    assert find_running(tmp_path / "home") is None


def test_a_file_that_nobody_holds_is_a_left_over(tmp_path):
    keep_token(tmp_path / "run" / "token")
    (tmp_path / "run" / "gateway").write_text(URL)
    assert find_running(tmp_path) is None


def test_looking_does_not_disturb_the_holder(tmp_path):
    keep_token(tmp_path / "run" / "token")
    with announced(tmp_path / "run" / "gateway", URL):
        for _ in range(3):
            assert find_running(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_another_users_node_is_told(tmp_path):
    keep_token(tmp_path / "run" / "token")
    with announced(tmp_path / "run" / "gateway", URL):
        (tmp_path / "run" / "token").chmod(0)
        with pytest.raises(RefusedError, match="run/token"):
            find_running(tmp_path)
