"""A model that two GPUs share answers as on one of them, and each holds half of it."""

import pytest
import torch

from tests.inference.worker.shared_models import all_said, asked, released, said, served, spec_for

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs"),
]
REQUESTS = (asked("the cat sat"), asked("a dog", seed=5), asked("où est le café", tokens=30))


async def test_answers_are_those_of_one_gpu(tmp_path):
    files = released(tmp_path)
    async with served(spec_for(files, device="cuda:0")) as engine:
        alone = [await said(engine, each) for each in REQUESTS]
        weights = engine.info.weight_bytes
    async with served(spec_for(files, device="cuda:0,cuda:1")) as engine:
        assert engine.info.device == "cuda:0,cuda:1"
        assert engine.info.weight_bytes == pytest.approx(weights, rel=0.02)
        assert [await said(engine, each) for each in REQUESTS] == alone
        assert await all_said(engine, REQUESTS * 4) == alone * 4
