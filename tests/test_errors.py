"""The drawn tree of errors is the real one, and each error means the same everywhere."""

import re

import pytest

from p2phub import errors
from p2phub.errors import NotFoundError, P2PHubError, RemoteError, as_wire, from_wire, plain_errors

ROW = re.compile(r"^ {4}([│├└─ ]*)(\w+) +(\d) +(\d+) +([\d-]) +(\w+) {2,}\S", re.MULTILINE)
EXIT_CODES = {1, 2, 3, 4, 5, 6, 7}


def _children(error: type[P2PHubError]) -> list[type[P2PHubError]]:
    """Its children in the tree; what a layer derives for itself is told apart by no code."""
    return [each for each in error.__subclasses__() if each.__module__ == errors.__name__]


def _descendants(error: type[P2PHubError]) -> list[type[P2PHubError]]:
    return [each for child in _children(error) for each in [child, *_descendants(child)]]


def _drawn() -> list[tuple]:
    return [
        (name, len(indent) // 4, int(exit_code), int(http), int(wire.replace("-", "0")), code)
        for indent, name, exit_code, http, wire, code in ROW.findall(errors.__doc__)
    ]


def _real(error: type[P2PHubError], depth: int = 1) -> list[tuple]:
    rows = []
    for child in _children(error):
        rows.append((child.__name__, depth, child.exit, child.http, child.wire, child.code))
        rows += _real(child, depth + 1)
    return rows


def test_the_tree_in_the_docstring_is_the_tree_in_the_code():
    assert _drawn() == _real(P2PHubError)


@pytest.mark.parametrize("error", [P2PHubError, *_descendants(P2PHubError)])
def test_every_error_means_something_everywhere(error):
    assert error.exit in EXIT_CODES
    assert 400 <= error.http < 600
    assert error("said", remedy="do this").remedy == "do this"
    assert str(error("said")) == error("said").message == "said"


def test_no_two_errors_share_a_code():
    codes = [each.code for each in [P2PHubError, *_descendants(P2PHubError)]]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("error", _descendants(P2PHubError))
def test_what_crosses_the_wire_keeps_its_exit_code(error):
    if error.wire:
        back = from_wire(*as_wire(error("said")))
        assert back.exit == error.exit
        assert back.message == "said"


@pytest.mark.parametrize("number", [-1, 0, 6, 999])
def test_a_number_nobody_knows_is_the_remote_sides_fault(number):
    assert type(from_wire(number, "?")) is RemoteError


class TestPlainErrors:
    def test_ours_comes_out_of_nested_groups(self):
        inner = ExceptionGroup("", [NotFoundError("gone")])
        with pytest.raises(NotFoundError, match="gone"), plain_errors():
            raise ExceptionGroup("", [inner])

    def test_a_bug_beside_it_is_not_hidden(self):
        with pytest.raises(ExceptionGroup) as caught, plain_errors():
            raise ExceptionGroup("", [NotFoundError("gone"), KeyError("bug")])
        assert caught.group_contains(KeyError)

    def test_a_group_of_bugs_stays_a_group(self):
        with pytest.raises(ExceptionGroup), plain_errors():
            raise ExceptionGroup("", [KeyError("bug")])

    def test_what_is_no_group_passes(self):
        with pytest.raises(NotFoundError), plain_errors():
            raise NotFoundError("gone")
