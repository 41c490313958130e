"""How much memory a model needs on this machine, before its weights are fetched.

What its headers say is gathered here (`headers`), and what is free is asked of the machine; what
follows from it is `inference.fit`'s answer. Of several GGUF files the largest that fits is chosen.
"""

from dataclasses import replace

from p2phub.errors import EngineError
from p2phub.inference import fit as prediction
from p2phub.inference.memory import HOST, Device, Machine, place
from p2phub.inference.spec import RunOptions
from p2phub.inference.threads import computes_bfloat16, cpuinfo
from p2phub.inference_results import FitReport
from p2phub.node.events import Report
from p2phub.node.headers import describe
from p2phub.node.services import Services
from p2phub.node.serving import TEXT, choose, options_of, task_of


async def fit(services: Services, reference: str, report: Report) -> FitReport:
    """What a model would take here. Raises what `describe` raises, `UnsupportedError`."""
    found = await describe(services, reference, report)
    inference = services.config.inference
    options = options_of(inference, code=False)
    devices = await Machine().devices()
    headers = {file.path: header for file, header in found.files}
    chosen = choose(list(headers), code=False, engine=inference.engine)
    device = _device(place(chosen.engine, options.device, devices), devices)
    free = min(device.free, inference.memory) if inference.memory else device.free
    task = task_of(found.resolved.release.card.task, chosen.engine, found.config)
    weights = list(headers) if chosen.engine == "llamacpp" else chosen.weights
    wanted = {"/".join(path): headers[path] for path in weights if _fits(path, chosen.engine)}
    release = prediction.Release(
        found.resolved.called, found.resolved.digest.hex(), task, found.config, found.prefixes
    )
    return prediction.report(
        release,
        wanted,
        available_bytes=free,
        device=device.name,
        options=_typed(options, task, device.name),
    )


def _fits(path: tuple[str, ...], engine: str) -> bool:
    """Whether a file is of the kind that the engine loads."""
    return path[-1].endswith(".gguf") == (engine == "llamacpp")


def _typed(options: RunOptions, task: str, device: str) -> RunOptions:
    """The options with the type that a worker will choose for text on this processor."""
    if options.dtype or device != HOST or task != TEXT or not computes_bfloat16(cpuinfo()):
        return options
    return replace(options, dtype="bfloat16")


def _device(name: str, devices: tuple[Device, ...]) -> Device:
    found = next((each for each in devices if each.name == name), None)
    if found is None:
        known = ", ".join(each.name for each in devices)
        raise EngineError(f"there is no device {name} here", remedy=f"there are: {known}")
    return found
