"""A model is asked for what it is for: anything else is refused before it is loaded or fetched."""

import json

import pytest

from p2phub.errors import NotFoundError, UnsupportedError
from p2phub.node.infer import Inference
from p2phub.node.purposes import how_to_ask, require_able, require_purpose
from p2phub.testing.files import make_gguf
from p2phub.testing.inference import text_engine, vector_engine
from p2phub.testing.model_pools import FakePool
from tests.node.test_infer import LLAMA, Scene, ask
from tests.scenarios.nodes import consumer, new_publisher, node, publish, snapshots

BERT = {**LLAMA, "config.json": json.dumps({"architectures": ["BertModel"]}).encode()}
TEXT, VECTORS = "text-generation", "feature-extraction"


@pytest.fixture(params=["writes", "vectors", "classes", "gguf"])
def scene(request, tmp_path):
    judge = {"architectures": ["BertForSequenceClassification"]}
    files = {
        "writes": LLAMA,
        "vectors": BERT,
        "classes": {**LLAMA, "config.json": json.dumps(judge).encode()},
        "gguf": {"model-Q4_0.gguf": b"GGUF"},
    }[request.param]
    made = Scene(tmp_path, files)
    made.kind = request.param
    yield made
    made.disk.close()


async def prepare(scene, task):
    """What happens before a model is fetched and loaded for a task."""
    await require_purpose(scene.services, await scene.inference._find("lab/x"), task)


@pytest.mark.parametrize("scene", ["vectors", "classes"], indirect=True)
async def test_who_would_talk_to_a_model_that_does_not_write_is_told_before_it_is_loaded(scene):
    for wanting in (prepare(scene, TEXT), ask(scene, task=TEXT)):
        with pytest.raises(
            UnsupportedError, match=f"lab/x is for .*, and does no {TEXT}"
        ) as caught:
            await wanting
        how = "p2phub embed lab/x" if scene.kind == "vectors" else "p2phub serve lab/x"
        assert how in caught.value.remedy
    assert scene.pool.specs == []


@pytest.mark.parametrize("scene", ["writes", "classes"], indirect=True)
async def test_who_wants_vectors_of_a_model_that_makes_none_is_told_before_it_is_loaded(scene):
    for wanting in (prepare(scene, VECTORS), ask(scene, task=VECTORS)):
        with pytest.raises(UnsupportedError) as caught:
            await wanting
        how = "p2phub run lab/x" if scene.kind == "writes" else "/models/lab/x"
        assert how in caught.value.remedy
    assert scene.pool.specs == []


@pytest.mark.parametrize("scene", ["writes"], indirect=True)
async def test_what_a_model_is_for_is_loaded(scene):
    await prepare(scene, TEXT)
    await prepare(scene, "")
    await ask(scene)
    assert len(scene.pool.specs) == 1


@pytest.mark.parametrize(
    ("architecture", "does", "not_this"),
    [("llama", TEXT, VECTORS), ("nomic-bert", VECTORS, TEXT)],
)
async def test_a_gguf_file_tells_what_it_is_for_in_its_header(
    tmp_path, architecture, does, not_this
):
    said = {"general.architecture": architecture}
    said |= {f"{architecture}.pooling_type": 1} if does == VECTORS else {}
    made = Scene(tmp_path, {"x.gguf": make_gguf({"a": ("F32", (8,))}, metadata=said)})
    await prepare(made, does)
    with pytest.raises(UnsupportedError, match=f"is for {does}, and does no {not_this}") as caught:
        await prepare(made, not_this)
    assert caught.value.remedy == how_to_ask("lab/x", does)
    made.disk.close()


@pytest.mark.parametrize("scene", ["gguf"], indirect=True)
async def test_a_gguf_file_with_a_broken_header_is_left_to_who_loads_it(scene):
    await prepare(scene, VECTORS)
    await ask(scene, task=TEXT)
    assert len(scene.pool.specs) == 1


async def test_nothing_is_fetched_of_a_model_that_is_for_something_else(tmp_path):
    publisher = new_publisher(tmp_path / "a")
    folder = tmp_path / "model"
    folder.mkdir()
    for name, data in BERT.items():
        (folder / name).write_bytes(data)
    async with node(tmp_path / "a") as serving:
        await publish(serving, folder)
        async with consumer(tmp_path / "b", serving, publisher) as running:
            inference, told = Inference(running._services, pool := FakePool()), []
            with pytest.raises(UnsupportedError, match="is for feature-extraction"):
                await inference.load("lab/x", None, told.append, task=TEXT)
            assert list(snapshots(tmp_path / "b")) == []
            with pytest.raises(NotFoundError, match="lab has no repo named xx") as caught:
                await inference.load("lab/xx", None, told.append)
            assert "lab/x" in caught.value.remedy
            assert (pool.specs, told) == ([], [])
            assert (await inference.load("lab/x", None, told.append, task=VECTORS)).id == "lab/x"


@pytest.mark.parametrize("scene", ["writes"], indirect=True)
async def test_what_is_loaded_says_what_else_it_can(scene):
    model = await scene.inference._find("lab/x")
    with pytest.raises(UnsupportedError, match="does no translation") as caught:
        require_able(text_engine(), "translation", model)
    assert "p2phub run lab/x" in caught.value.remedy
    with pytest.raises(UnsupportedError, match=f"does no {TEXT}") as caught:
        require_able(vector_engine(), TEXT, model)
    assert caught.value.remedy == how_to_ask("lab/x", VECTORS)
    require_able(text_engine(), "", model)
