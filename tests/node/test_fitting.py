"""What a model is said to need on this machine: where there is no such device, and its type."""

import pytest

from p2phub.errors import EngineError
from p2phub.inference.memory import Device
from p2phub.inference.spec import RunOptions
from p2phub.node import fitting


def test_a_device_that_is_not_there_is_named_with_those_that_are():
    devices = (Device("cpu", 10, 5), Device("cuda:0", 10, 5))
    assert fitting._device("cuda:0", devices).free == 5
    with pytest.raises(EngineError, match="cuda:1") as refused:
        fitting._device("cuda:1", devices)
    assert "cpu, cuda:0" in refused.value.remedy


@pytest.mark.parametrize(
    ("flags", "task", "device", "dtype"),
    [
        ("flags : amx_bf16", fitting.TEXT, "cpu", "bfloat16"),
        ("flags : avx2", fitting.TEXT, "cpu", ""),
        ("flags : amx_bf16", "feature-extraction", "cpu", ""),
        ("flags : amx_bf16", fitting.TEXT, "cuda:0", ""),
    ],
)
def test_text_is_counted_in_the_type_that_a_worker_chooses(monkeypatch, flags, task, device, dtype):
    monkeypatch.setattr(fitting, "cpuinfo", lambda: flags)
    assert fitting._typed(RunOptions(), task, device).dtype == dtype
    assert fitting._typed(RunOptions(dtype="float32"), task, device).dtype == "float32"
