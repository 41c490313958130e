"""Every example in a docstring runs."""

import doctest
import importlib
import pkgutil

import pytest

import p2phub

MODULES = [m.name for m in pkgutil.walk_packages(p2phub.__path__, "p2phub.")]
MAIN = "p2phub.__main__"  # importing it is running the program


@pytest.mark.parametrize("name", [name for name in MODULES if name != MAIN])
def test_docstring_examples_run(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_the_walk_finds_every_module():
    assert "p2phub.formats.ids" in MODULES
    assert "p2phub.node.fetch" in MODULES
