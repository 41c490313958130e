import pytest

from p2phub.protocol.swarm import Candidate
from p2phub.protocol.zones import Zones, first_place, place_of

NODES = [f"node {number}" for number in range(5)]


def zones_of(count: int) -> list[Zones]:
    return [Zones(own, [each for each in NODES if each != own], count) for own in NODES]


@pytest.mark.parametrize("count", [0, 1, 3, 5, 1000])
def test_all_who_know_each_other_draw_the_same_bounds_and_leave_nothing_out(count):
    mine = sorted(zones.mine for zones in zones_of(count))
    assert [stop for _, stop in mine[:-1]] == [first for first, _ in mine[1:]]
    assert (mine[0][0], mine[-1][1]) == (0, count)
    sizes = [stop - first for first, stop in mine]
    assert max(sizes) - min(sizes) <= 1


def test_a_node_that_knows_nobody_begins_where_no_other_does():
    assert len({first_place(name, 1000) for name in NODES}) == len(NODES)
    assert Zones("alone", [], 10).mine == (0, 10)
    assert place_of("") == 0


def test_who_help_with_one_zone_share_what_is_behind_its_own_place():
    everybody = zones_of(500)
    owner = next(each for each in everybody if each.is_mine(0))
    helped = sorted(each.help_with(0, 50) for each in everybody if each is not owner)
    assert helped == [(25, 32), (31, 38), (37, 44), (43, 50)]


def test_a_part_as_small_as_a_piece_can_be_helped_with():
    everybody = zones_of(500)
    assert {each.help_with(0, 1) for each in everybody if not each.is_mine(0)} == {(0, 1)}


def test_our_own_zone_comes_first_from_where_we_were_and_what_others_have_last():
    zones = next(each for each in zones_of(50) if each.mine == (10, 20))
    parts = [Candidate(0, 14, 0), Candidate(14, 15, 2), Candidate(15, 32, 0)]
    assert zones.split(parts, cursor=16) == [
        Candidate(10, 14, 0),
        Candidate(15, 20, 0),
        Candidate(0, 10, 0),
        Candidate(20, 30, 0),
        Candidate(30, 32, 0),
        Candidate(14, 15, 2),
    ]
