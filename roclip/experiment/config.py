"""Checking a workflow's config before any job starts: against the schema, then for combinations that cannot work."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

from roclip.core.errors import UserError
from roclip.core.facts import Facts
from roclip.core.files import read_lines
from roclip.core.options import default_of
from roclip.data.downstream_sets import present_sets
from roclip.data.image_bounds import BadImage
from roclip.data.image_paths import Roots
from roclip.data.settings import SIDE, SMALLEST, DataSettings, DownstreamSettings, caption_shares
from roclip.data.sources import count_pairs, sharing
from roclip.data.url_list import count_rows, words
from roclip.defences.detectors import DETECTORS
from roclip.experiment.plan import Plan, base
from roclip.experiment.schema import SECTIONS, STEPS, config_schema, plain
from roclip.experiment.settings import ExperimentSettings
from roclip.experiment.sources_inside import sources_inside
from roclip.experiment.steps import named_start
from roclip.experiment.sweeps import plan
from roclip.experiment.validation import check_schema, check_size
from roclip.model.configs import BY_HAND, is_on_a_hub, is_published, model_config
from roclip.training.settings import TOWERS, per_step

RESERVED = ("leaderboard", "benchmarks")  # folders of results/ that are no experiment's
Problems = Iterator[tuple[str, str]]


def _filled(settings: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Options with their defaults, in the order of the dataclass."""
    defaults = {field.name: plain(default_of(field)) for field in fields(settings) if default_of(field) is not MISSING}
    whole = {field.name: given.get(field.name, defaults.get(field.name)) for field in fields(settings)}
    return {**whole, **{key: value for key, value in given.items() if key not in whole}}


def _complete_step(step: str, given: Mapping[str, Any], train: Mapping[str, Any]) -> dict[str, Any]:
    kind = STEPS[step][given["kind"]]
    whole = {"kind": given["kind"], **_filled(kind.Settings, given)}
    if step == "train":
        published = not kind.trains and is_published(whole["weights"])  # such a folder says of what model they are
        usual = {**train, "model": whole["weights"]} if published else train
        whole |= {name: given.get(name, usual[name]) for name in per_step(kind)}
    if whole.get("scored_by"):
        whole["scored_by"] = _complete_step("train", whole["scored_by"], train)
    return whole


def _detectors(config: Mapping[str, Any]) -> dict[str, Any]:
    """The detectors that are defined, and those that are chosen by their kinds."""
    kinds = {name: {"kind": name} for name in config.get("detectors", ()) if name in DETECTORS}
    return {**kinds, **config.get("detector", {})}


def complete(config: Mapping[str, Any], attacks: Mapping[str, type]) -> dict[str, Any]:
    """A config that the schema has accepted, with every default filled in. attacks: the registry."""
    sections = {name: _filled(settings, config.get(name, {})) for name, settings in SECTIONS.items()}
    return {
        **_filled(
            ExperimentSettings, {name: config[name] for name in ExperimentSettings.__dataclass_fields__ if name in config}
        ),
        **sections,
        "attack": {
            name: {"kind": given["kind"], **_filled(attacks[given["kind"]].Settings, given)}
            for name, given in config["attack"].items()
        },
        "detector": {
            name: {"kind": given["kind"], **_filled(DETECTORS[given["kind"]].Settings, given)}
            for name, given in _detectors(config).items()
        },
        "defence": {
            name: {step: _complete_step(step, recipe[step], sections["train"]) for step in STEPS if step in recipe}
            for name, recipe in config["defence"].items()
        },
        "sweeps": config.get("sweeps") or {},
    }


def image_side(model: str) -> int:
    """The side in pixels of a model's images. Raises UserError for a model that cannot be used."""
    size = model_config(model)["vision_cfg"].get("image_size")
    if type(size) is not int or not SMALLEST <= size <= SIDE:
        raise UserError(
            f"train.model: {model} has a vision_cfg.image_size that is no number of pixels from {SMALLEST} to {SIDE}: "
            f"{str(size)[:100]}"
        )
    return size


def pair_count(config: Mapping[str, Any]) -> int:
    """The training pairs of the data set, before any is lost in the download."""
    data = config["data"]
    if "train" in DataSettings.drawn(data):
        return data["train_scenes"]
    if "train" in data["tables"]:
        source = data["tables"]["train"]
        return count_pairs(Path(source), sharing(data["tables"], "train"))
    return count_rows(words(data["url_list"]), "train")


def _facts(config: Mapping[str, Any], image_size: int) -> Facts:
    """What the whole data set is, and a training on it."""
    data, train = config["data"], config["train"]
    drawn = DataSettings.drawn(data)
    return Facts(
        pairs=pair_count(config) - data["held_out"],
        classes=tuple(read_lines(Path(data["classes"]))),
        classes_file=data["classes"],
        validation_images=data["validation_scenes"] if "validation" in drawn else None,
        image_size=image_size,
        epochs=train["epochs"],
        batch_size=train["batch_size"],
        caption_shares=caption_shares(data) if "train" in drawn else None,
    )


