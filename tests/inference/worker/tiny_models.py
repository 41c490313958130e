"""Tiny random models on a disk, and what the tasks are loaded from, without a store."""

import json
from dataclasses import dataclass
from pathlib import Path

import tokenizers
import torch
import transformers
from safetensors.torch import load_file, save_file

from p2phub.inference.spec import ModelSpec, RunOptions
from p2phub.inference.worker.tasks_model import Source

TEXT = "the a cat dog sat on mat paris is capital of france what where good bad very . , ?"
WORDS = TEXT.split()
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@dataclass(frozen=True)
class OnProcessor:
    device: str = "cpu"
    dtype: str = "float32"
    attention: str = "sdpa"
    threads: int = 1


class PlainWeights:
    """A folder whose tensors are read by the library of safetensors."""

    def __init__(self, folder):
        self._folder = Path(folder)

    def folder(self):
        return self._folder

    def state_dict(self, device="cpu", dtype=None, under=""):
        (file,) = (self._folder / under).glob("*.safetensors")
        return load_file(file, device=device)


def source(folder, task, **options):
    options = RunOptions(**options)
    spec = ModelSpec("00" * 32, "lab/tiny@main", "transformers", task, (), options)
    return Source(spec, PlainWeights(folder), OnProcessor())


def save_tokenizer(folder, most=64):
    """One token a word; [CLS] before and [SEP] behind, as BERT has them."""
    words = {word: at for at, word in enumerate(SPECIAL + WORDS)}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    inner.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", words["[CLS]"]), ("[SEP]", words["[SEP]"])],
    )
    names = ("pad", "unk", "cls", "sep", "mask")
    said = {f"{name}_token": token for name, token in zip(names, SPECIAL, strict=True)}
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, model_max_length=most, **said
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def save_model(folder, model):
    """The configuration and the weights, as `save_pretrained` would."""
    model.eval()
    model.config.save_pretrained(folder)
    tensors = {name: each.clone() for name, each in model.state_dict().items()}
    save_file(tensors, Path(folder) / "model.safetensors")
    return model


def tiny_bert(kind, folder, **more):
    """A random BERT of one of transformers' classes, with a tokenizer."""
    torch.manual_seed(7)
    config = transformers.BertConfig(
        vocab_size=len(SPECIAL) + len(WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        initializer_range=0.5,
        **more,
    )
    save_tokenizer(folder)
    return save_model(folder, kind(config))


def write_json(folder, name, value):
    place = Path(folder) / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(value))
