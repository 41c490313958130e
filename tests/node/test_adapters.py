"""What an adapter is: a release by its files, bound to one base by its publisher's word."""

from dataclasses import replace

import pytest

from p2phub.errors import UnsupportedError, UsageError
from p2phub.formats.ids import RepoId
from p2phub.formats.manifest import Lineage, Release
from p2phub.node.adapters import AdapterRelease, base_of, is_adapter, require_for, weights_of
from p2phub.node.locate import ResolvedRelease
from p2phub.testing.publishers import FakePublisher
from p2phub.trust.policy import Rule
from p2phub.trust.verdict import Judgement, Verdict
from tests.node.adapter_folders import adapter_files

BASE = b"b" * 32
CONFIG = ("adapter_config.json",)
WEIGHTS = ("adapter_model.safetensors",)


def resolved(*lineage: Lineage) -> ResolvedRelease:
    lab = FakePublisher(1)
    plain = Release.from_payload(lab.publish("lora", adapter_files()).release.payload)
    release = replace(plain, lineage=lineage)
    repo = RepoId(lab.publisher, "lora")
    judged = Judgement(Verdict.VERIFIED)
    return ResolvedRelease(repo, "main", release.digest, release, judged, {}, "lab/lora@main")


@pytest.mark.parametrize(
    ("others", "is_one"),
    [
        ([WEIGHTS], True),
        ([("adapter_model.bin",)], True),
        ([WEIGHTS, ("config.json",), ("checkpoint-1", "model.safetensors")], True),
        ([WEIGHTS, ("adapter-f16.gguf",)], True),
        ([WEIGHTS, ("model-00001-of-00002.safetensors",)], False),
        ([WEIGHTS, ("pytorch_model.bin",)], False),
        ([("model.Q4.gguf",)], False),
    ],
)
def test_a_model_with_an_adapter_beside_it_is_a_model(others, is_one):
    assert is_adapter([CONFIG, *others]) is is_one
    assert not is_adapter(others)
    assert not is_adapter([("sub", "adapter_config.json"), *others])


def test_the_weights_are_one_file_of_safetensors():
    old = ("checkpoint-1", "adapter_model.safetensors")
    assert weights_of([CONFIG, WEIGHTS, old, ("training_args.bin",)]) == WEIGHTS
    assert weights_of([CONFIG, ("optimizer.safetensors",), WEIGHTS]) == WEIGHTS
    assert weights_of([CONFIG, ("lora.safetensors",)]) == ("lora.safetensors",)


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        ([("adapter_model.bin",)], "pickles"),
        ([WEIGHTS, ("adapter_model_comfy.safetensors",)], "adapter_model_comfy.safetensors"),
        ([("a.safetensors",), ("b.safetensors",)], "several times: a.safetensors, b.safetensors"),
        ([("README.md",)], "no weights"),
        ([("checkpoint-1", "adapter_model.safetensors")], "no weights"),
    ],
)
def test_weights_that_run_code_or_are_there_twice_are_refused(paths, words):
    with pytest.raises(UnsupportedError, match=words):
        weights_of([CONFIG, *paths])


@pytest.mark.parametrize(
    ("lineage", "words"),
    [
        ([], "does not say which release"),
        ([Lineage("adapter", upstream="org/base")], "does not say which release"),
        ([Lineage("finetune", BASE)], "does not say which release"),
        ([Lineage("adapter", BASE), Lineage("adapter", b"c" * 32)], "several bases"),
    ],
)
def test_a_base_that_nobody_signed_as_these_bytes_is_no_base(lineage, words):
    with pytest.raises(UnsupportedError, match=words) as caught:
        base_of(resolved(*lineage))
    assert "lab/lora@main" in caught.value.message
    assert "p2phub publish DIR NAME --base REF" in caught.value.remedy


def test_the_base_is_what_was_signed_and_not_what_a_file_says():
    made = resolved(Lineage("merge", b"d" * 32), Lineage("adapter", BASE))
    assert base_of(made) == BASE


def test_another_base_is_refused_with_both_digests():
    made, other = resolved(Lineage("adapter", BASE)), resolved()
    adapter = AdapterRelease(made, Rule(), BASE, (), ())
    with pytest.raises(UsageError) as caught:
        require_for(adapter, other)
    assert BASE.hex() in caught.value.message
    assert other.digest.hex() in caught.value.message
    assert (adapter.name, caught.value.exit) == ("lab/lora", 2)
    require_for(adapter, replace(other, digest=BASE))
