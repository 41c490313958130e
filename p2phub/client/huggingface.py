"""Where Hugging Face's tools keep their cache: what the environment of this process says.

Source: huggingface_hub 2.4.0, `constants`. Whatever reads or writes the cache is the node's
business; it has an environment of its own, so that it is told which folder is meant.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePath

_VARIABLE = re.compile(r"\$(?:(\w+)|\{([^}]*)\})", re.ASCII)


def own_cache() -> Path:
    """The cache that huggingface_hub would use in this process."""
    return Path(cache_folder(os.environ, str(Path.home())))


def cache_folder(environment: Mapping[str, str], home: str) -> str:
    """Where huggingface_hub keeps its cache: what is set first of HF_HUB_CACHE,
    HUGGINGFACE_HUB_CACHE, HF_HOME (`hub` in it) and XDG_CACHE_HOME; else in `home`.

    `$NAME`, `${NAME}` and a `~` at the start are replaced, as it does.

    >>> cache_folder({"HF_HOME": "~/$WHERE", "WHERE": "hf"}, "/home/me")
    '/home/me/hf/hub'
    """
    caches = environment.get("XDG_CACHE_HOME", str(PurePath(home, ".cache")))
    hf_home = environment.get("HF_HOME", str(PurePath(caches, "huggingface")))
    older = environment.get("HUGGINGFACE_HUB_CACHE", str(PurePath(hf_home, "hub")))
    text = environment.get("HF_HUB_CACHE", older)
    text = _VARIABLE.sub(lambda each: environment.get(each[1] or each[2], each[0]), text)
    return str(PurePath(home, *PurePath(text).parts[1:])) if text.split("/")[0] == "~" else text
