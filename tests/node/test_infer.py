"""Models of a node: judged at each request, loaded as verified, never answering once taken back."""

import json
import logging
import math
from contextlib import aclosing, asynccontextmanager
from types import SimpleNamespace

import pytest
import trio
import trio.testing

from p2phub.errors import (
    EngineError,
    NotFoundError,
    RevokedError,
    UnsupportedError,
    UntrustedError,
    WrongBytesError,
)
from p2phub.formats.manifest import Release
from p2phub.inference.requests import Embed, Finished, Generate
from p2phub.node.endpoints import Endpoints
from p2phub.node.infer import Inference
from p2phub.node.knowledge import Knowledge
from p2phub.node.pressure import Pressure
from p2phub.node.rules import rule_of
from p2phub.node.withdrawals import Withdrawals
from p2phub.store.stamp import stamp_now
from p2phub.testing.inference import text_engine
from p2phub.testing.model_pools import FakePool
from p2phub.testing.notices import revoke_release
from p2phub.testing.publishers import FakePublisher
from p2phub.trust.catalog import TrustedCatalog
from p2phub.trust.policy import Rule
from tests.scenarios.nodes import flip, settings
from tests.scenarios.policy_scene import NOW, Disk
from tests.scenarios.policy_table import Case

BIG = b"weights!" * (1 << 18)
LLAMA = {
    "config.json": json.dumps({"architectures": ["LlamaForCausalLM"]}).encode(),
    "tokenizer.json": b"{}",
    "model.safetensors": BIG,
    "pytorch_model.bin": b"pickle",
    "modeling.py": b"raise SystemExit",
    "README.md": b"hello",
}


class Scene:
    """A node with one model on its disk."""

    def __init__(self, tmp_path, files=LLAMA) -> None:
        self.lab = lab = FakePublisher(1)
        self.made = lab.publish("x", files)
        self.disk = Disk(tmp_path, Case("right", lab, self.made, self.made.release.pack()), Rule())
        self.store = self.disk.store
        self.store.documents.save_alias("lab", lab.publisher, 0)
        catalog = TrustedCatalog(rule_of(self.store, settings()))
        self.knowledge = knowledge = Knowledge(self.store, catalog, lambda: NOW)
        self.withdrawals = Withdrawals(self.store, knowledge, lambda digest: None)
        self.services = SimpleNamespace(
            store=self.store,
            knowledge=knowledge,
            config=settings(),
            on_disk=trio.to_thread.run_sync,
            pressure=Pressure(trio.current_time),
            withdrawals=self.withdrawals,
        )
        self.pool = FakePool()
        self.inference = Inference(self.services, self.pool)

    @property
    def digest(self) -> str:
        return self.made.release.digest.hex()

    def place(self, name):
        (file,) = [
            each
            for each in Release.from_payload(self.made.release.payload).files
            if each.path == (name,)
        ]
        return self.store.blobs.path(file.content), file.content

    async def revoke(self):
        self.knowledge.learn_notice(revoke_release(self.lab, self.made.release.digest).pack())
        await self.withdrawals.check(self.lab.publisher)


@pytest.fixture
def scene(tmp_path):
    made = Scene(tmp_path)
    yield made
    made.disk.close()


@asynccontextmanager
async def listening(scene):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.inference.run)
        await trio.testing.wait_all_tasks_blocked()
        yield
        nursery.cancel_scope.cancel()


async def ask(scene, name="lab/x", task="text-generation"):
    async with (
        scene.inference.serve(name, task) as served,
        aclosing(served.engine.generate(Generate("hello"))) as pieces,
    ):
        return [each async for each in pieces], served


