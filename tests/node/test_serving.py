"""Which files a model needs: each weight once, no pickle, and no Python unless it may run."""

import pytest

from p2phub.errors import NotFoundError, UnsupportedError
from p2phub.formats.paths import parse_path
from p2phub.inference_settings import InferenceSettings
from p2phub.node.serving import choices, options_of, read_config, task_of

COMMON = ("config.json", "tokenizer.json", "tokenizer.model", "README.md", ".gitattributes")


def chosen(*names, **more):
    found = choices([parse_path(name) for name in names], **{"code": False, **more})[0]
    return found.engine, {"/".join(path) for path in found.weights}


def wanted(*names, **more):
    found = choices([parse_path(name) for name in names], **{"code": False, **more})[0]
    return {"/".join(path) for path in found.wanted}


class TestWeights:
    def test_the_same_weights_in_other_forms_are_left_out(self):
        names = ("pytorch_model.bin", "tf_model.h5", "onnx/model.onnx", "model.safetensors")
        assert wanted(*COMMON, *names) == {*COMMON[:3], "model.safetensors"}

    def test_all_shards_and_their_index_are_needed(self):
        shards = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
        index = "model.safetensors.index.json"
        found = wanted("config.json", index, *shards, "consolidated.safetensors")
        assert found == {"config.json", index, *shards}

    def test_another_precision_and_the_original_are_left_out(self):
        names = ("model.safetensors", "model.fp16.safetensors", "original/x.safetensors")
        assert chosen(*names, variant="safetensors") == ("transformers", {"model.safetensors"})
        assert chosen("model.fp16.safetensors") == ("transformers", {"model.fp16.safetensors"})

    def test_a_pipeline_has_them_in_folders(self):
        names = (
            "model_index.json",
            "unet/config.json",
            "unet/diffusion_pytorch_model.safetensors",
            "unet/diffusion_pytorch_model.fp16.safetensors",
            "vae/diffusion_pytorch_model.safetensors",
            "all_in_one.safetensors",
        )
        folders = {f"{each}/diffusion_pytorch_model.safetensors" for each in ("unet", "vae")}
        assert chosen(*names, variant="safetensors") == ("transformers", folders)

    def test_folders_of_sentence_transformers_come_along(self):
        names = ("model.safetensors", "modules.json", "1_Pooling/config.json")
        assert wanted(*names) == set(names)

    def test_every_variant_is_one_way_and_has_its_own_index(self):
        index = "model.safetensors.index.json"
        parts = [f"big-Q8_0-0000{n}-of-00002.gguf" for n in (1, 2)]
        shards = [f"model.fp16-0000{n}-of-00002.safetensors" for n in (1, 2)]
        names = ["config.json", index, "model-00001-of-00001.safetensors", "x-Q4_0.gguf"]
        found = choices([(name,) for name in (*names, *parts, *shards)], code=False)
        assert [each.label for each in found] == ["fp16", "safetensors", "Q4_0", "Q8_0"]
        others = [{"/".join(path) for path in each.others} for each in found]
        assert others == [{"config.json"}, {"config.json", index}, {"config.json"}, {"config.json"}]
        assert chosen(*names, *parts, variant="big-q8_0.gguf") == ("llamacpp", set(parts))
        with pytest.raises(NotFoundError, match="no variant Q5_0") as caught:
            chosen(*names, variant="Q5_0")
        assert "safetensors, Q4_0" in caught.value.remedy

    def test_the_only_one_needs_no_label(self):
        (found,) = choices([("x-Q4_0.gguf",)], code=False)
        assert found.label == ""
        (found,) = choices([("x-Q4_0.gguf",)], code=False, variant="q4_0")
        assert found.label == ""

    def test_the_engine_of_the_settings_decides_where_there_are_both(self):
        names = ("model.safetensors", "x.gguf")
        assert chosen(*names)[0] == "transformers"
        assert chosen(*names, engine="llamacpp") == ("llamacpp", {"x.gguf"})

    @pytest.mark.parametrize(
        ("names", "engine", "said"),
        [
            (("pytorch_model.bin",), "auto", "pickles"),
            (("README.md",), "auto", "neither"),
            (("model.safetensors",), "llamacpp", "no GGUF"),
            (("x.gguf",), "transformers", "neither"),
        ],
    )
    def test_what_nothing_here_can_load_is_said_so(self, names, engine, said):
        with pytest.raises(UnsupportedError, match=said):
            chosen(*names, engine=engine)


