"""What an engine is told to load: the verified files of one release, and how it is to run.

The node fills it from a manifest and the store; the worker reads it. A file comes with its piece
table, so that whoever loads it checks every byte in the buffer it uses, and need not trust the disk
between a check and a load.

>>> from p2phub.formats.digest import sha256
>>> file = ModelFile(("config.json",), ContentId(2, sha256(b"{}")), "/blobs/ab/1-ab")
>>> file.name, file.table().count
('config.json', 1)
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from p2phub.formats.ids import ContentId
from p2phub.formats.paths import FilePath
from p2phub.formats.pieces import PieceTable


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of the release, as it lies on this disk."""

    path: FilePath
    content: ContentId
    where: str
    """The absolute path of the blob, or of what is here of it so far."""
    packed_table: bytes = field(default=b"", repr=False)
    """Its piece table; empty for a file of at most 1 MiB, and while that still comes."""
    complete: bool = True
    """Whether all of it is there; else `Ready` messages tell how far it has come."""

    @property
    def name(self) -> str:
        """The path as text, with slashes."""
        return "/".join(self.path)

    def table(self) -> PieceTable:
        """What every byte of it is checked by. Raises `UntrustedError` for a wrong table."""
        return PieceTable.unpack(self.packed_table, self.content)


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a model is to run; empty or 0: chosen for the device, and told in `ModelInfo`."""

    device: str = ""
    dtype: str = ""
    attention: str = ""
    threads: int = 0
    compile: bool = False
    quantize: str = ""
    """int8 or int4: weights only, on load."""
    context: int = 0
    """Tokens at most; 0: what the model says, as far as there is memory."""
    slots: int = 0
    cache_bytes: int = 0
    """Memory for keys and values."""
    allow_remote_code: bool = False
    """Whether Python files of the release may run (`trust_remote_code`)."""
    ranks: int = 0
    """Processes that share a model on the processor: for tests, as it brings nothing there."""


def can_share(engine: str, task: str) -> bool:
    """Whether several devices may share a model: text, where the engine can split its layers."""
    return task == "text-generation" and engine in ("transformers", "vllm")


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA release for this base."""

    name: str
    """What requests call it."""
    files: tuple[ModelFile, ...]
    release: str = ""
    """The digest of its release, in hex."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model to load."""

    release: str
    """The digest of the release, in hex."""
    name: str
    """What people call it: `lab/minilm@main`."""
    engine: str
    """transformers, llamacpp or vllm."""
    task: str
    """text-generation, feature-extraction, or another task of the Hugging Face API."""
    files: tuple[ModelFile, ...]
    options: RunOptions = RunOptions()
    adapters: tuple[Adapter, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    """For one engine alone."""
    variant: str = ""
    """Which weights of the release these files are; empty if it has no others."""

    @property
    def shares(self) -> bool:
        """Whether several devices may share it."""
        return can_share(self.engine, self.task)

    def find(self, name: str) -> ModelFile | None:
        """The file with that path."""
        return next((each for each in self.files if each.name == name), None)
