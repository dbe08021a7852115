"""The curves of a training as numbers for an inline SVG: attack success and clean accuracy along the epochs."""

from collections.abc import Sequence
from math import isnan
from typing import Any

from roclip.core.words import PLAIN_KIND

WIDTH, HEIGHT = 360, 150  # of the area of the plot, in its own units
Point = tuple[float, float]


def curves(epochs: Sequence[tuple[str, float, float]]) -> dict[str, Any] | None:
    """Lines and marks in the plot's units, x from 0 to WIDTH and y from HEIGHT (0%) up to 0 (100%).

    epochs: of each its kind, accuracy and attack success. Gaps are where a number is missing. Epochs of other kinds than clip
    have a mark on the line of attack success. None for fewer than two epochs.
    """
    if len(epochs) < 2:
        return None
    across = [WIDTH * place / (len(epochs) - 1) for place in range(len(epochs))]
    accuracy, success = ([(x, HEIGHT * (1 - epoch[i])) for x, epoch in zip(across, epochs, strict=True)] for i in (1, 2))
    marked = [
        (*point, kind) for point, (kind, *_) in zip(success, epochs, strict=True) if kind != PLAIN_KIND and not isnan(point[1])
    ]
    return {
        "accuracy": parts(accuracy),
        "success": parts(success),
        "marks": [(f"{x:.1f}", f"{y:.1f}") for x, y, _ in marked],
        "kinds": list(dict.fromkeys(kind for *_, kind in marked)),
        "epochs": len(epochs),
        "ends": {"accuracy": end(epochs, 1), "success": end(epochs, 2)},
    }


def parts(points: Sequence[Point]) -> list[str]:
    """The `points` of a polyline for each run of points that have a number."""
    runs: list[list[str]] = [[]]
    for x, y in points:
        if isnan(y):
            runs.append([])
        else:
            runs[-1].append(f"{x:.1f},{y:.1f}")
    return [" ".join(run) for run in runs if run]


def end(epochs: Sequence[tuple[str, float, float]], column: int) -> str:
    """The last number of a column in percent, for the text that says what the plot shows."""
    known = [epoch[column] for epoch in epochs if not isnan(epoch[column])]
    return f"{100 * known[-1]:.1f}%" if known else "not measured"
