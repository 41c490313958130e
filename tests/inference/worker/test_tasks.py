"""Each task answers as transformers' own classes do, in the shape `InferenceClient` reads."""

import base64
import contextlib
import io
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy
import PIL.Image
import pytest
import torch
import transformers
from huggingface_hub import (
    FillMaskOutputElement,
    QuestionAnsweringOutputElement,
    SummarizationOutput,
    TextClassificationOutputElement,
    TokenClassificationOutputElement,
    TranslationOutput,
    ZeroShotClassificationOutputElement,
)
from safetensors.torch import load_file, save_file

from p2phub.errors import ContextError, EngineError, MalformedError, UnsupportedError, UsageError
from p2phub.inference.requests import Chat, Embed, Generate, TaskRequest
from p2phub.inference.worker import wanted
from p2phub.inference.worker.audio import as_wav, read_audio
from p2phub.inference.worker.images import as_png, read_image
from p2phub.inference.worker.tasks import load
from tests.inference.worker.task_models import LABELS, MAKERS, bart, bert, diffusion, speecht5
from tests.inference.worker.tiny_models import SPECIAL, WORDS, source, write_json

TEXT = "the cat sat on the mat ."
LONG = "cat " * 100_000


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A function: the folder of a tiny model for a task, the model, and its backend."""
    made = {}

    def make(task):
        if task not in made:
            folder = tmp_path_factory.mktemp(task)
            model = MAKERS[task](folder, task)
            made[task] = folder, model, _load(folder, task)
        return made[task]

    yield make
    for _, _, backend in made.values():
        backend.close()


def _load(folder, task, **options):
    from_ = source(folder, task, device="cpu", **options)
    return load(from_.spec, from_.weights, lambda what, done, total: None)


def _ask(tiny, task, inputs=None, data=b"", **parameters):
    return tiny(task)[2].run(TaskRequest(task, inputs, data, parameters))


def _tokens(folder, *texts):
    return transformers.AutoTokenizer.from_pretrained(folder)(*texts, return_tensors="pt")


def _picture(width=40, height=50):
    pixels = numpy.random.default_rng(3).integers(0, 255, (height, width, 3), "u1")
    return PIL.Image.fromarray(pixels)


def _sound(seconds=1.0, rate=16000):
    return (numpy.sin(numpy.arange(int(seconds * rate)) / rate * 2764) / 2).astype("f4")


class TestTexts:
    @torch.inference_mode()
    def test_are_classified(self, tiny):
        folder, model, _ = tiny("text-classification")
        answer = _ask(tiny, "text-classification", TEXT).value
        assert len(TextClassificationOutputElement.parse_obj_as_list(answer)[0]) == 3
        wanted = model(**_tokens(folder, TEXT)).logits[0].softmax(0)
        found = {each["label"]: each["score"] for each in answer[0]}
        assert found == pytest.approx({LABELS[at]: float(wanted[at]) for at in range(3)}, abs=1e-5)
        assert answer[0][0]["score"] == max(found.values())

    def test_are_classified_in_a_list(self, tiny):
        answer = _ask(tiny, "text-classification", ["a cat", "a dog"], top_k=1).value
        assert [len(each) for each in answer] == [1, 1]

    @torch.inference_mode()
    def test_have_tokens_that_are_classified(self, tiny):
        folder, model, _ = tiny("token-classification")
        answer = _ask(tiny, "token-classification", TEXT, aggregation_strategy="none").value
        logits = model(**_tokens(folder, TEXT)).logits[0, 1:-1]
        assert [each["entity"] for each in answer] == [LABELS[int(at)] for at in logits.argmax(1)]
        whole = _ask(tiny, "token-classification", TEXT).value
        for each in TokenClassificationOutputElement.parse_obj_as_list(whole):
            assert TEXT[each.start : each.end] == each.word
            assert each.entity_group in LABELS.values()

    @torch.inference_mode()
    def test_have_masks_that_are_filled(self, tiny):
        folder, model, _ = tiny("fill-mask")
        answer = _ask(tiny, "fill-mask", "the cat sat on the [MASK] .", top_k=3).value
        tokens = _tokens(folder, "the cat sat on the [MASK] .")
        at = int((tokens["input_ids"][0] == SPECIAL.index("[MASK]")).nonzero())
        wanted = model(**tokens).logits[0, at].softmax(0).topk(3)
        found = FillMaskOutputElement.parse_obj_as_list(answer)
        assert [each.token for each in found] == wanted.indices.tolist()
        assert [each.score for each in found] == pytest.approx(wanted.values.tolist(), abs=1e-5)

    @torch.inference_mode()
    def test_get_labels_that_nobody_trained(self, tiny):
        folder, model, _ = tiny("zero-shot-classification")
        labels = ["cat", "dog", "paris"]
        answer = _ask(tiny, "zero-shot-classification", TEXT, candidate_labels=labels).value
        scores = [
            float(model(**_tokens(folder, TEXT, f"This example is {each}.")).logits[0, 2])
            for each in labels
        ]
        wanted = dict(zip(labels, torch.tensor(scores).softmax(0).tolist(), strict=True))
        found = ZeroShotClassificationOutputElement.parse_obj_as_list(answer)
        assert {each.label: each.score for each in found} == pytest.approx(wanted, abs=1e-5)

    def test_are_compared(self, tiny):
        inputs = {"source_sentence": "the cat", "sentences": ["the cat", "paris is good"]}
        answer = tiny("feature-extraction")[2].run(TaskRequest("sentence-similarity", inputs))
        assert answer.value[0] == pytest.approx(1.0, abs=1e-5)
        assert answer.value[1] < 0.999

    def test_become_vectors_in_both_ways(self, tiny):
        backend = tiny("feature-extraction")[2]
        one = backend.embed(Embed((TEXT,)))
        rows = _ask(tiny, "feature-extraction", [TEXT, "a dog"]).value
        assert rows[0] == pytest.approx(numpy.frombuffer(one.data, "<f4").tolist(), abs=1e-5)
        assert len(rows) == 2


ASKED = {"question": "what is paris ?", "context": "paris is the capital of france ."}


class TestQuestions:
    @torch.inference_mode()
    def test_are_answered_by_the_likeliest_span(self, tiny):
        folder, model, _ = tiny("question-answering")
        answer = _ask(tiny, "question-answering", ASKED).value
        QuestionAnsweringOutputElement.parse_obj_as_instance(answer)
        tokens = _tokens(folder, *ASKED.values())
        output = model(**tokens)
        inside = [at for at, each in enumerate(tokens.sequence_ids(0)) if each == 1]
        kept = torch.full_like(output.start_logits[0], -10000.0)
        kept[[0, *inside]] = 0
        starts, ends = ((kept + each[0]).softmax(0) for each in output.values())
        scores = {
            (float(starts[a] * ends[b]), a, b) for a in inside for b in inside if a <= b < a + 15
        }
        best, first, last = max(scores)
        assert answer["score"] == pytest.approx(best, abs=1e-5)
        assert (answer["start"], answer["end"]) == (
            tokens.token_to_chars(0, first).start,
            tokens.token_to_chars(0, last).end,
        )
        assert answer["answer"] == ASKED["context"][answer["start"] : answer["end"]]

    def test_may_be_of_a_long_text(self, tiny):
        asked = {"question": "what ?", "context": "the dog sat . " * 100}
        answers = _ask(tiny, "question-answering", asked, top_k=5).value
        assert len(answers) == 5
        assert all(asked["context"][a["start"] : a["end"]] == a["answer"] for a in answers)

    @pytest.mark.parametrize(
        "inputs", [None, "text", {"question": "what"}, {"question": "", "context": "cat"}]
    )
    def test_need_both_texts(self, tiny, inputs):
        with pytest.raises(UsageError, match="question"):
            _ask(tiny, "question-answering", inputs)


NAMES = {
    "summarization": ("summary_text", SummarizationOutput),
    "translation": ("translation_text", TranslationOutput),
    "text2text-generation": ("generated_text", None),
}


class TestWriting:
    @pytest.mark.parametrize("task", NAMES)
    @torch.inference_mode()
    def test_is_what_generate_writes(self, tiny, task):
        folder, model, _ = tiny(task)
        name, shape = NAMES[task]
        answer = _ask(tiny, task, TEXT, generate_parameters={"max_new_tokens": 8}).value
        if shape:
            shape.parse_obj_as_list(answer)
        tokens = _tokens(folder, TEXT)
        tokens.pop("token_type_ids", None)
        wanted = model.generate(**tokens, max_new_tokens=8)[0]
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        assert answer == [{name: tokenizer.decode(wanted, skip_special_tokens=True)}]
        assert answer[0][name]

    def test_begins_with_the_prefix_of_the_release(self, tmp_path):
        model = bart(tmp_path, "summarization")
        model.config.task_specific_params = {"summarization": {"prefix": "what ? "}}
        model.config.save_pretrained(tmp_path)
        backend = _load(tmp_path, "summarization")
        seen = []
        backend._task.tokenizer = _Spy(backend._task.tokenizer, seen)
        backend.run(TaskRequest("summarization", TEXT, parameters={"max_new_tokens": 1}))
        assert seen == [[f"what ? {TEXT}"]]

    def test_cuts_a_long_text_if_that_is_asked_for(self, tiny):
        found = _ask(tiny, "summarization", LONG, truncation="only_first", max_new_tokens=2).value
        assert found[0]["summary_text"] is not None

    def test_needs_no_other_model_for_another_of_its_tasks(self, tiny):
        backend = tiny("summarization")[2]
        assert backend.info.tasks == ("summarization", "translation", "text2text-generation")
        asked = TaskRequest("text2text-generation", TEXT, parameters={"max_new_tokens": 2})
        assert backend.run(asked).value[0].keys() == {"generated_text"}

    def test_draws_tokens_if_a_parameter_says_how(self, tiny):
        found = {
            _ask(tiny, "summarization", TEXT, temperature=50.0).value[0]["summary_text"]
            for _ in range(3)
        }
        assert len(found) > 1


class _Spy:
    """A tokenizer that keeps what it was given."""

    def __init__(self, inner, seen):
        self._inner, self._seen = inner, seen

    def __call__(self, text, **more):
        self._seen.append(text)
        return self._inner(text, **more)

    def __getattr__(self, name):
        return getattr(self._inner, name)


class TestPictures:
    @torch.inference_mode()
    def test_are_classified(self, tiny):
        folder, model, _ = tiny("image-classification")
        answer = _ask(tiny, "image-classification", data=as_png(_picture())).value
        processor = transformers.AutoImageProcessor.from_pretrained(folder)
        wanted = model(**processor(images=_picture(), return_tensors="pt")).logits[0].softmax(0)
        found = {each["label"]: each["score"] for each in answer}
        assert found == pytest.approx({LABELS[at]: float(wanted[at]) for at in range(3)}, abs=1e-5)

    def test_are_the_same_as_base64(self, tiny):
        data = as_png(_picture())
        raw = _ask(tiny, "image-classification", data=data).value
        text = base64.b64encode(data).decode()
        assert _ask(tiny, "image-classification", text, top_k=1).value == raw[:1]

    def test_have_things_in_them(self, tiny):
        answer = _ask(tiny, "object-detection", data=as_png(_picture()), threshold=0.0).value
        assert answer
        assert {"label", "score", "box"} == answer[0].keys()
        assert {"xmin", "ymin", "xmax", "ymax"} == answer[0]["box"].keys()

    @torch.inference_mode()
    def test_are_described(self, tiny):
        folder, model, _ = tiny("image-to-text")
        answer = _ask(tiny, "image-to-text", data=as_png(_picture()), max_new_tokens=6).value
        processor = transformers.AutoImageProcessor.from_pretrained(folder)
        pixels = processor(images=_picture(), return_tensors="pt").pixel_values
        wanted = model.generate(pixel_values=pixels, max_new_tokens=6)[0]
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        text = tokenizer.decode(wanted, skip_special_tokens=True).strip()
        assert answer == [{"generated_text": text}]
        assert text

    @pytest.mark.parametrize(
        "data", [b"x", b"\x89PNG\r\n\x1a\n", as_png(_picture())[:200], b"GIF89a" + bytes(20)]
    )
    def test_that_are_broken_are_named(self, tiny, data):
        with pytest.raises(UsageError, match="no image that can be read"):
            _ask(tiny, "image-classification", data=data)

    def test_that_are_not_there_are_named(self, tiny):
        with pytest.raises(UsageError, match="needs the bytes"):
            _ask(tiny, "image-classification")

    def test_that_are_huge_are_not_unpacked(self):
        out = io.BytesIO()
        PIL.Image.new("1", (9000, 9000)).save(out, "PNG")
        assert len(out.getvalue()) < 100_000
        with pytest.raises(UsageError, match="9000 x 9000 pixels"):
            read_image(out.getvalue())


class TestSounds:
    @torch.inference_mode()
    def test_are_written_down(self, tiny):
        folder, model, _ = tiny("automatic-speech-recognition")
        answer = _ask(tiny, "automatic-speech-recognition", data=as_wav(_sound(), 16000)).value
        extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
        samples = read_audio(as_wav(_sound(), 16000), 16000)
        inputs = extractor(samples, sampling_rate=16000, return_tensors="pt")
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        assert answer == {"text": tokenizer.decode(model(**inputs).logits[0].argmax(1))}
        assert answer["text"]

    def test_may_be_longer_than_a_window(self, tiny):
        answer = _ask(
            tiny, "automatic-speech-recognition", data=as_wav(_sound(31), 16000),
            return_timestamps="char",
        ).value  # fmt: skip
        assert answer["chunks"]

    def test_of_letters_have_the_times_of_words(self, tiny):
        answer = _ask(
            tiny, "automatic-speech-recognition", data=as_wav(_sound(), 16000),
            return_timestamps=True,
        ).value  # fmt: skip
        assert " ".join(each["text"] for each in answer["chunks"]) == answer["text"]
        assert len(answer["chunks"][0]["timestamp"]) == 2
        with pytest.raises(UsageError, match="takes no num_beams"):
            _ask(
                tiny, "automatic-speech-recognition", data=as_wav(_sound(), 16000),
                generation_parameters={"num_beams": 2},
            )  # fmt: skip

    @torch.inference_mode()
    def test_are_classified(self, tiny):
        folder, model, _ = tiny("audio-classification")
        answer = _ask(tiny, "audio-classification", data=as_wav(_sound(), 16000)).value
        extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
        samples = read_audio(as_wav(_sound(), 16000), 16000)
        wanted = model(**extractor(samples, sampling_rate=16000, return_tensors="pt")).logits
        found = {each["label"]: each["score"] for each in answer}
        wanted = wanted[0].softmax(0)
        assert found == pytest.approx({LABELS[at]: float(wanted[at]) for at in range(3)}, abs=1e-4)

    def test_are_spoken(self, tiny):
        _, model, backend = tiny("text-to-speech")
        answer = backend.run(TaskRequest("text-to-speech", "hello"))
        assert answer.media_type == "audio/wav"
        samples = read_audio(answer.data, model.config.sampling_rate)
        assert len(samples) > 100
        assert numpy.isfinite(samples).all()

    @pytest.mark.parametrize(
        ("data", "match"),
        [
            (as_wav(_sound(), 16000)[:30], "no sound"),
            (b"ID3 not a sound", "no sound"),
            (as_wav(_sound()[:0], 16000), "no samples"),
            (as_wav(_sound()[:9], 16000)[:-18] + b"", "no samples"),
        ],
    )
    def test_that_are_broken_are_named(self, tiny, data, match):
        with pytest.raises(UsageError, match=match):
            _ask(tiny, "audio-classification", data=data)

    def test_that_are_empty_are_named(self):
        with pytest.raises(UsageError, match="empty"):
            read_audio(b"", 16000)

    @pytest.mark.parametrize(
        ("kind", "form", "off"),
        [("WAV", "FLOAT", 1e-4), ("FLAC", "PCM_16", 1e-4), ("OGG", "VORBIS", 0.1),
         ("OGG", "OPUS", 0.1), ("MP3", None, 0.1)],
    )  # fmt: skip
    def test_of_other_kinds_are_read(self, kind, form, off):
        soundfile = pytest.importorskip("soundfile")
        file = io.BytesIO()
        soundfile.write(file, _sound(), 16000, format=kind, subtype=form)
        found = read_audio(file.getvalue(), 16000)
        assert found[1000:15000] == pytest.approx(_sound()[1000:15000], abs=off)
        for end in (20, 60, len(file.getvalue()) // 2):
            with contextlib.suppress(UsageError):
                assert len(read_audio(file.getvalue()[:end], 16000)) <= 16000

    @pytest.mark.parametrize(
        ("claimed", "said"),
        [(0, "does not say how long"), ((1 << 36) - 1, "4294967 seconds long")],
    )
    def test_that_claim_a_length_that_cannot_be_are_not_unpacked(self, claimed, said):
        soundfile = pytest.importorskip("soundfile")
        file = io.BytesIO()
        soundfile.write(file, _sound(), 16000, format="FLAC")
        data = bytearray(file.getvalue())
        told = int.from_bytes(data[18:26], "big") >> 36 << 36
        data[18:26] = (told | claimed).to_bytes(8, "big")
        with pytest.raises(UsageError, match=said):
            read_audio(bytes(data), 16000)

    def test_that_were_written_to_a_pipe_are_read(self):
        data = bytearray(as_wav(_sound(), 16000))
        data[4:8] = data[40:44] = b"\xff" * 4
        assert len(read_audio(bytes(data), 16000)) == 16000

    def test_with_a_header_that_lies_are_the_errors_of_their_requests(self):
        data = as_wav(_sound(), 16000)
        lies = data[:12] + b"LIST" + b"\xff\xff\xff\x7f" + data[12:]
        with pytest.raises(UsageError, match="no sound that can be read"):
            read_audio(lies, 16000)

    def test_of_a_strange_rate_do_not_fill_the_memory(self):
        assert len(read_audio(as_wav(_sound(), 383_987), 16000)) == pytest.approx(667, abs=1)


class TestWhatIsAskedWrongly:
    @pytest.mark.parametrize("task", ["text-classification", "token-classification", "fill-mask"])
    def test_a_text_of_100_000_words_is_an_error(self, tiny, task):
        with pytest.raises(ContextError, match="this model takes 64"):
            _ask(tiny, task, LONG + "[MASK]")

    def test_a_long_text_is_not_summarised(self, tiny):
        with pytest.raises(ContextError, match="100002 tokens"):
            _ask(tiny, "summarization", LONG)

    @pytest.mark.parametrize("task", ["text-classification", "token-classification"])
    def test_an_empty_text_is_no_crash(self, tiny, task):
        assert isinstance(_ask(tiny, task, "").value, list)

    def test_an_empty_text_has_no_zero_shot_label_and_no_speech(self, tiny):
        with pytest.raises(UsageError, match="empty"):
            _ask(tiny, "zero-shot-classification", "", candidate_labels=["a"])
        with pytest.raises(UsageError, match="not empty"):
            _ask(tiny, "text-to-speech", "")

    @pytest.mark.parametrize("inputs", [None, 7, [], [1], {"text": "x"}, ["x"] * 1025])
    def test_inputs_of_another_kind_are_named(self, tiny, inputs):
        with pytest.raises(UsageError, match="inputs"):
            _ask(tiny, "text-classification", inputs)

    @pytest.mark.parametrize(
        ("task", "parameters", "match"),
        [
            ("text-classification", {"topk": 1}, "no parameter topk"),
            ("text-classification", {"top_k": True}, "whole number"),
            ("fill-mask", {"top_k": 0}, "from 1 to 1000"),
            ("zero-shot-classification", {}, "needs candidate_labels"),
            ("zero-shot-classification", {"candidate_labels": []}, "list of 1 to"),
            (
                "zero-shot-classification",
                {"candidate_labels": ["a"], "hypothesis_template": "{:>999999999}{}"},
                "hypothesis_template",
            ),
            ("summarization", {"generate_parameters": {"x": 1}}, "no parameter x"),
            ("summarization", {"top_p": 0.5, "do_sample": False}, "top_p has no meaning"),
            ("translation", {"src_lang": "en"}, "src_lang cannot be 'en'"),
            ("translation", {"tgt_lang": "de"}, "tgt_lang cannot be 'de'"),
            ("token-classification", {"stride": 99}, "cannot work with this input"),
            ("object-detection", {"threshold": 2}, "from 0 to 1"),
        ],
    )
    def test_parameters_that_make_no_sense_are_named(self, tiny, task, parameters, match):
        with pytest.raises(UsageError, match=match):
            _ask(tiny, task, "a [MASK]", **parameters)

    def test_a_mask_is_needed(self, tiny):
        with pytest.raises(UsageError, match=r"\[MASK\]"):
            _ask(tiny, "fill-mask", "the cat")

    def test_another_task_is_refused_with_the_one_there_is(self, tiny):
        backend = tiny("fill-mask")[2]
        with pytest.raises(UnsupportedError, match="translation") as caught:
            backend.run(TaskRequest("translation", "x"))
        assert "fill-mask" in caught.value.remedy
        with pytest.raises(UnsupportedError, match="feature-extraction"):
            backend.embed(Embed(("x",)))

    def test_text_generation_fails_through_its_sink(self, tiny):
        errors = []
        tiny("fill-mask")[2].generate(Generate("x"), _Sink(errors))()
        assert isinstance(errors[0], UnsupportedError)


class _Sink:
    def __init__(self, errors):
        self.failed = errors.append


class TestLoading:
    def test_a_missing_tensor_is_never_invented(self, tmp_path):
        bert(tmp_path, "text-classification")
        tensors = load_file(tmp_path / "model.safetensors")
        del tensors["classifier.weight"]
        save_file(tensors, tmp_path / "model.safetensors")
        with pytest.raises(MalformedError, match=r"classifier\.weight"):
            _load(tmp_path, "text-classification")

    def test_a_model_for_another_task_is_no_random_one(self, tmp_path):
        bert(tmp_path, "fill-mask")
        with pytest.raises(MalformedError, match="classifier"):
            _load(tmp_path, "token-classification")

    @pytest.mark.parametrize(
        ("config", "match"),
        [
            ({"model_type": "nonsense"}, "'nonsense', which is not known"),
            ({"model_type": "own", "auto_map": {"AutoModel": "own.Own"}}, "Python code of its own"),
            ([], "is not known"),
        ],
    )
    def test_a_type_that_is_not_known_is_named(self, tmp_path, config, match):
        bert(tmp_path, "fill-mask")
        write_json(tmp_path, "config.json", config)
        with pytest.raises(UnsupportedError, match=match):
            _load(tmp_path, "fill-mask")

    def test_a_type_that_cannot_do_the_task_is_named(self, tmp_path):
        bert(tmp_path, "fill-mask")
        with pytest.raises(UnsupportedError, match=r"'bert'.*summarization"):
            _load(tmp_path, "summarization")

    def test_a_task_that_is_not_known_is_named(self, tmp_path):
        with pytest.raises(UnsupportedError, match="robotics"):
            _load(tmp_path, "robotics")

    def test_it_is_told_what_was_loaded(self, tiny):
        info = tiny("feature-extraction")[2].info
        assert info.tasks == ("feature-extraction", "sentence-similarity")
        assert (info.device, info.dtype, info.context) == ("cpu", "float32", 64)
        assert info.weight_bytes > 10_000

    def test_tokens_are_counted(self, tiny):
        backend = tiny("fill-mask")[2]
        assert backend.count(Generate("the cat")) == 4
        assert backend.count(Generate((1, 2, 3))) == 3
        with pytest.raises(UnsupportedError, match="texts only"):
            backend.count(Generate(Chat(())))


class TestPicturesFromTexts:
    def test_say_what_to_install(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "diffusers", None)
        with pytest.raises(UnsupportedError, match="needs diffusers") as caught:
            _load(tmp_path, "text-to-image")
        assert caught.value.remedy == "pip install diffusers"

    @pytest.mark.slow
    def test_are_those_of_diffusers_itself(self, tmp_path):
        reference = diffusion(tmp_path)
        ways = {"num_inference_steps": 2, "guidance_scale": 5.0}
        backend = _load(tmp_path, "text-to-image")
        answer = backend.run(TaskRequest("text-to-image", TEXT, parameters={**ways, "seed": 3}))
        assert answer.media_type == "image/png"
        wanted = reference(TEXT, generator=torch.Generator().manual_seed(3), **ways).images[0]
        found = numpy.asarray(read_image(answer.data)).astype(int)
        assert abs(found - numpy.asarray(wanted).astype(int)).max() <= 1
        with pytest.raises(UsageError, match="cannot work"):
            backend.run(TaskRequest("text-to-image", TEXT, parameters={"height": 9, "width": 9}))

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("part", "said", "match"),
        [
            ("unet", ["diffusers", "loaders"], "no loaders"),
            ("unet", ["os", "system"], "no system"),
            ("_class_name", "OwnPipeline", "no OwnPipeline"),
        ],
    )
    def test_are_made_by_classes_of_diffusers_alone(self, tmp_path, part, said, match):
        diffusion(tmp_path)
        index = json.loads((tmp_path / "model_index.json").read_text())
        write_json(tmp_path, "model_index.json", {**index, part: said})
        with pytest.raises(UnsupportedError, match=match):
            _load(tmp_path, "text-to-image")

    @pytest.mark.slow
    def test_are_never_made_with_a_random_tensor(self, tmp_path):
        diffusion(tmp_path)
        file = tmp_path / "unet" / "diffusion_pytorch_model.safetensors"
        tensors = load_file(file)
        del tensors["conv_in.weight"]
        save_file(tensors, file)
        with pytest.raises(MalformedError, match="tensors of unet"):
            _load(tmp_path, "text-to-image")


@pytest.mark.parametrize("task", ["translation", "image-to-text", "question-answering"])
def test_a_request_that_nobody_waits_for_ends_within_a_step(tiny, task):
    gone, steps = threading.Event(), []
    model = tiny(task)[2]._task.model

    def left(*_):
        steps.append(len(steps))
        gone.set()

    inputs = {"translation": TEXT, "question-answering": {**ASKED, "context": "the dog " * 2000}}
    data = as_png(_picture()) if task == "image-to-text" else b""
    more = {} if task == "question-answering" else {"max_new_tokens": 20, "min_new_tokens": 20}
    hook = model.register_forward_hook(left)
    try:
        with wanted.by(gone), pytest.raises(EngineError, match="taken back"):
            _ask(tiny, task, inputs.get(task), data, **more)
        assert len(steps) == 1
        with wanted.by(gone), pytest.raises(EngineError, match="taken back"):
            _ask(tiny, task, inputs.get(task), data, **more)
        assert len(steps) == 1
    finally:
        hook.remove()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_model_of_spectrograms_alone_says_that_it_cannot_speak(tmp_path):
    speecht5(tmp_path, "text-to-speech")
    with pytest.raises(UnsupportedError, match=r"speecht5.*spectrograms") as caught:
        _load(tmp_path, "text-to-speech")
    assert "vits" in caught.value.remedy


def test_many_threads_get_the_answers_of_their_own_requests(tiny):
    texts = [f"{word} is good" for word in WORDS]
    alone = [_ask(tiny, "text-classification", each).value for each in texts]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda each: _ask(tiny, "text-classification", each).value, texts))
    assert together == alone
