"""Every task from a published model to its answer: the store, a worker, the gateway, real clients.

What comes back over HTTP is what transformers makes of the same files in this process.
"""

import base64
import io
import json
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy
import pytest

pytest.importorskip("torch", reason="needs p2phub[inference]")
import openai
import PIL.Image
import torch
import transformers
from huggingface_hub import InferenceClient, constants
from huggingface_hub.errors import HfHubHTTPError
from safetensors.torch import save_file

from p2phub.inference.worker.audio import as_wav, read_audio
from p2phub.inference.worker.images import as_png
from p2phub.inference.worker.tasks_generate import NEW_TOKENS
from tests.inference.worker import task_models as models
from tests.inference.worker.tiny_text import Files, save_tiny
from tests.scenarios.processes import Home, machines

THREADS = {"OMP_NUM_THREADS": "1", "INFERENCE_THREADS": "1", "INFERENCE_DEVICE": "cpu"}
TEXT = "the cat sat on the mat ."
LOADS = 60
"""Seconds for a process with torch to start and load, on a machine that does much else."""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.budget(120),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


@dataclass(frozen=True)
class Hub:
    """A daemon that publishes and serves."""

    folder: Path
    home: Home
    gateway: str
    http: httpx.Client

    def call(self, operation: str, /, **body: Any) -> None:
        answer = self.http.post(f"/control/v1/{operation}", json=body)
        assert "error" not in json.loads(answer.text.splitlines()[-1]), answer.text


@dataclass(frozen=True)
class Served:
    """A published model, and the same in this process."""

    hub: Hub
    name: str
    folder: Path
    model: Any

    def client(self, below: str = "") -> InferenceClient:
        url = f"{self.hub.gateway}/models/lab/{self.name}{below}"
        return InferenceClient(url, provider="hf-inference", token="any", timeout=LOADS)

    def pipeline(self, task: str, **more: Any) -> Any:
        tokenizer = transformers.AutoTokenizer.from_pretrained(self.folder)
        return transformers.pipeline(task, model=self.model, tokenizer=tokenizer, **more)

    def written(self, text: str, **more: Any) -> str:
        """What the model goes on with."""
        tokenizer = transformers.AutoTokenizer.from_pretrained(self.folder)
        tokens = tokenizer(text, return_tensors="pt")
        tokens.pop("token_type_ids", None)
        made = self.model.generate(**tokens, **more)[0]
        return str(tokenizer.decode(made, skip_special_tokens=True))


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    torch.set_num_threads(1)
    with machines(folder) as made:
        home = made.publisher("lab", **THREADS)
        with home.running() as daemon:
            token = (home.folder / "run" / "token").read_text().strip()
            http = httpx.Client(
                base_url=daemon.gateway,
                headers={"Authorization": f"Bearer {token}"},
                trust_env=False,
                timeout=LOADS,
            )
            with closing(http):
                yield Hub(folder, home, daemon.gateway, http)


