"""A tiny model on a disk as a release, and what answers it gives in how many processes."""

from contextlib import asynccontextmanager

import torch
import trio
from safetensors.torch import save_file

from p2phub.errors import plain_errors
from p2phub.inference.requests import Generate, Piece, Sampling
from p2phub.inference.worker_engine import start_worker
from tests.inference.worker.release_files import model_file, spec_of
from tests.inference.worker.tiny_text import make_model, make_tokenizer


def released(folder, *, seed=3, dtype=torch.float32):
    """A tiny Llama with 4 heads, and 2 of keys and values, in two shards; its files."""
    plain, blobs = folder / "plain", folder / "blobs"
    tokenizer = make_tokenizer()
    model = make_model(len(tokenizer), seed=seed).to(dtype)
    model.config.save_pretrained(plain)
    model.generation_config.save_pretrained(plain)
    tokenizer.save_pretrained(plain)
    tensors = sorted(model.state_dict().items())
    half = len(tensors) // 2
    for at, part in enumerate((tensors[:half], tensors[half:]), 1):
        whole = {name: each.clone() for name, each in part}
        save_file(whole, plain / f"model-0000{at}-of-00002.safetensors")
    files = sorted(each for each in plain.iterdir() if each.is_file())
    return tuple(model_file(blobs, each.name, each.read_bytes()) for each in files)


def spec_for(files, ranks=0, **options):
    told = {"device": "cpu", "threads": 1, "dtype": "float32", "cache_bytes": 1 << 22} | options
    return spec_of(*files, ranks=ranks, **told)


@asynccontextmanager
async def served(spec):
    """A worker with this model, in as many processes as its options say."""
    with plain_errors():
        async with trio.open_nursery() as nursery:
            engine = await start_worker(nursery, spec)
            try:
                yield engine
            finally:
                with trio.CancelScope(shield=True):
                    await engine.close()


def asked(prompt, seed=None, tokens=12, **more):
    temperature = 0.0 if seed is None else 1.0
    return Generate(prompt, Sampling(temperature=temperature, seed=seed, max_tokens=tokens, **more))


async def said(engine, request):
    """The text of an answer."""
    pieces = [each async for each in engine.generate(request)]
    return "".join(each.text for each in pieces if type(each) is Piece)


async def all_said(engine, requests):
    """The texts of answers that were asked for at once."""
    texts = [""] * len(requests)

    async def one(at):
        texts[at] = await said(engine, requests[at])

    async with trio.open_nursery() as nursery:
        for at in range(len(requests)):
            nursery.start_soon(one, at)
    return texts
