"""An update does not touch an environment that is not its own, nor goes on with what is wrong."""

import json
import sys
from importlib.metadata import PackageNotFoundError

import pytest

from p2phub.cli.main import main


def refusal(capsys, tmp_path):
    code = main(["--home", str(tmp_path / "home"), "update", "lab/p2phub", "--json"])
    return code, json.loads(capsys.readouterr().out)["error"]


def test_the_python_of_the_system_is_not_changed(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    code, error = refusal(capsys, tmp_path)
    assert code == 2
    assert "virtual environment" in error["message"]
    assert "venv" in error["remedy"]
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("has", ["an editable install", "nothing"])
def test_a_checkout_is_not_changed(capsys, tmp_path, monkeypatch, has):
    class Checkout:
        @staticmethod
        def read_text(name):
            assert name == "direct_url.json"
            return '{"dir_info": {"editable": true}, "url": "file:///checkout"}'

    def distribution(name):
        if has == "nothing":
            raise PackageNotFoundError(name)
        return Checkout

    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr("p2phub.cli.commands.update.distribution", distribution)
    code, error = refusal(capsys, tmp_path)
    assert code == 2
    assert "checkout" in error["message"]
