"""What is said of a blob that is not what it was: the file by its name, and what to do."""

from pathlib import Path

from p2phub.formats.ids import ContentId
from p2phub.store.damage import damaged, gone, table_lost

CONTENT = ContentId(2_000_000, bytes(32))
PLACE = Path("/models/mine/model.safetensors")


def test_a_file_of_a_person_is_named_and_not_said_to_be_in_quarantine():
    error = damaged(CONTENT, [3], PLACE)
    assert str(PLACE) in error.message
    assert "quarantine" not in error.message
    assert "publish" in error.remedy


def test_many_wrong_pieces_do_not_fill_the_screen():
    assert damaged(CONTENT, range(1000), None).message.endswith("7, …); it is in quarantine")


def test_a_file_that_is_gone_is_named_where_it_was():
    assert str(PLACE) in gone(CONTENT, Path("/store/blob"), PLACE).message
    assert "/store/blob" in gone(CONTENT, Path("/store/blob"), None).message
    assert str(CONTENT) in table_lost(CONTENT).message