class TestARequest:
    async def test_is_answered_with_the_pedigree_of_what_was_loaded(self, scene):
        pieces, served = await ask(scene)
        assert isinstance(pieces[-1], Finished)
        assert (served.release, served.publisher) == (scene.digest, str(scene.lab.publisher))
        assert (served.verdict, served.policy, served.name) == ("verified", "enforce", "lab/x")

    async def test_is_asked_for_the_client_that_asked(self, scene):
        async with scene.inference.serve("lab/x", "", "somebody"):
            assert scene.pool.clients == ["somebody"]

    async def test_loads_what_a_model_needs_and_nothing_else(self, scene):
        await ask(scene)
        (spec,) = scene.pool.specs
        assert {file.name for file in spec.files} == {
            "config.json",
            "tokenizer.json",
            "model.safetensors",
        }
        assert (spec.engine, spec.task) == ("transformers", "text-generation")
        weights = spec.find("model.safetensors")
        assert weights.table().count == 2
        assert await trio.Path(weights.where).read_bytes() == BIG

    async def test_loads_once_for_all(self, scene):
        await ask(scene)
        await ask(scene, "lab/x@main")
        await ask(scene, f"{scene.lab.publisher}/x")
        await ask(scene, f"lab/x@{scene.digest[:40]}")
        assert len(scene.pool.specs) == 1

    @pytest.mark.parametrize("name", ["lab/xx", "lab/x@v9", "other/x", "x", "no such/model", ""])
    async def test_for_what_is_not_there_is_not_found(self, scene, name):
        with pytest.raises(NotFoundError) as caught:
            await ask(scene, name)
        if "x" in name:
            assert "lab/x" in f"{caught.value.message} {caught.value.remedy}"

    async def test_fetches_nothing(self, scene):
        path, _ = scene.place("model.safetensors")
        path.unlink()
        with pytest.raises(NotFoundError, match="are not on this disk") as caught:
            await ask(scene)
        assert "p2phub serve lab/x" in caught.value.remedy
        assert scene.pool.specs == []

    async def test_for_what_a_model_cannot_do_says_what_it_can(self, scene):
        with pytest.raises(UnsupportedError) as caught:
            await ask(scene, task="feature-extraction")
        assert "lab/x is for text-generation" in caught.value.message
        assert "p2phub run lab/x" in caught.value.remedy

    async def test_for_weights_that_are_pickles_is_refused(self, tmp_path):
        scene = Scene(tmp_path, {"config.json": b"{}", "pytorch_model.bin": b"x"})
        try:
            with pytest.raises(UnsupportedError, match="lab/x: its weights are pickles"):
                await ask(scene)
        finally:
            scene.disk.close()

    async def test_counts_as_pressure_while_it_is_answered(self, scene):
        async with scene.inference.serve("lab/x", "") as served:
            assert scene.services.pressure.under_way == 0
            async with aclosing(served.engine.generate(Generate("hello"))) as pieces:
                await anext(pieces)
                assert scene.services.pressure.under_way == 1
        assert scene.services.pressure.under_way == 0


class TestAModelElsewhere:
    @pytest.fixture
    def endpoints(self, scene):
        scripted = text_engine()

        async def names(url):
            return ["lab/x", "gpt-elsewhere"]

        async def attach(url, model):
            return scripted

        made = Endpoints(["http://127.0.0.1:1/v1"], names, attach)
        scene.inference = Inference(scene.services, scene.pool, made)

    async def test_answers_and_names_no_release(self, scene, endpoints):
        _, served = await ask(scene, "gpt-elsewhere")
        assert (served.release, served.publisher, served.verdict) == ("", "", "unsigned")
        assert scene.pool.specs == []
        rows = {row.id: row.owner for row in await scene.inference.models()}
        assert rows == {"lab/x": "lab", "gpt-elsewhere": "http://127.0.0.1:1/v1"}

    async def test_is_loaded_already_where_it_is(self, scene, endpoints):
        row = await scene.inference.load("gpt-elsewhere", None, lambda event: None)
        assert (row.id, row.device) == ("gpt-elsewhere", "http://127.0.0.1:1/v1")
        assert scene.pool.specs == []
        assert await scene.inference._elsewhere("lab/x") is None, "that one is ours"

    async def test_of_the_same_name_never_answers_for_one_of_this_node(self, scene, endpoints):
        _, served = await ask(scene, "lab/x")
        assert served.release == scene.digest

    async def test_is_not_asked_instead_of_one_that_is_refused(self, scene, endpoints):
        async with listening(scene):
            await scene.revoke()
            with pytest.raises(RevokedError):
                await ask(scene)


class TestCode:
    async def test_is_loaded_only_for_a_publisher_whose_rule_lets_it_run(self, scene):
        await ask(scene)
        assert scene.pool.specs[-1].options.allow_remote_code is False
        assert scene.pool.specs[-1].find("modeling.py") is None
        await scene.pool.unload(scene.digest)
        scene.store.rules.set_code(scene.lab.publisher, allowed=True)
        await ask(scene)
        assert scene.pool.specs[-1].options.allow_remote_code is True
        assert scene.pool.specs[-1].find("modeling.py") is not None


class TestAFileThatChanged:
    @pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
    async def test_after_it_was_verified_is_not_loaded(self, scene, name):
        path, _ = scene.place(name)
        flip(path, 1)
        with pytest.raises((UntrustedError, NotFoundError)):
            await ask(scene)
        assert scene.pool.specs == []

    async def test_behind_the_stamps_is_put_in_quarantine_once_the_loader_finds_it(self, scene):
        path, content = scene.place("model.safetensors")
        path.chmod(0o644)
        data = bytearray(path.read_bytes())
        data[50] ^= 1
        path.write_bytes(data)
        scene.pool.fails = WrongBytesError("piece 0 is wrong")
        scene.store.blobs._set_stamp(content, stamp_now(str(path)))
        with pytest.raises(WrongBytesError):
            await ask(scene)
        assert not scene.store.blobs.has(content)
        for _ in range(2):  # as long as it is so
            with pytest.raises(NotFoundError, match="lab/x was found changed") as caught:
                await ask(scene)
            assert "p2phub serve lab/x" in caught.value.remedy


