"""Adapters of a node: answered by the base that was signed, judged with it, and by no other."""

import math
from contextlib import aclosing, asynccontextmanager

import pytest
import trio
import trio.testing

from p2phub.errors import (
    MalformedError,
    NotFoundError,
    RevokedError,
    UnsupportedError,
    UsageError,
    WrongBytesError,
)
from p2phub.formats.ids import commit_id
from p2phub.formats.manifest import Lineage
from p2phub.inference.requests import Finished, Generate
from p2phub.inference_results import LoadedRow
from p2phub.node.adapters import AdapterRelease, NoBaseError
from p2phub.node.bases import resolve_base, takes_adapters
from p2phub.node.events import Resolved
from p2phub.node.serving import Chosen
from p2phub.node.values import PublishRequest
from p2phub.store.stamp import stamp_now
from p2phub.testing.model_pools import FakePool
from p2phub.trust.policy import Rule
from tests.node.adapter_folders import adapter_files, adapter_folder, model_folder
from tests.node.adapter_scene import AdapterScene
from tests.node.test_adapters import resolved
from tests.scenarios.nodes import new_publisher, node, publish, quiet
from tests.scenarios.test_model_variants import gguf

NOWHERE = b"\x07" * 32


@asynccontextmanager
async def opened(tmp_path, more=lambda base: {}, beside=None):
    scene = AdapterScene(tmp_path, more, beside)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(scene.inference.run)
            await trio.testing.wait_all_tasks_blocked()
            yield scene
            nursery.cancel_scope.cancel()
    finally:
        scene.close()


@pytest.fixture
async def scene(tmp_path):
    async with opened(tmp_path) as made:
        yield made


def exact(scene, name: str) -> str:
    """A reference for which nobody is asked."""
    publisher = "lab" if name in ("x", "y") else "poet"
    return f"{publisher}/{name}@{commit_id(scene.digest_of(name))}"


async def ask(scene, name, task="text-generation"):
    async with (
        scene.inference.serve(name, task) as served,
        aclosing(served.engine.generate(Generate("hello", adapter=served.adapter))) as pieces,
    ):
        assert isinstance([each async for each in pieces][-1], Finished)
        return served


async def rows(scene) -> dict[str, LoadedRow]:
    return {row.id: row for row in await scene.inference.loaded()}