class TestCode:
    def test_of_a_release_is_no_part_of_its_model(self):
        assert wanted("model.safetensors", "modeling_x.py") == {"model.safetensors"}

    def test_is_where_a_rule_lets_it_run(self):
        names = {"model.safetensors", "modeling_x.py", "lib/y.py"}
        assert wanted(*names, code=True) == names

    def test_runs_only_if_the_options_say_so(self):
        assert options_of(InferenceSettings(), code=False).allow_remote_code is False
        assert options_of(InferenceSettings(), code=True).allow_remote_code is True


def test_the_settings_reach_the_engine():
    said = InferenceSettings(
        device="cuda:1", threads=2, context=9, slots=3, quantize="int8", compile=True
    )
    options = options_of(said, code=False)
    assert (options.device, options.threads, options.context) == ("cuda:1", 2, 9)
    assert (options.slots, options.quantize, options.compile) == (3, "int8", True)
    plain = options_of(InferenceSettings(), code=False)
    assert (plain.device, plain.quantize) == ("", "")


@pytest.mark.parametrize(
    ("architecture", "task"),
    [
        ("LlamaForCausalLM", "text-generation"),
        ("GPT2LMHeadModel", "text-generation"),
        ("BertModel", "feature-extraction"),
        ("BertForMaskedLM", "fill-mask"),
        ("BertForSequenceClassification", "text-classification"),
        ("WhisperForConditionalGeneration", "automatic-speech-recognition"),
        ("MarianMTModel", "translation"),
        ("T5ForConditionalGeneration", "summarization"),
        ("ViTForImageClassification", "image-classification"),
        ("M2M100ForConditionalGeneration", "translation"),
        ("SpeechT5ForTextToSpeech", "text-to-speech"),
        ("BlipForConditionalGeneration", "image-to-text"),
    ],
)
def test_a_model_is_for_what_its_architecture_says(architecture, task):
    assert task_of("", "transformers", {"architectures": [architecture]}) == task


def test_a_model_that_sees_and_writes_is_for_conversations():
    config = {"architectures": ["LlavaForConditionalGeneration"], "vision_config": {}}
    assert task_of("", "transformers", config) == "text-generation"


def test_a_model_is_for_what_its_card_says_first():
    config = {"architectures": ["BertModel"]}
    assert task_of("text-generation", "transformers", config) == "text-generation"
    assert task_of("sentence-similarity", "transformers", config) == "feature-extraction"
    assert task_of("text2text-generation", "transformers", config) == "text2text-generation"
    assert task_of("", "llamacpp", None) == "text-generation"


def test_a_pipeline_of_diffusers_draws_whatever_its_parts_are():
    paths = [("model_index.json",), ("text_encoder", "config.json")]
    config = {"architectures": ["CLIPTextModel"]}
    assert task_of("", "transformers", config, paths) == "text-to-image"
    assert task_of("", "transformers", None, paths) == "text-to-image"
    assert task_of("image-to-image", "transformers", None, paths) == "image-to-image"
    assert task_of("", "transformers", None, [("sub", "model_index.json")]) == "feature-extraction"


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b"[" * 100_000, b'{"architectures": 5}'])
def test_a_config_that_is_none_says_nothing(data):
    assert task_of("", "transformers", read_config(data)) == "feature-extraction"
