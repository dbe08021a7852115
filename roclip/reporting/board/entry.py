"""The rows of the leaderboard that a finished experiment gives: every attack against every defence that is no variant.

Attacks that sweeps vary, as in strength, have rows of their own. Nothing is typed in but the names of the data set, of the
config file and of who computed it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path
from statistics import mean
from typing import Any

from roclip.core.columns import HISTORY, MODEL
from roclip.core.errors import UserError
from roclip.core.files import read_lines, sha256
from roclip.core.provenance import SUFFIX, read_record, record_of, refuse_changed
from roclip.core.yaml_files import read_mapping
from roclip.experiment.plan import Plan, base, read_plan
from roclip.reporting.board.costs import Costs
from roclip.reporting.board.pictures import pictures
from roclip.reporting.equal_accuracy import main_kinds, number, read_equal
from roclip.reporting.gathered import check_planned, read_gathered
from roclip.reporting.report import DRAWN, sources
from roclip.reporting.results import at, pivot, read_results, six_digits
from roclip.reporting.run_files import read_config, read_manifest

CONFIGS = Path("config")
TABLES = ("results", "history", "equal_accuracy")  # of the stage gather, which are read
SHARES = (
    "attack_success", "attack_success_low", "attack_success_high", "control", "control_low", "control_high", "zero_shot",
    "zero_shot_low", "zero_shot_high",
)  # fmt: skip
EQUAL = {"equal_accuracy": "accuracy", "equal_success": "success", "equal_success_low": "low", "equal_success_high": "high"}
Row = dict[str, Any]


@dataclass(frozen=True)
class Named:
    """What an experiment does not say of itself; dataset and config may be None where it can be seen."""

    computed_by: str
    dataset: str | None
    config: str | None


class Experiment:
    """The tables of a finished experiment. Raises UserError where one is missing or broken."""

    def __init__(self, folder: Path) -> None:
        for name in ("plan.json", "tables/results.csv"):
            if not (folder / name).is_file():
                raise UserError(f"{folder}: no {name}; run its workflow first")
        for name in TABLES:
            as_written(folder / "tables" / f"{name}.csv")
        self.folder, self.plan, self.config = folder, read_plan(folder / "plan.json"), read_config(folder)
        self.history = read_gathered(
            folder / "tables/history.csv",
            (*MODEL, *HISTORY),
            ("attack_success", "zero_shot"),
            ("epoch",),
            (*MODEL, "epoch", "kind"),
        )
        self.kinds = main_kinds(self.history)
        self.costs = Costs(self.plan, folder)
        equal = read_equal(folder / "tables/equal_accuracy.csv")
        self.equal = {
            (row["attack"], row["defence"], row["kind"]): row for row in equal if (row["seed"], row["at"]) == ("all", "common")
        }

    def drawn(self) -> bool:
        """Whether every image was drawn here; of anything else no image is shown."""
        return list(sources(self.config["data"])) == [DRAWN]

    def models(self) -> Iterator[Row]:
        """The rows of `pivot`, one for each attack and each defence that is no variant, at the checkpoint that is judged."""
        found: dict[tuple[str, str], dict[str, Row]] = {}
        path = self.folder / "tables/results.csv"
        rows = read_results(path)
        check_planned(rows, self.plan, path)
        for row in pivot(rows):
            if row["defence"] == base(row["defence"]):
                found.setdefault((row["attack"], row["defence"]), {})[row["checkpoint"]] = row
        for defence, checkpoints in ((defence, its) for (_, defence), its in found.items()):
            yield at(checkpoints, f"last_{self.kinds.get(defence)}")

    def seeds(self, attack: str, defence: str) -> list[int]:
        return [seed for *model, seed in self.plan.runs if model == [attack, defence]]

    def commits(self, attack: str, defence: str) -> str:
        """Of the step that ends the recipe, over all seeds."""
        step = self.plan.models[defence]
        places = (f"{attack}/{step.name}/seed{seed}/{step.stage}{SUFFIX}" for seed in self.seeds(attack, defence))
        return " ".join(dict.fromkeys(read_record(self.folder / "models" / place)["commit"] for place in places))

    def curve(self, attack: str, defence: str) -> dict[str, str]:
        """The cells of the curves: of every epoch its kind and the means over the seeds."""
        epochs: dict[int, list[Mapping[str, str]]] = {}
        for row in self.history:
            if (row["attack"], row["defence"]) == (attack, defence):
                epochs.setdefault(int(row["epoch"]), []).append(row)
        rows = [epochs[epoch] for epoch in sorted(epochs)]
        return {
            "curve_kinds": " ".join(its[0]["kind"] for its in rows),
            "curve_zero_shot": " ".join(over_seeds(its, "zero_shot") for its in rows),
            "curve_success": " ".join(over_seeds(its, "attack_success") for its in rows),
        }

    def manifest(self, attack: str) -> Row:
        """Counts of an attack of its first seed; they are the same for all."""
        seed = next(seed for name, _, seed in self.plan.runs if name == attack)
        folder = self.folder / f"attacks/{attack}/seed{seed}"
        as_written(folder / "manifest.json")
        return read_manifest(folder)


def as_written(path: Path) -> None:
    """Raises UserError for a file that was changed after the stage of its record wrote it: nobody would see it on the page."""
    if path.is_file() and (place := record_of(path)):
        refuse_changed(path, place, sha256(path))


def over_seeds(rows: list[Mapping[str, str]], name: str) -> str:
    """The mean of a column of the history; a dash where a seed has no number."""
    value = mean(number(row[name]) for row in rows)
    return "-" if isnan(value) else f"{value:.4f}"


def config_of(plan: Plan) -> str:
    """The one config file whose experiment has this name. Raises UserError where it is not one."""
    found = [path for path in sorted(CONFIGS.glob("*.yaml")) if experiment_of(path) == plan.experiment]
    if len(found) != 1:
        raise UserError(f"--config: {len(found)} files in {CONFIGS}/ are of the experiment {plan.experiment}; name the file")
    return str(found[0])


def experiment_of(path: Path) -> str | None:
    """The experiment that a config file is of; None for any other file that lies there."""
    try:
        return read_mapping(path).get("experiment")
    except UserError:
        return None


def dataset_of(experiment: Experiment, pairs: int) -> str:
    """Drawn scenes by their size; all else goes by the name of the experiment."""
    if not experiment.drawn():
        return experiment.plan.experiment
    return f"drawn scenes, {len(read_lines(Path(experiment.config['data']['classes'])))} classes, {pairs:,} pairs"


def rows_of(folder: Path, named: Named) -> list[Row]:
    """The rows of an experiment, numbers as they are written. Raises UserError where a table of it is missing or broken."""
    experiment = Experiment(folder)
    plan, config = experiment.plan, named.config or config_of(experiment.plan)
    rows, seen = [], set()
    for model in experiment.models():
        attack, defence = model["attack"], model["defence"]
        counts = experiment.manifest(attack)
        pairs = counts["clean_pairs"]
        images = pictures(plan, folder, attack) if experiment.drawn() and attack not in seen else ("", "")
        seen.add(attack)
        about = {
            "experiment": plan.experiment, "dataset": named.dataset or dataset_of(experiment, pairs),
            "drawn": int(experiment.drawn()), "model": plan.towers_of(defence)["model"], "pairs": pairs, "kind": counts["kind"],
            "family": plan.family[attack], "poisons": counts["poisons"], "pictures": images[0], "picture_texts": images[1],
            "commit": experiment.commits(attack, defence), "config": config, "computed_by": named.computed_by,
        }  # fmt: skip
        rows.append(about | measured(model) | equal_cells(experiment, model) | cost_cells(experiment, model))
        rows[-1] |= experiment.curve(attack, defence)
    return rows


def measured(model: Row) -> Row:
    """The cells of a row of `pivot`; of a model that has learned nothing there is no attack success."""
    hidden = () if model["learned"] else SHARES[:3]
    counted = model["attack_success_n"]
    return {
        **{name: model[name] for name in ("attack", "defence", "checkpoint", "seeds")},
        **{name: six_digits(nan if name in hidden else model[name]) for name in SHARES},
        "judged": "" if isnan(counted) else round(counted),
        "learned": int(model["learned"]),
    }


def equal_cells(experiment: Experiment, model: Row) -> Row:
    """Success at the accuracy that all reach, where every seed reached it; none without an attack."""
    row = experiment.equal.get((model["attack"], model["defence"], experiment.kinds.get(model["defence"], "")))
    is_clean = experiment.plan.family[model["attack"]] == "clean"
    if not row or is_clean or not model["learned"] or row["reached"] != row["seeds"]:
        return dict.fromkeys(EQUAL, "")
    return {name: row[column] for name, column in EQUAL.items()}


def cost_cells(experiment: Experiment, model: Row) -> Row:
    seeds = experiment.seeds(model["attack"], model["defence"])
    cost, source = experiment.costs.cost(model["attack"], model["defence"], seeds)
    return {"cost": "" if isnan(cost) else f"{cost:.2f}", "cost_from": source}
