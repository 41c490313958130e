"""How a release makes one vector of a text: the files of sentence-transformers, read without it.

`modules.json` names the steps: an encoder, a pooling, then dense layers and a normalisation. A
plain encoder has no such file: then it is the mean of its tokens.

Rules it keeps:
 * a step that is not known is an error that names it: a vector is never made in another way than
   its publisher says;
 * what is left out has the meaning it has in sentence-transformers.

>>> pooling_of({"pooling_mode_cls_token": True, "pooling_mode_max_tokens": True}).modes
('cls', 'max')
>>> pooling_of({}).modes
('mean',)
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from p2phub.errors import MalformedError, UnsupportedError
from p2phub.inference.worker.tasks_model import Source

Mode = Literal["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]
_FLAGS: Final[dict[str, Mode]] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""In the order in which several are put one after the other."""


@dataclass(frozen=True, slots=True)
class Pooling:
    """How the vectors of tokens become one; several modes are put one after the other."""

    modes: tuple[Mode, ...] = ("mean",)
    include_prompt: bool = True
    """Whether the tokens of a prompt count."""


@dataclass(frozen=True, slots=True)
class Dense:
    """A linear layer after the pooling, and the folder with its weights."""

    under: str
    inputs: int
    outputs: int
    bias: bool
    activation: str
    """The name of its class in torch."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All that the files say."""

    encoder: str = ""
    """The folder of the encoder; empty: the release itself."""
    pooling: Pooling = Pooling()
    steps: tuple[Dense | Literal["normalize"], ...] = ()
    max_tokens: int | None = None
    """Tokens of one text; None: what the encoder takes."""
    lower_case: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str = ""

    @property
    def normalized(self) -> bool:
        """Whether its vectors have the length 1."""
        return bool(self.steps) and self.steps[-1] == "normalize"


def read_settings(source: Source) -> Settings:
    """Raises `UnsupportedError` for a step that is not known, `MalformedError`."""
    if not source.has("modules.json"):
        return Settings()
    modules = [(_kind(each), _under(each)) for each in _maps(source, "modules.json")]
    if not modules or modules[0][0] != "Transformer":
        first = modules[0][0] if modules else "nothing"
        raise UnsupportedError(f"{source.spec.name} starts with {first}, not with a Transformer")
    encoder, pooling, steps = modules[0][1], Pooling(), list[Dense | Literal["normalize"]]()
    for kind, under in modules[1:]:
        if kind == "Pooling":
            pooling = pooling_of(_map(source, f"{under}/config.json"))
        elif kind == "Dense":
            steps.append(_dense(_map(source, f"{under}/config.json"), under))
        elif kind == "Normalize":
            steps.append("normalize")
        else:
            raise UnsupportedError(
                f"{source.spec.name} has a step {kind}, which is not known here",
                remedy="steps may be Transformer, Pooling, Dense and Normalize",
            )
    return _with_prompts(
        source, Settings(encoder, pooling, tuple(steps), *_lengths(source, encoder))
    )


def pooling_of(said: Mapping[str, Any]) -> Pooling:
    """What the config.json of a Pooling step says. Raises `UnsupportedError`."""
    named = said.get("pooling_mode")
    modes: list[Any] = [mode for flag, mode in _FLAGS.items() if said.get(flag)]
    for each in [named] if isinstance(named, str) else named or []:
        if each not in get_args(Mode):
            raise UnsupportedError(f"there is no pooling mode {each!r}")
        modes = modes if each in modes else [*modes, each]
    return Pooling(tuple(modes) or ("mean",), bool(said.get("include_prompt", True)))


def _dense(said: Mapping[str, Any], under: str) -> Dense:
    sizes = [said.get(name) for name in ("in_features", "out_features")]
    inputs, outputs = (each if isinstance(each, int) and each > 0 else 0 for each in sizes)
    if not inputs or not outputs:
        raise MalformedError(f"{under}/config.json does not say how wide its layer is")
    activation = str(said.get("activation_function") or "Tanh").rpartition(".")[2]
    return Dense(under, inputs, outputs, bool(said.get("bias", True)), activation)


def _lengths(source: Source, encoder: str) -> tuple[int | None, bool]:
    name = f"{encoder}/sentence_bert_config.json".lstrip("/")
    said = _map(source, name) if source.has(name) else {}
    most = said.get("max_seq_length")
    return most if isinstance(most, int) and most > 0 else None, bool(said.get("do_lower_case"))


def _with_prompts(source: Source, settings: Settings) -> Settings:
    name = "config_sentence_transformers.json"
    said = _map(source, name) if source.has(name) else {}
    prompts = said.get("prompts")
    texts = {str(a): str(b) for a, b in prompts.items()} if isinstance(prompts, dict) else {}
    default = str(said.get("default_prompt_name") or "")
    if default and default not in texts:
        raise MalformedError(f"{name} has no prompt {default!r}, which it calls the default")
    return Settings(
        settings.encoder,
        settings.pooling,
        settings.steps,
        settings.max_tokens,
        settings.lower_case,
        texts,
        texts.get(default, ""),
    )


def _maps(source: Source, name: str) -> list[dict[str, Any]]:
    said = source.read_json(name)
    if not isinstance(said, list) or not all(isinstance(each, dict) for each in said):
        raise MalformedError(f"{name} is no list of steps")
    return said


def _map(source: Source, name: str) -> dict[str, Any]:
    said = source.read_json(name)
    if not isinstance(said, dict):
        raise MalformedError(f"{name} is not a map")
    return said


def _kind(module: Mapping[str, Any]) -> str:
    return str(module.get("type", "")).rpartition(".")[2]


def _under(module: Mapping[str, Any]) -> str:
    """The folder of a step: a plain name, as it comes from a stranger."""
    under = str(module.get("path", ""))
    if under.startswith("/") or ".." in under.split("/"):
        raise MalformedError(
            f"modules.json names the folder {under!r}, which is not of the release"
        )
    return under.strip("/")
