"""The steps of recipes. Equal ones are one step with one name, whatever the recipes they stand in."""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from roclip.core.errors import UserError
from roclip.core.provenance import fingerprint
from roclip.defences import TRAININGS

Recipe = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Step:
    """One stage of a recipe; its files lie in folders called `name`.

    A train or repair step that ends a recipe has the defence's name, whether or not that defence is selected; another is called
    after the first recipe that has it, `RECIPE.train` or `RECIPE.scored_by`; a filter step too, by the recipe's name alone.

    stage: filter, train or repair. settings: complete, with `kind`, but without `scored_by`; `start_from` only where it is a
    file. filter: of a train step, the filter step whose rows it is trained on. start_from: of a train step, the step whose
    weights it starts from; of a repair step, the one that it repairs; of a filter step, the one of the model that scores.
    start_attack: the attack on whose pairs the model to start from was trained; None: the same that this step is run on.
    """

    name: str
    stage: str
    settings: dict[str, Any]
    filter: str | None = None
    start_from: str | None = None
    start_attack: str | None = None


def same(value: Any) -> Any:
    """A value in the form in which equal ones are written alike: 1 as 1.0, but not true."""
    if isinstance(value, Mapping):
        return {str(key): same(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [same(inner) for inner in value]
    try:
        return float(value) if type(value) is int else value
    except OverflowError:
        return value


def equal(first: Any, second: Any) -> bool:
    """Whether two values are written alike; to Python, true is 1."""
    return fingerprint(same(first)) == fingerprint(same(second))


def named_start(start: str | None, recipes: Container[str], attacks: Container[str]) -> tuple[str | None, str | None]:
    """The recipe that `start_from` names, and the attack before it in ATTACK/RECIPE; None for what it does not name."""
    attack, slash, recipe = (start or "").rpartition("/")
    return (recipe, attack or None) if recipe in recipes and (not slash or attack in attacks) else (None, None)


class Steps:
    """The steps of recipes by what they are: a fingerprint of their settings and of all that they build on.

    recipes: by name, which `start_from` may give, with the name of one of the attacks before it; preferred: of equal recipes,
    these give the name.
    """

    def __init__(
        self, recipes: Mapping[str, Recipe], preferred: Iterable[str] = (), attacks: Container[str] = frozenset()
    ) -> None:
        self.recipes, self.attacks = recipes, attacks
        self.content: dict[str, tuple[str, dict[str, Any], *tuple[str | None, ...]]] = {}  # what a step builds on comes first
        self.parts: dict[str, dict[str, str]] = {}  # the steps of each recipe by part, such as scored_by
        self.ends: dict[str, str] = {}  # what ends a recipe, with its name
        self._seen: dict[str, dict[str, str]] = {}
        for name, recipe in recipes.items():
            self.parts[name] = self._parts(name, recipe, ())
        for name in [*preferred, *recipes]:
            self.ends.setdefault(self.end(recipes[name], name), name)

    def add(self, name: str, recipe: Recipe) -> None:
        """Take in a variant."""
        self.parts[name] = self._parts(name, recipe, ())
        self.ends[self.end(recipe, name)] = name

    def end(self, recipe: Recipe, name: str) -> str:
        """What the last step of a recipe is."""
        parts = self._parts(name, recipe, ())
        return parts.get("repair", parts["train"])

    def _parts(self, name: str, recipe: Recipe, above: tuple[str, ...]) -> dict[str, str]:
        defined = recipe is self.recipes.get(name)
        if defined and name in self._seen:
            return self._seen[name]
        parts: dict[str, str] = {}
        if chosen := recipe.get("filter"):
            if chosen.get("scored_by"):
                where = f"defence.{name}.filter.scored_by"
                parts["scored_by"] = self._train(where, chosen["scored_by"], None, (*above, name))
            settings = {key: value for key, value in chosen.items() if key != "scored_by"}
            parts["filter"] = self._take("filter", settings, None, parts.get("scored_by"))
        parts["train"] = self._train(f"defence.{name}.train", recipe["train"], parts.get("filter"), (*above, name))
        if repair := recipe.get("repair"):
            parts["repair"] = self._take("repair", dict(repair), None, parts["train"])
        if defined:
            self._seen[name] = parts
        return parts

    def _train(self, where: str, settings: Mapping[str, Any], rows: str | None, above: tuple[str, ...]) -> str:
        start, attack = named_start(settings.get("start_from"), self.recipes, self.attacks)
        simplest = TRAININGS[settings["kind"]].simplest(settings)
        kept = {key: value for key, value in simplest.items() if key != "start_from" or (value and not start)}
        if start is None:
            return self._take("train", kept, rows, None)
        if start in above:
            circle = " -> ".join([*above[above.index(start) :], start])
            raise UserError(f"{where}.start_from: a circle, {circle}; one of them must start from something else")
        parts = self._parts(start, self.recipes[start], above)
        return self._take("train", kept, rows, parts.get("repair", parts["train"]), attack)

    def _take(
        self, stage: str, settings: dict[str, Any], rows: str | None, start: str | None, attack: str | None = None
    ) -> str:
        identity = fingerprint(stage, same(settings), rows, start, attack)
        self.content.setdefault(identity, (stage, settings, rows, start, attack))
        return identity

    def named(self) -> tuple[dict[str, Step], dict[str, Step]]:
        """The train and repair steps by name, and the filter steps."""
        models, filters = dict(self.ends), {}
        for name, parts in self.parts.items():
            for part in ("train", "scored_by"):
                if part in parts:
                    models.setdefault(parts[part], f"{name}.{part}")
            if "filter" in parts:
                filters.setdefault(parts["filter"], name)
        steps = [
            Step(
                (filters if stage == "filter" else models)[identity],
                stage,
                settings,
                filters.get(rows),
                models.get(start),
                attack,
            )
            for identity, (stage, settings, rows, start, attack) in self.content.items()
        ]
        return (
            {step.name: step for step in steps if step.stage != "filter"},
            {step.name: step for step in steps if step.stage == "filter"},
        )
