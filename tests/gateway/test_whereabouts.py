"""The token and the URL file: how other commands find a gateway, and no stranger does."""

import fcntl
import stat

import pytest

from p2phub.errors import PortInUseError, RefusedError
from p2phub.gateway.listener import endpoint_of, listen_on
from p2phub.gateway.whereabouts import announced, keep_token

from .conftest import serving


def test_a_token_is_kept_over_restarts_and_closed_to_others(tmp_path):
    path = tmp_path / "run" / "token"
    first = keep_token(path)
    assert keep_token(path) == first == path.read_text().strip()
    assert len(first) >= 43
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_token_file_open_to_others_is_closed(tmp_path):
    path = tmp_path / "run" / "token"
    keep_token(path)
    path.chmod(0o644)
    keep_token(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("damage", [b"", b"short", b"\xff" * 64])
def test_a_damaged_token_file_is_replaced(tmp_path, damage):
    path = tmp_path / "run" / "token"
    path.parent.mkdir()
    path.write_bytes(damage)
    assert len(keep_token(path)) >= 43


def test_a_home_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "run").write_text("a file where a folder should be")
    with pytest.raises(RefusedError, match="run/token"):
        keep_token(tmp_path / "run" / "token")


def test_the_url_is_there_and_locked_while_the_gateway_runs(tmp_path):
    path = tmp_path / "run" / "gateway"
    with announced(path, "http://127.0.0.1:1"):
        assert path.read_text() == "http://127.0.0.1:1\n"
        with path.open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    assert not path.exists()


def test_a_left_over_url_is_replaced(tmp_path):
    path = tmp_path / "run" / "gateway"
    path.parent.mkdir()
    path.write_text("http://127.0.0.1:9\n")
    with announced(path, "http://127.0.0.1:1"):
        assert path.read_text() == "http://127.0.0.1:1\n"


def test_a_successors_url_is_not_removed(tmp_path):
    path = tmp_path / "run" / "gateway"
    with announced(path, "http://127.0.0.1:1"):
        path.unlink()
        path.write_text("http://127.0.0.1:2\n")
    assert path.read_text() == "http://127.0.0.1:2\n"


async def test_a_gateway_leaves_its_token_and_takes_its_url_away(tmp_path):
    async with serving(tmp_path) as served:
        assert (tmp_path / "run" / "gateway").read_text().strip() == served.gateway.url
    assert not (tmp_path / "run" / "gateway").exists()
    assert (tmp_path / "run" / "token").exists()


async def test_a_port_in_use_is_named(tmp_path):
    async with serving(tmp_path) as served:
        port = served.gateway.url.rpartition(":")[2]
        with pytest.raises(PortInUseError, match=f"port {port} is in use"):
            async with serving(tmp_path / "other", listen=f"127.0.0.1:{port}"):
                pass
        assert not (tmp_path / "other" / "run" / "gateway").exists()


def test_an_address_this_machine_lacks_is_told():
    from p2phub.config import Endpoint
    from p2phub.errors import ConfigError

    with pytest.raises(ConfigError, match=r"192\.0\.2\.1"):
        listen_on(Endpoint("192.0.2.1", 0))
    with listen_on(Endpoint("::1", 0)) as taken:
        assert endpoint_of(taken).host == "::1"
