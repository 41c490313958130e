"""LoRA adapters: releases of small weights that go with those of one other release, their base.

A publisher signs the digest of the base into the release (`lineage`), and an adapter runs on those
bytes and on no others. `adapter_config.json` and the model card name a base too, by a name of some
hub: that is shown, and never believed.

Rules it keeps:
 * a release with `adapter_config.json` and without weights of a model is an adapter;
 * its weights are one safetensors file, never a pickle; Python files of it never run;
 * on a base of another digest it is refused, and both digests are named.

Where the base is found is for `bases`; what runs it, for the pool.

>>> is_adapter([("adapter_config.json",), ("adapter_model.safetensors",), ("config.json",)])
True
>>> is_adapter([("adapter_config.json",), ("adapter_model.bin",), ("model.safetensors",)])
False
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from p2phub.errors import NotFoundError, UnsupportedError, UsageError
from p2phub.formats.manifest import FileEntry, Release
from p2phub.formats.paths import FilePath, is_pickle
from p2phub.node.locate import DEFAULT_REVISION, ResolvedRelease
from p2phub.node.rules import rule_of
from p2phub.node.services import Services
from p2phub.trust.policy import Rule

ADAPTER: Final = "adapter"
"""The relation of an adapter to its base, in the words of Hugging Face."""
CONFIG: Final = ("adapter_config.json",)
_NAMED: Final = "adapter"
"""How the names of an adapter's weights begin, beside whatever else lies there."""


class NoBaseError(NotFoundError):
    """The base of an adapter is not where it was looked for."""


@dataclass(frozen=True, slots=True)
class AdapterRelease:
    """An adapter that passed the gate, and which of its files would be loaded."""

    resolved: ResolvedRelease
    rule: Rule
    base: bytes
    """The digest of the release that it was made for, as its publisher signed it."""
    files: tuple[FileEntry, ...]
    """Its configuration and its weights."""
    missing: tuple[FileEntry, ...]
    """Those that are not on this disk."""

    @property
    def digest(self) -> str:
        """Of its release, in hex."""
        return self.resolved.digest.hex()

    @property
    def name(self) -> str:
        """What a request calls it: `publisher/name`, with `@revision` unless it is main."""
        return self.resolved.called.removesuffix(f"@{DEFAULT_REVISION}")

    @property
    def exact(self) -> str:
        """What an engine calls it: a name that no other release ever has."""
        return f"{self.resolved.called.partition('@')[0]}@{self.resolved.commit}"

    @property
    def bytes(self) -> int:
        """Of its weights, on disk."""
        return sum(file.size for file in self.files if file.path != CONFIG)

    @property
    def card(self) -> str:
        """What its card says of the base, for people; empty if it says nothing."""
        return ", ".join(self.resolved.release.card.base)


def is_adapter(paths: Sequence[FilePath]) -> bool:
    """Whether a release with these files is an adapter, by their names alone."""
    return CONFIG in paths and not any(map(_is_of_model, paths))


def _is_of_model(path: FilePath) -> bool:
    name = path[-1]
    return len(path) == 1 and (
        (name.startswith("model") and name.endswith(".safetensors"))
        or (name.startswith("pytorch_model") and name.endswith(".bin"))
        or (name.endswith(".gguf") and not name.startswith(_NAMED))
    )


def adapter_of(services: Services, resolved: ResolvedRelease) -> AdapterRelease:
    """What would be loaded of an adapter. Raises `UnsupportedError`."""
    release = resolved.release
    base = base_of(resolved)
    wanted = {CONFIG, weights_of([file.path for file in release.files])}
    files = tuple(file for file in release.files if file.path in wanted)
    right = services.store.shelf.right([file.content for file in files])
    missing = tuple(file for file in files if file.content not in right)
    rule = rule_of(services.store, services.config)(resolved.repo.publisher)
    return AdapterRelease(resolved, rule, base, files, missing)


def weights_of(paths: Sequence[FilePath]) -> FilePath:
    """The file with an adapter's weights. Raises `UnsupportedError`.

    >>> weights_of([("adapter_config.json",), ("adapter_model.safetensors",)])
    ('adapter_model.safetensors',)
    """
    found = [path for path in paths if len(path) == 1 and path[0].endswith(".safetensors")]
    found = [path for path in found if path[0].startswith(_NAMED)] or found
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(sorted(path[0] for path in found))
        raise UnsupportedError(
            f"it has weights of an adapter several times: {names}",
            remedy="publish each of them as a release of its own",
        )
    if any(map(is_pickle, paths)):
        raise UnsupportedError(
            "its weights are pickles, which run code when they are loaded",
            remedy="save the adapter as safetensors, as peft does, and publish it again",
        )
    raise UnsupportedError(
        "it has adapter_config.json and no weights of an adapter",
        remedy="`p2phub ls REF` lists its files; publish adapter_model.safetensors with it",
    )


def base_of(resolved: ResolvedRelease) -> bytes:
    """The digest of the release that an adapter was made for, as its publisher signed it.

    Raises `UnsupportedError` for one that names none.
    """
    bases = bases_in(resolved.release)
    if len(bases) == 1:
        return bases[0]
    said = "names several bases" if bases else "does not say which release it was made for"
    raise UnsupportedError(
        f"{resolved.called} is an adapter, and {said}",
        remedy="its publisher says it with `p2phub publish DIR NAME --base REF`",
    )


def bases_in(release: Release) -> tuple[bytes, ...]:
    """The releases that an adapter says it was made for."""
    return tuple(
        each.release for each in release.lineage if each.relation == ADAPTER and each.release
    )


def require_for(adapter: AdapterRelease, base: ResolvedRelease) -> None:
    """Raise `UsageError` for an adapter that was made for another release."""
    if adapter.base != base.digest:
        raise UsageError(
            f"{adapter.name} was made for release {adapter.base.hex()}, and {base.called} is"
            f" release {base.digest.hex()}",
            remedy=f"`p2phub serve {adapter.name}` loads the release that it was made for",
        )
