"""The table [inference] of node.toml; how tables are read and shown is `config`'s business.

>>> InferenceSettings().device
'auto'
"""

from dataclasses import dataclass
from typing import Annotated

from p2phub.kinds import (
    COMMAND,
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
        str,
        DEVICE,
        "Where models run. auto: the GPU with the most free memory, else the processor."
        " Several GPUs share a model that writes text, from safetensors and without quantize,"
        " compile or adapters; other tasks go to one of them, GGUF to the processor.",
    ] = "auto"
    engine: Annotated[
        EngineName,
        ENGINE,
        "What runs them: transformers for safetensors, llamacpp for GGUF, vllm for text from"
        " safetensors (the rest as with auto). auto: what the files of the release ask for, and"
        " vllm where it is set and there is a GPU.",
    ] = "auto"
    vllm: Annotated[
        str,
        COMMAND,
        "The `vllm` program of an environment of its own; options behind it come last on the"
        " command line of `vllm serve`. It is run for one model, on files that were checked right"
        " before; what it reads of them then is not checked again. Empty: there is none.",
    ] = ""
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
        "Make the weights of safetensors smaller while they are loaded (pip install"
        " 'p2phub[quantization]'). The answers are no longer those of the release as it was"
        " signed.",
    ] = "none"
    compile: Annotated[
        bool,
        SWITCH,
        "Compile the layers of a model that writes text or makes vectors with torch.compile while"
        " it is loaded, which takes up to minutes the first time. Meant for GPUs: on a processor a"
        " small model got slower by it.",
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
    answers_per_client: Annotated[
        int,
        whole(1, 224),
        "Answers that one client may have under way or waiting at once, whichever models it asks;"
        " more are refused with 429. A client is its address and the key it shows; where any key is"
        " taken, 16 of one address are told apart.",
    ] = 128
    requests_per_minute: Annotated[
        int,
        whole(0, 1_000_000),
        "Requests to models that one client may send in a minute, all of them at once or one after"
        " another; more are refused with 429, and told when to come again. 0: no limit.",
    ] = 0