@pytest.fixture
def serve(hub, monkeypatch):
    """A function: publish what a maker makes for a task. Unloaded after the test."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # it asks nobody but us
    names = []

    def served(maker, task):
        name = f"{maker.__name__}-{task}"
        folder = hub.folder / name
        folder.mkdir()
        model = maker(folder, task)
        (folder / "README.md").write_text(f"---\npipeline_tag: {task}\n---\nTiny.\n")
        hub.call("publish", folder=str(folder), name=name)
        names.append(name)
        return Served(hub, name, folder, model)

    yield served
    for name in names:
        hub.http.post("/control/v1/models/unload", json={"reference": f"lab/{name}"})


def pairs(found, *names):
    """Some fields of each element, with the score, whatever kind of element it is."""
    return [
        tuple(each[name] if isinstance(each, dict) else getattr(each, name) for name in names)
        for each in found
    ]


def close_to(found, wanted, *names):
    assert pairs(found, *names) == pairs(wanted, *names)
    likely = [score for (score,) in pairs(wanted, "score")]
    assert [score for (score,) in pairs(found, "score")] == pytest.approx(likely, abs=1e-5)


def test_texts_are_classified(serve):
    served = serve(models.distilbert, "text-classification")
    wanted = served.pipeline("text-classification")(TEXT, top_k=None)
    close_to(served.client().text_classification(TEXT), wanted, "label")
    few = served.client().text_classification(TEXT, top_k=1, function_to_apply="none")
    raw = served.pipeline("text-classification")(TEXT, top_k=1, function_to_apply="none")
    close_to(few, raw, "label")
    with pytest.raises(HfHubHTTPError, match="from 1 to"):
        served.client().text_classification(TEXT, top_k=0)


def test_labels_that_nobody_trained_and_those_that_were(serve):
    served = serve(models.bart_mnli, "zero-shot-classification")
    labels, template = ["cat", "dog", "france"], "what is {} ?"
    pipeline = served.pipeline("zero-shot-classification")
    for more in ({}, {"multi_label": True}, {"hypothesis_template": template}):
        told = pipeline(TEXT, labels, **more)
        wanted = dict(zip(told["labels"], told["scores"], strict=True))
        found = served.client().zero_shot_classification(TEXT, labels, **more)
        assert {each.label: each.score for each in found} == pytest.approx(wanted, abs=1e-5)
    classes = served.client("/pipeline/text-classification").text_classification(TEXT)
    close_to(classes, served.pipeline("text-classification")(TEXT, top_k=None), "label")


def test_tokens_are_classified_in_every_way(serve):
    served = serve(models.roberta, "token-classification")
    for strategy in ("none", "simple", "max"):
        wanted = served.pipeline("token-classification", aggregation_strategy=strategy)(TEXT)
        found = served.client().token_classification(TEXT, aggregation_strategy=strategy)
        name = "entity" if strategy == "none" else "entity_group"
        close_to(found, wanted, name, "word", "start", "end")
    every = served.client().token_classification(TEXT, ignore_labels=["PLACE", "O"])
    assert every == []


def test_questions_are_answered(serve):
    served = serve(models.roberta, "question-answering")
    asked = {"question": "what is paris ?", "context": "paris is the capital of france ."}
    answer = served.client().question_answering(**asked)
    tokenizer = transformers.AutoTokenizer.from_pretrained(served.folder)
    tokens = tokenizer(*asked.values(), return_tensors="pt")
    tokens.pop("token_type_ids", None)
    output = served.model(**tokens)
    outside = torch.tensor([each != 1 for each in tokens.sequence_ids(0)])
    outside[0] = False
    starts, ends = (  # and no answer is where the text ends
        each[0].masked_fill(outside, -1e4).softmax(0).masked_fill(tokens.input_ids[0] == 2, 0)
        for each in (output.start_logits, output.end_logits)
    )
    spans = torch.outer(starts, ends).triu().tril(14)
    first, last = divmod(int(spans.argmax()), len(starts))
    assert answer.score == pytest.approx(float(spans.max()), abs=1e-5)
    assert answer.start == tokens.token_to_chars(0, first).start
    assert answer.answer == asked["context"][answer.start : tokens.token_to_chars(0, last).end]
    assert len(served.client().question_answering(**asked, top_k=3, max_answer_len=1)) == 3


def test_masks_are_filled(serve):
    served = serve(models.roberta, "fill-mask")
    text = "the [MASK] sat on the mat ."
    wanted = served.pipeline("fill-mask")(text, top_k=3)
    close_to(served.client().fill_mask(text, top_k=3), wanted, "token", "token_str", "sequence")
    wanted = served.pipeline("fill-mask")(text, targets=["cat", "dog"])
    found = served.client().fill_mask(text, targets=["cat", "dog"])
    close_to(found, wanted, "token_str")


def test_texts_become_shorter_and_other_languages_with_one_model(serve):
    served = serve(models.t5, "summarization")
    wanted = served.written(f"what is {TEXT}", max_length=9, num_beams=2)
    assert served.client().summarization(TEXT).summary_text == wanted
    few = served.client().summarization(TEXT, generate_parameters={"max_new_tokens": 3})
    assert few.summary_text == served.written(f"what is {TEXT}", max_new_tokens=3, num_beams=2)
    translate = served.client("/pipeline/translation").translation
    found = translate(TEXT, src_lang="en", tgt_lang="de").translation_text
    assert found == served.written(f"where is {TEXT}", max_length=9)
    with pytest.raises(HfHubHTTPError, match="en_to_de"):
        translate(TEXT, src_lang="en", tgt_lang="fr")


def test_texts_are_translated_between_many_languages(serve):
    served = serve(models.nllb, "translation")
    tokenizer = transformers.AutoTokenizer.from_pretrained(served.folder)
    few = {"max_new_tokens": 6, "min_new_tokens": 4}
    for source, target in [("eng_Latn", "fra_Latn"), ("deu_Latn", "eng_Latn")]:
        inputs = tokenizer._build_translation_inputs(
            TEXT, return_tensors="pt", src_lang=source, tgt_lang=target
        )
        wanted = tokenizer.decode(
            served.model.generate(**inputs, **few)[0], skip_special_tokens=True
        )
        found = served.client().translation(
            TEXT, src_lang=source, tgt_lang=target, generate_parameters=few
        )
        assert found.translation_text == wanted
    with pytest.raises(HfHubHTTPError, match="fra_Latn"):
        served.client().translation(TEXT, src_lang="eng_Latn", tgt_lang="fra_Lat")


def _picture():
    pixels = numpy.random.default_rng(3).integers(0, 255, (50, 40, 3), "u1")
    return PIL.Image.fromarray(pixels)


def test_pictures_are_classified_and_those_that_fill_the_memory_refused(serve, tmp_path):
    served = serve(models.vit, "image-classification")
    processor = transformers.AutoImageProcessor.from_pretrained(served.folder)
    pipeline = transformers.pipeline(
        "image-classification", model=served.model, image_processor=processor
    )
    client, data = served.client(), as_png(_picture())
    close_to(client.image_classification(data), pipeline(_picture()), "label")
    (tmp_path / "picture.png").write_bytes(data)
    found = client.image_classification(str(tmp_path / "picture.png"), top_k=1)
    close_to(found, pipeline(_picture(), top_k=1), "label")
    bomb = io.BytesIO()
    PIL.Image.new("1", (20_000, 20_000)).save(bomb, "PNG")
    for wrong, said in [
        (bomb.getvalue(), "more pixels than"),
        (b"no picture", "no image that can be read"),
        (as_wav(numpy.zeros(9, "f4"), 8000), "no image that can be read"),
    ]:
        with pytest.raises(HfHubHTTPError, match=said):
            client.image_classification(wrong)
    url = f"/models/lab/{served.name}"
    large = served.hub.http.post(url, content=bytes(100_000_000))
    assert (large.status_code, "bytes" in large.json()["error"]) == (413, True)
    empty = served.hub.http.post(url, content=b"", headers={"Content-Type": "image/png"})
    assert (empty.status_code, empty.json()["error_type"]) == (400, "validation")
    assert client.image_classification(data)


def test_pictures_are_described(serve):
    served = serve(models.blip, "image-to-text")
    processor = transformers.AutoImageProcessor.from_pretrained(served.folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(served.folder)
    pixels = processor(images=_picture(), return_tensors="pt").pixel_values
    wanted = served.model.generate(pixel_values=pixels, max_new_tokens=NEW_TOKENS)[0]
    found = served.client().image_to_text(as_png(_picture()))
    assert found.generated_text == tokenizer.decode(wanted, skip_special_tokens=True).strip()


def _sound(seconds=1.0):
    return (numpy.sin(numpy.arange(int(seconds * 16000)) / 16000 * 2764) / 2).astype("f4")


def test_speech_is_written_down(serve):
    served = serve(models.whisper, "automatic-speech-recognition")
    extractor = transformers.AutoFeatureExtractor.from_pretrained(served.folder)
    pipeline = served.pipeline("automatic-speech-recognition", feature_extractor=extractor)
    data = as_wav(_sound(), 16000)
    samples = read_audio(data, 16000)
    client = served.client()
    assert client.automatic_speech_recognition(data).text == pipeline(samples)["text"]
    asked = {"return_timestamps": True, "generate_kwargs": {"max_new_tokens": 9}}
    wanted = pipeline(samples, **asked)
    found = client.automatic_speech_recognition(
        data,
        extra_body={
            "return_timestamps": True,
            "generation_parameters": {"max_new_tokens": 9},
        },
    )
    assert found.text == wanted["text"]
    assert pairs(found.chunks, "text") == pairs(wanted["chunks"], "text")
    with pytest.raises(HfHubHTTPError, match=r"no sound|no WAV"):
        client.automatic_speech_recognition(b"RIFF....WAVE")


def test_texts_are_spoken(serve):
    served = serve(models.vits, "text-to-speech")
    made = served.client().text_to_speech("hello")
    assert len(read_audio(made, served.model.config.sampling_rate)) > 100


def test_pictures_are_drawn(serve):
    served = serve(models.diffusion, "text-to-image")
    few = {"num_inference_steps": 2, "guidance_scale": 5.0}
    found = served.client().text_to_image(TEXT, seed=3, **few)
    wanted = served.model(TEXT, generator=torch.Generator().manual_seed(3), **few).images[0]
    assert abs(numpy.asarray(found).astype(int) - numpy.asarray(wanted).astype(int)).max() <= 1
    with pytest.raises(HfHubHTTPError, match="no parameter scheduler"):
        served.client().text_to_image(TEXT, scheduler="DDIM")


def test_texts_become_vectors(serve):
    served = serve(models.bert, "feature-extraction")
    tokenizer = transformers.AutoTokenizer.from_pretrained(served.folder)
    hidden = served.model(**tokenizer(TEXT, return_tensors="pt")).last_hidden_state[0].mean(0)
    found = served.client("/pipeline/feature-extraction").feature_extraction(TEXT, normalize=False)
    assert found[0] == pytest.approx(hidden.detach().numpy(), abs=1e-5)
    compare = served.client("/pipeline/sentence-similarity").sentence_similarity
    assert compare(TEXT, [TEXT, "paris"])[0] == pytest.approx(1, abs=1e-5)


def test_a_conversation_may_have_pictures(serve):
    served = serve(models.llava, "image-text-to-text")
    data = "data:image/png;base64," + base64.b64encode(as_png(_picture())).decode()
    content = [
        {"type": "image_url", "image_url": {"url": data}},
        {"type": "text", "text": "what is on the mat ?"},
    ]
    turns = [{"role": "user", "content": content}]
    processor = transformers.AutoProcessor.from_pretrained(served.folder)
    seen = [{"role": "user", "content": [{"type": "image"}, content[1]]}]
    text = processor.apply_chat_template(seen, tokenize=False)
    inputs = processor(text=[text], images=[_picture()], return_tensors="pt")
    few = {"max_tokens": 5, "temperature": 0}
    answer = served.client().chat_completion(turns, **few)
    info = served.hub.http.get(f"/models/lab/{served.name}/info").json()
    served.model.to(getattr(torch, info["model_dtype"]))
    inputs["pixel_values"] = inputs["pixel_values"].to(served.model.dtype)
    made = served.model.generate(**inputs, max_new_tokens=5, do_sample=False)[0]
    wanted = processor.tokenizer.decode(made[inputs.input_ids.shape[1] :], skip_special_tokens=True)
    assert answer.choices[0].message.content.strip() == wanted
    assert answer.usage.prompt_tokens == inputs.input_ids.shape[1]
    content[0]["image_url"]["url"] = "https://example.org/cat.png"
    openai_client = openai.OpenAI(base_url=f"{served.hub.gateway}/v1", api_key="any")
    with closing(openai_client), pytest.raises(openai.BadRequestError, match="data: URL"):
        openai_client.chat.completions.create(model=f"lab/{served.name}", messages=turns)


def llama(folder, task):
    made = save_tiny(folder)
    assert isinstance(made, Files)
    tensors = {name: each.contiguous().clone() for name, each in made.tensors.items()}
    save_file(tensors, folder / "model.safetensors")
    return transformers.AutoModelForCausalLM.from_pretrained(folder)


def test_text_goes_on_with_the_tokens_that_were_likeliest(serve):
    served, few = serve(llama, "text-generation"), {"max_new_tokens": 8, "details": True}
    tokenizer = transformers.AutoTokenizer.from_pretrained(served.folder)
    ids = tokenizer(TEXT, return_tensors="pt").input_ids
    client = served.client()
    told = client.text_generation(TEXT, top_n_tokens=2, **few)
    info = served.hub.http.get(f"/models/lab/{served.name}/info").json()
    served.model.to(getattr(torch, info["model_dtype"]))
    made = served.model.generate(ids, max_new_tokens=8, do_sample=False)[0, ids.shape[1] :]
    logits = served.model(torch.cat([ids[0], made])[None]).logits[0, ids.shape[1] - 1 : -1].float()
    likely = logits.log_softmax(1).gather(1, made[:, None])[:, 0].tolist()
    assert [each.id for each in told.details.tokens] == made.tolist()
    assert [each.logprob for each in told.details.tokens] == pytest.approx(likely, abs=0.1)
    assert told.generated_text == tokenizer.decode(made, skip_special_tokens=True)
    assert told.details.finish_reason == "length"
    assert [each[0]["id"] for each in told.details.top_tokens] == made.tolist()
    *events, last = client.text_generation(TEXT, stream=True, **few)
    assert [each.token.id for each in events] == made.tolist()
    assert "".join(each.token.text for each in events) == last.generated_text
    assert last.details.input_length == ids.shape[1]
    cut = client.text_generation(TEXT, truncate=3, **few)
    wanted = served.model.generate(ids[:, -3:], max_new_tokens=8, do_sample=False)[0, 3:]
    assert [each.id for each in cut.details.tokens] == wanted.tolist()
