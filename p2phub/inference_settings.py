"""The table [inference] of node.toml; how tables are read and shown is `config`'s business.

>>> InferenceSettings().device
'auto'
"""

from dataclasses import dataclass
from typing import Annotated

from p2phub.kinds import (
    DEVICE,
    ENDPOINTS,
    ENGINE,
    QUANTIZE,
    SIZE,
    SWITCH,
    Addresses,
    EngineName,
    Quantize,
    whole,
)


@dataclass(frozen=True, slots=True)
class InferenceSettings:
    """How models run on this machine."""

    device: Annotated[
        str, DEVICE, "Where models run. auto: the first GPU that there is, else the processor."
    ] = "auto"
    engine: Annotated[
        EngineName,
        ENGINE,
        "What runs them: transformers for safetensors, llamacpp for GGUF. auto: what the files of"
        " the release ask for.",
    ] = "auto"
    memory: Annotated[
        int,
        SIZE,
        "The most bytes that loaded models may take, on each device. The one that was not asked for"
        " the longest time is unloaded first. 0: what is free there.",
    ] = 0
    threads: Annotated[
        int,
        whole(0, 1024),
        "Processor threads of a model. More than there are idle cores make it slower. 0: chosen for"
        " this machine.",
    ] = 0
    context: Annotated[
        int,
        whole(0, 1 << 24),
        "The most tokens of prompt and answer together. 0: what the model says, as far as there is"
        " memory.",
    ] = 0
    slots: Annotated[
        int,
        whole(0, 1024),
        "Requests that a model works at together; more wait. 0: chosen for the device.",
    ] = 0
    endpoints: Annotated[
        Addresses,
        ENDPOINTS,
        "OpenAI-compatible servers whose models are offered here too, such as vLLM or llama-server."
        " Their answers name no release: nobody here knows what they run.",
    ] = ()
    quantize: Annotated[
        Quantize,
        QUANTIZE,
        "Make the weights smaller while they are loaded. The answers are no longer those of the"
        " release as it was signed.",
    ] = "none"
    compile: Annotated[
        bool,
        SWITCH,
        "Compile a model with torch.compile: faster answers after a first one that takes minutes.",
    ] = False
    keep_alive: Annotated[
        int,
        whole(0, 31_536_000),
        "Seconds for which a model stays in memory after the last request.",
    ] = 300
    queue: Annotated[
        int,
        whole(0, 100_000),
        "The most requests that are answered or wait for one model; who comes then is told to come"
        " again. 0: no limit.",
    ] = 512
