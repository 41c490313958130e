"""Web seeds as text: where an ordinary web server keeps the files of a release.

A seed is an address with places to fill in, so that one line says how a whole server is laid out:
`{publisher}`, `{name}`, `{commit}`, `{path}` (of the file, quoted) and `{content}` (its content
id). What is signed in a release is filled in already: one plain URL for each file.

    https://mirror.example/models/{name}/{path}               a folder behind nginx, a bucket
    https://hub.example/lab/{name}/resolve/main/{path}        a Hugging Face-shaped hub
    https://mirror.example/v1/files/{content}                 a static export, by content id

Only a static export can be asked for piece tables too: they lie beside the files, under
`/v1/documents/{digest}`. For a seed without any place to fill in, `{path}` stands at its end.

A publisher who names no seeds for a new revision keeps those of the last one: `layouts_of` reads
them back from its files. `none` takes them away.

Rules it keeps: http and https only; no name or password of a user in it, since a release is public
and an address is shown to people. Whether a machine may be asked at all is left to
`network/web_guard.py`.

>>> with_path("https://mirror.example/minilm")
'https://mirror.example/minilm/{path}'
>>> filled("https://mirror.example/{name}/{path}", name="minilm", path="a b/x.bin")
'https://mirror.example/minilm/a%20b/x.bin'
>>> host_of("https://Mirror.example:443/x"), host_of("http://[::1]:8000/x")
('mirror.example', '[::1]:8000')
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import quote, urlsplit

from p2phub.errors import UsageError
from p2phub.formats.digest import hexadecimal
from p2phub.formats.ids import ContentId
from p2phub.formats.limits import MAX_SEEDS
from p2phub.formats.manifest import FileEntry
from p2phub.formats.urls import is_url

PLACES: Final = ("publisher", "name", "commit", "path", "content")
NO_SEEDS: Final = "none"
"""What a publisher names instead of a seed to have none."""
_PLACE = re.compile(r"\{([^{}]*)\}")
_FILES, _DOCUMENTS = "/v1/files/", "/v1/documents/"
_PORTS = {"http": 80, "https": 443}


def with_path(seed: str) -> str:
    """`seed` as a person wrote it, with `{path}` at its end where it has no place to fill in.

    Raises `UsageError` if it is none.
    """
    unknown = [place for place in _PLACE.findall(seed) if place not in PLACES]
    if not is_url(seed) or unknown or re.search("[{}]", _PLACE.sub("", seed)):
        raise UsageError(
            f"not a web seed: {_shown(seed)}",
            remedy="write http(s)://host/folder without a user or password; what may stand in it:"
            f" {', '.join(f'{{{place}}}' for place in PLACES)}",
        )
    if _PLACE.search(seed):
        return seed
    if "?" in seed:
        raise UsageError(
            f"a web seed with a question needs {{path}} in it: {_shown(seed)}",
            remedy="write {path} where the path of a file belongs",
        )
    return f"{seed.rstrip('/')}/{{path}}"


def seed_layouts(seeds: Sequence[str]) -> tuple[str, ...]:
    """The seeds that a publisher names for a release, each once. Raises `UsageError`.

    >>> seed_layouts(["https://x/m/", "https://x/m"]), seed_layouts(["none"])
    (('https://x/m/{path}',), ())
    """
    if NO_SEEDS in seeds:
        if set(seeds) != {NO_SEEDS}:
            raise UsageError(
                "web seeds are named, and none at the same time",
                remedy=f"leave out `{NO_SEEDS}`, or everything else",
            )
        return ()
    layouts = tuple(dict.fromkeys(map(with_path, seeds)))
    if len(layouts) > MAX_SEEDS:
        raise UsageError(
            f"{len(layouts)} web seeds are too many", remedy=f"name {MAX_SEEDS} at most"
        )
    return layouts


def filled(seed: str, **values: str) -> str:
    """`seed` with its places filled in. Raises `UsageError` where a value is missing."""

    def value_of(place: re.Match[str]) -> str:
        if place[1] not in values:
            raise UsageError(
                f"{{{place[1]}}} cannot stand in this web seed: it is not known yet",
                remedy="take it out, or name the seed in node.toml under [swarm] web_seeds",
            )
        return quote(values[place[1]], safe="/")

    return _PLACE.sub(value_of, seed)


def layouts_of(files: Sequence[FileEntry]) -> tuple[str, ...]:
    """The layouts that give every one of `files` its seeds; those of some files only are left out.

    >>> from p2phub.formats.ids import ContentId
    >>> file = FileEntry(("a b",), 0, b"", ContentId(0, bytes(32)), seeds=("https://x/m/a%20b?d=1",))
    >>> layouts_of([file])
    ('https://x/m/{path}?d=1',)
    """
    if not files:
        return ()
    sample = max(files, key=lambda file: len(_path_of(file)))
    layouts: dict[str, None] = {}
    for url in sample.seeds:
        if "{" in url:
            continue
        guesses = [url, *_with_place(url, "content", str(sample.content))]
        path = quote(_path_of(sample), safe="/")
        guesses += [more for guess in guesses for more in _with_place(guess, "path", path)]
        right = [guess for guess in guesses if all(_is_laid_out(guess, each) for each in files)]
        layouts |= dict.fromkeys(right[-1:])
    return tuple(layouts)


def _with_place(url: str, place: str, value: str) -> Iterator[str]:
    """`url` with `{place}` instead of `value`, wherever that stands in it."""
    at = url.find(value)
    while at >= 0:
        yield f"{url[:at]}{{{place}}}{url[at + len(value) :]}"
        at = url.find(value, at + 1)


def _is_laid_out(layout: str, file: FileEntry) -> bool:
    return filled(layout, path=_path_of(file), content=str(file.content)) in file.seeds


def _path_of(file: FileEntry) -> str:
    return "/".join(file.path)


def document_url(url: str, content: ContentId, digest: bytes) -> str | None:
    """Where a static export that has `content` at `url` keeps a document; None for other layouts.

    >>> document_url("http://x/v1/files/" + str(ContentId(1, bytes(32))), ContentId(1, bytes(32)),
    ...     b"\\x01" * 32)[:25]
    'http://x/v1/documents/010'
    """
    end = f"{_FILES}{content}"
    if not url.endswith(end):
        return None
    return f"{url.removesuffix(end)}{_DOCUMENTS}{hexadecimal(digest)}"


def host_of(url: str) -> str:
    """The host of a URL as people call it; the port too where it is not the usual one."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    shown = f"[{host}]" if ":" in host else host
    usual = parts.port in (None, _PORTS.get(parts.scheme))
    return shown if usual else f"{shown}:{parts.port}"


def _shown(seed: str) -> str:
    """What may be told of a text that is no seed: never a password in it."""
    return repr(re.sub(r"//[^/]*@", "//…@", seed)[:100])
