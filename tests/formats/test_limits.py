"""The limits fit together: what one allows, another must not make impossible."""

from p2phub.formats import limits
from p2phub.formats.documents import TYPES

WORST_ROOT_ENVELOPE = 490 + 5 * 115 + 65
"""5 keys, 5 recovery keys, 5 signatures, as the envelope writes them."""


def test_every_limit_is_a_positive_whole_number():
    named = {name: value for name, value in vars(limits).items() if name.isupper()}
    assert len(named) > 50
    for name, value in named.items():
        assert type(value) is int, name
        assert value > 0, name


def test_a_head_has_room_for_eight_of_the_largest_roots():
    small_delegation, own_fields = 300, 300
    roots = limits.MAX_ROOTS * WORST_ROOT_ENVELOPE
    assert roots + small_delegation + own_fields < limits.MAX_HEAD_PAYLOAD


def test_a_head_has_room_for_eight_ordinary_roots_and_the_largest_delegation():
    ordinary_root = 500
    taken = limits.MAX_ROOTS * ordinary_root + limits.MAX_DELEGATION + 16 * 115
    assert taken < limits.MAX_HEAD_PAYLOAD


def test_every_document_but_a_head_fits_one_control_message_or_is_a_release():
    for name, limit in TYPES.items():
        if name != "release":
            assert limit + limits.MAX_ENVELOPE_OVERHEAD < limits.MAX_MESSAGE


def test_a_table_has_room_for_the_pieces_of_the_largest_file():
    pieces_of_256_kib = limits.MAX_FILE // (256 * limits.KIB)
    assert 36 * pieces_of_256_kib <= limits.MAX_TABLE


def test_sizes_of_all_files_of_a_release_add_up_to_a_number_that_json_holds():
    assert limits.MAX_INTEGER == 2**53 - 1
    assert limits.MAX_FILE < limits.MAX_INTEGER
