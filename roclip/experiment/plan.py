"""The plan of an experiment: which attacks and defences are run together, the variants that sweeps make of them included.

A sweep is a table of runs, the product of its attacks, defences, axes and seeds, which are the experiment's where it names
none. An axis is a setting with the values that it takes; a value that is a mapping changes several settings together. A variant
is named after what differs from its base, such as `roclip~pool_size~400`; one whose settings already have a name goes by that
name, so no run is made twice. Equal steps of recipes are one step (roclip/experiment/steps.py).
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from roclip.core.atomic import atomic
from roclip.core.errors import UserError
from roclip.core.files import read_json
from roclip.data.downstream_sets import FOLDERS
from roclip.evaluation import OWN, PAIRS, attack_set
from roclip.experiment.steps import Step
from roclip.training.settings import TOWERS

VARIANT = r"[a-z0-9_.~-]+"  # of which the names of attacks, defences, variants and steps are made
SET = "|".join([OWN, PAIRS, *FOLDERS, attack_set(VARIANT)])  # the names of evaluation sets


LONGEST = 1 << 26  # bytes of plan.json, which may name 100,000 runs
DIGEST = "sha256"  # of what plan.json holds beside it


@dataclass(frozen=True)
class Point:
    """A run of a sweep: what it changes, of which attack and defence, and under which names it is run."""

    changes: dict[str, Any]
    base_attack: str
    base_defence: str
    attack: str
    defence: str

    def setting(self, last: str = ", ") -> str:
        """What it changes, readable: `augment_images true, augment_captions never`. last: what stands before the last part."""
        parts = [f"{key} {'all' if value is None else str(value).lower()}" for key, value in self.changes.items()]
        return last.join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


@dataclass(frozen=True)
class Plan:
    """What an experiment runs.

    attack: complete settings by name; family: of each attack, clean, targeted or backdoor; defence: complete recipes by name,
    of both the variants included; models: train and repair steps by name, models[DEFENCE] the one that ends that recipe; runs:
    (attack, defence, seed), each once; sets: the downstream sets that are there; controls: defences
    that only train less, see roclip/reporting/best_control.py; image_size: the side of every model's images; model: that of
    train steps which name none; detectors: complete settings by name; of_captions: the attacks whose evaluation sets are
    captions; measures: those that are made only where they are asked for.
    """

    experiment: str
    baseline: str
    model: str
    image_size: int
    attack: dict[str, dict[str, Any]]
    family: dict[str, str]
    defence: dict[str, dict[str, Any]]
    models: dict[str, Step]
    filters: dict[str, Step]
    runs: list[tuple[str, str, int]]
    sweeps: dict[str, list[Point]] = field(default_factory=dict)
    sets: list[str] = field(default_factory=list)
    controls: list[str] = field(default_factory=list)
    detectors: dict[str, dict[str, Any]] = field(default_factory=dict)
    of_captions: list[str] = field(default_factory=list)
    measures: list[str] = field(default_factory=list)

    def attacks(self, seed: int | None = None) -> list[str]:
        """The attacks that are run, with any seed or with this one."""
        return list(dict.fromkeys(attack for attack, _, its in self.runs if seed in (None, its)))

    def defences(self) -> list[str]:
        return list(dict.fromkeys(defence for _, defence, _ in self.runs))

    def seeds(self) -> list[int]:
        return sorted({seed for _, _, seed in self.runs})

    def attack_folders(self) -> list[str]:
        """`ATTACK/seedN` of every attack and seed, those of models to start from included."""
        return list(dict.fromkeys("{0}/{2}".format(*folder.split("/")) for folder in self.steps()))

    def model_folders(self) -> list[str]:
        """`ATTACK/DEFENCE/seedN` of every run."""
        return [f"{attack}/{defence}/seed{seed}" for attack, defence, seed in self.runs]

    def detected(self) -> list[tuple[str, str, int]]:
        """The runs on whose pairs detectors are measured: where nothing is poisoned there is nothing to detect."""
        return [run for run in self.runs if self.detectors and self.family[run[0]] != "clean"]

    def filter_of(self, defence: str) -> str | None:
        """The filter step whose rows the model of a defence was trained on, before any repair; None for all rows."""
        step = self.models[defence]
        while step.stage == "repair":
            step = self.models[step.start_from]
        return step.filter

    def filtered(self) -> list[tuple[str, str, int]]:
        """The runs whose model was trained on rows that a filter kept."""
        return [run for run in self.runs if self.filter_of(run[1])]

    def chain(self, defence: str) -> list[Step]:
        """The steps that a defence needs, filters too, each after those that it builds on."""
        found: dict[tuple[str, str], Step] = {}

        def add(step: Step) -> None:
            if step.filter:
                add(self.filters[step.filter])
            if step.start_from:
                add(self.models[step.start_from])
            found.setdefault((step.stage, step.name), step)

        add(self.models[defence])
        return list(found.values())

    def towers_of(self, model: str) -> dict[str, str]:
        """The model and pixels of a train step, and of what a repair step repairs."""
        step = self.models[model]
        return {name: step.settings[name] for name in TOWERS} if step.stage == "train" else self.towers_of(step.start_from)

    def steps(self) -> list[str]:
        """`ATTACK/STEP/seedN` of every model that must exist, those on the way included."""
        models = [(*built_on, seed) for attack, defence, seed in self.runs for built_on in self.built_on(attack, defence)]
        return list(dict.fromkeys(f"{attack}/{step}/seed{seed}" for attack, step, seed in models))

    def built_on(self, attack: str, model: str) -> Iterator[tuple[str, str]]:
        """Attack and step of the models that a model of an attack builds on, each after its own, and of itself."""
        step = self.models[model]
        if step.filter and (scorer := self.filters[step.filter].start_from):
            yield from self.built_on(attack, scorer)
        if step.start_from:
            yield from self.built_on(step.start_attack or attack, step.start_from)
        yield attack, model


def base(name: str) -> str:
    """The attack or defence that a variant was made of; of any other its own name."""
    return name.partition("~")[0]


def control_attack(attack: str, trained_on: Sequence[str], family: Mapping[str, str]) -> str | None:
    """Of the attacks that models of one defence and seed were trained on, the one whose model is the control of an attack.

    That without an attack; where there is none, the first of another family that is no variant. Two attacks of one family can
    share target images, or trigger and target class, so one is no control for the other.
    """
    usable = [name for name in trained_on if family[name] != family[attack] and name == base(name)]
    return min(usable, key=lambda name: family[name] != "clean", default=None)


def evaluation_sets(plan: Plan, attack: str, defence: str, seed: int) -> list[str]:
    """What a model is judged on: the experiment's images, its pairs and downstream sets unless it is a variant, and attacks.

    The sets of attacks are that of its own attack, and those of the attacks whose control it is. No control is a model that
    starts from weights which an attack of that family made: they see what it wants.
    """
    is_plain = attack == base(attack) and defence == base(defence)
    beside = [its for its, other, number in plan.runs if (other, number) == (defence, seed)]
    seen = {its: {plan.family[name] for name, _ in plan.built_on(its, defence)} for its in beside}

    def control(name: str) -> str | None:
        return control_attack(name, [its for its in beside if plan.family[name] not in seen[its]], plan.family)

    judged = [name for name in beside if name == base(name) and control(name) == attack]
    pairs = [PAIRS] if plan.measures else []
    attacks = [attack_set(name) for name in dict.fromkeys([attack, *judged]) if plan.family[name] != "clean"]
    return [OWN, *([*pairs, *plan.sets] if is_plain else []), *attacks]


def nothing_to_detect(plan: Plan) -> list[str]:
    """A sentence on the attacks that detectors are not measured on, if there are any."""
    clean = [attack for attack in plan.attacks() if plan.detectors and plan.family[attack] == "clean"]
    none = "no pair is poisoned, so there is nothing to detect"
    return [f"No detector is run on models that were trained on {', '.join(clean)}: {none}."] if clean else []


def write_plan(path: Path, plan: Plan) -> None:
    """Write plan.json, unless it says the same already: what depends on it would seem out of date."""
    content = asdict(plan)
    text = json.dumps({**content, DIGEST: _digest(content)}, indent=2) + "\n"
    if not path.is_file() or path.read_bytes() != text.encode():
        with atomic(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _digest(content: Mapping[str, Any]) -> str:
    """By which a plan is known that was changed by hand, and would end in something else than one line much later."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _steps(written: Mapping[str, Mapping[str, Any]]) -> dict[str, Step]:
    return {name: Step(**step) for name, step in written.items()}


def _points(written: Sequence[Mapping[str, Any]]) -> list[Point]:
    return [Point(**point) for point in written]


def read_plan(path: Path) -> Plan:
    """The plan that `write_plan` wrote. Raises UserError for a file that is none, or was changed."""
    written = read_json(path, LONGEST)
    try:
        if written.pop(DIGEST) != _digest(written):
            raise ValueError("changed by hand")
        return Plan(
            **written
            | {"models": _steps(written["models"]), "filters": _steps(written["filters"])}
            | {"sweeps": {name: _points(points) for name, points in written["sweeps"].items()}}
            | {"runs": [(attack, defence, int(seed)) for attack, defence, seed in written["runs"]]}
        )
    except (TypeError, KeyError, ValueError, AttributeError):
        what = "not a plan of this version, or changed by hand"
        raise UserError(f"{path}: {what}; remove it and start the workflow, which writes it") from None
