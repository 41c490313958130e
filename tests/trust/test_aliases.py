"""Aliases: pinned, and never moved to somebody else in silence."""

import pytest

from p2phub.errors import AliasTakenError, NotFoundError, UsageError
from p2phub.formats.ids import PublisherId
from p2phub.trust.aliases import Aliases

LAB = PublisherId(b"\x01" * 32)
THIEF = PublisherId(b"\x02" * 32)


def test_alias_take_over_is_an_error_that_names_both():
    aliases = Aliases().pin("lab", LAB)
    with pytest.raises(AliasTakenError) as caught:
        aliases.pin("lab", THIEF)
    assert str(LAB) in caught.value.message
    assert str(THIEF) in caught.value.message
    assert "p2phub trust rm lab" in caught.value.remedy
    assert aliases.resolve("lab") == LAB


def test_pinning_the_same_again_changes_nothing():
    aliases = Aliases().pin("lab", LAB)
    assert aliases.pin("lab", LAB) == aliases


def test_an_unknown_alias_says_how_to_pin_one():
    with pytest.raises(NotFoundError) as caught:
        Aliases().resolve("lab")
    assert "p2phub trust add lab ID" in caught.value.remedy


def test_a_full_id_needs_no_pin():
    assert Aliases().resolve(str(LAB)) == LAB


@pytest.mark.parametrize("text", ["", "Lab", "a" * 40, "a/b", "lab!", "a" * 51, "!" * 52, "1" * 52])
def test_what_is_neither_alias_nor_id_is_a_usage_error(text):
    with pytest.raises(UsageError):
        Aliases().resolve(text)


def test_a_full_id_cannot_be_made_an_alias():
    with pytest.raises(UsageError):
        Aliases().pin(str(LAB), THIEF)


def test_unpinning_frees_the_alias_for_somebody_else():
    aliases = Aliases().pin("lab", LAB).unpin("lab")
    assert aliases.pin("lab", THIEF).resolve("lab") == THIEF
    with pytest.raises(NotFoundError):
        aliases.unpin("lab")


def test_one_publisher_may_have_two_aliases_and_the_first_by_name_is_shown():
    aliases = Aliases().pin("lab", LAB).pin("home", LAB)
    assert aliases.alias_of(LAB) == "home"
    assert aliases.alias_of(THIEF) is None


def test_pins_cannot_be_changed_behind_the_back_of_a_value():
    pins = {"lab": LAB}
    aliases = Aliases(pins)
    pins["lab"] = THIEF
    assert aliases.resolve("lab") == LAB
    with pytest.raises(TypeError):
        aliases.pins["lab"] = THIEF
