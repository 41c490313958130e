"""What every engine promises, whatever it runs in: one suite for all of them.

A test file makes a class of `EngineConformance` and gives it a fixture `subject`: an engine that is
ready, and what to ask it. What an engine cannot do is None there, and its tests pass it by.

    class TestWorker(EngineConformance):
        @pytest.fixture
        async def subject(self):
            async with ...:
                yield Subject(engine, ...)
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import cast

import trio

from p2phub.errors import ContextError, EngineError, P2PHubError, UsageError
from p2phub.inference.engine import AdaptableEngine, Engine
from p2phub.inference.requests import Embed, Finished, Generate, Piece, TaskRequest
from p2phub.inference.spec import Adapter

SOON = 5.0
"""Seconds within which a step of any model ends."""
MANY = 200
"""Requests after which nothing may be left behind."""
TOGETHER = 25


@dataclass(frozen=True, slots=True)
class Subject:
    """An engine, and what to ask it."""

    engine: Engine
    long: Generate
    """Says at least twenty pieces if nobody stops it."""
    short: Callable[[int], Generate]
    """Says something of few tokens that the number decides, always the same."""
    under_way: Callable[[], int]
    """Requests that the engine itself has not ended."""
    too_long: Generate | None = None
    """A prompt that does not fit."""
    wrong: Generate | None = None
    """What the model cannot do."""
    embed: Embed | None = None
    task: TaskRequest | None = None
    crash: Callable[[], None] | None = None
    """Kill what runs it."""
    adapter: Adapter | None = None
    """One that can be attached."""


class EngineConformance:
    """The suite; every test wants the fixture `subject`."""

    async def test_a_stream_ends_with_exactly_one_finished(self, subject: Subject) -> None:
        said = [each async for each in subject.engine.generate(subject.short(1))]
        assert [type(each) for each in said] == [Piece] * (len(said) - 1) + [Finished]
        assert _end(said).completion_tokens >= 1

    async def test_no_more_tokens_come_than_were_asked_for(self, subject: Subject) -> None:
        sampling = replace(subject.long.sampling, max_tokens=3)
        request = replace(subject.long, sampling=sampling)
        said = [each async for each in subject.engine.generate(request)]
        assert (_end(said).reason, _end(said).completion_tokens) == ("length", 3)

    async def test_the_prompt_is_counted_as_it_is_told_at_the_end(self, subject: Subject) -> None:
        request = subject.short(2)
        said = [each async for each in subject.engine.generate(request)]
        assert await subject.engine.count(request) == _end(said).prompt_tokens

    async def test_a_closed_iterator_frees_its_slot(self, subject: Subject) -> None:
        async with aclosing(_stream(subject, subject.long)) as stream:
            assert isinstance(await anext(stream), Piece)
        await _quiet(subject)

    async def test_a_cancelled_task_frees_its_slot(self, subject: Subject) -> None:
        begun = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_answered, subject, subject.long, begun)
            await begun.wait()
            nursery.cancel_scope.cancel()
        await _quiet(subject)

    async def test_requests_that_wait_for_a_slot_can_be_given_up(self, subject: Subject) -> None:
        begun = trio.Event()
        async with trio.open_nursery() as nursery:
            for _ in range(subject.engine.info.slots + 5):
                nursery.start_soon(_answered, subject, subject.long, begun)
            await begun.wait()
            nursery.cancel_scope.cancel()
        await _quiet(subject)
        assert await _answered(subject, subject.short(1))

    async def test_what_one_asks_wrongly_costs_nobody_else(self, subject: Subject) -> None:
        begun, ended = trio.Event(), []

        async def other() -> None:
            ended.append(await _answered(subject, subject.long, begun))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            await begun.wait()
            for wrong, kind in ((subject.too_long, ContextError), (subject.wrong, UsageError)):
                if wrong is not None:
                    assert isinstance(await _error(_answered(subject, wrong)), kind)
        assert ended[0]
        assert not subject.engine.lost.is_set()

    async def test_requests_at_once_do_not_mix(self, subject: Subject) -> None:
        alone = [await _answered(subject, subject.short(number)) for number in range(5)]
        together: dict[int, str] = {}

        async def ask(number: int) -> None:
            together[number] = await _answered(subject, subject.short(number % 5))

        async with trio.open_nursery() as nursery:
            for number in range(TOGETHER):
                nursery.start_soon(ask, number)
        assert [together[number] for number in range(TOGETHER)] == alone * (TOGETHER // 5)

    async def test_vectors_do_not_depend_on_who_else_asks(self, subject: Subject) -> None:
        if subject.embed is None:
            return
        first = await subject.engine.embed(subject.embed)
        assert len(first.data) == 4 * first.width * len(subject.embed.inputs)
        others = []

        async def ask(request: Embed) -> None:
            others.append(await subject.engine.embed(request))

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(ask, subject.embed)
        assert others == [first] * 5

    async def test_a_task_is_answered(self, subject: Subject) -> None:
        if subject.task is not None:
            answer = await subject.engine.run(subject.task)
            assert answer.value is not None or answer.data

    async def test_an_adapter_is_attached_while_others_answer(self, subject: Subject) -> None:
        if subject.adapter is None:
            return
        engine, name = _adaptable(subject), subject.adapter.name
        wanted = await _answered(subject, subject.long)
        async with aclosing(_stream(subject, subject.long)) as stream:
            first = await anext(stream)
            assert isinstance(first, Piece)
            for _ in range(2):
                await engine.attach(subject.adapter)
                assert subject.engine.info.adapters == (name,)
            assert await _answered(subject, replace(subject.short(1), adapter=name))
            rest = [each.text async for each in stream if isinstance(each, Piece)]
        assert first.text + "".join(rest) == wanted

    async def test_an_adapter_that_goes_ends_its_requests_alone(self, subject: Subject) -> None:
        if subject.adapter is None:
            return
        engine, name = _adaptable(subject), subject.adapter.name
        begun, errors, ended = trio.Event(), [], []

        async def use() -> None:
            asked = _answered(subject, replace(subject.long, adapter=name), begun)
            errors.append(await _error(asked))

        async def other() -> None:
            ended.append(await _answered(subject, subject.long))

        with trio.fail_after(2 * SOON):
            await engine.attach(subject.adapter)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(other)
                nursery.start_soon(use)
                await begun.wait()
                await engine.detach(subject.adapter.release)
            await engine.detach(name)
        assert [type(each) for each in errors] == [EngineError]
        assert ended[0]
        assert subject.engine.info.adapters == ()
        late = await _error(_answered(subject, replace(subject.short(1), adapter=name)))
        assert isinstance(late, UsageError)
        await _quiet(subject)

    async def test_many_requests_leave_nothing_behind(self, subject: Subject) -> None:
        places = trio.Semaphore(TOGETHER)

        async def ask(number: int) -> None:
            async with places:
                if number % 2:
                    await _answered(subject, subject.short(number % 5))
                else:
                    async with aclosing(_stream(subject, subject.long)) as stream:
                        await anext(stream)

        async with trio.open_nursery() as nursery:
            for number in range(MANY):
                nursery.start_soon(ask, number)
        await _quiet(subject)
        assert not subject.engine.lost.is_set()

    async def test_closing_ends_what_is_under_way(self, subject: Subject) -> None:
        await self._all_end(subject, subject.engine.close)

    async def test_a_crash_ends_what_is_under_way(self, subject: Subject) -> None:
        if subject.crash is None:
            return
        crash = subject.crash

        async def crashed() -> None:
            crash()
            await subject.engine.lost.wait()

        await self._all_end(subject, crashed)
        await subject.engine.close()

    async def _all_end(self, subject: Subject, end: Callable[[], Awaitable[None]]) -> None:
        """Whoever asks before and after the end is told `EngineError`, and nobody waits."""
        begun, errors = trio.Event(), []

        async def ask() -> None:
            errors.append(await _error(_answered(subject, subject.long, begun)))

        with trio.fail_after(2 * SOON):
            async with trio.open_nursery() as nursery:
                for _ in range(subject.engine.info.slots + 2):
                    nursery.start_soon(ask)
                await begun.wait()
                await end()
            errors.append(await _error(_answered(subject, subject.short(1))))
            if subject.embed is not None:
                errors.append(await _error(subject.engine.embed(subject.embed)))
        assert {type(each) for each in errors} == {EngineError}
        assert all(each.remedy for each in errors)
        assert subject.engine.lost.is_set()


def _adaptable(subject: Subject) -> AdaptableEngine:
    assert isinstance(subject.engine, AdaptableEngine)
    return subject.engine


def _stream(subject: Subject, request: Generate) -> AsyncGenerator[Piece | Finished, None]:
    made = subject.engine.generate(request)
    return cast("AsyncGenerator[Piece | Finished, None]", made)


def _end(said: list[Piece | Finished]) -> Finished:
    last = said[-1]
    assert isinstance(last, Finished)
    return last


async def _answered(subject: Subject, request: Generate, begun: trio.Event | None = None) -> str:
    """The whole text of an answer; `begun` is set at its first piece."""
    said = []
    async with aclosing(_stream(subject, request)) as stream:
        async for each in stream:
            if begun is not None:
                begun.set()
            if isinstance(each, Piece):
                said.append(each.text)
    return "".join(said)


async def _error(asked: Awaitable[object]) -> P2PHubError:
    """How a request failed, which it must."""
    try:
        answer = await asked
    except P2PHubError as error:
        return error
    raise AssertionError(f"this was answered: {answer!r}")


async def _quiet(subject: Subject) -> None:
    """Wait until the engine works at nothing any more."""
    with trio.fail_after(SOON):
        while subject.under_way():  # noqa: ASYNC110 - an engine has no event for it
            await trio.sleep(0.001)
