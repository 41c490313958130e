"""One honest answer among those who hang, lie or know nothing, in virtual time."""

import pytest
import trio

from p2phub.errors import NoSpaceError, NotFoundError, RemoteError, WrongBytesError
from p2phub.node.asking import GRACE, HURRY, LONGEST, all_quick, first_right


async def answer(who: str) -> str:
    """What its name says."""
    kind, _, seconds = who.partition(" ")
    await trio.sleep(float(seconds or 0))
    match kind:
        case "hangs":
            await trio.sleep_forever()
        case "lies":
            raise WrongBytesError(who)
        case "gone":
            raise RemoteError(who)
        case "lacks":
            raise NotFoundError(who)
        case "full":
            raise NoSpaceError(who)
    return who


async def test_the_first_right_answer_wins_and_nobody_else_is_asked(autojump_clock):
    asked = await first_right(["lies", "gone", "lacks", "right", "right 1"], answer)
    assert asked.answers == [("right", "right")]
    assert [str(lie) for lie in asked.lies] == ["lies"]
    assert asked.late == []
    assert trio.current_time() == 0


async def test_who_hangs_costs_a_moment(autojump_clock):
    asked = await first_right(["hangs", "hangs", "right"], answer)
    assert asked.answers == [("right", "right")]
    assert asked.late == ["hangs", "hangs"]
    assert trio.current_time() == 2 * HURRY


async def test_a_slow_answer_is_taken_if_it_comes_before_a_better_one(autojump_clock):
    slow = f"slow {1.5 * HURRY}"
    asked = await first_right([slow, "hangs"], answer)
    assert asked.answers == [(slow, slow)]


async def test_nobody_answers_for_ever(autojump_clock):
    asked = await first_right(["hangs"] * 3, answer)
    assert asked.answers == []
    assert trio.current_time() == 2 * HURRY + LONGEST


async def test_nobody_is_there(autojump_clock):
    assert (await first_right([], answer)).answers == []
    assert (await all_quick([], answer)).answers == []


@pytest.mark.parametrize("how", [first_right, all_quick])
async def test_a_full_disk_ends_the_asking_as_itself(autojump_clock, how):
    with pytest.raises(NoSpaceError):
        await how(["full", "hangs"], answer)


async def test_all_answers_of_those_who_are_not_much_slower(autojump_clock):
    much = f"late {2 * GRACE}"
    asked = await all_quick(["right", f"right {GRACE / 2}", much, "hangs", "gone"], answer)
    assert [who for who, _ in asked.answers] == ["right", f"right {GRACE / 2}"]
    assert set(asked.late) == {much, "hangs"}
    assert trio.current_time() == GRACE


async def test_the_first_answer_is_waited_for(autojump_clock):
    asked = await all_quick(["right 9", "gone"], answer)
    assert [who for who, _ in asked.answers] == ["right 9"]
