"""Which files an experiment will have. What its jobs read and are told stands in targets.py."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from roclip.core.provenance import SUFFIX, fingerprint
from roclip.data.url_list import SPLITS
from roclip.evaluation import measures_of
from roclip.experiment.plan import Plan, base, evaluation_sets

GATHERED = (
    "measures.csv", "results.csv", "differences.csv", "sweeps.csv", "history.csv", "equal_accuracy.csv",
    "equal_differences.csv", "front.csv", "took.csv", "measures.md",
)  # fmt: skip


@dataclass(frozen=True)
class Outputs:
    """The files that an experiment makes, by paths from the working folder.

    config: complete; results: the experiment's folder; home: the workflow's own; paper_tables and figures: what the stages of
    those names will write.
    """

    config: Mapping[str, Any]
    plan: Plan
    results: str
    home: Path
    paper_tables: Sequence[str]
    figures: Mapping[str, Any]

    def at(self, places: Iterable[str]) -> list[str]:
        return [f"{self.results}/{place}" for place in places]

    @cached_property
    def data(self) -> list[str]:
        return self.at(f"data/{split}.csv" for split in SPLITS)

    @cached_property
    def attack_tables(self) -> list[str]:
        return self.at(f"attacks/{folder}/train.csv" for folder in self.plan.attack_folders())

    @cached_property
    def checks(self) -> list[str]:
        """What can be seen of each attack before any training."""
        return self.at(f"attacks/{folder}/check.csv" for folder in self.plan.attack_folders())

    @cached_property
    def manifests(self) -> list[str]:
        """What each attack did, in numbers, and its record."""
        names = ("manifest.json", f"attack{SUFFIX}")
        return self.at(f"attacks/{folder}/{name}" for folder in self.plan.attack_folders() for name in names)

    @cached_property
    def models(self) -> list[str]:
        """The histories of all models, those on the way to others included."""
        return self.at(f"models/{folder}/history.csv" for folder in self.plan.steps())

    @cached_property
    def histories(self) -> list[str]:
        """The histories of the models that are judged."""
        return self.at(f"models/{folder}/history.csv" for folder in self.plan.model_folders())

    @cached_property
    def measures(self) -> list[str]:
        return [path for run in self.plan.runs for path in self.measures_of(*run)]

    def measures_of(self, attack: str, defence: str, seed: int) -> list[str]:
        """The measures of a model on all that it is judged on."""
        folder = f"measures/{attack}/{defence}/seed{seed}"
        sets = evaluation_sets(self.plan, attack, defence, int(seed))
        return self.at(
            f"{folder}/{name}/{measure}.json" for name in sets for measure in measures_of(name, self.plan.of_captions)
        )

    @cached_property
    def exports(self) -> list[str]:
        """The models that are no variants, in others' forms."""
        return self.at(f"exports/{a}/{d}/seed{seed}" for a, d, seed in self.plan.runs if (a, d) == (base(a), base(d)))

    @cached_property
    def gathered(self) -> list[str]:
        """The tables of the stage gather."""
        plan = self.plan
        more = [*(["detection.csv"] if plan.detectors else []), *(["filters.csv"] if plan.filtered() else [])]
        return self.at(f"tables/{name}" for name in (*GATHERED, *more))

    @cached_property
    def detections(self) -> list[str]:
        """How well detectors find the poisoned pairs of each model that has some."""
        return self.at(
            f"detection/{attack}/{defence}/seed{seed}/detection.csv" for attack, defence, seed in self.plan.detected()
        )

    @cached_property
    def filtered(self) -> list[str]:
        """What filters kept, and the truth about it."""
        runs = [(f"{a}/{self.plan.filter_of(d)}/seed{seed}", f"{a}/seed{seed}") for a, d, seed in self.plan.filtered()]
        return list(dict.fromkeys(self.at(
            path for kept, truth in runs for path in (f"filters/{kept}/kept.csv", f"attacks/{truth}/truth.csv")
        )))  # fmt: skip

    @cached_property
    def published(self) -> list[str]:
        """The tables beside published numbers."""
        return self.at(f"tables/{table}.{kind}" for table in self.paper_tables for kind in ("md", "tex", "csv"))

    @cached_property
    def tables(self) -> list[str]:
        return [*self.gathered, *self.at(["tables/claims.json"]), *self.published]

    @property
    def report(self) -> str:
        return f"{self.results}/report.html"

    @cached_property
    def planned(self) -> dict[str, str]:
        """For what reads the plan: where it is, and what changes with it, for the file is no input of a rule."""
        return {"plan": f"{self.results}/plan.json", "version": fingerprint(asdict(self.plan))}

    @cached_property
    def drawings(self) -> list[str]:
        return self.at(f"figures/{figure}.{kind}" for figure in self.figures for kind in ("png", "pdf"))

    def steps(self, stage: str) -> str:
        """A pattern for the steps of a stage: train and repair write to the same folders. Of none, one that nothing matches."""
        known = self.plan.filters if stage == "filter" else self.plan.models
        return "|".join(re.escape(name) for name, step in known.items() if step.stage == stage) or "(?!)"
