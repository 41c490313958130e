"""Draws what a run of scripts/bench has measured, as a PNG.

    python scripts/plot.py RESULTS FILE.png

RESULTS: one JSON object a line, as `measure.show` writes them. One row a result: how far the value
and the baseline reach on the way to the budget, which is the line at 1. Where there is no budget
the baseline is at 1 instead. The scale is logarithmic; a row that is over is red.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

WITHIN, OVER, COMPARED, BASELINE = "#2a7f62", "#c0392b", "#4a6fa5", "#444444"
ROW, WIDTH = 0.34, 13.0
"""Inches."""
LEAST = 0.001
"""What is drawn for nothing at all: the scale has no zero."""

Line = Mapping[str, Any]


def scale_of(line: Line) -> float:
    """What counts as 1 in a row.

    >>> scale_of({"budget": 1.5, "relative": True, "baseline": 2.0, "value": 9.0})
    3.0
    """
    if line["budget"] is None:
        whole = line["baseline"]
    else:
        whole = line["budget"] * (line["baseline"] if line["relative"] else 1)
    return whole or line["value"] or 1.0


def color_of(line: Line) -> str:
    if line["budget"] is None:
        return COMPARED
    return WITHIN if line["within"] else OVER


def label_of(line: Line) -> str:
    against = line["note"].partition(";")[0]
    against = f"\n{against}" if against.startswith("against ") else ""
    return f"{line['benchmark']}  {line['what']}{against}"


def said(line: Line) -> str:
    return f"{line['value']:.3g} {line['unit']} | {line['baseline']:.3g}"


def draw(lines: Sequence[Line], path: Path) -> None:
    figure, axes = pyplot.subplots(figsize=(WIDTH, 1.8 + ROW * len(lines)), layout="constrained")
    for row, line in enumerate(lines):
        scale = scale_of(line)
        value = max(LEAST, line["value"] / scale)
        axes.barh(row, value - LEAST, left=LEAST, height=0.62, color=color_of(line))
        baseline = max(LEAST, line["baseline"] / scale)
        axes.plot([baseline, baseline], [row - 0.4, row + 0.4], color=BASELINE, linewidth=2.5)
        axes.text(
            1.01, row, said(line), va="center", fontsize=7, transform=axes.get_yaxis_transform()
        )
    axes.axvline(1, color="black", linestyle="--", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlim(left=LEAST)
    axes.set_yticks(range(len(lines)), [label_of(line) for line in lines], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel(
        "share of the budget (dashed); bar: measured, mark: baseline; blue: compared, no budget"
    )
    axes.set_title("p2phub against its budgets, one run; at the right: measured | baseline")
    figure.savefig(path, dpi=130)


def main() -> None:
    match sys.argv[1:]:
        case results, png:
            lines = [json.loads(line) for line in Path(results).read_text().splitlines()]
            draw(lines, Path(png))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