class TestARequestThatNamesAnAdapter:
    async def test_is_answered_by_its_base_and_told_as_its_own(self, scene):
        served = await ask(scene, "poet/sonnet")
        assert (served.name, served.release) == ("poet/sonnet", scene.hex_of("sonnet"))
        assert served.publisher == str(scene.poet.publisher)
        assert (served.base_release, served.base_publisher) == (
            scene.hex_of("x"),
            str(scene.lab.publisher),
        )
        assert served.verdict == "verified"
        (loaded,) = scene.pool.loaded()
        assert (loaded.spec.release, loaded.spec.name) == (scene.hex_of("x"), "lab/x")
        assert served.engine.info.adapters == (served.adapter,)

    async def test_brings_its_configuration_and_weights_and_runs_none_of_its_code(self, scene):
        scene.store.rules.set_code(scene.poet.publisher, allowed=True)
        await ask(scene, "poet/sonnet")
        (adapter,) = scene.pool.loaded()[0].spec.adapters
        assert adapter.release == scene.hex_of("sonnet")
        names = {file.name for file in adapter.files}
        assert names == {"adapter_config.json", "adapter_model.safetensors"}
        assert scene.pool.specs[-1].options.allow_remote_code is False

    async def test_shares_one_engine_with_the_others_and_with_the_base(self, scene):
        names = [(await ask(scene, name)).adapter for name in ("poet/sonnet", "poet/haiku")]
        assert (await ask(scene, "lab/x")).adapter == ""
        assert len(scene.pool.specs) == 1
        assert scene.pool.loaded()[0].engine.info.adapters == tuple(names)
        await ask(scene, exact(scene, "sonnet"))
        assert scene.pool.loaded()[0].engine.info.adapters == tuple(names)

    async def test_gets_the_worse_of_two_verdicts(self, scene):
        scene.store.rules.set_rule(scene.lab.publisher, Rule("warn"))
        await scene.revoke("x")
        await trio.testing.wait_all_tasks_blocked()
        served = await ask(scene, "poet/sonnet")
        assert served.verdict.startswith("revoked")
        assert served.policy == "warn"

    @pytest.mark.parametrize("name", ["x", "sonnet"])
    async def test_is_refused_where_a_rule_refuses_one_of_the_two(self, scene, name):
        await scene.revoke(name)
        with pytest.raises(RevokedError):
            await ask(scene, "poet/sonnet")
        assert scene.pool.specs == []

    async def test_fetches_nothing(self, scene):
        path, _ = scene.place("sonnet", "adapter_model.safetensors")
        path.unlink()
        with pytest.raises(NotFoundError, match="1 files of poet/sonnet") as caught:
            await ask(scene, "poet/sonnet")
        assert "p2phub serve poet/sonnet" in caught.value.remedy
        path, _ = scene.place("x", "model.safetensors")
        path.unlink()
        with pytest.raises(NotFoundError, match="1 files of poet/haiku"):
            await ask(scene, "poet/haiku")

    async def test_is_for_the_safetensors_also_where_only_gguf_weights_are_here(self, tmp_path):
        async with opened(tmp_path, beside={"x-Q4_0.gguf": gguf(1 << 10)}) as scene:
            path, _ = scene.place("x", "model.safetensors")
            path.unlink()
            assert (await ask(scene, "lab/x")).name == "lab/x:Q4_0"
            with pytest.raises(NotFoundError, match="1 files of poet/sonnet"):
                await ask(scene, "poet/sonnet")

    async def test_for_what_no_adapter_changes_is_refused(self, scene):
        with pytest.raises(UnsupportedError, match="adapters do text-generation") as caught:
            await ask(scene, "poet/sonnet", "feature-extraction")
        assert "lab/x" in caught.value.remedy

    async def test_that_is_malformed_is_not_read_again_and_again(self, scene):
        scene.pool.fails = MalformedError("it has no tensors of a LoRA")
        read = []
        scene.services.store.blobs.verify = read.append
        with pytest.raises(MalformedError):
            await ask(scene, "poet/sonnet")
        assert read == []

    async def test_with_files_that_changed_puts_those_and_no_others_in_quarantine(self, scene):
        path, content = scene.place("sonnet", "adapter_model.safetensors")
        path.chmod(0o644)
        path.write_bytes(bytes(path.stat().st_size))
        scene.store.blobs._set_stamp(content, stamp_now(str(path)))
        scene.pool.fails = WrongBytesError("piece 0 is wrong")
        with pytest.raises(WrongBytesError):
            await ask(scene, "poet/sonnet")
        assert not scene.store.blobs.has(content)
        scene.pool.fails = None
        await ask(scene, "poet/haiku")


class TestAnAdapterWithoutARightBase:
    async def test_is_refused_with_the_digest_that_nobody_knows(self, tmp_path):
        def more(base):
            return {"orphan": (adapter_files(3), (Lineage("adapter", NOWHERE),))}

        async with opened(tmp_path, more) as scene:
            with pytest.raises(NoBaseError) as caught:
                await ask(scene, "poet/orphan")
            for words in ("poet/orphan", NOWHERE.hex(), "its card names org/base-on-the-card"):
                assert words in caught.value.message
            assert "p2phub serve poet/orphan" in caught.value.remedy
            assert "poet/orphan" not in {row.id for row in await scene.inference.models()}

    async def test_that_names_none_is_refused_with_how_to_name_one(self, tmp_path):
        def more(base):
            return {
                "plain": (adapter_files(3), ()),
                "mirrored": (adapter_files(4), (Lineage("adapter", upstream="org/base"),)),
            }

        async with opened(tmp_path, more) as scene:
            for name in ("poet/plain", "poet/mirrored"):
                with pytest.raises(UnsupportedError, match="does not say which") as caught:
                    await ask(scene, name)
                assert "--base REF" in caught.value.remedy

    async def test_made_for_another_adapter_is_refused(self, tmp_path):
        def more(base):
            return {"first": (adapter_files(3), (Lineage("adapter", base),))}

        first = AdapterScene(tmp_path / "a", more)
        digest = first.digest_of("first")
        first.close()

        def chain(base):
            made = (adapter_files(4), (Lineage("adapter", digest),))
            return {**more(base), "second": made}

        async with opened(tmp_path / "b", chain) as scene:
            assert scene.digest_of("first") == digest
            with pytest.raises(UnsupportedError, match="which is an adapter itself"):
                await ask(scene, "poet/second")
            await ask(scene, "poet/first")

    async def test_of_pickles_is_refused(self, tmp_path):
        files = {"adapter_config.json": b"{}", "adapter_model.bin": b"pickle"}

        def more(base):
            return {"pickled": (files, (Lineage("adapter", base),))}

        async with opened(tmp_path, more) as scene:
            with pytest.raises(UnsupportedError, match="pickles"):
                await ask(scene, "poet/pickled")
            assert "poet/pickled" not in {row.id for row in await scene.inference.models()}


