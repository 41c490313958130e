"""Workers without a model: the echo, and what it is told to do."""

from contextlib import aclosing, asynccontextmanager

import trio

from p2phub.inference.requests import Generate, Piece
from p2phub.inference.spec import ModelSpec
from p2phub.inference.worker_engine import start_worker

RELEASE = "ab" * 32


def echo_spec(release=RELEASE, **settings):
    """What a worker is told; the settings are those of the echo."""
    told = {"backend": "echo"} | {name: str(value) for name, value in settings.items()}
    return ModelSpec(release, "lab/echo", "transformers", "text-generation", (), settings=told)


@asynccontextmanager
async def echo(patience=120.0, **settings):
    """An engine in a process, which is closed in the end."""
    async with trio.open_nursery() as nursery:
        engine = await start_worker(nursery, echo_spec(**settings), patience=patience)
        try:
            yield engine
        finally:
            with trio.CancelScope(shield=True):
                await engine.close()


async def until(condition, seconds=10.0):
    """Wait for something that another process is about to do."""
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - what we wait for has no event of ours
            await trio.sleep(0.002)


async def text_of(engine, prompt, begun=None):
    """The text of an answer; `begun` is set at its first piece."""
    request = prompt if isinstance(prompt, Generate) else Generate(prompt)
    said = []
    async with aclosing(engine.generate(request)) as stream:
        async for each in stream:
            if begun is not None:
                begun.set()
            if type(each) is Piece:
                said.append(each.text)
    return "".join(said)
