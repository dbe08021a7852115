"""How long a run of the workflow took, how much of it went into training, and how fast that was."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from roclip.schedule import HISTORY
from roclip.tables import read_table


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """The length of the union of spans (start, end), so that what ran side by side counts once."""
    total, until = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total


def run_times(results: Path, started: float, ended: float) -> str:
    """One line about a run between two times (seconds since the epoch): wall time, share without training, pairs/s.

    A training's span is the seconds that its benchmark file under `results` holds, up to the time when that file was written.
    """
    wall, spans = ended - started, []
    pairs, seconds = defaultdict(float), defaultdict(float)
    for benchmark in results.glob("benchmarks/train/*/*/seed*.tsv"):
        end = benchmark.stat().st_mtime
        if not started <= end <= ended:
            continue
        spans.append((max(started, end - float(read_table(benchmark, ("s",))[0]["s"])), end))
        model = benchmark.relative_to(results / "benchmarks/train").with_suffix("")
        for epoch in read_table(results / "models" / model / "history.csv", HISTORY):
            pairs[epoch["kind"]] += float(epoch["pairs_per_second"]) * float(epoch["seconds"])
            seconds[epoch["kind"]] += float(epoch["seconds"])
    line = f"The run took {wall / 60:.1f} min"
    if not spans:
        return f"{line}, without any training."
    rates = ", ".join(f"{pairs[kind] / seconds[kind]:.0f} pairs/s in {kind} epochs" for kind in sorted(pairs))
    return f"{line}, {1 - covered(spans) / wall:.0%} of it without training; each of {len(spans)} trainings: {rates}."
