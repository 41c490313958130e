import pytest

pytest.importorskip("torch", reason="needs p2phub[inference]")

from p2phub.errors import EngineError
from p2phub.inference.worker.lora_users import Users


class Ask:
    def __init__(self, adapter):
        self.adapter = adapter


class Answer:
    def __init__(self, adapter):
        self.ask, self.over, self.error = Ask(adapter), False, None

    def fail(self, error):
        if not self.over:
            self.over, self.error = True, error


class Runner:
    def __init__(self):
        self.begun, self.stopped = [], []

    def submit(self, answer):
        self.begun.append(answer)
        return lambda: self.stopped.append(answer)


@pytest.fixture
def runner():
    return Runner()


def test_only_those_that_use_the_adapter_end(runner):
    users = Users(lambda number: True)
    first, second, third = (Answer(each) for each in (1, 2, 0))
    for each in (first, second, third):
        users.begin(each, runner.submit)
    users.end(1)
    assert isinstance(first.error, EngineError)
    assert first.error.remedy
    assert runner.stopped == [first]
    assert not second.over
    assert not third.over


def test_one_that_comes_late_is_not_begun_without_its_adapter(runner):
    users = Users(lambda number: False)
    late = Answer(1)
    users.begin(late, runner.submit)()
    assert isinstance(late.error, EngineError)
    assert runner.begun == []


def test_answers_that_are_over_are_not_kept(runner):
    users = Users(lambda number: True)
    for _ in range(100):
        answer = Answer(1)
        users.begin(answer, runner.submit)
        answer.over = True
    assert len(users._of[1]) == 1
    users.end(1)
    assert users._of == {}
