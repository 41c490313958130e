"""Each task answers as transformers' own classes do, in the shape `InferenceClient` reads."""

import base64
import importlib.util
import io
import json
import sys
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

from p2phub.errors import ContextError, MalformedError, UnsupportedError, UsageError
from p2phub.inference.requests import Chat, Embed, Generate, TaskRequest
from p2phub.inference.worker.audio import as_wav, read_audio
from p2phub.inference.worker.images import as_png, read_image
from p2phub.inference.worker.tasks import load
from tests.inference.worker.tiny_models import (
    SPECIAL,
    WORDS,
    save_model,
    save_tokenizer,
    source,
    tiny_bert,
    write_json,
)

LABELS = {0: "negative", 1: "neutral", 2: "positive"}
TEXT = "the cat sat on the mat ."
LONG = "cat " * 100_000
BERTS = {
    "text-classification": transformers.BertForSequenceClassification,
    "zero-shot-classification": transformers.BertForSequenceClassification,
    "token-classification": transformers.BertForTokenClassification,
    "question-answering": transformers.BertForQuestionAnswering,
    "fill-mask": transformers.BertForMaskedLM,
    "feature-extraction": transformers.BertModel,
}


def _bert(folder, task):
    more = {"id2label": LABELS, "label2id": {name: at for at, name in LABELS.items()}}
    if task == "zero-shot-classification":
        more = {"id2label": {0: "contradiction", 1: "neutral", 2: "entailment"}}
        more["label2id"] = {name: at for at, name in more["id2label"].items()}
    return tiny_bert(
        BERTS[task],
        folder,
        **(
            {}
            if task in BERTS and task in ("fill-mask", "question-answering", "feature-extraction")
            else more
        ),
    )


def _bart(folder, task):
    torch.manual_seed(7)
    save_tokenizer(folder)
    config = transformers.BartConfig(
        vocab_size=len(SPECIAL) + len(WORDS), d_model=32, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32,
        decoder_ffn_dim=32, max_position_embeddings=64, pad_token_id=0, bos_token_id=2,
        eos_token_id=3, decoder_start_token_id=2, forced_eos_token_id=None, init_std=0.5,
    )  # fmt: skip
    return save_model(folder, transformers.BartForConditionalGeneration(config))


def _vit(folder, task):
    torch.manual_seed(7)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    config = transformers.ViTConfig(**_VIT, id2label=LABELS, label2id={})
    return save_model(folder, transformers.ViTForImageClassification(config))


_VIT = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
    "image_size": 32, "patch_size": 16, "initializer_range": 0.5,
}  # fmt: skip


def _yolos(folder, task):
    torch.manual_seed(7)
    size = {"shortest_edge": 32, "longest_edge": 64}
    transformers.YolosImageProcessor(size=size).save_pretrained(folder)
    said = {**_VIT, "image_size": [32, 32], "num_detection_tokens": 4}
    config = transformers.YolosConfig(**said, id2label=LABELS, label2id={})
    return save_model(folder, transformers.YolosForObjectDetection(config))


def _captions(folder, task):
    torch.manual_seed(7)
    save_tokenizer(folder)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        transformers.ViTConfig(**_VIT),
        transformers.GPT2Config(
            vocab_size=len(SPECIAL) + len(WORDS), n_embd=16, n_layer=1, n_head=2, n_positions=32,
            initializer_range=0.5,
        ),
        decoder_start_token_id=2, pad_token_id=0, eos_token_id=3,
    )  # fmt: skip
    return save_model(folder, transformers.VisionEncoderDecoderModel(config))


def _wav2vec2(folder, task):
    torch.manual_seed(7)
    write_json(folder, "vocab.json", {"<pad>": 0, "<unk>": 1, "|": 2, "A": 3, "B": 4, "C": 5})
    transformers.Wav2Vec2CTCTokenizer(
        str(folder / "vocab.json"), pad_token="<pad>", unk_token="<unk>", bos_token=None,
        eos_token=None,
    ).save_pretrained(folder)  # fmt: skip
    transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)
    config = transformers.Wav2Vec2Config(
        vocab_size=6, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, conv_dim=(8, 8), conv_kernel=(10, 8), conv_stride=(5, 4),
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2, classifier_proj_size=16,
        initializer_range=0.5, pad_token_id=0, id2label=LABELS, label2id={},
    )  # fmt: skip
    if task == "audio-classification":
        return save_model(folder, transformers.Wav2Vec2ForSequenceClassification(config))
    model = transformers.Wav2Vec2ForCTC(config)
    model.lm_head.bias.data[:3] = -100  # letters only
    return save_model(folder, model)


