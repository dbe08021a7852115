"""How long the trainings of a run will take, and how long a run took and how much of that was training."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean

from roclip.core.files import read_table
from roclip.training.schedule import PACE

BENCHMARK = Path(__file__).parents[2] / "benchmarks/training.csv"


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """The length of the union of spans (start, end), so that what ran side by side counts once."""
    total, until = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total


def speeds(pace: Iterable[Mapping[str, str]]) -> dict[str, float]:
    """Pairs/s of the epochs of each kind, over rows of pace.csv."""
    pairs, seconds = defaultdict(float), defaultdict(float)
    for row in pace:
        pairs[row["kind"]] += float(row["pairs_per_second"]) * float(row["seconds"])
        seconds[row["kind"]] += float(row["seconds"])
    return {kind: pairs[kind] / seconds[kind] for kind in sorted(pairs) if seconds[kind]}


def training_rate(results: Path) -> tuple[float, str]:
    """Pairs/s of a training with its measuring, and where that is from: this experiment's trainings, or the benchmark."""
    pairs, seconds = 0.0, 0.0
    for benchmark in results.glob("benchmarks/train/*/*/seed*.tsv"):
        model = benchmark.relative_to(results / "benchmarks/train").with_suffix("")
        pace = results / "models" / model / "pace.csv"
        if pace.exists():
            seconds += float(read_table(benchmark, ("s",))[0]["s"])
            epochs = read_table(pace, PACE)
            pairs += sum(float(epoch["pairs_per_second"]) * float(epoch["seconds"]) for epoch in epochs)
    if pairs:
        return pairs / seconds, "as in this experiment's trainings so far"
    rows = read_table(BENCHMARK, ("loop", "pairs_per_second"))
    measured = mean(float(row["pairs_per_second"]) for row in rows if row["loop"] == "this project")
    return measured, "as in benchmarks/training.csv, on another machine"


def expected_time(results: Path, pairs: Sequence[int], side_by_side: int) -> str:
    """One line before a run: the number of trainings and how long they will take.

    pairs: of each training, over all its epochs; side_by_side: how many run at a time.
    """
    if not pairs:
        return "No training to do."
    rate, source = training_rate(results)
    minutes = sum(pairs) / rate / min(side_by_side, len(pairs)) / 60
    return (
        f"{len(pairs)} trainings to do, {sum(pairs) / 1e6:.1f} million pairs in all: about {minutes:.0f} min, "
        f"{min(side_by_side, len(pairs))} at a time with {rate:.0f} pairs/s each ({source})."
    )


def run_times(results: Path, started: float, ended: float) -> str:
    """One line about a run between two times (seconds since the epoch): wall time, share without training, pairs/s.

    A training's span is the seconds that its benchmark file under `results` holds, up to the time when that file was written.
    """
    wall, spans, pace = ended - started, [], []
    for benchmark in results.glob("benchmarks/train/*/*/seed*.tsv"):
        end = benchmark.stat().st_mtime
        if not started <= end <= ended:
            continue
        spans.append((max(started, end - float(read_table(benchmark, ("s",))[0]["s"])), end))
        model = benchmark.relative_to(results / "benchmarks/train").with_suffix("")
        pace += read_table(results / "models" / model / "pace.csv", PACE)
    line = f"The run took {wall / 60:.1f} min"
    if not spans:
        return f"{line}, without any training."
    rates = ", ".join(f"{speed:.0f} pairs/s in {kind} epochs" for kind, speed in speeds(pace).items())
    return f"{line}, {1 - covered(spans) / wall:.0%} of it without training; each of {len(spans)} trainings: {rates}."
