"""Pins the wheels of a folder: writes requirements.txt with versions and SHA-256, and a card.

    scripts/pin_wheels.py FOLDER

scripts/wheelhouse runs it.
"""

import hashlib
import platform
import sys
from pathlib import Path

from packaging.utils import parse_wheel_filename

CARD = """\
---
license: apache-2.0
---
# p2phub {version}

p2phub with all that it needs, as wheels for {python} on {system}.
"""


def main(folder: Path) -> None:
    """Write both files into the folder."""
    lines, ours = [], None
    for path in sorted(folder.glob("*.whl")):
        name, version, _, _ = parse_wheel_filename(path.name)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        lines.append(f"{name}=={version} --hash=sha256:{digest}\n")
        ours = version if name == "p2phub" else ours
    if ours is None:
        raise SystemExit(f"pin_wheels: there is no wheel of p2phub in {folder}")
    (folder / "requirements.txt").write_text("".join(lines))
    python = f"Python {sys.version_info.major}.{sys.version_info.minor}"
    system = f"{platform.system()} {platform.machine()}"
    (folder / "README.md").write_text(CARD.format(version=ours, python=python, system=system))
    print(f"{folder}: p2phub {ours}, {len(lines)} wheels for {python} on {system}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