def _vits(folder, task):
    torch.manual_seed(7)
    write_json(folder, "vocab.json", {each: at for at, each in enumerate("_ abcdehlotn")})
    transformers.VitsTokenizer(
        str(folder / "vocab.json"), pad_token="_", unk_token="_", phonemize=False, normalize=True,
        is_uroman=False, add_blank=True, language="en",
    ).save_pretrained(folder)  # fmt: skip
    config = transformers.VitsConfig(
        vocab_size=12, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, ffn_dim=16,
        flow_size=16, spectrogram_bins=16, upsample_initial_channel=32, upsample_rates=[8, 8],
        upsample_kernel_sizes=[16, 16], resblock_kernel_sizes=[3],
        resblock_dilation_sizes=[[1, 3]], prior_encoder_num_wavenet_layers=1,
        prior_encoder_num_flows=1, posterior_encoder_num_wavenet_layers=1,
        wavenet_kernel_size=3, duration_predictor_num_flows=2,
        duration_predictor_filter_channels=16, depth_separable_num_layers=1,
    )  # fmt: skip
    return save_model(folder, transformers.VitsModel(config))


MAKERS = {
    **dict.fromkeys(BERTS, _bert),
    **dict.fromkeys(("summarization", "translation", "text2text-generation"), _bart),
    "image-classification": _vit,
    "object-detection": _yolos,
    "image-to-text": _captions,
    "automatic-speech-recognition": _wav2vec2,
    "audio-classification": _wav2vec2,
    "text-to-speech": _vits,
}


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
        model = _bart(tmp_path, "summarization")
        model.config.task_specific_params = {"summarization": {"prefix": "what ? "}}
        model.config.save_pretrained(tmp_path)
        backend = _load(tmp_path, "summarization")
        seen = []
        backend._task.tokenizer = _Spy(backend._task.tokenizer, seen)
        backend.run(TaskRequest("summarization", TEXT, parameters={"max_new_tokens": 1}))
        assert seen[-1] == f"what ? {TEXT}"

    def test_cuts_a_long_text_if_that_is_asked_for(self, tiny):
        found = _ask(tiny, "summarization", LONG, truncation="only_first", max_new_tokens=2).value
        assert found[0]["summary_text"] is not None


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
            (as_wav(_sound(), 16000)[:30], "no WAV|no sound"),
            (b"ID3 not a sound", "no WAV|no sound"),
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
        _bert(tmp_path, "text-classification")
        tensors = load_file(tmp_path / "model.safetensors")
        del tensors["classifier.weight"]
        save_file(tensors, tmp_path / "model.safetensors")
        with pytest.raises(MalformedError, match=r"classifier\.weight"):
            _load(tmp_path, "text-classification")

    def test_a_model_for_another_task_is_no_random_one(self, tmp_path):
        _bert(tmp_path, "fill-mask")
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
        _bert(tmp_path, "fill-mask")
        write_json(tmp_path, "config.json", config)
        with pytest.raises(UnsupportedError, match=match):
            _load(tmp_path, "fill-mask")

    def test_a_type_that_cannot_do_the_task_is_named(self, tmp_path):
        _bert(tmp_path, "fill-mask")
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
        reference = _tiny_diffusion(tmp_path)
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
        _tiny_diffusion(tmp_path)
        index = json.loads((tmp_path / "model_index.json").read_text())
        write_json(tmp_path, "model_index.json", {**index, part: said})
        with pytest.raises(UnsupportedError, match=match):
            _load(tmp_path, "text-to-image")

    @pytest.mark.slow
    def test_are_never_made_with_a_random_tensor(self, tmp_path):
        _tiny_diffusion(tmp_path)
        file = tmp_path / "unet" / "diffusion_pytorch_model.safetensors"
        tensors = load_file(file)
        del tensors["conv_in.weight"]
        save_file(tensors, file)
        with pytest.raises(MalformedError, match="tensors of unet"):
            _load(tmp_path, "text-to-image")


def _tiny_diffusion(folder):
    """A Stable Diffusion of a few numbers, saved by diffusers; the pipeline itself."""
    if importlib.util.find_spec("diffusers") is None:
        pytest.skip("diffusers is not installed")
    import diffusers

    torch.manual_seed(7)
    blocks = {"block_out_channels": (8, 16), "norm_num_groups": 4}
    unet = diffusers.UNet2DConditionModel(
        **blocks, layers_per_block=1, sample_size=8, cross_attention_dim=16, attention_head_dim=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    vae = diffusers.AutoencoderKL(
        **blocks, latent_channels=4, down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    (folder / "tokenizer").mkdir()
    config = transformers.CLIPTextConfig(
        vocab_size=len(SPECIAL) + len(WORDS), hidden_size=16, intermediate_size=16,
        num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=64, bos_token_id=2,
        eos_token_id=3, pad_token_id=0,
    )  # fmt: skip
    scheduler = diffusers.DDIMScheduler(steps_offset=1, clip_sample=False)
    pipeline = diffusers.StableDiffusionPipeline(
        unet=unet.eval(), vae=vae.eval(), text_encoder=transformers.CLIPTextModel(config).eval(),
        tokenizer=save_tokenizer(folder / "tokenizer"), scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.save_pretrained(folder)
    return pipeline


def test_many_threads_get_the_answers_of_their_own_requests(tiny):
    texts = [f"{word} is good" for word in WORDS]
    alone = [_ask(tiny, "text-classification", each).value for each in texts]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda each: _ask(tiny, "text-classification", each).value, texts))
    assert together == alone
