"""Which variant is run where nobody names one: always the same, and one that fits."""

from dataclasses import replace

import pytest

from p2phub.errors import EngineError, NoMemoryError, UnsupportedError
from p2phub.inference.memory import Device
from p2phub.inference.spec import RunOptions
from p2phub.inference_settings import InferenceSettings
from p2phub.node import choosing
from p2phub.node.choosing import Candidate, Capacity, pick
from p2phub.node.serving import TEXT, VECTORS


def gguf(label, need, **more):
    return Candidate(label, "llamacpp", need, 10, **more)


def tensors(label, need, **more):
    return Candidate(label, "transformers", need, 10, **more)


class TestPick:
    def test_the_largest_that_fits(self):
        assert pick("x", [gguf("a", 3), gguf("b", 9), gguf("c", 11)]).label == "b"

    def test_one_that_is_here_before_a_larger_one(self):
        assert pick("x", [gguf("a", 3, here=True), gguf("b", 9)]).label == "a"
        assert pick("x", [gguf("a", 3), gguf("b", 11, here=True)]).label == "a"

    def test_safetensors_before_gguf_unless_they_do_not_fit(self):
        assert pick("x", [gguf("a", 9), tensors("b", 3)]).label == "b"
        assert pick("x", [gguf("a", 9), tensors("b", 11)]).label == "a"
        assert pick("x", [gguf("a", 9, here=True), tensors("b", 3)]).label == "a"

    def test_of_equals_the_first_by_name(self):
        assert pick("x", [gguf("b", 3), gguf("a", 3)]).label == "a"

    def test_none_that_fits_names_the_smallest_and_its_need(self):
        with pytest.raises(NoMemoryError, match="Q2_K, the smallest, needs 11 MiB"):
            pick("x", [gguf("Q8_0", 99 << 20), gguf("Q2_K", 11 << 20)])

    def test_one_alone_is_for_the_pool_to_judge(self):
        assert pick("x", [gguf("a", 99)]).label == "a"

    def test_none_at_all_is_said_so(self):
        with pytest.raises(UnsupportedError):
            pick("x", [])


class TestCapacity:
    CPU = Device("cpu", 1000, 10)

    def test_is_what_there_is_in_all_whatever_is_free(self):
        told = Capacity(InferenceSettings(), (self.CPU,))
        assert told.room(told.device("transformers", TEXT)) == 950

    def test_is_what_node_toml_says_if_that_is_less(self):
        assert Capacity(InferenceSettings(memory=300), ()).room(self.CPU) == 300
        assert Capacity(InferenceSettings(memory=3000), ()).room(self.CPU) == 950

    def test_is_of_the_largest_gpu_for_what_runs_there(self):
        gpus = (self.CPU, Device("cuda:0", 20, 20), Device("cuda:1", 40, 0))
        told = Capacity(InferenceSettings(), gpus)
        assert told.device("transformers", TEXT).name == "cuda:1"
        assert told.device("llamacpp", TEXT).name == "cpu"

    def test_of_several_gpus_is_what_an_even_share_on_each_leaves(self):
        gpus = (Device("cuda:0", 1000, 9), Device("cuda:1", 600, 9), Device("cuda:2", 5000, 9))
        wanted = InferenceSettings(device="cuda:0,cuda:1")
        told = Capacity(wanted, (self.CPU, *gpus))
        assert told.device("transformers", TEXT).name == "cuda:0,cuda:1"
        assert told.room(told.device("transformers", TEXT)) == 2 * 570
        assert told.device("transformers", VECTORS).name == "cuda:0"
        assert told.device("llamacpp", TEXT).name == "cpu"
        limited = Capacity(replace(wanted, memory=300), (self.CPU, *gpus))
        assert limited.room(limited.device("transformers", TEXT)) == 600

    def test_a_device_that_is_not_there_is_named_with_those_that_are(self):
        told = Capacity(InferenceSettings(device="cuda:1"), (self.CPU, Device("cuda:0", 9, 9)))
        with pytest.raises(EngineError, match="cuda:1") as refused:
            told.device("transformers", TEXT)
        assert "cpu, cuda:0" in refused.value.remedy


@pytest.mark.parametrize(
    ("flags", "task", "engine", "device", "dtype"),
    [
        ("flags : amx_bf16", TEXT, "transformers", "cpu", "bfloat16"),
        ("flags : avx2", TEXT, "transformers", "cpu", ""),
        ("flags : amx_bf16", TEXT, "llamacpp", "cpu", ""),
        ("flags : amx_bf16", "feature-extraction", "transformers", "cpu", ""),
        ("flags : amx_bf16", TEXT, "transformers", "cuda:0", ""),
    ],
)
def test_text_is_counted_in_the_type_that_a_worker_chooses(
    monkeypatch, flags, task, engine, device, dtype
):
    monkeypatch.setattr(choosing, "cpuinfo", lambda: flags)
    assert choosing.typed(RunOptions(), engine, task, device).dtype == dtype
    assert choosing.typed(RunOptions(dtype="float32"), engine, task, device).dtype == "float32"