def test_gguf_weights_take_no_adapter_and_safetensors_of_the_same_release_do():
    gguf = Chosen("llamacpp", (("x.gguf",),), ())
    plain = Chosen("transformers", (("model.safetensors",),), ())
    assert takes_adapters([gguf, plain], resolved()) == (plain,)
    with pytest.raises(UnsupportedError, match="GGUF"):
        takes_adapters([gguf], resolved())


class TestLoading:
    async def test_an_adapter_loads_its_base_and_tells_of_both(self, scene):
        told = []
        row = await scene.inference.load(exact(scene, "sonnet"), None, told.append)
        assert (row.release, row.base_release) == (scene.hex_of("sonnet"), scene.hex_of("x"))
        assert (row.base, row.publisher) == ("lab/x", str(scene.poet.publisher))
        (resolved,) = [each for each in told if isinstance(each, Resolved)]
        assert resolved.ref == exact(scene, "sonnet")

    async def test_several_adapters_at_once_come_with_their_base(self, scene):
        adapters = (exact(scene, "sonnet"), exact(scene, "haiku"))
        row = await scene.inference.load(exact(scene, "x"), None, quiet, adapters)
        assert (row.release, row.base) == (scene.hex_of("x"), "")
        assert row.adapters == adapters
        below = [each for each in await scene.inference.loaded() if each.base]
        assert [each.id for each in below] == list(adapters)
        assert {each.base for each in below} == {row.id}

    async def test_on_another_base_is_refused_naming_both_digests(self, scene):
        with pytest.raises(UsageError) as caught:
            await scene.inference.load(exact(scene, "y"), None, quiet, (exact(scene, "sonnet"),))
        assert scene.hex_of("x") in caught.value.message
        assert scene.hex_of("y") in caught.value.message
        assert caught.value.exit == 2
        assert scene.pool.specs == []

    async def test_a_model_as_an_adapter_or_an_adapter_as_a_base_is_refused(self, scene):
        with pytest.raises(UsageError, match="is no adapter"):
            await scene.inference.load(exact(scene, "x"), None, quiet, (exact(scene, "y"),))
        with pytest.raises(UsageError, match="is an adapter itself"):
            await scene.inference.load(
                exact(scene, "haiku"), None, quiet, (exact(scene, "sonnet"),)
            )
        assert scene.pool.specs == []


class TestAReleaseThatIsTakenBack:
    async def test_an_adapter_ends_its_own_answers_and_no_others(self, scene):
        await ask(scene, "lab/x")
        async with (
            scene.inference.serve("poet/sonnet", "") as sonnet,
            scene.inference.serve("lab/x", "") as base,
            aclosing(sonnet.engine.generate(Generate("hello"))) as ours,
            aclosing(base.engine.generate(Generate("hello"))) as theirs,
        ):
            await anext(ours)
            await anext(theirs)
            await scene.revoke("sonnet")
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(RevokedError, match="poet/sonnet"):
                await anext(ours)
            await anext(theirs)
        assert scene.pool.loaded()[0].engine.info.adapters == ()
        with pytest.raises(RevokedError):
            await ask(scene, "poet/sonnet")
        await ask(scene, "poet/haiku")
        assert len(scene.pool.specs) == 1

    async def test_a_base_ends_all_of_them(self, scene):
        async with (
            scene.inference.serve("poet/sonnet", "") as sonnet,
            aclosing(sonnet.engine.generate(Generate("hello"))) as pieces,
        ):
            await anext(pieces)
            await scene.revoke("x")
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(RevokedError, match="lab/x"):
                await anext(pieces)
        assert scene.pool.memory == {}

    async def test_an_adapter_while_it_is_attached_is_taken_off_again(self, scene):
        scene.pool.loading = trio.Event()
        async with trio.open_nursery() as nursery:

            async def refused():
                with pytest.raises(RevokedError):
                    await ask(scene, "poet/sonnet")

            nursery.start_soon(refused)
            await trio.sleep(0.1)
            await scene.revoke("sonnet")
            await trio.testing.wait_all_tasks_blocked()
            scene.pool.loading.set()
        assert scene.hex_of("sonnet") in scene.pool.detached
        assert scene.pool.loaded()[0].engine.info.adapters == ()


