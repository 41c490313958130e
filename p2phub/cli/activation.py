"""The environment variables that point Hugging Face's tools at a gateway, and their way back.

What they replace is kept beside them (`P2PHUB_SAVED_…`), so that they can be taken away in the
same shell, or in one below it. Their waits are longer than those of a hub with servers: peers may
be slow to be found. A proxy is not asked for what is on this machine.

>>> added = activated("http://127.0.0.1:8642", {"HF_ENDPOINT": "https://hub.example"})
>>> added["HF_ENDPOINT"], added["P2PHUB_SAVED_HF_ENDPOINT"]
('http://127.0.0.1:8642', 'https://hub.example')
>>> deactivated(added)["HF_ENDPOINT"], deactivated(added)["HF_HUB_ETAG_TIMEOUT"]
('https://hub.example', None)
"""

import shlex
from collections.abc import Mapping
from typing import Final, Literal

Shell = Literal["sh", "fish"]
SAVED: Final = "P2PHUB_SAVED_"
WAITS: Final = {"HF_HUB_DOWNLOAD_TIMEOUT": "300", "HF_HUB_ETAG_TIMEOUT": "60"}
"""Seconds: without a byte of a file, and for what is told of one."""
LOCAL: Final = ("127.0.0.1", "localhost")
Changes = dict[str, str | None]
"""What variables become; None takes one away."""


def activated(url: str, environ: Mapping[str, str], token: str = "") -> dict[str, str]:
    """What variables become, so that tools ask the gateway at `url`; with its `token` they may
    write there, too.
    """
    wanted = {"HF_ENDPOINT": url, **WAITS} | ({"HF_TOKEN": token} if token else {})
    for name in ("NO_PROXY", "no_proxy"):
        hosts = [each.strip() for each in environ.get(name, "").split(",") if each.strip()]
        wanted[name] = ",".join(dict.fromkeys((*hosts, *LOCAL)))
    saved = {
        SAVED + name: environ.get(SAVED + name, environ.get(name, "")) for name in sorted(wanted)
    }
    return wanted | saved


def deactivated(environ: Mapping[str, str]) -> Changes:
    """What variables become, so that all is as it was before; nothing if nothing was activated."""
    changes: Changes = {}
    for name, value in environ.items():
        if name.startswith(SAVED):
            changes |= {name.removeprefix(SAVED): value or None, name: None}
    return changes


def shell_of(environ: Mapping[str, str]) -> Shell:
    """Whose language the shell of a person speaks."""
    return "fish" if environ.get("SHELL", "").rpartition("/")[2] == "fish" else "sh"


def script(changes: Mapping[str, str | None], shell: Shell) -> list[str]:
    """The lines that a shell evaluates for this.

    >>> script({"A": "it's", "B": None}, "sh")
    ['export A=\\'it\\'"\\'"\\'s\\'', 'unset B']
    >>> script({"A": "it's", "B": None}, "fish")
    ["set -gx A 'it\\\\'s'", 'set -e B']
    """
    lines = []
    for name, value in sorted(changes.items()):
        if shell == "fish":
            quoted = "'" + (value or "").replace("\\", "\\\\").replace("'", "\\'") + "'"
            lines.append(f"set -e {name}" if value is None else f"set -gx {name} {quoted}")
        else:
            export = f"export {name}={shlex.quote(value or '')}"
            lines.append(f"unset {name}" if value is None else export)
    return lines
