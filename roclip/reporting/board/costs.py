"""What a defence costs, in CLIP epochs: epochs of the baseline under the same attack.

A recipe costs all of its trainings and repairs, also those that it shares with others. Where pace.csv knows their seconds and
those of the baseline's epochs of the kind clip, the cost is their ratio; otherwise every epoch of a recipe of trainings counts
as one, as a matching epoch nearly costs. A repair goes over other pairs, so its epochs are not counted without seconds. What a
filter's scores take is nowhere measured and not in it; the training that a filter scores by is.
"""

from collections.abc import Iterable, Sequence
from math import isfinite, nan
from pathlib import Path
from statistics import mean

from roclip.core.columns import HISTORY, PACE
from roclip.core.errors import UserError
from roclip.core.files import read_table
from roclip.core.words import PLAIN_KIND
from roclip.defences import TRAININGS
from roclip.experiment.plan import Plan

MEASURED, COUNTED = "measured", "counted"


class Costs:
    """Of the defences of an experiment; results: its folder."""

    def __init__(self, plan: Plan, results: Path) -> None:
        self.plan, self.models = plan, results / "models"

    def cost(self, attack: str, defence: str, seeds: Sequence[int]) -> tuple[float, str]:
        """Mean over seeds, and where it is from; NaN and nothing where it is not known."""
        unit = self.clip_epoch(attack, seeds)
        measured = mean(self.seconds(attack, defence, seed) for seed in seeds) / unit
        if isfinite(measured) and measured > 0:
            return measured, MEASURED
        if any(step.stage == "repair" for step in self.plan.chain(defence)):
            return nan, ""
        counted = mean(sum(map(self.epochs, self.folders(attack, defence, seed))) for seed in seeds)
        return (counted, COUNTED) if counted > 0 else (nan, "")

    def folders(self, attack: str, defence: str, seed: int) -> list[str]:
        """`ATTACK/STEP/seedN` of all trainings and repairs of a recipe, also of those on the pairs of another attack."""
        return [f"{its}/{step}/seed{seed}" for its, step in dict.fromkeys(self.plan.built_on(attack, defence))]

    def seconds(self, attack: str, defence: str, seed: int) -> float:
        """Of all trainings and repairs of a recipe; NaN where an epoch's are not known."""
        names = self.folders(attack, defence, seed)
        return sum(sum(self.pace(name).values()) if len(self.pace(name)) == self.epochs(name) else nan for name in names)

    def clip_epoch(self, attack: str, seeds: Iterable[int]) -> float:
        """Mean seconds of the baseline's epochs of the kind clip; NaN where there are none."""
        if self.plan.baseline not in self.plan.models:
            return nan
        names = [f"{attack}/{self.plan.models[self.plan.baseline].name}/seed{seed}" for seed in seeds]
        found = [
            seconds for name in names for (_, kind), seconds in self.pace(name).items() if kind == PLAIN_KIND and seconds > 0
        ]
        return mean(found) if found else nan

    def pace(self, model: str) -> dict[tuple[str, str], float]:
        """Seconds by epoch and kind; none where the file is missing or broken: it is no result."""
        try:
            rows = read_table(self.models / model / "pace.csv", tuple(PACE))
            return {(row["epoch"], row["kind"]): float(row["seconds"]) for row in rows}
        except (UserError, ValueError):
            return {}

    def epochs(self, model: str) -> float:
        """Rows of the history; 0 of given weights, which have none; NaN where it is missing."""
        step, path = self.plan.models[model.split("/")[1]], self.models / model / "history.csv"
        if step.stage == "train" and not TRAININGS[step.settings["kind"]].trains:
            return 0
        return len(read_table(path, tuple(HISTORY))) if path.is_file() else nan