class TestWhatIsThere:
    async def test_adapters_are_listed_with_the_model_that_they_are_for(self, scene):
        listed = {row.id: row for row in await scene.inference.models()}
        assert {name: row.base for name, row in listed.items()} == {
            "lab/x": "",
            "lab/y": "",
            "poet/sonnet": "lab/x",
            "poet/haiku": "lab/x",
        }
        assert listed["poet/sonnet"].owner == "poet"
        assert listed["poet/sonnet"].tasks == ("text-generation",)
        await ask(scene, "poet/sonnet")
        loaded = {row.id for row in await scene.inference.models() if row.loaded}
        assert loaded == {"lab/x", "poet/sonnet"}

    async def test_an_adapter_that_is_unloaded_leaves_its_base(self, scene):
        await ask(scene, "poet/sonnet")
        await ask(scene, "poet/haiku")
        gone = await scene.inference.unload("poet/sonnet")
        assert (gone.id, gone.release) == ("poet/sonnet", scene.hex_of("sonnet"))
        assert list(await rows(scene)) == ["lab/x", "poet/haiku"]
        assert (await rows(scene))["lab/x"].adapters == ("poet/haiku",)
        with pytest.raises(NotFoundError, match="not in memory"):
            await scene.inference.unload("poet/sonnet")
        await scene.inference.unload("lab/x")
        assert await rows(scene) == {}

    async def test_a_base_stays_as_long_as_one_who_asked_for_it_wants(self, scene):
        await scene.inference.load(exact(scene, "sonnet"), math.inf, quiet)
        await scene.inference.load(exact(scene, "haiku"), math.inf, quiet)
        base = scene.pool.loaded()[0]
        await scene.inference.unload(exact(scene, "sonnet"))
        await ask(scene, "lab/x")
        assert base.keep_seconds == math.inf
        await scene.inference.unload(exact(scene, "haiku"))
        assert base.keep_seconds == 300.0


class TestFetching:
    async def test_brings_the_adapter_and_then_a_base_that_is_known_by_its_digest_alone(
        self, tmp_path
    ):
        poet = new_publisher(tmp_path / "poet")
        new_publisher(tmp_path / "lab")
        async with node(tmp_path / "lab") as lab, node(tmp_path / "poet", lab) as second:
            base = await publish(lab, model_folder(tmp_path / "base", seed="x" * 9), "base")
            await second.trust.add("maker", base.publisher_id)
            request = PublishRequest(adapter_folder(tmp_path / "a"), "sonnet", base="maker/base")
            await second.publish(request, quiet)
            async with node(tmp_path / "user", lab) as user:
                await user.trust.add("poet", poet)
                await user.connect(second.identity.addresses[0])
                pool = user.inference._pool = FakePool()
                told = []
                row = await user.inference.load("poet/sonnet", None, told.append)
                assert (row.id, row.base_release) == ("poet/sonnet", base.digest)
                assert row.base == f"{base.publisher_id}/base"
                named = [each.ref for each in told if isinstance(each, Resolved)]
                assert named == ["poet/sonnet@main", f"{base.publisher_id}/base@main"]
                (spec,) = pool.specs
                assert all(file.complete for each in spec.adapters for file in each.files)
                async with user.inference.serve("poet/sonnet", "") as served:
                    assert served.base_release == base.digest
                (told,) = (await user.info("poet/sonnet")).lineage
                assert told.ref == f"{base.publisher_id}/base@main"

    async def test_a_base_that_nobody_has_is_told_by_its_digest(self, tmp_path):
        new_publisher(tmp_path / "home")
        async with node(tmp_path / "home") as running:
            made = AdapterRelease(resolved(), Rule(), NOWHERE, (), ())
            with pytest.raises(NoBaseError, match=NOWHERE.hex()) as caught:
                await resolve_base(running._services, made)
            assert "is with nobody reachable" in caught.value.message
