"""What `adapter_config.json` says of a LoRA adapter, as the library PEFT writes it.

Only what decides the answers is read: the rank, and by how much what an adapter adds is scaled.
Which modules it changes is told by its tensors, not here.

Rules it keeps:
 * what would change an answer and is not done here is `UnsupportedError`, which names it; an
   adapter that is half applied answers wrongly, and nobody sees it;
 * what a stranger wrote is an error of ours, whatever it is, and takes little time: of the patterns
   only those are tried that cannot run for ever.

>>> config = parse(b'{"peft_type": "LORA", "r": 8, "lora_alpha": 16}', "lab/poet")
>>> config.scale("model.layers.0.self_attn.q_proj", 8)
2.0
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from p2phub.errors import MalformedError, UnsupportedError

MOST_BYTES: Final = 1 << 20
"""Of the file."""
MOST_RANK: Final = 4096
MOST_ALPHA: Final = 1e6
MOST_PATTERNS: Final = 4096
DEFAULT_ALPHA: Final = 8.0
"""What PEFT takes where nothing is said."""
_MUST_BE_EMPTY: Final = (
    "use_dora",
    "use_qalora",
    "use_bdlora",
    "lora_bias",
    "modules_to_save",
    "trainable_token_indices",
    "target_parameters",
    "layer_replication",
    "alora_invocation_tokens",
    "megatron_config",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
    "velora_config",
)
_FREE: Final = ("use_rslora", "loftq_config", "eva_config", "corda_config", "lora_ga_config")
"""Settings that are known, or are about how an adapter was begun."""
_STARTS: Final = (None, True, False, "gaussian", "eva", "orthogonal")
"""Ways to begin an adapter that leave the base as it is; others change its weights."""
_PATTERN: Final = re.compile(r"\^?(?:[\w-]|\\?\.|\.\*|\\d\+?)+\$?", re.ASCII)
_REPEATS: Final = 2
"""Repetitions in a pattern: with more, a hostile one takes for ever."""


@dataclass(frozen=True, slots=True)
class LoraConfig:
    """How an adapter is applied."""

    name: str
    """Of the adapter, for errors."""
    rank: int
    alpha: float
    by_root: bool
    """Whether it is scaled by the square root of the rank (`use_rslora`)."""
    ranks: frozenset[int]
    """Those that single modules may have, `rank` among them."""
    alphas: tuple[tuple[re.Pattern[str], float], ...]
    """For modules whose name a pattern matches, the first one first."""

    def scale(self, module: str, rank: int) -> float:
        """By how much what is added to the output of a module is multiplied."""
        found = (alpha for pattern, alpha in self.alphas if pattern.match(module))
        alpha = next(found, self.alpha)
        return alpha / math.sqrt(rank) if self.by_root else alpha / rank


def parse(text: bytes, name: str) -> LoraConfig:
    """What the file of the adapter `name` says. Raises `MalformedError`, `UnsupportedError`."""
    said = _read(text, name)
    _require_known(said, name)
    rank = _rank(said.get("r"), "r", name)
    ranks = _map(said, "rank_pattern", name)
    alphas = _map(said, "alpha_pattern", name)
    return LoraConfig(
        name=name,
        rank=rank,
        alpha=_alpha(said.get("lora_alpha", DEFAULT_ALPHA), "lora_alpha", name),
        by_root=bool(said.get("use_rslora")),
        ranks=frozenset(
            (
                rank,
                *(
                    _rank(each, f"rank_pattern of {key[:80]!r}", name)
                    for key, each in ranks.items()
                ),
            )
        ),
        alphas=tuple(
            (_pattern(key, name), _alpha(each, f"alpha_pattern of {key[:80]!r}", name))
            for key, each in alphas.items()
        ),
    )


def _read(text: bytes, name: str) -> Mapping[str, Any]:
    if len(text) > MOST_BYTES:
        raise _malformed(name, f"has {len(text)} bytes, which is no configuration")
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        raise _malformed(name, "is no JSON") from None
    if not isinstance(said, dict):
        raise _malformed(name, "is no JSON object")
    return said


def _require_known(said: Mapping[str, Any], name: str) -> None:
    """Raise `UnsupportedError` for the first setting that is not done here."""
    kind = said.get("peft_type")
    if kind is None:
        raise _malformed(name, "does not say its peft_type")
    if kind != "LORA":
        raise _unsupported(name, f"is of the type {str(kind)[:80]!r}")
    if said.get("bias", "none") not in ("none", None):
        raise _unsupported(name, "has biases (bias)")
    start = said.get("init_lora_weights", True)
    if start not in _STARTS:
        raise _unsupported(
            name, f"was begun by {str(start)[:80]!r} (init_lora_weights), which changes the base"
        )
    for key, value in said.items():
        unknown = key not in _FREE and (key.startswith("use_") or key.endswith("_config"))
        if value and (key in _MUST_BE_EMPTY or unknown):
            raise _unsupported(name, f"uses {ascii(key[:80])[1:-1]}")


def _rank(value: Any, where: str, name: str) -> int:
    if type(value) is not int or not 1 <= value <= MOST_RANK:
        raise _malformed(name, f"has no rank from 1 to {MOST_RANK} as its {where[:120]}")
    return value


def _alpha(value: Any, where: str, name: str) -> float:
    if type(value) not in (int, float) or not -MOST_ALPHA <= value <= MOST_ALPHA:
        raise _malformed(name, f"has no number that can be used as its {where[:120]}")
    return float(value)


def _map(said: Mapping[str, Any], key: str, name: str) -> Mapping[str, Any]:
    found = said.get(key) or {}
    if not isinstance(found, dict) or len(found) > MOST_PATTERNS:
        raise _malformed(name, f"has a {key} that cannot be used")
    return found


def _pattern(key: str, name: str) -> re.Pattern[str]:
    """What matches a module, as PEFT matches it: the end of its path, or all of it."""
    if not _PATTERN.fullmatch(key) or key.count("*") + key.count("+") > _REPEATS:
        raise _unsupported(name, f"has {key[:80]!r} in its alpha_pattern")
    return re.compile(rf"(.*\.)?({key})$")


def _malformed(name: str, what: str) -> MalformedError:
    return MalformedError(
        f"adapter_config.json of {name} {what}", remedy="tell its publisher, or use another adapter"
    )


def _unsupported(name: str, what: str) -> UnsupportedError:
    return UnsupportedError(
        f"the adapter {name} {what}, which is not done here",
        remedy="ask its publisher for a plain LoRA, or for a model that it is merged into",
    )