class TestAReleaseThatIsTakenBack:
    async def test_is_unloaded_and_its_answer_ends(self, scene):
        async with listening(scene), scene.inference.serve("lab/x", "") as served:
            async with aclosing(served.engine.generate(Generate("hello"))) as pieces:
                await anext(pieces)
                await scene.revoke()
                await trio.testing.wait_all_tasks_blocked()
                with pytest.raises(RevokedError, match="taken back"):
                    await anext(pieces)
            with pytest.raises(RevokedError):
                await served.engine.embed(Embed(("x",)))
        assert scene.pool.unloaded == [scene.digest]
        assert scene.pool.memory == {}

    async def test_is_never_served_again(self, scene):
        await ask(scene)
        async with listening(scene):
            await scene.revoke()
            with pytest.raises(RevokedError):
                await ask(scene)
            assert await scene.inference.models() == ()

    @pytest.mark.parametrize("ends", [None, EngineError("lab/x was taken back")])
    async def test_while_it_is_loaded_is_not_kept(self, scene, ends):
        """A pool ends the load in its own words; who asked is told why it was taken back."""
        scene.pool.loading = trio.Event()
        async with listening(scene), trio.open_nursery() as nursery:

            async def refused():
                with pytest.raises(RevokedError, match=r"taken back: .+"):
                    await ask(scene)

            nursery.start_soon(refused)
            await trio.sleep(0.1)
            await scene.revoke()
            await trio.testing.wait_all_tasks_blocked()
            scene.pool.fails = ends
            scene.pool.loading.set()
        assert scene.pool.memory == {}

    async def test_is_served_again_where_a_rule_lets_it(self, scene, caplog):
        async with listening(scene):
            await scene.revoke()
            await trio.testing.wait_all_tasks_blocked()
            scene.store.rules.set_rule(scene.lab.publisher, Rule("warn"))
            with caplog.at_level(logging.WARNING):
                _, served = await ask(scene)
        assert served.verdict.startswith("revoked")
        assert "revoked" in caplog.text

    async def test_is_no_excuse_for_an_engine_that_broke(self, scene):
        async with scene.inference.serve("lab/x", "") as served:
            scene.pool.memory[scene.digest].engine.scripted.fails = EngineError("it broke")
            with pytest.raises(EngineError, match="it broke"):
                async for _ in served.engine.generate(Generate("hello")):
                    pass


class TestWhatIsThere:
    async def test_is_listed_with_what_is_in_memory(self, scene):
        (row,) = await scene.inference.models()
        assert (row.id, row.owner, row.loaded) == ("lab/x", "lab", False)
        assert row.tasks == ("text-generation",)
        await ask(scene)
        (row,) = await scene.inference.models()
        assert row.loaded is True
        (loaded,) = await scene.inference.loaded()
        assert (loaded.id, loaded.release, loaded.verdict) == ("lab/x", scene.digest, "verified")
        assert (loaded.keep_seconds, loaded.pid) == (300.0, 7)

    async def test_stays_for_as_long_as_who_loaded_it_said(self, scene):
        await ask(scene)
        await scene.pool.unload(scene.digest)
        model = await scene.inference._find("lab/x")
        scene.inference._kept.note(model, math.inf)
        await ask(scene)
        (row,) = await scene.inference.loaded()
        assert row.keep_seconds is None
        await scene.inference.unload("lab/x")
        await ask(scene)
        (row,) = await scene.inference.loaded()
        assert row.keep_seconds == 300.0

    @pytest.mark.parametrize("name", ["lab/x", "lab/x@main", "commit"])
    async def test_is_unloaded_by_its_name(self, scene, name):
        await ask(scene)
        name = f"lab/x@{scene.digest[:8]}" if name == "commit" else name
        assert (await scene.inference.unload(name)).release == scene.digest
        assert scene.pool.memory == {}

    async def test_is_not_unloaded_by_another(self, scene):
        await ask(scene)
        for name in ("lab/y", "lab/x@v1", f"lab/x@{'0' * 8}"):
            with pytest.raises(NotFoundError, match="not in memory") as caught:
                await scene.inference.unload(name)
            assert "lab/x" in caught.value.remedy
        assert len(scene.pool.memory) == 1
