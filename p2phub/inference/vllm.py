"""`vllm serve` as a server of ours: when it is taken, and what node.toml says in its own words.

Pure. It runs text generation from safetensors without adapters, and nothing else. vLLM chooses for
itself what nothing is said of here; options that stand behind the program in `[inference] vllm`
come last, and so have the last word.

>>> Vllm.parse('"/opt/my vllm/vllm" --enforce-eager')
Vllm(program='/opt/my vllm/vllm', options=('--enforce-eager',))
>>> spec = ModelSpec("", "lab/x", "vllm", "text-generation", (), RunOptions(context=2048))
>>> options_of(spec, gpus=0)
('--max-num-seqs=256', '--max-model-len=2048')
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from p2phub.errors import EngineError, UnsupportedError
from p2phub.inference.spec import ModelSpec, RunOptions

ENGINE: Final = "vllm"
SLOTS: Final = 256
"""Requests that it works at together where node.toml says nothing; more wait."""
CPU_CACHE: Final = 4 << 30
"""Bytes of keys and values at most where it runs on the processor."""
_TEXT: Final = "text-generation"
_GPU: Final = "cuda:"
_HUNDREDTHS: Final = 100


@dataclass(frozen=True, slots=True)
class Vllm:
    """The program, and options that go before ours."""

    program: str
    options: tuple[str, ...] = ()

    @classmethod
    def parse(cls, setting: str) -> "Vllm":
        """What `[inference] vllm` says. Raises `EngineError` if that is nothing."""
        program, *options = shlex.split(setting) or [""]
        if not program:
            raise EngineError(
                "this model is to run in vLLM, and [inference] vllm names no program",
                remedy='set it in node.toml, such as vllm = "/opt/vllm/bin/vllm"',
            )
        return cls(program, tuple(options))


def engine_of(spec: ModelSpec, wanted: str, *, ready: bool) -> str:
    """What runs a model: `spec.engine`, or vLLM in its place.

    `wanted`: as `[inference] engine` says; `ready`: whether a program is set, and a GPU is there.

    >>> spec = ModelSpec("", "lab/x", "transformers", "text-generation", ())
    >>> engine_of(spec, "auto", ready=True), engine_of(spec, "transformers", ready=True)
    ('vllm', 'transformers')
    >>> engine_of(spec, "vllm", ready=False)
    'vllm'
    """
    able = spec.engine == "transformers" and spec.task == _TEXT
    chosen = wanted == "auto" and ready and not (spec.options.quantize or spec.adapters)
    return ENGINE if able and (chosen or wanted == ENGINE) else spec.engine


def cache_share(engine: str, device: str, rest: int) -> int:
    """Bytes that an engine is given for keys and values beside its weights; 0: it asks for none.

    vLLM sets its cache aside when it starts: on a GPU all that is left.

    >>> cache_share("vllm", "cuda:0", 60 << 30) >> 30, cache_share("vllm", "cpu", 60 << 30) >> 30
    (60, 4)
    >>> cache_share("transformers", "cuda:0", 60 << 30)
    0
    """
    if engine != ENGINE:
        return 0
    return max(0, rest if device.startswith(_GPU) else min(rest, CPU_CACHE))


def gpus_of(device: str) -> tuple[int, ...]:
    """The numbers of the GPUs of a device, or of several.

    >>> gpus_of("cuda:1"), gpus_of("cuda:0,cuda:1"), gpus_of("cpu")
    ((1,), (0, 1), ())
    """
    parts = device.split(",")
    return tuple(int(each.removeprefix(_GPU)) for each in parts if each.startswith(_GPU))


def options_of(spec: ModelSpec, gpus: int, memory: int = 0) -> tuple[str, ...]:
    """The options of its command line. `gpus`: how many it runs on; `memory`: bytes of them all.

    Raises `UnsupportedError` for what it is not told.
    """
    told = spec.options
    if told.quantize:
        raise UnsupportedError(
            "vLLM is not told to quantize a model while it loads it",
            remedy='set quantize = "none", or put its own --quantization behind [inference] vllm',
        )
    made = [f"--max-num-seqs={told.slots or SLOTS}"]
    if told.context:
        made.append(f"--max-model-len={told.context}")
    if told.dtype:
        made.append(f"--dtype={told.dtype}")
    if told.allow_remote_code:
        made.append("--trust-remote-code")
    if gpus > 1:
        made.append(f"--tensor-parallel-size={gpus}")
    if gpus and memory and told.cache_bytes:
        made.append(f"--gpu-memory-utilization={_share(spec, memory)}")
    return tuple(made)


def variables_of(
    options: RunOptions, gpus: Sequence[int], temporary: Path, ours: Mapping[str, str]
) -> dict[str, str]:
    """The variables that it gets beside ours: which GPUs it sees, and where it writes.

    >>> made = variables_of(RunOptions(), (1,), Path("/tmp/x"), {"CUDA_VISIBLE_DEVICES": "4,5"})
    >>> made["CUDA_VISIBLE_DEVICES"], made["HF_MODULES_CACHE"]
    ('5', '/tmp/x/modules')
    """
    made = {"TMPDIR": str(temporary), "HF_MODULES_CACHE": str(temporary / "modules")}
    if options.threads:
        made["OMP_NUM_THREADS"] = str(options.threads)
    if gpus:
        seen = [each for each in ours.get("CUDA_VISIBLE_DEVICES", "").split(",") if each]
        named = [seen[each] if each < len(seen) else str(each) for each in gpus]
        made |= {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(named)}
    elif options.cache_bytes:
        made["VLLM_CPU_KVCACHE_SPACE"] = str(max(1, options.cache_bytes >> 30))
    return made


def _share(spec: ModelSpec, memory: int) -> float:
    """The part of its GPUs that it may take, rounded down."""
    weights = sum(file.content.size for file in spec.files)
    hundredths = _HUNDREDTHS * (weights + spec.options.cache_bytes) // memory
    return min(max(hundredths, 1), _HUNDREDTHS - 1) / _HUNDREDTHS
