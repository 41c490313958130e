"""Hugging Face's inference API, asked by its own client over a real socket."""

import json
from base64 import b64encode

import pytest
import trio
from huggingface_hub import InferenceClient, constants
from huggingface_hub.errors import (
    HfHubHTTPError,
    IncompleteGenerationError,
    OverloadedError,
    ValidationError,
)

from p2phub.errors import BusyError, EngineError, UnsupportedError
from p2phub.gateway.inference_body import Fields
from p2phub.gateway.inference_tasks import Sent, task_request
from p2phub.inference.engine import ModelInfo
from p2phub.inference.requests import (
    Chosen,
    Embed,
    Generate,
    Piece,
    Sampling,
    TaskAnswer,
    TaskRequest,
)
from p2phub.testing.inference import (
    PUBLISHER,
    RELEASE,
    SCRIPT,
    TEXT,
    VECTORS,
    ScriptedEngine,
)

WHOLE = "".join(SCRIPT)
SOUND = b"RIFF\0\0\0\0WAVEfmt "
LABELS = [{"label": "good", "score": 0.9}, {"label": "bad", "score": 0.1}]


@pytest.fixture
def ask(served, monkeypatch):
    """Run something with Hugging Face's client in a thread, because it blocks."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # it asks nobody but us

    async def asked(use, model=TEXT, below=""):
        url = f"{served.gateway.url}/models/{model}{below}"
        client = InferenceClient(url, provider="hf-inference", token="any", timeout=20)
        return await trio.to_thread.run_sync(use, client)

    return asked


@pytest.fixture
def engine(served):
    """A model that does one task, put in the place of the one that writes."""

    def made(task, answer):
        made = ScriptedEngine(ModelInfo("transformers", "cpu", "float32", (task,)))
        made.values = {task: answer if isinstance(answer, TaskAnswer) else TaskAnswer(answer)}
        served.node.inference.engines["lab/task"] = made
        return made

    return made


class TestTextGeneration:
    async def test_is_answered(self, served, ask):
        assert await ask(lambda client: client.text_generation("Hi")) == WHOLE
        (asked,) = served.node.inference.text.asked
        assert asked == Generate("Hi", Sampling(max_tokens=100, temperature=0.0))

    async def test_draws_where_a_parameter_says_so(self, served, ask):
        await ask(
            lambda client: client.text_generation(
                "Hi", max_new_tokens=4, temperature=0.5, seed=3, stop=["x"], top_k=5
            )
        )
        await ask(lambda client: client.text_generation("Hi", do_sample=True))
        first, second = (each.sampling for each in served.node.inference.text.asked)
        assert first == Sampling(4, 0.5, top_k=5, seed=3, stop=("x",))
        assert second.temperature is None

    async def test_tells_details(self, ask):
        answer = await ask(
            lambda client: client.text_generation("Hi", details=True, max_new_tokens=2)
        )
        assert answer.generated_text == "The capital"
        assert answer.details.finish_reason == "length"
        assert answer.details.generated_tokens == 2
        assert [token.text for token in answer.details.tokens] == ["The", " capital"]
        assert [token.id for token in answer.details.tokens] == [0, 1]
        assert answer.details.tokens[0].logprob == -0.5

    async def test_tells_the_tokens_that_were_likely_too(self, served, ask):
        def whole(client):
            return client.text_generation("Hi", details=True, max_new_tokens=1, top_n_tokens=2)

        def streamed(client):
            more = {"stream": True, "details": True, "top_n_tokens": 2}
            return list(client.text_generation("Hi", max_new_tokens=1, **more))

        (places,) = (await ask(whole)).details.top_tokens
        first, last = await ask(streamed)
        assert [each["text"] for each in places] == ["The", " other1"]
        assert [each.text for each in first.top_tokens] == ["The", " other1"]
        assert (first.token.id, last.top_tokens) == (0, None)

    async def test_streams_one_event_for_each_token_if_details_are_asked_for(self, served, ask):
        parts = (Chosen("caf", -1.0, id=5), Chosen("\ufffd", -2.0, b"\xc3", id=6))
        two = Piece("caf\u00e9", (*parts, Chosen("\ufffd", -3.0, b"\xa9", id=7)))
        served.node.inference.text.pieces = (two, Piece("!", (Chosen("!", -1.0, id=8),)))

        def use(client):
            return list(client.text_generation("Hi", stream=True, details=True))

        events = await ask(use)
        assert [each.token.id for each in events] == [5, 6, 7, 8, None]
        assert [each.index for each in events] == [0, 1, 2, 3, 4]
        assert [each.token.logprob for each in events[:3]] == [-1.0, -2.0, -3.0]
        assert "".join(each.token.text for each in events) == "caf\u00e9!"

    async def test_cuts_the_prompt_if_asked(self, served, ask):
        await ask(lambda client: client.text_generation("word " * 60, truncate=5))
        assert served.node.inference.text.asked[0].truncate == 5

    async def test_gives_the_prompt_back_if_asked(self, ask):
        def use(client):
            return client.text_generation("Hi ", return_full_text=True, stop=[" is"])

        assert await ask(use) == "Hi The capital of France"

    async def test_streams(self, ask):
        def use(client):
            return list(client.text_generation("Hi", stream=True))

        assert await ask(use) == [*SCRIPT, ""]

    async def test_streams_details_and_its_pedigree_at_the_end(self, served, ask):
        def use(client):
            return list(client.text_generation("Hi", stream=True, details=True))

        events = await ask(use)
        assert events[-1].generated_text == WHOLE
        assert events[-1].details.finish_reason == "eos_token"
        assert {each.generated_text for each in events[:-1]} == {None}
        answer = await served.stranger.post(
            f"/models/{TEXT}", json={"inputs": "Hi", "stream": True}
        )
        last = json.loads(answer.text.strip().rpartition("data:")[2])
        told = {"release": RELEASE, "publisher": PUBLISHER, "verdict": "verified"}
        assert last["p2phub"] == told
        assert {name: answer.headers[f"p2phub-{name}"] for name in told} == told

    async def test_keeps_to_a_schema(self, served, ask):
        grammar = {"type": "json", "value": {"type": "object"}}
        await ask(lambda client: client.text_generation("Hi", grammar=grammar))
        named = {"type": "json_schema", "value": {"name": "x", "schema": grammar["value"]}}
        await ask(lambda client: client.text_generation("Hi", grammar=named))
        first, second = (each.sampling.schema for each in served.node.inference.text.asked)
        assert first == second == {"type": "object"}
        with pytest.raises(ValidationError, match="grammar"):
            await ask(lambda c: c.text_generation("Hi", grammar={"type": "regex", "value": "a"}))

    @pytest.mark.parametrize("stream", [False, True])
    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            (BusyError("full"), OverloadedError),
            (EngineError("it broke"), IncompleteGenerationError),
            (UnsupportedError("cannot"), ValidationError),
        ],
    )
    async def test_errors_have_the_types_its_client_knows(self, served, ask, error, kind, stream):
        served.node.inference.text.fails = error
        with pytest.raises(kind, match=error.message):
            await ask(lambda client: list(client.text_generation("Hi", stream=stream)))

    async def test_an_error_ends_a_stream_that_has_begun(self, served, ask):
        engine = served.node.inference.text
        engine.hold = trio.Event()
        token = trio.lowlevel.current_trio_token()

        def use(client):
            stream = client.text_generation("Hi", stream=True)
            assert next(stream) == "The"
            engine.fails = EngineError("it broke")
            token.run_sync_soon(engine.hold.set)
            with pytest.raises(IncompleteGenerationError, match="it broke"):
                list(stream)

        await ask(use)

    @pytest.mark.parametrize("prompt", ["word " * 65, "x" * (64 * 256 + 1)])
    async def test_a_prompt_that_does_not_fit_is_refused(self, ask, prompt):
        with pytest.raises(ValidationError):
            await ask(lambda client: client.text_generation(prompt))

    @pytest.mark.parametrize(
        "parameters",
        [
            {"max_new_tokens": 0},
            {"best_of": 2},
            {"top_k": -2},
            {"adapter_id": "x"},
            {"decoder_input_details": True},
            {"top_n_tokens": 99},
            {"truncate": 0},
            {"typical_p": 0.5},
            {"watermark": True},
            {"max_tokens": 5},
        ],
        ids=str,
    )
    async def test_parameters_that_cannot_be_are_refused(self, served, parameters):
        body = {"inputs": "Hi", "parameters": parameters}
        answer = await served.stranger.post(f"/models/{TEXT}", json=body)
        assert (answer.status_code, answer.json()["error_type"]) == (400, "validation")
        assert answer.json()["error"].startswith(f"parameters.{next(iter(parameters))} ")


class TestChat:
    async def test_is_below_the_model(self, served, ask):
        turns = [{"role": "user", "content": "Hi"}]
        answer = await ask(lambda client: client.chat_completion(turns, max_tokens=3))
        assert answer.choices[0].message.content == "The capital of"
        assert served.node.inference.asked == [(TEXT, "text-generation")]

    async def test_is_at_the_root_too_and_means_the_loaded_model(self, served, ask):
        turns = [{"role": "user", "content": "Hi"}]

        def use(client):
            whole = InferenceClient(base_url=served.gateway.url, api_key="any")
            return whole.chat.completions.create(messages=turns)

        assert (await ask(use)).model == TEXT

    async def test_streams(self, ask):
        turns = [{"role": "user", "content": "Hi"}]

        def use(client):
            return list(client.chat_completion(turns, stream=True))

        chunks = await ask(use)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == WHOLE

    async def test_keeps_to_a_schema(self, served, ask):
        form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "array"}}}
        turns = [{"role": "user", "content": "Hi"}]
        await ask(lambda client: client.chat_completion(turns, response_format=form))
        assert served.node.inference.text.asked[0].sampling.schema == {"type": "array"}


class TestVectors:
    async def test_are_an_array(self, served, ask):
        def use(client):
            return client.feature_extraction("two words", normalize=True, truncate=True)

        array = await ask(use, VECTORS)
        assert array.tolist() == [[2.0, 0.0, 0.0, 0.0]]
        asked = Embed(("two words",), normalize=True, truncate=True)
        assert served.node.inference.vectors.asked == [asked]

    async def test_with_a_prompt_of_the_model_are_its_own_task(self, served, ask):
        answer = TaskAnswer([[1.0, 2.0]])
        served.node.inference.vectors.values = {"feature-extraction": answer}

        def use(client):
            return client.feature_extraction("a", prompt_name="query", normalize=False)

        assert (await ask(use, VECTORS)).tolist() == [[1.0, 2.0]]
        parameters = {"prompt_name": "query", "normalize": False}
        asked = TaskRequest("feature-extraction", "a", parameters=parameters)
        assert served.node.inference.vectors.asked == [asked]

    async def test_have_a_path_of_their_own(self, ask):
        def use(client):
            return client.feature_extraction(["a", "b c"])

        below = "/pipeline/feature-extraction"
        assert (await ask(use, VECTORS, below)).tolist()[1] == [2.0, 0.0, 0.0, 0.0]

    async def test_compare_sentences(self, ask):
        def use(client):
            return client.sentence_similarity("a", ["b", "c d"])

        assert await ask(use, VECTORS, "/pipeline/sentence-similarity") == [1.0, 1.0]

    @pytest.mark.parametrize(
        "inputs", [None, "a", {"source_sentence": "a"}, {"source_sentence": 1, "sentences": ["a"]}]
    )
    async def test_of_no_sentences_are_refused(self, served, inputs):
        path = f"/models/{VECTORS}/pipeline/sentence-similarity"
        answer = await served.stranger.post(path, json={"inputs": inputs})
        assert (answer.status_code, answer.json()["error_type"]) == (400, "validation")


class TestTasks:
    async def test_classify_texts(self, engine, ask):
        made = engine("text-classification", [LABELS])
        answer = await ask(lambda client: client.text_classification("Nice."), "lab/task")
        assert [each.label for each in answer] == ["good", "bad"]
        assert made.asked == [TaskRequest("text-classification", "Nice.")]

    async def test_hand_on_parameters(self, engine, ask):
        made = engine("zero-shot-classification", LABELS)

        def use(client):
            return client.zero_shot_classification("Nice.", ["good", "bad"], multi_label=True)

        assert (await ask(use, "lab/task"))[0].label == "good"
        assert made.asked[0].parameters["candidate_labels"] == ["good", "bad"]
        assert made.asked[0].parameters["multi_label"] is True

    @pytest.mark.parametrize(
        ("task", "value", "use", "told"),
        [
            (
                "fill-mask",
                [{"score": 0.5, "token": 7, "token_str": "x", "sequence": "an x"}],
                lambda client: client.fill_mask("an [MASK]")[0].token_str,
                "x",
            ),
            (
                "question-answering",
                {"answer": "Clara", "score": 0.9, "start": 0, "end": 5},
                lambda client: client.question_answering(question="?", context="Clara").answer,
                "Clara",
            ),
            (
                "token-classification",
                [{"entity_group": "PER", "score": 0.9, "word": "Clara", "start": 0, "end": 5}],
                lambda client: client.token_classification("Clara")[0].word,
                "Clara",
            ),
            (
                "summarization",
                [{"summary_text": "short"}],
                lambda client: client.summarization("long").summary_text,
                "short",
            ),
            (
                "translation",
                [{"translation_text": "kurz"}],
                lambda client: client.translation("short").translation_text,
                "kurz",
            ),
            (
                "text-to-speech",
                TaskAnswer(data=SOUND, media_type="audio/wav"),
                lambda client: client.text_to_speech("Say it."),
                SOUND,
            ),
        ],
    )
    async def test_answer_as_their_client_reads_it(self, engine, ask, task, value, use, told):
        engine(task, value)
        assert await ask(use, "lab/task") == told

    async def test_take_a_sound_as_it_is(self, engine, ask):
        made = engine("automatic-speech-recognition", {"text": "hello"})
        answer = await ask(lambda c: c.automatic_speech_recognition(SOUND), "lab/task")
        assert answer.text == "hello"
        assert made.asked == [TaskRequest("automatic-speech-recognition", data=SOUND)]

    async def test_take_an_image_in_base64_with_parameters(self, engine, ask):
        made = engine("image-classification", LABELS)
        await ask(lambda client: client.image_classification(SOUND, top_k=1), "lab/task")
        (asked,) = made.asked
        assert asked == TaskRequest("image-classification", data=SOUND, parameters={"top_k": 1})

    async def test_tell_which_bytes_answered(self, engine, served):
        engine("text-to-speech", TaskAnswer(data=SOUND, media_type="audio/wav"))
        answer = await served.stranger.post("/models/lab/task", json={"inputs": "Hi"})
        assert answer.headers["content-type"] == "audio/wav"
        assert answer.headers["p2phub-release"] == RELEASE
        assert answer.headers["p2phub-publisher"] == PUBLISHER

    @pytest.mark.parametrize(
        ("task", "content", "kind"),
        [
            ("image-classification", b'{"inputs": "not base64!"}', "application/json"),
            ("image-classification", b'{"inputs": 7}', "application/json"),
            ("image-classification", b"", "image/png"),
            ("text-classification", SOUND, "audio/wav"),
            ("text-classification", b"{}", "application/json"),
            ("text-classification", b"{", "application/json"),
            ("text-classification", b'{"inputs": "a", "parameters": 7}', ""),
        ],
    )
    async def test_refuse_what_cannot_be(self, engine, served, task, content, kind):
        made = engine(task, LABELS)
        answer = await served.stranger.post(
            "/models/lab/task", content=content, headers={"Content-Type": kind}
        )
        assert (answer.status_code, answer.json()["error_type"]) == (400, "validation")
        assert made.asked == []

    @pytest.mark.parametrize(
        ("task", "body"),
        [
            ("text-classification", {"inputs": "a", "top_k": 1}),
            (TEXT, {"inputs": "a", "max_new_tokens": 1}),
            ("feature-extraction", {"inputs": "a", "pooling": "mean"}),
            ("feature-extraction", {"inputs": "a", "parameters": {"pooling": "mean"}}),
            (
                "sentence-similarity",
                {"inputs": {"source_sentence": "a", "sentences": ["b"]}, "parameters": {"x": 1}},
            ),
        ],
    )
    async def test_ignore_no_parameter(self, served, engine, task, body):
        engine("text-classification", [LABELS])
        model = {"text-classification": "lab/task", TEXT: TEXT}.get(task, VECTORS)
        path = f"/models/{model}" if task == TEXT else f"/models/{model}/pipeline/{task}"
        answer = await served.stranger.post(path, json=body)
        assert answer.status_code == 400
        assert "is no parameter of" in answer.json()["error"]

    async def test_take_plain_text(self, engine, served):
        made = engine("text-classification", [LABELS])
        headers = {"Content-Type": "text/plain; charset=utf-8"}
        await served.stranger.post("/models/lab/task", content=b"Nice.", headers=headers)
        assert made.asked[0].inputs == "Nice."

    async def test_that_are_unknown_have_near_ones(self, served):
        answer = await served.stranger.post(f"/models/{TEXT}/pipeline/fill-masks", json={})
        assert answer.status_code == 404
        assert "fill-mask" in answer.json()["error"]

    async def test_of_a_model_that_is_not_there_name_the_nearest(self, ask):
        with pytest.raises((HfHubHTTPError, ValidationError), match=TEXT):
            await ask(lambda client: client.text_generation("Hi"), "lab/smoll")

    async def test_of_another_model_are_refused(self, ask):
        with pytest.raises(HfHubHTTPError) as caught:
            await ask(lambda client: client.fill_mask("[MASK]"), VECTORS, "/pipeline/fill-mask")
        assert caught.value.response.status_code == 400


async def test_health_and_info_load_nothing(served, ask):
    assert await ask(lambda client: client.health_check()) is True
    assert await ask(lambda client: client.health_check(), "lab/nothing") is False
    told = await ask(lambda client: client.get_endpoint_info())
    assert (told["model_id"], told["model_sha"], told["loaded"]) == (TEXT, RELEASE, True)
    told = await ask(lambda client: client.get_endpoint_info(), VECTORS)
    assert (told["model_pipeline_tag"], told["loaded"]) == ("feature-extraction", False)
    assert served.node.inference.asked == []


def test_base64_of_a_data_url_is_read():
    url = "data:image/png;base64," + b64encode(SOUND).decode()
    assert task_request("image-to-text", Sent(Fields({"inputs": url}))).data == SOUND
