"""The fake engine keeps what every engine promises."""

import pytest

from p2phub.inference.requests import Embed, Generate, TaskRequest
from p2phub.inference.spec import Adapter
from p2phub.testing.engine_conformance import EngineConformance, Subject
from p2phub.testing.engines import CONTEXT, FakeEngine


class TestFakeEngine(EngineConformance):
    @pytest.fixture
    def subject(self):
        engine = FakeEngine(step=0.0005)
        return Subject(
            engine,
            long=Generate("word " * 30),
            short=lambda number: Generate(f"this is answer {number} of many"),
            under_way=lambda: engine.under_way,
            too_long=Generate("word " * (CONTEXT + 1)),
            wrong=Generate("word", adapter="none such"),
            embed=Embed(("some", "texts")),
            task=TaskRequest("echo", {"a": 1}),
            crash=engine.crash,
            adapter=Adapter("lab/poet", (), "ab" * 32),
        )
