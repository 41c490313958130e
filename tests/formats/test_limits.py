"""The limits fit together: what one allows, another must not make impossible."""

from p2phub.formats import limits
from p2phub.formats.documents import TYPES


def test_every_limit_is_a_positive_whole_number():
    named = {name: value for name, value in vars(limits).items() if name.isupper()}
    assert len(named) > 50
    for name, value in named.items():
        assert type(value) is int, name
        assert value > 0, name


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
