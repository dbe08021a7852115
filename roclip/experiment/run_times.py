"""How long the trainings of a run will take, and how long a run took and how much of that was training.

An estimate never stops a run: files that are missing, empty or broken count as not there.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean

from roclip.core.columns import PACE
from roclip.core.errors import UserError
from roclip.core.files import read_table

BENCHMARK = Path(__file__).parents[2] / "benchmarks/training.csv"


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """The length of the union of spans (start, end), so that what ran side by side counts once."""
    total, until = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total


def speeds(pace: Iterable[Mapping[str, str]]) -> dict[str, float]:
    """Pairs/s of the epochs of each kind, over rows of pace.csv; rows that are broken are left out."""
    pairs, seconds = defaultdict(float), defaultdict(float)
    for kind, its_pairs, its_seconds in _epochs(pace):
        pairs[kind] += its_pairs
        seconds[kind] += its_seconds
    return {kind: pairs[kind] / seconds[kind] for kind in sorted(pairs)}


def positive(text: str | None) -> float:
    """A number above 0; of any other text 0."""
    try:
        number = float(text or 0)
    except ValueError:
        return 0.0
    return number if math.isfinite(number) and number > 0 else 0.0


def rows_of(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a table; none where it cannot be read."""
    try:
        return read_table(path, columns)
    except (UserError, OSError):
        return []


def _epochs(pace: Iterable[Mapping[str, str]]) -> Iterator[tuple[str, float, float]]:
    """Kind, pairs and seconds of each row of pace.csv that is whole."""
    for row in pace:
        seconds, pairs_per_second = positive(row["seconds"]), positive(row["pairs_per_second"])
        if seconds and pairs_per_second:
            yield row["kind"], pairs_per_second * seconds, seconds


def _trainings(results: Path) -> Iterator[tuple[Path, float, list[dict[str, str]]]]:
    """Of each training that has ended: its benchmark file, its seconds, and the rows of its pace.csv."""
    for stage in ("train", "repair"):
        folder = results / "benchmarks" / stage
        for benchmark in sorted(folder.glob("*/*/seed*.tsv")):
            model = benchmark.relative_to(folder).with_suffix("")
            if seconds := sum(positive(row["s"]) for row in rows_of(benchmark, ("s",))[:1]):
                yield benchmark, seconds, rows_of(results / "models" / model / "pace.csv", tuple(PACE))


def training_rate(results: Path) -> tuple[float, str]:
    """Pairs/s of a training with its measuring, and where that is from: this experiment's trainings, or the benchmark.

    0 where neither is known.
    """
    pairs, seconds = 0.0, 0.0
    for _, its_seconds, pace in _trainings(results):
        if its_pairs := sum(pairs for _, pairs, _ in _epochs(pace)):
            pairs, seconds = pairs + its_pairs, seconds + its_seconds
    if pairs:
        return pairs / seconds, "as in this experiment's trainings so far"
    rows = rows_of(BENCHMARK, ("loop", "pairs_per_second"))
    measured = [positive(row["pairs_per_second"]) for row in rows if row["loop"] == "this project"]
    return mean(measured) if measured else 0.0, "as in benchmarks/training.csv, on another machine"


def trainings_at_a_time(slots: int | None, cores: int | None, gpus: int | None, own: int, taken: Sequence[int]) -> int:
    """How many trainings run at a time: as many as the jobs of a cluster (slots), or else the cores, and the GPUs allow.

    own: the cores of one; taken: the GPUs of each of them.
    """
    limits = [slots or (cores or 1) // own]
    if gpus and max(taken, default=0):
        limits.append(gpus // max(taken))
    return max(1, min(limits))


def expected_time(results: Path, pairs: Sequence[int], side_by_side: int) -> str:
    """One line before a run: the number of trainings and how long they will take.

    pairs: of each training, over all its epochs; side_by_side: how many run at a time.
    """
    if not pairs:
        return "No training to do."
    rate, source = training_rate(results)
    count = f"{len(pairs)} training{'s' if len(pairs) > 1 else ''} to do, {sum(pairs) / 1e6:.1f} million pairs in all"
    if not rate:
        return f"{count}."
    at_a_time = min(side_by_side, len(pairs))
    minutes = sum(pairs) / rate / at_a_time / 60
    return f"{count}: about {minutes:.0f} min, {at_a_time} at a time with {rate:.0f} pairs/s each ({source})."


def run_times(results: Path, started: float, ended: float) -> str:
    """One line about a run between two times (seconds since the epoch): wall time, share without training, pairs/s.

    A training's span is the seconds that its benchmark file under `results` holds, up to the time when that file was written.
    """
    wall, spans, pace = ended - started, [], []
    for benchmark, seconds, its_pace in _trainings(results):
        end = benchmark.stat().st_mtime
        if started <= end <= ended:
            spans.append((max(started, end - seconds), end))
            pace += its_pace
    line = f"The run took {wall / 60:.1f} min"
    if not spans:
        return f"{line}, without any training."
    rates = ", ".join(f"{speed:.0f} pairs/s in {kind} epochs" for kind, speed in speeds(pace).items())
    trainings = f"each of {len(spans)} trainings: {rates}" if len(spans) > 1 else f"one training: {rates}"
    return f"{line}, {1 - covered(spans) / wall:.0%} of it without training; {trainings}."
