"""A tiny Llama of random weights with a byte-level tokenizer, made in a second; and a sink."""

import threading
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from p2phub.errors import P2PHubError
from p2phub.inference.requests import Finished, Piece

TEMPLATE = (
    "{% if tools %}{{ tools | tojson }}{% endif %}"
    "{% for m in messages %}{% if m.role == 'robot' %}{{ raise_exception('no robots') }}{% endif %}"
    "<s>{{ m.role }}\n{{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)
WORDS = [
    "the cat sat on the mat",
    "a dog and a cat ran far away",
    "où est le café, s'il te plaît ?",
]


def make_tokenizer(template: str | None = TEMPLATE) -> Any:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(WORDS * 5, trainer)
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>"
    )
    fast.chat_template = template
    return fast


def make_model(width: int, *, context: int = 256, seed: int = 3) -> Any:
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=width,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        bos_token_id=0,
        eos_token_id=1,
        initializer_range=0.4,
    )
    return transformers.AutoModelForCausalLM.from_config(config).eval()


_CONVERTED = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


class Files:
    """Stands for `Weights`: a saved model that is trusted as it lies there."""

    def __init__(self, where: Path, tensors: dict[str, Any]) -> None:
        self._where, self.tensors = where, tensors

    def folder(self) -> Path:
        return self._where

    def state_dict(self, device: str, dtype: str | None = None) -> dict[str, Any]:
        kind = None if dtype is None else getattr(torch, dtype)
        return {
            name: each.to(device, kind if each.dtype in _CONVERTED else None, copy=True)
            for name, each in self.tensors.items()
        }


def save_tiny(where: Path, **options: Any) -> Files:
    tokenizer = make_tokenizer(options.pop("template", TEMPLATE))
    model = make_model(len(tokenizer), **options)
    tokenizer.save_pretrained(where)
    model.config.save_pretrained(where)
    return Files(where, model.state_dict())


class Heard:
    """A sink that remembers. `act`: called at each piece, in the thread of the model."""

    def __init__(self, act: Any = None) -> None:
        self.pieces: list[Piece] = []
        self.end: Finished | None = None
        self.error: P2PHubError | None = None
        self.ends = 0
        self.over = threading.Event()
        self._act = act

    def piece(self, piece: Piece) -> None:
        assert not self.over.is_set()
        self.pieces.append(piece)
        if self._act is not None:
            self._act(self)

    def finished(self, end: Finished) -> None:
        self.end, self.ends = end, self.ends + 1
        self.over.set()

    def failed(self, error: P2PHubError) -> None:
        self.error, self.ends = error, self.ends + 1
        self.over.set()

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)

    def wait(self) -> "Heard":
        assert self.over.wait(60), "no end came"
        assert self.error is None, self.error
        return self
