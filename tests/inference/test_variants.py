"""The variants of a release, by the names of its files: each once, and found as people type it."""

import pytest

from p2phub.errors import NotFoundError, UsageError
from p2phub.formats.ids import Reference
from p2phub.inference.variants import ModelName, variant_named, variants_of


def found(*names):
    return variants_of([tuple(name.split("/")) for name in names])


def labels(*names):
    return [each.label for each in found(*names)]


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "Q4_1"),
        ("model-q4_k_m.gguf", "Q4_K_M"),
        ("Qwen3-8B-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"),
        ("a.i1-IQ2_XXS.gguf", "IQ2_XXS"),
        ("gpt-MXFP4_MOE.gguf", "MXFP4_MOE"),
        ("x-7B-v1-F16.gguf", "F16"),
        ("Q8_0/model-00001-of-00001.gguf", "Q8_0"),
        ("ggml-model.gguf", "ggml-model"),
        ("model.fp16.safetensors", "fp16"),
        ("model-00001-of-00001.fp16.safetensors", "fp16"),
        ("model.safetensors", "safetensors"),
    ],
)
def test_a_name_says_which_variant_it_is(name, label):
    assert labels(name) == [label]


@pytest.mark.parametrize(
    "name",
    ["mmproj-F16.gguf", "x.mmproj-Q8_0.gguf", "imatrix.gguf", "x-F16-LoRA.gguf", "y-vocab.gguf"],
)
def test_what_is_no_model_is_no_variant(name):
    assert labels(name, "x-Q4_0.gguf") == ["Q4_0"]


def test_two_of_one_quantisation_have_the_names_of_their_files():
    both = found("a-Q4_0.gguf", "b-q4_0.gguf")
    assert [each.label for each in both] == ["a-Q4_0", "b-q4_0"]
    with pytest.raises(NotFoundError) as caught:
        variant_named(both, "Q4_0")
    assert "a-Q4_0, b-q4_0" in caught.value.remedy


@pytest.mark.parametrize(
    "typed", ["q8_0", "Q8_0", "X-Q8_0.gguf", "x-q8_0", "x-Q8_0-00002-of-00002.gguf"]
)
def test_is_found_by_its_label_or_by_a_file_of_it(typed):
    parts = [f"x-Q8_0-0000{n}-of-00002.gguf" for n in (2, 1)]
    named = variant_named(found("x-Q4_0.gguf", *parts), typed)
    assert named.paths == ((parts[1],), (parts[0],))


def test_a_pipeline_fills_a_precision_up_with_what_a_folder_has():
    names = ("model_index.json", "a/x.safetensors", "a/x.fp16.safetensors", "b/y.safetensors")
    made = {each.label: {"/".join(path) for path in each.paths} for each in found(*names)}
    assert made == {
        "fp16": {"a/x.fp16.safetensors", "b/y.safetensors"},
        "safetensors": {"a/x.safetensors", "b/y.safetensors"},
    }


@pytest.mark.parametrize(
    ("text", "reference", "variant"),
    [
        ("lab/x", Reference("lab", "x"), ""),
        ("p2p://lab/x:Q4_0", Reference("lab", "x"), "Q4_0"),
        ("lab/x@refs/pr/1:dir/x-q4.gguf", Reference("lab", "x", "refs/pr/1"), "dir/x-q4.gguf"),
        ("x:q4", Reference(None, "x"), "q4"),
    ],
)
def test_a_name_is_read_and_written(text, reference, variant):
    name = ModelName.parse(text)
    assert name == ModelName(reference, variant)
    assert ModelName.parse(str(name)) == name


@pytest.mark.parametrize("text", ["lab/x:", ":Q4_0", "", "lab/x@:Q4"])
def test_what_is_no_name_is_refused(text):
    with pytest.raises(UsageError):
        ModelName.parse(text)
