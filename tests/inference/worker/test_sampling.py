from collections import Counter
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="needs p2phub[inference]")
from p2phub.inference.requests import Sampling  # noqa: E402
from p2phub.inference.worker.sampling import Chooser, draw, resolve  # noqa: E402

LOGITS = torch.tensor([1.0, 3.0, 2.0, 0.0, -1.0])
GREEDY = SimpleNamespace(
    do_sample=False, temperature=0.6, top_p=0.9, top_k=20, repetition_penalty=None
)
DRAWN = SimpleNamespace(
    do_sample=True, temperature=0.6, top_p=0.9, top_k=20, repetition_penalty=1.1
)


def make(**options) -> Chooser:
    return Chooser(resolve(Sampling(**options), GREEDY), prompt=[1])


def test_what_is_left_out_is_as_the_release_says_and_what_is_said_counts():
    assert resolve(Sampling(), GREEDY).greedy
    assert resolve(Sampling(temperature=0.5), GREEDY).top_k == 0
    kept = resolve(Sampling(top_k=3), DRAWN)
    assert (kept.temperature, kept.top_p, kept.top_k, kept.repetition_penalty) == (0.6, 0.9, 3, 1.1)


def test_a_greedy_request_is_left_to_the_batch_and_any_edit_is_not():
    assert make(temperature=0).plain
    for edit in ({"logprobs": 0}, {"presence_penalty": 1.0}, {"logit_bias": {1: 1.0}}):
        assert not make(temperature=0, **edit).plain
    assert not make(temperature=1.0).plain
    assert not make(temperature=0, repetition_penalty=1.2).plain


def test_a_draw_follows_the_probabilities_of_the_logits():
    count = 4000
    drawn = Counter(draw(LOGITS, 0, 1.0, (at + 0.5) / count) for at in range(count))
    for token, share in enumerate(LOGITS.softmax(-1).tolist()):
        assert drawn[token] / count == pytest.approx(share, abs=1e-3)


@pytest.mark.parametrize(
    ("top_k", "top_p", "left"),
    [
        (1, 1.0, {1}),
        (2, 1.0, {1, 2}),
        (0, 0.0, {1}),
        (0, 0.7, {1, 2}),
        (5, 0.5, {1}),
        (9, 1.0, set(range(5))),
    ],
)
def test_only_the_tokens_that_top_k_and_top_p_leave_are_drawn(top_k, top_p, left):
    assert {draw(LOGITS, top_k, top_p, at / 500) for at in range(500)} == left


def test_top_p_looks_beyond_its_first_tokens_where_the_mass_is_spread():
    flat = torch.zeros(2000)
    assert len({draw(flat, 0, 0.9, at / 5000) for at in range(5000)}) == pytest.approx(1800, abs=2)


def test_the_ends_of_the_range_are_tokens_too():
    for top_k, top_p in [(0, 1.0), (3, 1.0), (0, 0.8)]:
        assert draw(LOGITS, top_k, top_p, 0.0) in range(5)
        assert draw(LOGITS, top_k, top_p, 1 - 2**-53) in range(5)


def test_the_same_seed_draws_the_same_and_another_does_not():
    runs = [
        [chooser.choose(torch.zeros(50)) for _ in range(20)]
        for chooser in (make(temperature=1.0, seed=s) for s in (5, 5, 6))
    ]
    assert runs[0] == runs[1] != runs[2]


def test_penalties_lower_what_was_written_and_bias_moves_any():
    frequent = make(temperature=0, frequency_penalty=0.6)
    assert [frequent.choose(LOGITS) for _ in range(4)] == [1, 1, 2, 1]
    present = make(temperature=0, presence_penalty=1.5)
    assert [present.choose(LOGITS) for _ in range(3)] == [1, 2, 1]
    assert make(temperature=0, repetition_penalty=2.0).choose(LOGITS) == 2  # 1 is in the prompt
    assert make(temperature=0, logit_bias={4: 100.0}).choose(LOGITS) == 4
    assert LOGITS.tolist() == [1.0, 3.0, 2.0, 0.0, -1.0]


def test_log_probabilities_are_those_of_the_model():
    chooser = make(temperature=0, logprobs=2, logit_bias={0: 100.0})
    assert chooser.choose(LOGITS) == 0
    wanted = LOGITS.log_softmax(-1)
    (told,) = chooser.likely
    assert told.logprob == pytest.approx(float(wanted[0]))
    assert [token for token, _ in told.others] == [1, 2]


def test_a_schema_leaves_only_what_fits():
    class OnlyThree:
        def __init__(self) -> None:
            self.taken: list[int] = []

        def allowed(self, width: int):
            return torch.arange(width) == 3

        def take(self, token: int) -> None:
            self.taken.append(token)

    matcher = OnlyThree()
    for temperature in (0.0, 1.0):
        assert (
            Chooser(resolve(Sampling(temperature=temperature), GREEDY), (), matcher).choose(LOGITS)
            == 3
        )
    assert matcher.taken == [3, 3]


def test_tokens_that_a_model_reads_and_never_writes_are_no_error():
    asked = resolve(Sampling(repetition_penalty=2.0, logit_bias={2: 5.0, 77: 100.0}), GREEDY)
    assert Chooser(asked, prompt=[1, 99]).choose(LOGITS) == 2
