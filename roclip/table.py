"""Stage: gather all measures and histories of an experiment.

Writes `measures.csv` (experiment, attack, method, seed, checkpoint, exam, measure, value, n, low, high), one row a measure,
with rows pooled over seeds under seed `all`; `history.csv`, the histories of all models (attack, method, seed in front); and
`measures.md`, the pooled results at a glance.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from roclip.atomic import atomic
from roclip.intervals import clopper_pearson
from roclip.options import option, run_stage
from roclip.schedule import HISTORY
from roclip.tables import read_json, read_table, write_table

MEASURES = ("experiment", "attack", "method", "seed", "checkpoint", "exam", "measure", "value", "n", "low", "high")
MODEL = ("attack", "method", "seed")


@dataclass(frozen=True)
class TableOptions:
    experiment: str = option("name of the experiment")
    kinds: tuple[str, ...] = option("NAME=KIND of every attack")
    measures: tuple[Path, ...] = option("the measures' JSON files, in ATTACK/METHOD/seedN/")
    histories: tuple[Path, ...] = option("the models' history.csv files, in ATTACK/METHOD/seedN/")
    out: Path = option("folder of the tables")


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


def families(kinds: Sequence[str]) -> dict[str, str]:
    """The family of each attack of `NAME=KIND`: targeted, clean, or backdoor.

    Two attacks of one family can share target images, or trigger and target class, so one is no control for the other.
    """
    named = (kind.partition("=") for kind in kinds)
    return {name: kind if kind in ("clean", "targeted") else "backdoor" for name, _, kind in named}


def control_hits(rows: Sequence[dict], family: dict[str, str], exam: str, method: str, checkpoint: str) -> tuple[int, int]:
    """Hits and n of an attack's exam over all models of a method that were trained on attacks of another family."""
    others = [
        r for r in rows
        if r["exam"] == exam and family[r["attack"]] != family[exam] and r["method"] == method
        and r["checkpoint"] == checkpoint and r["measure"] == "attack_success_top1"
    ]  # fmt: skip
    return sum(r["hits"] for r in others), sum(r["n"] for r in others)


def percent(hits: int, n: int) -> str:
    """A share as `93.8 [69.8, 99.8]`, in percent with its interval; a dash when there was nothing to count."""
    if n == 0:
        return "–"
    low, high = clopper_pearson(hits, n)
    return f"{100 * hits / n:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def markdown(rows: Sequence[dict], family: dict[str, str]) -> str:
    """The rows of single seeds, pooled, as a Markdown table with a line for each attack, method and checkpoint."""
    found = {
        (r["attack"], r["method"], r["checkpoint"], r["exam"], r["measure"]): (r["hits"], r["n"])
        for r in pooled(rows)
        if r["seed"] == "all"
    }
    lines = [
        "| attack | method | checkpoint | attack success | control | zero-shot | linear probe |",
        "|---|---|---|---|---|---|---|",
    ]
    for attack, method, checkpoint in dict.fromkeys(key[:3] for key in found):
        model = (attack, method, checkpoint)
        cells = [
            percent(*found.get((*model, attack, "attack_success_top1"), (0, 0))),
            percent(*control_hits(rows, family, attack, method, checkpoint)),
            percent(*found.get((*model, "test", "zero_shot_top1"), (0, 0))),
            percent(*found.get((*model, "test", "linear_probe"), (0, 0))),
        ]
        lines.append(f"| {attack} | {method} | {checkpoint} | {' | '.join(cells)} |")
    seeds = sorted({r["seed"] for r in rows}, key=int)
    lines += [
        "",
        f"Percent, top 1, with 95% Clopper-Pearson intervals, pooled over seeds {', '.join(seeds)}. "
        "Control: the same exam sat by models of the same method that were trained on an attack of another family "
        "(targeted, backdoor, clean).",
    ]
    return "\n".join(lines) + "\n"


def run(options: TableOptions) -> None:
    rows = [model_of(path) | row for path in options.measures for row in read_json(path)]
    write_table(options.out / "measures.csv", MEASURES, [with_interval(row, options.experiment) for row in pooled(rows)])
    histories = [model_of(path) | row for path in options.histories for row in read_table(path, HISTORY)]
    write_table(options.out / "history.csv", (*MODEL, *HISTORY), histories)
    with atomic(options.out / "measures.md") as temporary:
        temporary.write_text(markdown(rows, families(options.kinds)), encoding="utf-8")


if __name__ == "__main__":
    run_stage(TableOptions, run)
