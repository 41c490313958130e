"""What is taken off a stick is what nobody needs, and in an order that never makes it lie."""

from contextlib import closing, suppress

import pytest

from p2phub.airgap.medium import look
from p2phub.airgap.pruning import drop_contents, drop_packs, unneeded
from p2phub.formats.digest import sha256
from p2phub.store.disk import Disk
from p2phub.testing.disks import PowerCut, PowerCutError
from tests.airgap.conftest import LARGE, PAGE, SMALL, fill

NOTHING = {"pieces": set(), "documents": set()}


@pytest.fixture
def two_packs(tmp_path):
    """Large pieces in the first pack, a small one in the second."""
    fill(tmp_path, samples=(LARGE,))
    fill(tmp_path, samples=(SMALL,), made=8)
    return tmp_path


def names(stick):
    return {path.name for path in (stick / "p2phub").iterdir()}


def test_a_pack_of_which_one_thing_is_needed_stays(two_packs):
    needed = {"pieces": {SMALL.content.digest}, "documents": {sha256(PAGE)}}
    with closing(look(two_packs)) as medium:
        assert list(unneeded(medium.packs, needed)) == [("pieces", 1)]
        size = drop_packs(two_packs, Disk(), medium.packs, needed)
    assert size == len(LARGE.data)
    assert "pieces-0001.pack" not in names(two_packs)
    assert {"pieces-0002.pack", "pieces-0002.index", "documents-0001.pack"} <= names(two_packs)


def test_everything_goes_if_nothing_is_needed(two_packs):
    with closing(look(two_packs)) as medium:
        drop_contents(two_packs, Disk(), tuple(medium.contents))
        drop_packs(two_packs, Disk(), medium.packs, NOTHING)
    assert names(two_packs) == {"README.txt"}


@pytest.mark.parametrize("at", range(9))
def test_a_stick_that_is_pulled_out_never_lists_what_is_gone(two_packs, at):
    disk = PowerCut(at)
    with closing(look(two_packs)) as medium, suppress(PowerCutError):
        drop_contents(two_packs, disk, tuple(medium.contents))
        drop_packs(two_packs, disk, medium.packs, NOTHING)
    with closing(look(two_packs)) as medium:
        assert not medium.problems
        assert not medium.contents or medium.has("pieces", SMALL.content.digest)
