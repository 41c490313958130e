"""What is chosen for a machine, and what is refused on it."""

import pytest
import torch

from p2phub.errors import UnsupportedError, UsageError
from p2phub.inference.spec import RunOptions
from p2phub.inference.threads import computes_bfloat16
from p2phub.inference.worker import device
from p2phub.inference.worker.device import Placement, choose


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def gpus(monkeypatch):
    """Three GPUs, the second with the most free memory."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda each: ([5, 9, 7][each], 10))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda each: (9, 0))
    monkeypatch.setattr(device, "_dtype", lambda asked, where: asked or "bfloat16")


def processor(monkeypatch, flags: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(device, "cpuinfo", lambda: f"processor : 0\nflags\t\t: fpu {flags}\n")


@pytest.mark.parametrize(
    ("flags", "dtype"), [("avx512_bf16", "bfloat16"), ("amx_bf16", "bfloat16"), ("avx2", "float32")]
)
def test_a_processor_computes_in_what_it_has_instructions_for(monkeypatch, flags, dtype):
    processor(monkeypatch, flags)
    assert choose(RunOptions(threads=1)) == Placement("cpu", dtype, "sdpa", 1)


def test_what_is_asked_for_counts(monkeypatch):
    processor(monkeypatch, "avx512_bf16")
    asked = RunOptions(device="cpu", dtype="float32", attention="eager", threads=3, compile=True)
    assert choose(asked) == Placement("cpu", "float32", "eager", 3, True)
    assert torch.get_num_threads() == 3


def test_the_environment_counts_before_our_own_count(monkeypatch):
    processor(monkeypatch, "avx2")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert choose(RunOptions()).threads == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    monkeypatch.setattr(device.threads, "here", lambda: device.threads.Processor(2, 7.0))
    assert choose(RunOptions()).threads == 1


def test_the_gpu_with_the_most_room_is_taken(gpus):
    assert choose(RunOptions(threads=1)).device == "cuda:1"
    assert choose(RunOptions(threads=1, device="cuda")).device == "cuda:0"
    assert choose(RunOptions(threads=1, device="cuda:2")).device == "cuda:2"


def test_flash_attention_is_taken_where_it_is_installed(gpus, monkeypatch):
    monkeypatch.setattr(device, "find_spec", lambda name: None)
    assert choose(RunOptions(threads=1)).attention == "sdpa"
    monkeypatch.setattr(device, "find_spec", lambda name: name)
    assert choose(RunOptions(threads=1)).attention == "flash_attention_2"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda each: (7, 5))
    assert choose(RunOptions(threads=1)).attention == "sdpa"


def test_a_gpu_that_is_not_there_is_said(gpus, monkeypatch):
    with pytest.raises(UnsupportedError, match="cuda:3"):
        choose(RunOptions(device="cuda:3"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UnsupportedError, match="cuda"):
        choose(RunOptions(device="cuda"))


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "nowhere:1"])
def test_what_is_no_device_is_refused(name):
    with pytest.raises(UsageError, match=name):
        choose(RunOptions(device=name))


def test_what_writes_no_text_is_on_one_device(gpus):
    with pytest.raises(UnsupportedError, match="cuda:0,cuda:1") as told:
        choose(RunOptions(device="cuda:0,cuda:1"))
    assert "inference.device" in told.value.remedy


def test_gpus_share_a_model_and_the_first_of_them_leads(gpus):
    made = choose(RunOptions(threads=1, device="cuda:2,cuda:0"), shares=True)
    assert (made.device, made.sharing) == ("cuda:2", ("cuda:2", "cuda:0"))
    assert choose(RunOptions(threads=1, device="cuda:2"), shares=True).sharing == ()


@pytest.mark.parametrize("wrong", ["cuda:0,cuda:0", "cuda,cuda:0", "cpu,cuda:0", "cuda:0,cpu"])
def test_only_different_gpus_share_a_model(gpus, wrong):
    with pytest.raises(UsageError, match="different GPUs"):
        choose(RunOptions(device=wrong), shares=True)


def test_one_of_several_that_is_not_there_is_named(gpus):
    with pytest.raises(UnsupportedError, match="no cuda:3"):
        choose(RunOptions(device="cuda:0,cuda:3"), shares=True)


def test_processes_share_a_processor_where_nothing_else_is(gpus, monkeypatch):
    with pytest.raises(UnsupportedError):
        choose(RunOptions(threads=1, device="cpu", ranks=2), shares=True)
    processor(monkeypatch, "avx2")
    made = choose(RunOptions(threads=1, device="cpu", ranks=2), shares=True)
    assert (made.device, made.sharing) == ("cpu", ("cpu", "cpu"))


def test_a_device_that_we_do_not_know_is_refused():
    with pytest.raises(UnsupportedError, match="meta"):
        choose(RunOptions(device="meta"))


@pytest.mark.parametrize("name", ["int8", "bf16", "float33"])
def test_a_model_runs_in_floating_point_only(name):
    with pytest.raises(UsageError, match=name):
        choose(RunOptions(dtype=name, device="cpu"))


def test_instructions_are_those_of_the_processor_and_not_of_its_bugs():
    assert not computes_bfloat16("bugs : avx512_bf16\nflags : fpu")
    assert computes_bfloat16("Features : fp asimd bf16")
    assert not computes_bfloat16("")


def test_int4_computes_in_the_type_that_its_kernels_are_made_for():
    assert choose(RunOptions(device="cpu", quantize="int4")).dtype == "bfloat16"
    assert choose(RunOptions(device="cpu", quantize="int4", dtype="float32")).dtype == "float32"
