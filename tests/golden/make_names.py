"""Makes the golden bytes of names: a trust list, and what a domain says of publishers.

python tests/golden/make_names.py
"""

from pathlib import Path

from p2phub.formats.ids import PublisherId
from p2phub.trust.domains import proof_file, proof_text
from p2phub.trust.lab_list import Entry, write_list
from p2phub.trust.policy import Rule

FOLDER = Path(__file__).parent / "v0.1" / "names"
LAB, OTHER, THIRD = (PublisherId(bytes([n]) * 32) for n in (1, 2, 3))
ENTRIES = (
    Entry(LAB, "lab"),
    Entry(OTHER, "other-lab", Rule("warn", "refuse")),
    Entry(THIRD, None, Rule("off")),
)


def texts() -> dict[str, str]:
    """Every file by its name."""
    return {
        "trust-list.json": write_list(ENTRIES),
        "well-known.json": proof_file(LAB),
        "well-known.txt": f"# ours\n{LAB}\n\n{OTHER}\n",
        "record.txt": proof_text(LAB),
    }


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in texts().items():
        (FOLDER / name).write_text(text)
