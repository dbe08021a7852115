"""Several backdoors in one training set, each with its own trigger and its own target class or one that all share.

Each trigger is one of another kind of backdoor with that kind's defaults, the same that the kind alone has with this seed. They
poison different images: of k triggers, the first may take those of the clean pairs 0, k, 2k, ..., the second of 1, k + 1, ...,
and so on. Captions are drawn alike for all: with one target class, poisons of the same number have the same caption. Their
evaluation sets are judged as one; the manifest says how many images are whose, one trigger after the other.
`sample.png` has the last trigger.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from types import SimpleNamespace
from typing import Any

from attacks.backdoor import Backdoor
from attacks.base import Attack, Poisoning
from roclip.core.deferred import Deferred
from roclip.core.errors import UserError
from roclip.core.facts import Facts
from roclip.core.options import default_of, option, same_option
from roclip.data.pairs import Columns

registry = Deferred("attacks")  # which imports this module


def backdoors() -> dict[str, type[Backdoor]]:
    """The kinds that can be one of several."""
    return {kind: owner for kind, owner in registry.ATTACKS.items() if issubclass(owner, Backdoor)}


def settings_of(owner: type[Backdoor], shared: Mapping[str, Any], target_class: str) -> dict[str, Any]:
    """The settings of one of several: those that all share, its target class, and its own defaults."""
    own = {field.name: default_of(field) for field in fields(owner.Settings)}
    return {**own, **{name: value for name, value in shared.items() if name in own}, "target_class": target_class}


class Several(Attack):
    """Several backdoors at once, each with its own trigger (SafeCLIP, ICML 2024, Table 10; Detect-CLIP-Backdoor-Samples)."""

    family = "backdoor"

    @dataclass(frozen=True, kw_only=True)
    class Settings(Attack.Settings):
        triggers: tuple[str, ...] = option("kinds of backdoors, each with its defaults", ("patch", "tint", "warped"), fewest=2)
        target_classes: tuple[str, ...] = option(
            "the target class of each trigger, in their order, or one for all", ("mushroom", "guitar", "bell"), fewest=1
        )
        poisons: int = same_option(Backdoor.Settings, "poisons")
        evaluation_images: int = same_option(Backdoor.Settings, "evaluation_images")
        captions: str = same_option(Backdoor.Settings, "captions")

    @classmethod
    def problems(cls, settings: Mapping[str, Any], facts: Facts) -> Iterator[tuple[str, str]]:
        yield from super().problems(settings, facts)
        triggers, names = settings["triggers"], settings["target_classes"]
        yield from _faults(triggers, names)
        share = replace(facts, pairs=(settings["clean_pairs"] or facts.pairs) // len(triggers))
        for kind, name in zip(triggers, _for_each(names, triggers), strict=False):
            if owner := backdoors().get(kind):
                for key, why in owner.problems(settings_of(owner, settings, name) | {"clean_pairs": None}, share):
                    shown = {"target_class": "target_classes"}.get(key, key)
                    yield (shown if shown in settings else "triggers"), f"{why} (of the trigger '{kind}')"

    def poison(self, clean: Columns) -> Poisoning:
        """Raises UserError for kinds that are no backdoors, another number of classes, and as the backdoors do."""
        triggers, names = self.options.triggers, self.options.target_classes
        for key, why in _faults(triggers, names):
            raise UserError(f"attack.{key}: {why}")
        pairs, targets, facts, shown = [], [], [], []
        for number, (kind, name) in enumerate(zip(triggers, _for_each(names, triggers), strict=True)):
            part = self._part(kind, name, slice(number, None, len(triggers))).poison(clean)
            pairs += part.pairs
            targets += part.targets
            shown += [""] * len(part.pairs) if part.true_classes is None else part.true_classes
            facts.append({"kind": kind, **part.facts, "evaluation_images": len(part.targets)})
        return Poisoning(pairs, targets, {"triggers": facts}, shown)

    def _part(self, kind: str, name: str, share: slice) -> Backdoor:
        """One of the backdoors, whose images lie in folders of its own."""
        given, owner = vars(self.options), backdoors()[kind]
        part = owner(SimpleNamespace(**given | settings_of(owner, given, name)))
        part.part, part.share = f"{kind}/", share
        return part


def _for_each(names: tuple[str, ...], triggers: tuple[str, ...]) -> tuple[str, ...]:
    """The target class of each trigger."""
    return names * len(triggers) if len(names) == 1 else names


def _faults(triggers: tuple[str, ...], names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """What is wrong with kinds and classes, whatever the data."""
    legal = backdoors()
    if unknown := [kind for kind in triggers if kind not in legal]:
        yield "triggers", f"'{unknown[0]}' is no kind of backdoor; kinds are {', '.join(legal)}"
    if len(set(triggers)) < len(triggers):
        yield "triggers", "a kind may stand there once only"
    if len(names) not in (1, len(triggers)):
        yield "target_classes", f"{len(names)} for {len(triggers)} triggers; give one for each, or one for all"
