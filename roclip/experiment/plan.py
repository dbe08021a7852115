"""The plan of an experiment: which attacks and defences are run together, the variants that sweeps make of them included.

A sweep is a table of runs, the product of its attacks, defences, axes and seeds, which are the experiment's where it names
none. An axis is a setting with the values that it takes; a value that is a mapping changes several settings together. A variant
is named after what differs from its base, such as `roclip~pool_size~400`; one whose settings already have a name goes by that
name, so no run is made twice. Equal steps of recipes are one step (roclip/experiment/steps.py).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from roclip.core.atomic import atomic
from roclip.core.errors import UserError
from roclip.core.files import read_json
from roclip.evaluation import OWN, PAIRS, attack_set
from roclip.experiment.steps import Step

VARIANT = r"[a-z0-9_.~-]+"  # of which the names of attacks, defences, variants and steps are made


@dataclass(frozen=True)
class Point:
    """A run of a sweep: what it changes, of which attack and defence, and under which names it is run."""

    changes: dict[str, Any]
    base_attack: str
    base_defence: str
    attack: str
    defence: str

    def setting(self) -> str:
        """What it changes, readable: `augment_images true, augment_captions never`."""
        return ", ".join(f"{key} {'all' if value is None else str(value).lower()}" for key, value in self.changes.items())


@dataclass(frozen=True)
class Plan:
    """What an experiment runs.

    attack: complete settings by name; family: of each attack, clean, targeted or backdoor; defence: complete recipes by name,
    of both the variants included; models: train and repair steps by name, models[DEFENCE] the one that ends that recipe; runs:
    (attack, defence, seed), each once; sets: the downstream sets that are there; controls: defences
    that only train less, see roclip/reporting/best_control.py; image_size: the side of the model's images; of_captions: the
    attacks whose evaluation sets are captions; measures: those that are made only where they are asked for.
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
        """`ATTACK/seedN` of every attack and seed."""
        return list(dict.fromkeys(f"{attack}/seed{seed}" for attack, _, seed in self.runs))

    def model_folders(self) -> list[str]:
        """`ATTACK/DEFENCE/seedN` of every run."""
        return [f"{attack}/{defence}/seed{seed}" for attack, defence, seed in self.runs]

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

    def steps(self) -> list[str]:
        """`ATTACK/STEP/seedN` of every model that must exist, those on the way included."""
        models = {defence: [s.name for s in self.chain(defence) if s.stage != "filter"] for defence in self.defences()}
        return list(
            dict.fromkeys(f"{attack}/{step}/seed{seed}" for attack, defence, seed in self.runs for step in models[defence])
        )


def base(name: str) -> str:
    """The attack or defence that a variant was made of; of any other its own name."""
    return name.partition("~")[0]


def evaluation_sets(plan: Plan, attack: str, defence: str, seed: int) -> list[str]:
    """What a model is judged on: the experiment's images, its pairs and downstream sets unless it is a variant, and attacks.

    The sets of attacks are that of its own attack, and those of all attacks of its seed that are no variants.
    """
    is_plain = attack == base(attack) and defence == base(defence)
    adversaries = dict.fromkeys([attack, *(name for name in plan.attacks(seed) if name == base(name))])
    pairs = [PAIRS] if plan.measures else []
    attacks = [attack_set(name) for name in adversaries if plan.family[name] != "clean"]
    return [OWN, *([*pairs, *plan.sets] if is_plain else []), *attacks]


def settings_of(setting: str) -> dict[str, str]:
    """The keys and values of a point's readable setting."""
    return dict(part.split(" ", 1) for part in setting.split(", ") if part)


def write_plan(path: Path, plan: Plan) -> None:
    """Write plan.json, unless it says the same already: what depends on it would seem out of date."""
    text = json.dumps(asdict(plan), indent=2) + "\n"
    if not path.is_file() or path.read_bytes() != text.encode():
        with atomic(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _steps(written: Mapping[str, Mapping[str, Any]]) -> dict[str, Step]:
    return {name: Step(**step) for name, step in written.items()}


def _points(written: Sequence[Mapping[str, Any]]) -> list[Point]:
    return [Point(**point) for point in written]


def read_plan(path: Path) -> Plan:
    """The plan that `write_plan` wrote. Raises UserError for a file that is none."""
    written = read_json(path)
    try:
        return Plan(
            **written
            | {"models": _steps(written["models"]), "filters": _steps(written["filters"])}
            | {"sweeps": {name: _points(points) for name, points in written["sweeps"].items()}}
            | {"runs": [(attack, defence, int(seed)) for attack, defence, seed in written["runs"]]}
        )
    except (TypeError, KeyError, ValueError, AttributeError):
        raise UserError(f"{path}: not a plan of this version; remove it and start the workflow, which writes it") from None
