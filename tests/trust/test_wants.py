"""What is wanted: bounded, and one publisher cannot push out another's."""

from p2phub.formats.ids import PublisherId
from p2phub.trust.wants import WantedIndex, WantedRelease, Wants

LAB, EVIL = PublisherId(b"\x01" * 32), PublisherId(b"\x02" * 32)


def digest(number: int) -> bytes:
    return b"%032d" % number


def test_the_oldest_of_a_publishers_digests_give_way():
    wants = Wants(per_publisher=3)
    for number in range(5):
        wants.add(LAB, digest(number), WantedRelease())
    assert [digest(number) in wants for number in range(5)] == [False, False, True, True, True]
    assert len(wants) == 3


def test_wanting_again_makes_a_digest_the_newest():
    wants = Wants(per_publisher=2)
    for number in (1, 2, 1, 3):
        wants.add(LAB, digest(number), WantedRelease())
    assert digest(1) in wants
    assert digest(2) not in wants


def test_a_flood_of_one_publishers_digests_leaves_the_others():
    wants = Wants(per_publisher=10)
    wants.add(LAB, digest(0), WantedIndex(1))
    for number in range(1000):
        wants.add(EVIL, digest(number), WantedRelease())
    assert wants.get(digest(0), WantedIndex) == {LAB: WantedIndex(1)}
    assert len(wants) == 11


def test_all_together_are_bounded_whatever_publishers_come():
    wants = Wants(per_publisher=10, in_all=20)
    for number in range(100):
        wants.add(PublisherId(digest(number)), digest(number), WantedRelease())
    assert len(wants) == 20
    assert digest(99) in wants
    assert digest(0) not in wants


def test_what_was_wanted_lately_stays_when_room_is_made():
    wants = Wants(per_publisher=10, in_all=3)
    for publisher, number in ((LAB, 1), (EVIL, 2), (LAB, 3), (LAB, 4)):
        wants.add(publisher, digest(number), WantedRelease())
    assert [number for number in range(1, 5) if digest(number) in wants] == [1, 3, 4]


def test_a_digest_wanted_as_something_else_is_not_found():
    wants = Wants()
    wants.add(LAB, digest(1), WantedIndex(1))
    assert wants.get(digest(1), WantedRelease) == {}


def test_two_publishers_want_one_digest_each_as_it_named_it():
    wants = Wants()
    wants.add(LAB, digest(1), WantedIndex(1))
    wants.add(EVIL, digest(1), WantedIndex(2))
    assert list(wants.get(digest(1), WantedIndex).items()) == [
        (EVIL, WantedIndex(2)),
        (LAB, WantedIndex(1)),
    ]
    wants.forget(EVIL)
    assert wants.get(digest(1), WantedIndex) == {LAB: WantedIndex(1)}


def test_forgetting_leaves_nothing_behind():
    wants = Wants()
    for number in range(9):
        wants.add(LAB, digest(number), WantedRelease())
    wants.forget(LAB)
    wants.forget(LAB)
    assert len(wants) == 0
    assert not any(digest(number) in wants for number in range(9))
    assert not wants._publishers
    assert not wants._wants