class _Recipe:
    """The checks of a recipe, and of those that it starts from, on the data of one attack.

    facts.pairs: those that the attack takes; available: those that an attack may take.
    """

    def __init__(self, name: str, config: Mapping[str, Any], recipe: Mapping[str, Any], facts: Facts, available: int) -> None:
        self.name, self.config, self.recipe, self.facts = name, config, recipe, facts
        self.available = available

    def problems(self) -> Problems:
        """What cannot work: the key, and why."""
        facts, key = self.facts, f"defence.{self.name}"
        if chosen := self.recipe.get("filter"):
            if not STEPS["train"][self.recipe["train"]["kind"]].trains:
                yield f"{key}.filter", f"a step `train` of kind {self.recipe['train']['kind']} trains on no pairs; take it out"
            if chosen.get("scored_by"):
                yield from self._of_step("train", f"{key}.filter.scored_by", chosen["scored_by"], facts)
            yield from self._of_step("filter", f"{key}.filter", chosen, facts)
            facts = replace(facts, pairs=round(facts.pairs * chosen.get("keep", 1)))
        yield from self._of_step("train", f"{key}.train", self.recipe["train"], facts)
        if repair := self.recipe.get("repair"):
            yield from self._of_step("repair", f"{key}.repair", repair, replace(self.facts, pairs=self.left_over))
        start, attack = self._start(self.recipe["train"])
        if start:
            facts = self.facts
            if attack:
                facts = replace(facts, pairs=self.config["attack"][attack]["clean_pairs"] or self.available)
            yield from _Recipe(start, self.config, self.config["defence"][start], facts, self.available).problems()

    @property
    def left_over(self) -> int:
        """The pairs that the attack leaves, from which a repair draws its clean ones."""
        return self.available - self.facts.pairs + self.config["data"]["held_out"]

    def _start(self, settings: Mapping[str, Any]) -> tuple[str | None, str | None]:
        """The recipe that a step `train` starts from, and its attack where that is another one."""
        return named_start(settings.get("start_from"), self.config["defence"], self.config["attack"])

    def _of_step(self, step: str, key: str, settings: Mapping[str, Any], facts: Facts) -> Problems:
        kind = STEPS[step][settings["kind"]]
        facts = replace(facts, epochs=settings.get("epochs", 0))
        for field in fields(kind.Settings):
            if field.metadata["role"] == "files" and settings[field.name] is not None:
                yield from self._of_file(f"{key}.{field.name}", settings[field.name])
        if step == "train":
            yield from self._of_towers(key, settings)
        for option, message in kind.problems(settings, facts):
            yield f"{key}.{option}", message
        if "epochs" in settings:
            yield from self._of_schedule(key, settings, settings["clean_pairs"] if step == "repair" else facts.pairs)

    def _of_towers(self, key: str, settings: Mapping[str, Any]) -> Problems:
        """Of a step `train`: a model that cannot be used, or is another one than that of the weights that it starts from."""
        try:
            side = image_side(settings["model"])
        except UserError as error:
            yield f"{key}.model", str(error).removeprefix("train.model: ")
            return
        if side != (usual := self.facts.image_size):
            why = f"takes images of {side} pixels, and train.model of {usual}, on which triggers are put"
            yield f"{key}.model", f"{settings['model']} {why}; make an experiment of its own for it"
        start, _ = self._start(settings)
        before = self.config["defence"][start]["train"] if start else settings
        for name in (name for name in TOWERS if settings[name] != before[name]):
            yield f"{key}.{name}", f"{settings[name]}, but '{start}', from which it starts, has {before[name]}"

    def _of_file(self, key: str, value: str) -> Problems:
        """Of an option that names a file."""
        is_start = key.endswith(".start_from")
        if is_on_a_hub(value):
            yield key, f"'{value}' is on a hub, and {BY_HAND}"
        if not (is_start and self._start({"start_from": value})[0]) and not os.path.exists(value):  # noqa: PTH110
            defined = f"neither a defence of this config ({', '.join(self.config['defence'])}), nor ATTACK/DEFENCE"
            yield key, f"'{value}' is {f'{defined}, nor a file that is there' if is_start else 'not there'}"
        elif os.path.exists(value) and not (os.path.isfile(value) or os.path.isdir(value)):  # noqa: PTH110, PTH112, PTH113
            yield key, f"'{value}' is a pipe or device; name a file"

    def _of_schedule(self, key: str, settings: Mapping[str, Any], pairs: int) -> Problems:
        """Whether there are enough pairs for a batch, and enough steps for the warm-up."""
        batch = self.facts.batch_size
        if batch > pairs:
            yield "train.batch_size", f"{batch} is more than the {pairs} training pairs"
        steps, warmup = settings["epochs"] * (pairs // batch), settings["warmup_steps"]
        if warmup >= steps:
            owner = "train" if key.endswith(".train") and warmup == self.config["train"]["warmup_steps"] else key
            yield f"{owner}.warmup_steps", f"{warmup} is not less than the {steps} steps of defence '{self.name}'"


def _of_detectors(planned: Plan, facts: Facts) -> Problems:
    """What cannot work of detectors, on the pairs that a model is trained on."""
    for name, settings in planned.detectors.items():
        for option, message in DETECTORS[settings["kind"]].problems(settings, facts):
            yield f"detector.{name}.{option}", message


def _of_name(key: str, name: str, kind: str, kinds: Mapping[str, type]) -> Problems:
    """Whether an entry is called as another kind than it is of: published numbers of that kind would stand beside it."""
    if name in kinds and name != kind:
        yield key, f"'{kind}' under the name of the kind '{name}'; rename this entry"


def _of_roots(roots: Sequence[str], results: Path) -> Problems:
    """Whether images that the workflow makes itself, poisons among them, would be opened. A link to nothing is named later."""
    if results.is_symlink() and not results.exists():
        return
    try:
        Roots(roots).check(str(results / "attacks/image"))
    except BadImage as error:
        yield "data.roots", f"{results}, where the experiment's own images lie, is {error}: add {results.resolve().parent}"


def _problems(config: Mapping[str, Any], planned: Plan, attacks: Mapping[str, type]) -> Problems:
    """What cannot work: the key, and why."""
    if planned.experiment in RESERVED:
        yield "experiment", f"results/{planned.experiment} is not for an experiment; give this one another name"
    yield from sources_inside(config, Path("results", planned.experiment))
    for section, found in (
        ("data", DataSettings.problems(config["data"])),
        ("downstream", DownstreamSettings.problems(config["downstream"], config["data"])),
    ):
        for option, message in found:
            yield f"{section}.{option}", message
    yield from _of_roots(config["data"]["roots"], Path("results", planned.experiment))
    usual = ExperimentSettings.__dataclass_fields__["baseline"].default
    if planned.baseline not in (*config["defences"], usual):
        yield "baseline", f"'{planned.baseline}' is not among defences: {', '.join(config['defences'])}"
    for name in (name for name in config["controls"] if name not in config["defence"]):
        yield "controls", f"'{name}' is not defined under 'defence'; defined are {', '.join(config['defence'])}"
    batch, micro_batch = config["train"]["batch_size"], config["train"]["micro_batch"]
    if micro_batch and batch % micro_batch:
        yield "train.micro_batch", f"{micro_batch} does not divide the {batch} pairs of train.batch_size"
    facts = _facts(config, planned.image_size)
    if facts.pairs < 1:
        pairs, held_out = pair_count(config), config["data"]["held_out"]
        none = f"no pairs in {config['data']['tables'].get('train', 'the list of URLs')}"
        yield "data.held_out" if pairs else "data", f"{held_out} of the {pairs} training pairs leaves none" if pairs else none
    for name in planned.attacks():
        settings = planned.attack[name]
        yield from _of_name(f"attack.{name}.kind", base(name), settings["kind"], attacks)
        for option, message in attacks[settings["kind"]].problems(settings, facts):
            yield f"attack.{name}.{option}", message
    for attack, name in dict.fromkeys(run[:2] for run in planned.runs):
        taken, recipe = planned.attack[attack]["clean_pairs"] or facts.pairs, planned.defence[name]
        yield from _of_name(f"defence.{name}.train.kind", base(name), recipe["train"]["kind"], STEPS["train"])
        left = replace(facts, pairs=taken)
        yield from _Recipe(name, config, recipe, left, facts.pairs).problems()
        if planned.family[attack] != "clean":
            seen = planned.filter_of(name)
            share = planned.filters[seen].settings.get("keep", 1) if seen else 1
            yield from _of_detectors(planned, replace(left, pairs=round(share * left.pairs)))


def check(config: Mapping[str, Any], attacks: Mapping[str, type]) -> tuple[dict[str, Any], Plan]:
    """The complete config and its plan. Raises UserError, one line that names the key, for the first thing that is wrong.

    config: as it was given, with what differs from the defaults; attacks: the registry of attacks.
    """
    check_size(config)
    rules = config_schema(attacks)
    check_schema(config, rules, attacks)
    whole = complete(config, attacks)
    planned = plan(whole, attacks, image_side(whole["train"]["model"]), present_sets(whole["downstream"]))
    for section in ("attack", "defence"):
        del rules["properties"][section]["propertyNames"]  # a variant's name is made, not chosen
    check_schema({**whole, "attack": planned.attack, "defence": planned.defence}, rules, attacks)
    for key, message in _problems(whole, planned, attacks):
        raise UserError(f"{key}: {message}")
    return whole, planned
