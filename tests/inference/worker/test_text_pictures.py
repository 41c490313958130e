"""A model that sees answers about the pictures of a conversation, and fetches none itself."""

import base64
import io
import json

import numpy
import pytest

pytest.importorskip("torch", reason="needs p2phub[inference]")
import PIL.Image
import torch
import transformers

from p2phub.errors import UnsupportedError, UsageError
from p2phub.inference.requests import Chat, Generate, Sampling
from p2phub.inference.worker import text
from p2phub.inference.worker.images import as_png
from p2phub.inference.worker.text_pictures import decoded
from tests.inference.worker.task_models import llava
from tests.inference.worker.tiny_models import source
from tests.inference.worker.tiny_text import Heard

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
PICTURE = PIL.Image.fromarray(numpy.random.default_rng(3).integers(0, 255, (50, 40, 3), "u1"))


def address(data):
    return "data:image/png;base64," + base64.b64encode(data).decode()


def part(data):
    return {"type": "image_url", "image_url": {"url": address(data)}}


def chat(*parts):
    return Chat(({"role": "user", "content": list(parts)},))


WORDS = {"type": "text", "text": "the cat"}
GREEDY = Sampling(max_tokens=6, temperature=0)


@pytest.fixture(scope="module")
def seeing(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llava")
    model = llava(folder, "image-text-to-text")
    from_ = source(folder, "text-generation", device="cpu", dtype="float32")
    backend = text.load(from_.spec, from_.weights, lambda *_: None)
    yield folder, model, backend
    backend.close()


def ask(backend, prompt, sampling=GREEDY):
    heard = Heard()
    backend.generate(Generate(prompt, sampling), heard)
    assert heard.over.wait(60)
    return heard


@torch.inference_mode()
@pytest.mark.parametrize("count", [0, 1, 2])
def test_the_answer_is_what_the_model_generates_for_what_its_processor_makes(seeing, count):
    folder, model, backend = seeing
    processor = transformers.AutoProcessor.from_pretrained(folder)
    messages = [{"role": "user", "content": [*[{"type": "image"}] * count, WORDS]}]
    written = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    images = {"images": [PICTURE] * count} if count else {}
    inputs = processor(text=[written], **images, return_tensors="pt")
    wanted = model.generate(**inputs, max_new_tokens=6, do_sample=False)
    wanted = wanted[0, inputs.input_ids.shape[1] :]
    heard = ask(backend, chat(*[part(as_png(PICTURE))] * count, WORDS))
    assert heard.error is None
    assert heard.text.strip() == processor.tokenizer.decode(wanted, skip_special_tokens=True)
    assert heard.end.prompt_tokens == inputs.input_ids.shape[1]
    assert (
        backend.count(Generate(chat(*[part(as_png(PICTURE))] * count, WORDS)))
        == (inputs.input_ids.shape[1])
    )


def test_another_picture_is_another_answer(seeing):
    sampling = Sampling(max_tokens=1, temperature=0, logprobs=0)
    blank = as_png(PIL.Image.new("RGB", (40, 50)))
    told = [
        ask(seeing[2], chat(part(data), WORDS), sampling).pieces[0].tokens[0].logprob
        for data in (as_png(PICTURE), blank)
    ]
    assert told[0] != told[1]


def bomb():
    file = io.BytesIO()
    PIL.Image.new("1", (20_000, 20_000)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([{"type": "image_url", "image_url": {"url": "http://127.0.0.1/x.png"}}], "data: URL"),
        ([{"type": "image_url", "image_url": {"url": "data:image/png;base64,%%"}}], "base64"),
        ([{"type": "image_url", "image_url": "x"}], "needs image_url.url"),
        ([part(b"no picture")], "no image that can be read"),
        ([part(bomb())], "pixels"),
        ([part(as_png(PIL.Image.new("1", (7000, 7000))))] * 2, "pixels together"),
        ([part(as_png(PICTURE))] * 17, "16 pictures at most"),
    ],
    ids=["fetched", "base64", "form", "broken", "bomb", "pixels", "many"],
)
def test_a_picture_that_cannot_be_seen_is_the_error_of_its_request(seeing, parts, said):
    heard = ask(seeing[2], chat(*parts, WORDS))
    assert isinstance(heard.error, UsageError)
    assert said in heard.error.message
    assert ask(seeing[2], chat(WORDS)).error is None


@pytest.mark.parametrize(
    "messages",
    [
        (
            {
                "role": "user",
                "content": [part(as_png(PICTURE)), {"type": "text", "text": "<image>"}],
            },
        ),
        ({"role": "blind", "content": [part(as_png(PICTURE)), WORDS]},),
    ],
    ids=["mark", "role"],
)
def test_more_or_fewer_places_than_pictures_cost_one_request(seeing, messages):
    heard = ask(seeing[2], Chat(messages))
    assert isinstance(heard.error, UsageError), heard.error
    assert ask(seeing[2], chat(part(as_png(PICTURE)), WORDS)).error is None


def test_a_part_that_is_neither_text_nor_picture_is_refused(seeing):
    heard = ask(seeing[2], chat({"type": "input_audio", "input_audio": {"data": ""}}))
    assert isinstance(heard.error, UnsupportedError)


def test_without_its_processor_a_model_takes_texts_and_says_why_no_pictures(tmp_path):
    llava(tmp_path, "image-text-to-text")
    for name in ("processor_config.json", "preprocessor_config.json"):
        (tmp_path / name).unlink(missing_ok=True)
    settings = tmp_path / "tokenizer_config.json"
    kept = json.loads(settings.read_text())
    settings.write_text(json.dumps({**kept, "processor_class": "NoSuchProcessor"}))
    from_ = source(tmp_path, "text-generation", device="cpu", dtype="float32")
    backend = text.load(from_.spec, from_.weights, lambda *_: None)
    assert ask(backend, "the cat").error is None
    heard = ask(backend, chat(part(as_png(PICTURE)), WORDS))
    assert isinstance(heard.error, UnsupportedError)
    assert "cannot be made ready" in heard.error.message
    backend.close()


def test_an_address_is_never_fetched():
    for url in ("http://x/y.png", "file:///etc/passwd", "data:image/png,plain", "/etc/passwd"):
        with pytest.raises(UsageError, match="data: URL"):
            decoded(url)
