"""What ranks agree on: the choice of rank 0 alone, and waiting without polling."""

import threading
from types import SimpleNamespace

import pytest

pytest.importorskip("torch", reason="needs p2phub[inference]")
import torch

from p2phub.inference.worker import text_ranks
from p2phub.inference.worker.text_ranks import Agreed, lead, stop


class Line:
    """What rank 0 says, as the others hear it."""

    def __init__(self):
        self.said = None

    def broadcast(self, tokens, src, group):
        assert (src, group, tokens.device.type) == (0, "talk", "cpu")
        if self.said is None:
            self.said = tokens.clone()
        tokens.copy_(self.said)


class Second:
    """Chooses the second token of the first row, and nothing of the others."""

    def prepare_tensor_args(self, requests, storage):
        self.requests = requests
        return storage

    def __call__(self, ids, scores, arguments):
        scores[0, 1] = float("inf")
        return scores


@pytest.fixture
def line(monkeypatch):
    made = Line()
    monkeypatch.setattr(text_ranks.group_of, "broadcast", made.broadcast)
    return made


def test_the_others_take_what_rank_0_chose_whatever_their_own_numbers_say(line):
    near = torch.tensor([[5.0, 0.0, 1.0], [0.0, 2.0, 2.0001]])
    other = torch.tensor([[5.0, 0.0, 1.0], [0.0, 2.0001, 2.0]])
    first, follower = Agreed("talk", Second()), Agreed("talk", None)
    assert first(None, near, None).argmax(-1).tolist() == [1, 2]
    assert follower(None, other, None).argmax(-1).tolist() == [1, 2]


def test_only_rank_0_is_told_whose_the_rows_are(line):
    choices = Second()
    assert Agreed("talk", choices).prepare_tensor_args(["r1"], "kept") == "kept"
    assert choices.requests == ["r1"]
    assert Agreed("talk", None).prepare_tensor_args(["r1"], "kept") == "kept"


def manager():
    status = SimpleNamespace(HARD_STOP=2, asked=[])
    status.request_stop = lambda how, rank: status.asked.append((how, rank))
    helper = SimpleNamespace(cpu_comm_group="talk")
    return SimpleNamespace(
        background_thread_status=status, distributed_helper=helper, logit_processor=Second()
    )


def test_rank_0_sleeps_until_somebody_asks_and_not_a_tenth_of_a_second():
    made = manager()
    lead(made)
    waking = []
    loop = threading.Thread(target=lambda: waking.append(made._wake_up_loop.wait(timeout=0.001)))
    loop.start()
    loop.join(0.1)
    assert loop.is_alive()
    stop(made)
    loop.join(5)
    assert waking == [True]
    assert made.background_thread_status.asked == [(2, 0)]


def test_the_others_wait_for_rank_0_and_for_nothing_else():
    assert text_ranks._AtOnce().wait(timeout=60)
