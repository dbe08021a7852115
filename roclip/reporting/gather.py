"""Stage: gather all measures and histories of an experiment.

Writes `measures.csv` (experiment, attack, method, seed, checkpoint, exam, measure, value, n, low, high), one row a measure,
with rows pooled over seeds under seed `all`; `results.csv`, one row for each attack, method and checkpoint;
`differences.csv`, every method beside each that is no variant, on the same exam images; `sweeps.csv`, one row a point of a
sweep; `history.csv`, the histories of all models (attack, method, seed in front); and `measures.md`, the results at a glance.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from roclip.core.atomic import atomic
from roclip.core.errors import UserError
from roclip.core.files import read_json, read_table, write_table
from roclip.core.options import Stage, option
from roclip.experiment.plan import base
from roclip.reporting.intervals import clopper_pearson
from roclip.reporting.results import DIFFERENCES, RESULTS, accuracy, differences, families, percent, results
from roclip.training.schedule import HISTORY

MEASURES = ("experiment", "attack", "method", "seed", "checkpoint", "exam", "measure", "value", "n", "low", "high")
MODEL = ("attack", "method", "seed")
SWEEPS = ("sweep", "setting", "base_attack", "base_method", "attack", "method")


@dataclass(frozen=True)
class TableOptions:
    experiment: str = option("name of the experiment")
    kinds: tuple[str, ...] = option("NAME=KIND of every attack")
    sweeps: tuple[str, ...] = option("SWEEP|SETTING|BASE_ATTACK|BASE_METHOD|ATTACK|METHOD of every point of a sweep")
    measures: tuple[Path, ...] = option("the measures' JSON files, in ATTACK/METHOD/seedN/")
    histories: tuple[Path, ...] = option("the models' history.csv files, in ATTACK/METHOD/seedN/")
    out: Path = option("folder of the tables", role="output")


def model_of(path: Path) -> dict[str, str]:
    """Whose file it is, by the folders that it lies in: ATTACK/METHOD/seedN/FILE."""
    attack, method, seed = path.parts[-4:-1]
    return {"attack": attack, "method": method, "seed": seed.removeprefix("seed")}


def pooled(rows: Sequence[dict]) -> list[dict]:
    """The rows, and for each attack, method, checkpoint, exam and measure one of seed `all`: hits and n added up."""
    sums: dict[tuple, list[int]] = defaultdict(lambda: [0, 0])
    for row in rows:
        total = sums[row["attack"], row["method"], row["checkpoint"], row["exam"], row["measure"]]
        total[0] += row["hits"]
        total[1] += row["n"]
    names = ("attack", "method", "checkpoint", "exam", "measure")
    return [*rows, *({**dict(zip(names, key, strict=True)), "seed": "all", "hits": h, "n": n} for key, (h, n) in sums.items())]


def with_interval(row: dict, experiment: str) -> dict:
    """A row of measures.csv: value and Clopper-Pearson interval of hits among n."""
    low, high = clopper_pearson(row["hits"], row["n"])
    shares = {"value": row["hits"] / row["n"], "low": low, "high": high}
    named = {key: row[key] for key in (*MODEL, "checkpoint", "exam", "measure", "n")}
    return {"experiment": experiment, **named, **{key: f"{value:.6f}" for key, value in shares.items()}}


def point(word: str) -> dict[str, str]:
    """A row of sweeps.csv. Raises UserError for a word with too few or too many fields."""
    fields = word.split("|")
    if len(fields) != len(SWEEPS):
        raise UserError(f"--sweeps '{word}': expected {'|'.join(SWEEPS)}")
    return dict(zip(SWEEPS, fields, strict=True))


def markdown(rows: Iterable[dict]) -> str:
    """Rows of results.csv as a Markdown table; attacks and methods that sweeps vary are left to the other tables."""
    lines = [
        "| attack | method | checkpoint | seeds | attack success | control | zero-shot | linear probe |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if row["attack"] == base(row["attack"]) and row["method"] == base(row["method"]):
            shares = [percent(row, name) for name in ("success", "control")]
            accuracies = [accuracy(row, name) for name in ("zero_shot", "linear_probe")]
            model = [row["attack"], row["method"], row["checkpoint"], str(row["seeds"])]
            lines.append(f"| {' | '.join([*model, *(cell or '–' for cell in shares + accuracies)])} |")
    lines += [
        "",
        "Percent, top 1. Attack success and control: 95% Clopper-Pearson intervals over the exam images of all seeds, as if "
        "every image were an independent trial; what differs from one training to the next is not in them. Control: the same "
        "exam sat by a model of the same method and seed that was trained without an attack or, where there is none, on an "
        "attack of another family (targeted, backdoor). Zero-shot and linear probe: means ± standard deviations over seeds; of "
        "one seed nothing is said of their spread.",
    ]
    return "\n".join(lines) + "\n"


def run(options: TableOptions) -> None:
    rows = [model_of(path) | row for path in options.measures for row in read_json(path)]
    gathered = results(rows, families(options.kinds))
    write_table(options.out / "measures.csv", MEASURES, [with_interval(row, options.experiment) for row in pooled(rows)])
    write_table(options.out / "results.csv", RESULTS, gathered)
    baselines = dict.fromkeys(row["method"] for row in rows if row["method"] == base(row["method"]))
    paired = [row for baseline in baselines for row in differences(rows, baseline)]
    write_table(options.out / "differences.csv", DIFFERENCES, paired)
    write_table(options.out / "sweeps.csv", SWEEPS, [point(word) for word in options.sweeps])
    histories = [model_of(path) | row for path in options.histories for row in read_table(path, HISTORY)]
    write_table(options.out / "history.csv", (*MODEL, *HISTORY), histories)
    with atomic(options.out / "measures.md") as temporary:
        temporary.write_text(markdown(gathered), encoding="utf-8")


STAGE = Stage(TableOptions, run)
