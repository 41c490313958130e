"""Each defect of libp2p that we answer names the test that fails without the answer."""

import re
from pathlib import Path

import pytest

from p2phub.formats.ids import PublisherId, head_key
from p2phub.network import libp2p_patches
from p2phub.network.libp2p_kad import MAX_KEY

ROOT = Path(__file__).parent.parent.parent
DOOR = sorted((ROOT / "p2phub" / "network").glob("*.py"))
NAMED = re.compile(r"(test_\w+\.py)::(test_\w+)")


def named_tests() -> list[tuple[str, str]]:
    return sorted({found for path in DOOR for found in NAMED.findall(path.read_text())})


@pytest.mark.parametrize(("file", "test"), named_tests())
def test_a_test_that_is_named_exists(file, test):
    source = (ROOT / "tests" / "network" / file).read_text()
    assert re.search(rf"^(async )?def {test}\(", source, re.MULTILINE)


def test_there_are_some():
    assert len(named_tests()) > 30


@pytest.mark.parametrize("patch", libp2p_patches._patches, ids=lambda patch: patch.__name__)
def test_each_patch_says_what_it_answers_and_names_its_test(patch):
    assert patch.__doc__
    assert NAMED.search(patch.__doc__)
    assert re.search(r"\w\.py|varint", patch.__doc__)  # where the defect is


def test_our_own_keys_are_short_enough_for_the_dht():
    assert len(head_key(PublisherId(b"\xff" * 32)).encode()) <= MAX_KEY
