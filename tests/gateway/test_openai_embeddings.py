"""Embeddings and the list of models, asked by OpenAI's own client over a real socket."""

import openai
import pytest
import trio

from p2phub.gateway.openai_embeddings import rows_of, shaped
from p2phub.inference.requests import Embed, Embeddings
from p2phub.testing.inference import PUBLISHER, RELEASE, TEXT, VECTORS


@pytest.fixture
def ask(served):
    async def asked(use, path="/v1"):
        def in_a_thread():
            url = served.gateway.url + path
            with openai.OpenAI(base_url=url, api_key="sk-any", max_retries=0) as client:
                return use(client)

        return await trio.to_thread.run_sync(in_a_thread)

    return asked


def vectors(**more):
    return lambda client: client.embeddings.create(**{"model": VECTORS, "input": "a b", **more})


async def test_clients_get_their_vectors_in_base64(served, ask):
    answer = await ask(vectors(input=["one", "two words"]))
    assert [row.embedding for row in answer.data] == [[1.0, 0, 0, 0], [2.0, 0, 0, 0]]
    assert [row.index for row in answer.data] == [0, 1]
    assert answer.usage.prompt_tokens == 3
    assert answer.model_extra["p2phub"]["publisher"] == PUBLISHER
    assert served.node.inference.vectors.asked == [Embed(("one", "two words"))]


async def test_plain_numbers_come_unless_base64_is_asked_for(served, ask):
    answer = await ask(vectors(encoding_format="float", dimensions=2))
    assert answer.data[0].embedding == [2.0, 0.0]
    plain = await served.stranger.post("/v1/embeddings", json={"input": "a"})
    assert plain.json()["data"][0]["embedding"] == [1.0, 0.0, 0.0, 0.0]
    assert plain.headers["p2phub-release"] == RELEASE


async def test_tokens_have_vectors_too(served, ask):
    assert len((await ask(vectors(input=[[1, 2], [3]]))).data) == 2
    assert served.node.inference.vectors.asked[-1].inputs == ((1, 2), (3,))


async def test_no_model_named_is_the_one_that_makes_vectors(served, ask):
    assert (await ask(vectors(model="dummy"))).model == VECTORS
    assert (await ask(vectors(model="dummy"), path=f"/models/{VECTORS}/v1")).model == VECTORS


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"input": []}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": [["a"]]}, "input"),
        ({"dimensions": 0}, "dimensions"),
        ({"encoding_format": "int8"}, "encoding_format"),
    ],
)
async def test_what_cannot_be_is_refused(ask, more, param):
    with pytest.raises(openai.BadRequestError) as caught:
        await ask(vectors(**more))
    assert caught.value.param == param


async def test_what_the_model_refuses_is_told(ask):
    with pytest.raises(openai.BadRequestError, match="4 dimensions"):
        await ask(vectors(dimensions=5))


def test_rows_are_little_endian_floats():
    two = Embeddings(b"\0\0\x80?\0\0\0@" * 2, 2, 1)
    assert rows_of(two) == [(1.0, 2.0), (1.0, 2.0)]
    assert shaped(two, True)[1]["embedding"] == "AACAPwAAAEA="


class TestModels:
    async def test_are_listed(self, ask):
        rows = list(await ask(lambda client: client.models.list()))
        assert [row.id for row in rows] == [TEXT, VECTORS]
        assert (rows[0].object, rows[0].owned_by) == ("model", "lab")
        assert [row.model_extra["loaded"] for row in rows] == [True, False]

    @pytest.mark.parametrize("path", ["lab/smol", "lab%2Fsmol"])
    async def test_are_found_by_name(self, served, path):
        answer = await served.stranger.get(f"/v1/models/{path}")
        assert (answer.status_code, answer.json()["id"]) == (200, TEXT)

    @pytest.mark.parametrize("path", ["lab/v", "lab/v:q4_0", "lab/v:Q4_0"])
    async def test_of_several_variants_are_found_by_each_name(self, served, path):
        served.node.inference.engines["lab/v:Q4_0"] = served.node.inference.text
        answer = await served.stranger.get(f"/v1/models/{path}")
        assert (answer.status_code, answer.json().get("id")) == (200, "lab/v:Q4_0")
        assert (await served.stranger.get("/v1/models/lab/v:Q8_0")).status_code == 404

    async def test_are_found_by_the_client(self, ask):
        assert (await ask(lambda client: client.models.retrieve(TEXT))).id == TEXT

    async def test_that_are_not_there_have_near_ones(self, ask):
        with pytest.raises(openai.NotFoundError, match=TEXT) as caught:
            await ask(lambda client: client.models.retrieve("lab/smal"))
        assert caught.value.code == "model_not_found"
