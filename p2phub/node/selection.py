"""Which files of a release a pull brings: globs as Hugging Face has them, and no pickle by
accident.

A pattern is matched against the whole path with slashes; `*` crosses slashes, a pattern that ends
in `/` means everything below. A file that executes code when it is loaded (pickle) comes only if a
pattern of `include` asks for it.

>>> select([("a.safetensors",), ("x", "b.json")], include=("*.json",), exclude=())
((('x', 'b.json'),), ())
>>> select([("m.bin",), ("m.safetensors",)], include=(), exclude=())
((('m.safetensors',),), (('m.bin',),))
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from p2phub.formats.paths import FilePath, is_pickle


def select(
    paths: Sequence[FilePath], include: Sequence[str], exclude: Sequence[str]
) -> tuple[tuple[FilePath, ...], tuple[FilePath, ...]]:
    """The paths to bring, and the pickles that were left out because nobody asked for them."""
    wanted, skipped = [], []
    for path in paths:
        if _any(path, exclude) or (include and not _any(path, include)):
            continue
        if not include and is_pickle(path):
            skipped.append(path)
        else:
            wanted.append(path)
    return tuple(wanted), tuple(skipped)


def _any(path: FilePath, patterns: Sequence[str]) -> bool:
    text = "/".join(path)
    return any(fnmatchcase(text, p + "*" if p.endswith("/") else p) for p in patterns)
